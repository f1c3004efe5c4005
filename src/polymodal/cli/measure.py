"""``polymodal measure``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from polymodal.cli.clips import check_outputs, names_of, place_of, with_progress
from polymodal.cli.lists import Names
from polymodal.cli.text import print_json
from polymodal.core.errors import DataError, OptionError
from polymodal.core.limits import limit_memory, reading
from polymodal.core.options import Count, Natural

if TYPE_CHECKING:
    from polymodal.measure.clip import Measurer
    from polymodal.measure.result import Measured

EXAMPLES = {
    "measure": """\
  polymodal measure interview.mp4
  polymodal measure interview.mp4 --transcript interview.srt --html interview.html
  polymodal measure *.mp4 --utterances clip --out measures.csv         one line per recording
  polymodal measure interview.mp4 --window 5 --out measures.parquet
  polymodal measure interview.mp4 --measures speaking_share,pauses,f0_median,smile --csv
  polymodal measure interview.mp4 --asr-model small --language de      words, for the speech rate
  polymodal measure interview.mp4 --synchrony loudness head_speed
  polymodal measure patient.mp4 --partner therapist.mp4 --synchrony head_speed,smile --window 10"""
}

TABLES = (".csv", ".json", ".parquet")


def measure(
    clips: list[str],
    *,
    transcript: str | None = None,
    utterances: Literal["speech", "transcript", "windows", "clip"] | None = None,
    window: float | None = None,
    gap: float = 2.0,
    measures: Names = [],  # noqa: B006 (never changed)
    synchrony: Names = [],  # noqa: B006
    partner: str | None = None,
    json: bool = False,
    csv: bool = False,
    plot: str | None = None,
    html: str | None = None,
    out: str | None = None,
    assets: str | None = None,
    asr_model: str | None = None,
    language: str | None = None,
    asr_device: Literal["cpu", "cuda", "auto"] = "cpu",
    threads: Count = 2,
    memory: Natural = 4096,
) -> int:
    """Measure voice, pauses, face, head and synchrony in clips; no labels and no training.

    Args:
        clips: video or audio files
        transcript: what is said when (.srt, .vtt, .TextGrid, .json); its segments become the rows
        utterances: what is measured as one: speech (turns), transcript (its segments), windows or clip; default
            transcript where there is one, windows with --window, else speech
        window: seconds of a window; default 5
        gap: seconds of silence that end a turn
        measures: columns; default all
        synchrony: two streams of the clip, default loudness head_speed; with --partner, streams of both persons
        partner: recording of the other person that began at the same moment
        json: print JSON, a list for several clips
        csv: print a table of values separated by commas
        plot: PNG to draw the measures to; several clips get their names appended
        html: page to write that plays the clip above its measures; several clips get their names appended
        out: file that gets one table of all clips (.csv, .json, .parquet), or folder that gets a .json and a .csv each
        assets: folder with the face model and weights of speech recognition
        asr_model: have words recognised by this model of faster-whisper: a name (small), a folder, or owner/name on
            the hub
        language: what is spoken (en, de, ...); has words recognised as well
        asr_device: where speech is recognised
        threads: with 2 or more, faces are looked for beside decoding
        memory: MiB that reading clips may take beyond what the extractors hold; 0 for any
    """
    from polymodal.measure.clip import Measurer, check_asked, rows_by
    from polymodal.measure.pairs import check_streams
    from polymodal.measure.result import to_csv
    from polymodal.measure.signals import Reader
    from polymodal.media.extraction import Recogniser

    _check(clips, transcript=transcript, partner=partner, json=json, csv=csv)
    check_outputs(plot, html, out, tables=TABLES)
    if window is not None and utterances not in (None, "windows"):
        raise OptionError(f"--window belongs to windows; leave it out or --utterances {utterances}")
    by, window = utterances if window is None else "windows", 5.0 if window is None else window
    check_asked(window=window, gap=gap, chosen=measures)
    check_streams(synchrony, alone=partner is None)
    rows_by(by, transcript)
    asked = asr_model is not None or language is not None
    measurer = Measurer(
        Reader(
            assets=assets, threads=threads, recogniser=Recogniser(asr_model, language, asr_device) if asked else None
        ),
        by=by,
        window=window,
        gap=gap,
        chosen=measures,
        synchrony=synchrony,
    )
    limit_memory(memory)  # of what reading takes: the extractors are loaded
    done: list[Measured] = []
    failed: list[dict[str, str]] = []
    for clip, name in zip(clips, names_of(clips), strict=True):
        try:
            with reading(clip, memory):
                found = with_progress(clip, partial(_one, measurer, clip, transcript, partner))
            _draw(found, clip, name if len(clips) > 1 else "", plot=plot, html=html)
            if out and not _is_table(out):
                _write_both(found, Path(out), name)
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append({"clip": Path(clip).name, "error": str(error)})
            continue
        done.append(found)
        if not (json or csv):
            _print(found)
    if out and _is_table(out) and done:
        _write_table(done, Path(out))
    if csv and done:
        print(to_csv(done), end="")
    if json and (done or len(clips) > 1):
        told = [*(one.to_dict() for one in done), *failed]
        print_json(told if len(clips) > 1 else told[0])
    return 1 if failed else 0


def _check(clips: list[str], *, transcript: str | None, partner: str | None, json: bool, csv: bool) -> None:
    """Raise OptionError for what does not go together."""
    for name, value in (("transcript", transcript), ("partner", partner)):
        if value and len(clips) > 1:
            raise OptionError(f"--{name} belongs to one clip; measure the clips one after the other")
    if json and csv:
        raise OptionError("--json and --csv both print to standard output; choose one, or --out FOLDER for both")


def _one(
    measurer: Measurer,
    clip: str,
    transcript: str | None,
    partner: str | None,
    told: Callable[[float], None] | None,
) -> Measured:
    return measurer.measure(clip, transcript=transcript, partner=partner, progress=told)


def _is_table(out: str) -> bool:
    return Path(out).suffix.lower() in TABLES


def _print(measured: Measured) -> None:
    from polymodal.data.progress import screen
    from polymodal.measure.table import measures_table

    screen().print(measures_table(measured))


def _draw(measured: Measured, clip: str, name: str, *, plot: str | None, html: str | None) -> None:
    """Draw the measures and write their page; ``name`` is appended to the file names unless it is empty."""
    if plot:
        from polymodal.measure.plot import measures_plot

        measures_plot(measured, place_of(plot, name))
    if html:
        from polymodal.measure.page import write_page

        write_page(measured, clip, place_of(html, name))


def _write_both(measured: Measured, folder: Path, name: str) -> None:
    _write_table([measured], folder / f"{name}.json")
    _write_table([measured], folder / f"{name}.csv")


def _write_table(measured: list[Measured], path: Path) -> None:
    """Write one table, in the format of its ending; JSON of one clip is no list."""
    from json import dumps

    from polymodal.measure.result import to_csv, to_parquet
    from polymodal.predict.files import write_whole

    if path.suffix.lower() == ".parquet":
        content = to_parquet(measured)
    elif path.suffix.lower() == ".csv":
        content = to_csv(measured).encode()
    else:
        told = [one.to_dict() for one in measured]
        content = dumps(told if len(told) > 1 else told[0], indent=1, allow_nan=False).encode()
    write_whole(path, content)
