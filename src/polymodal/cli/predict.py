"""``polymodal predict``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from polymodal.cli.clips import check_outputs, names_of, place_of, with_progress
from polymodal.cli.text import print_json
from polymodal.core.errors import DataError, OptionError
from polymodal.core.limits import limit_memory, reading
from polymodal.core.options import Count, Natural, Positive
from polymodal.core.text import printable

if TYPE_CHECKING:
    from polymodal.cascade.predictor import CascadePredictor
    from polymodal.predict.predictor import Predictor
    from polymodal.predict.timeline import Timeline

EXAMPLES = {
    "predict": """\
  polymodal predict clip.wav                     a ready run: which one, how good, for whom not, it says itself
  polymodal predict runs/mmcl-clips clip.mp4
  polymodal predict runs/mmcl-clips clip.mp4 --transcript clip.srt --html clip.html
  polymodal predict runs/mmcl-clips clip.mp4 --asr-model models/whisper-small --language de
  polymodal predict runs/mmcl-clips *.mp4 --out timelines
  polymodal predict runs/mmcl-clips clip.mp4 --abstain-at 0.8
  polymodal predict runs/cascade clip.mp4         a small run, and a large model where that is unsure
  polymodal predict runs/mmcl-clips clip.mp4 --json | jq '.utterances[].estimates'
  polymodal predict org/name --live               camera and microphone
  polymodal predict runs/mmcl-clips clip.mp4 --live --json"""
}

Utterances = Literal["speech", "transcript", "windows", "clip"]


def predict(
    run: str,
    clips: list[str] = [],  # noqa: B006 (never changed)
    *,
    transcript: str | None = None,
    utterances: Utterances | None = None,
    level: float = 0.9,
    json: bool = False,
    csv: bool = False,
    plot: str | None = None,
    html: str | None = None,
    out: str | None = None,
    live: bool = False,
    assets: str | None = None,
    asr_model: str | None = None,
    language: str | None = None,
    asr_device: Literal["cpu", "cuda", "auto"] = "cpu",
    threads: Count = 2,
    abstain_at: Positive | None = None,
    memory: Natural = 4096,
) -> int:
    """Apply a run to clips: what it says when, how sure it is, what each modality contributed.

    Args:
        run: folder of a run or of a cascade, a ready run ('polymodal ready list') or org/name on a hub; left out, the
            first ready run
        clips: video or audio files; none for camera and microphone with --live
        transcript: what is said when (.srt, .vtt, .TextGrid, .json); its segments become the utterances
        utterances: what is judged as one; default as the run's corpus was cut, or by speech
        level: share of labels that intervals are to hold: 0.5, 0.8, 0.9 or 0.95
        json: print JSON, a list for several clips, a line per estimate with --live
        csv: print a table of values separated by commas
        plot: PNG to draw the timeline to; several clips get their names appended
        html: page to write that plays the clip above its timeline; several clips get their names appended
        out: folder that gets a .json and a .csv for each clip
        live: give an estimate every half second, of camera and microphone or of a clip as if it was played
        assets: folder with the face model and weights of speech recognition
        asr_model: model of faster-whisper: a name (small), a folder, or owner/name on the hub; default the one that the
            run's corpus was transcribed with
        language: what is spoken (en, de, ...); default as for the run's corpus
        asr_device: where speech is recognised
        threads: of extraction and of the method
        abstain_at: mean error that is to be kept on what is answered; the run is silent where it is not sure enough
        memory: MiB that reading clips may take beyond what the run and its extractors hold; 0 for any
    """
    import torch

    from polymodal.cascade.folder import is_cascade
    from polymodal.cascade.opened import open_predictor
    from polymodal.cascade.predictor import CascadePredictor
    from polymodal.media.extraction import Recogniser

    run, clips = _named(run, clips)
    _check(clips, transcript=transcript, live=live, json=json, csv=csv, files=[plot, html, out])
    check_outputs(plot, html, out)
    if live and is_cascade(run):
        raise OptionError(f"{run} is a cascade, which answers when a clip is over; with --live, name its small run")
    torch.set_num_threads(threads)
    recogniser = Recogniser(asr_model, language, asr_device)
    predictor = open_predictor(
        run, assets=assets, level=level, threads=threads, recogniser=recogniser, abstain_at=abstain_at
    )
    if clips:
        _ = predictor.clips  # loaded, so that the limit is of what reading takes
        limit_memory(memory)
    if live:
        assert not isinstance(predictor, CascadePredictor)
        return _live(predictor, clips[0] if clips else None, json)
    done: list[Any] = []
    for clip, name in zip(clips, names_of(clips), strict=True):
        try:
            timeline = _one(predictor, clip, transcript, utterances, memory)
            _write(timeline, clip, name if len(clips) > 1 else "", plot=plot, html=html)
            if out:
                _write_tables(timeline, Path(out), name)
        except DataError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            done.append({"clip": Path(clip).name, "error": str(error)})
            continue
        if csv:  # one table: the head once
            print(timeline.to_csv().partition("\n")[2] if any("run" in d for d in done) else timeline.to_csv(), end="")
        elif not json:
            _print(timeline)
        done.append(timeline.to_dict())
    failed = any("error" in d for d in done)
    if json and (len(clips) > 1 or not failed):
        print_json(done if len(clips) > 1 else done[0])
    return 1 if failed else 0


def _named(run: str, clips: list[str]) -> tuple[str, list[str]]:
    """Return run and clips: the first ready run where a clip is named first.

    Raises:
        DataError: a clip that is not there.
    """
    if not Path(run).is_file():
        if not Path(run).exists() and (guess_type(run)[0] or "").startswith(("audio/", "video/")):
            raise DataError(f"there is no clip {run}; check the path")
        return run, clips
    from polymodal.predict.ready.recipes import recipes

    return next(iter(recipes())), [run, *clips]


def _check(
    clips: list[str],
    *,
    transcript: str | None,
    live: bool,
    json: bool,
    csv: bool,
    files: list[str | None],
) -> None:
    """Raise OptionError for what does not go together."""
    if not clips and not live:
        raise OptionError("predict needs at least one clip; without one, add --live for camera and microphone")
    if live and (len(clips) > 1 or transcript or csv or any(files)):
        raise OptionError("--live reads one clip or the camera and prints estimates; leave out files and tables")
    if transcript and len(clips) > 1:
        raise OptionError("--transcript belongs to one clip; predict the clips one after the other")
    if json and csv:
        raise OptionError("--json and --csv both print to standard output; choose one, or --out FOLDER for both")


def _one(
    predictor: Predictor | CascadePredictor, clip: str, transcript: str | None, utterances: str | None, memory: int
) -> Timeline:
    with reading(clip, memory):
        return with_progress(
            clip, lambda told: predictor.predict(clip, transcript=transcript, utterances=utterances, progress=told)
        )


def _print(timeline: Timeline) -> None:
    from polymodal.data.progress import screen
    from polymodal.predict.table import timeline_table

    screen().print(timeline_table(timeline))


def _write(timeline: Timeline, clip: str, name: str, *, plot: str | None, html: str | None) -> None:
    """Draw the timeline and write its page; ``name`` is appended to the file names unless it is empty."""
    if plot:
        from polymodal.predict.plot import timeline_plot

        timeline_plot(timeline, place_of(plot, name))
    if html:
        from polymodal.predict.page import write_page

        write_page(timeline, clip, place_of(html, name))


def _write_tables(timeline: Timeline, folder: Path, name: str) -> None:
    from json import dumps

    from polymodal.predict.files import write_whole

    write_whole(folder / f"{name}.json", dumps(timeline.to_dict(), indent=1, allow_nan=False).encode())
    write_whole(folder / f"{name}.csv", timeline.to_csv().encode())


def _live(predictor: Predictor, clip: str | None, json: bool) -> int:
    from json import dumps

    from polymodal.predict.devices import camera_and_microphone
    from polymodal.predict.live import Clock, paced, watch
    from polymodal.predict.ready.place import told
    from polymodal.predict.table import line

    for note in (*told(predictor.run.path), *predictor.clips.notes):
        print(f"note: {printable(note)}", file=sys.stderr)
    clock, fps = Clock(), predictor.clips.pipeline.extraction.fps
    pieces = camera_and_microphone(clock, fps=fps) if clip is None else paced(clip, clock, fps=fps)
    with _screen(json) as show:
        for glance in watch(predictor, pieces, clock):
            latency = round(glance.latency, 3)
            if json:
                print(dumps({**glance.moment.to_dict(), "latency": latency}, allow_nan=False), flush=True)
            else:
                show(line(predictor.targets, glance.moment, latency))
    return 0


@contextmanager
def _screen(json: bool) -> Iterator[Any]:
    """Yield what shows a line: in place on a terminal, below each other elsewhere."""
    from rich.live import Live
    from rich.text import Text

    from polymodal.data.progress import screen

    console = screen()
    if json or not console.is_terminal:
        yield lambda text: print(text, flush=True)
        return
    with Live(console=console, auto_refresh=False) as shown:
        yield lambda text: shown.update(Text(text), refresh=True)
