"""``polymodal extract``."""

from __future__ import annotations

import inspect
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from polymodal.cli.lists import Names, Pairs
from polymodal.cli.text import print_json
from polymodal.core.errors import OptionError, nearest
from polymodal.core.options import Bounds, Count, Natural, pairs

if TYPE_CHECKING:
    from polymodal.media.folder.summary import Summary

EXAMPLES = {
    "extract": """\
  polymodal extract clips.csv --out stores/mine
  polymodal extract folder --out stores/mine --workers 8            folder/train/anger/clip.mp4, ...
  polymodal extract clips.csv --out stores/mine --columns clip=recording speaker=who --target arousal valence
  polymodal extract CMU-MOSI/label.csv --out stores/mosi --range=-3,3
  polymodal extract clips.csv --out stores/words --columns transcript=textgrid --align words
  polymodal extract clips.csv --out stores/faces --vision crops --fps 5
  polymodal extract clips.csv --out stores/both --vision 'face,hf:facebook/dinov2-small@main?fps=5'
  polymodal extract clips.csv --out stores/sound --audio egemaps-functionals --vision none --text none
  polymodal extract clips.csv --out stores/voice --audio egemaps-functionals,whisper --vision none --text none
  polymodal extract clips.csv --out stores/wavlm --audio hf:microsoft/wavlm-base@main --vision none --text none
  polymodal extract clips.csv --out stores/german --asr-model small --language de
  polymodal extract 'hf:owner/name@main?clip=audio' --out stores/name --target emotion
  polymodal extract clips.csv --out /shared/store --ray auto --workers 64
  polymodal fit mmcl --data stores/mine"""
}

WRITERS = ("auto", "faster-whisper", "pocketsphinx", "given", "none")
SHOWN = 10


def extract(
    source: str,
    *,
    out: str,
    columns: Pairs = [],  # noqa: B006 (never changed)
    target: Names = [],  # noqa: B006
    range: Bounds | None = None,
    audio: str | None = None,
    vision: str | None = None,
    text: str = "auto",
    asr_model: str = "auto",
    language: str = "auto",
    asr_device: Literal["cpu", "cuda", "auto"] = "cpu",
    utterances: Literal["speech", "transcript", "windows", "clip"] | None = None,
    align: Literal["none", "words"] = "none",
    window: float = 5.0,
    fps: float | None = None,
    workers: Count = 1,
    memory: Natural = 4096,
    ray: str | None = None,
    assets: str | None = None,
    seed: int = 0,
    json: bool = False,
) -> int:
    """Make a corpus from clips: features of all of them in one store, ready for 'polymodal fit'.

    What was stopped goes on when the same command is given again; a bad clip is listed and does not stop the rest.

    Args:
        source: table (CSV, TSV, or JSON of Label Studio) with a row per clip or utterance, or folder with one, or
            folder of class folders, or hf:owner/name, a data set of a hub
        out: store to create
        columns: role=column where names are not the usual ones; roles are clip, start, end, text, transcript, speaker,
            group, split, id, audio, vision; role=none for no column
        target: columns to predict; default the one called label, emotion, sentiment, ...
        range: lowest and highest label of a scale; default what is found
        audio: acoustic features: egemaps, egemaps-functionals, compare, compare-functionals, logmel, whisper,
            hf:OWNER/NAME (a speech encoder of transformers) or a folder with one, file, none; several, with commas
            between them, are one modality each; default egemaps, or files where the table names some
        vision: face features (face), crops (the face itself, 112 x 112 pixels), hf:OWNER/NAME (an image encoder that
            looks at it) or a folder, file, none; several as for audio; default face, or files where the table names
            some
        text: who transcribes what the table does not tell: auto, faster-whisper, pocketsphinx, given, none; or
            hf:OWNER/NAME or a folder, a text encoder whose states are kept instead of the text; or both with a comma
        asr_model: model of faster-whisper: a name (small), a folder, or owner/name on the hub; default tiny.en, which
            is installed with it and knows English only
        language: what is spoken (en, de, ...); default detected, where the model knows several
        asr_device: where speech is recognised
        utterances: what is one sample; default what the table tells, else the whole clip
        align: words averages audio and vision over each word
        window: seconds of a window
        fps: video frames looked at per second, at most; default 25, for nothing but faces cut out 5
        workers: processes, or actors of the Ray cluster
        memory: MiB that each process may take beyond what its extractors hold; 0 for any
        ray: address of a Ray cluster, or local
        assets: folder with models
        seed: decides the splits where no column does
        json: print the summary as JSON
    """
    given = dict(locals())
    writer, reader = _text(_places(text).split(","))
    _check_speech(writer, asr_model, language)
    asr_model = str(Path(asr_model).absolute()) if Path(asr_model).is_dir() else asr_model
    speech: dict[str, Any] = {"text": writer, "reader": reader, "asr_model": asr_model, "language": language}
    from polymodal.media.extraction import Extraction
    from polymodal.media.folder.extract import extract as extract_all
    from polymodal.media.folder.manifest import read_manifest

    manifest = read_manifest(source, columns=pairs("--columns", columns), targets=target, bounds=range, seed=seed)
    chosen = {"audio": _places(audio), "vision": _places(vision), "utterances": utterances}
    options: dict[str, Any] = {**manifest.suggested, **{n: v for n, v in chosen.items() if v}}
    faces = set(options.get("vision", "face").split(","))
    usual = 25.0 if faces & {"face", "file", "none"} else 5.0
    fps = usual if fps is None else fps
    extraction = Extraction(**options, **speech, align=align, window=window, fps=fps)
    try:
        summary = extract_all(
            manifest,
            out,
            extraction=extraction,
            workers=workers,
            memory=memory,
            ray=ray,
            assets=assets,
            asr_device=asr_device,
        )
    except KeyboardInterrupt as stopped:
        raise type(stopped)(f"go on with: {command(given)}") from None
    if json:
        print_json(summary.to_dict())
    else:
        _print(summary)
    return 0


def _places(features: str | None) -> str:
    """Return features as an extraction spells them: a folder that exists is a network, from its root on."""
    return ",".join(_place(part.strip()) for part in (features or "").split(","))


def _place(part: str) -> str:
    name, mark, options = part.removeprefix("hf:").partition("?")
    is_folder = Path(name).is_dir() and (part.startswith("hf:") or os.sep in name)
    return f"hf:{Path(name).absolute()}{mark}{options}" if is_folder else part


def _text(given: list[str]) -> tuple[str, str]:
    """Return who transcribes, and the network that reads; OptionError for two of either."""
    readers = [t for t in given if t.startswith("hf:")]
    writers = [t for t in given if t not in readers]
    if unknown := [t for t in writers if t not in WRITERS]:
        raise OptionError(f"there is no text {unknown[0]!r}{nearest(unknown[0], WRITERS)}")
    if len(readers) > 1 or len(writers) > 1:
        raise OptionError(f"--text takes one transcriber and one network, got {', '.join(given)}")
    return writers[0] if writers else "auto", readers[0] if readers else ""


def _check_speech(text: str, asr_model: str, language: str) -> None:
    """Raise OptionError for options of a recogniser that would not be asked."""
    if text in ("given", "none") and (asr_model, language) != ("auto", "auto"):
        raise OptionError(f"with --text {text} nothing is transcribed; leave out --asr-model and --language")
    if text == "pocketsphinx" and asr_model != "auto":
        raise OptionError("--asr-model is a model of faster-whisper; leave out --text pocketsphinx")


def command(given: dict[str, Any]) -> str:
    """Return the command line that gives the function the values ``given``."""
    words = ["polymodal", "extract", given["source"]]
    for name, parameter in inspect.signature(extract).parameters.items():
        value, option = given[name], f"--{name}"
        if name == "source" or value == parameter.default:
            continue
        value = ",".join(map(str, value)) if isinstance(value, tuple) else value
        if isinstance(value, bool):
            words.append(option)
        elif isinstance(value, list):
            words += [option, *value]
        else:  # a value may begin with a minus sign
            words += [f"{option}={value}"] if str(value).startswith("-") else [option, str(value)]
    return shlex.join(words)


def _print(summary: Summary) -> None:
    from polymodal.data.progress import console

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    for note in summary.notes:
        say(f"note: {note}")
    for clip, reason in summary.failures[:SHOWN]:
        say(f"failed: {reason}" if clip in reason else f"failed: {clip}: {reason}")
    if summary.failed > SHOWN:
        say(f"failed: {summary.failed - SHOWN} more, see {summary.store}/failed.csv")
    if summary.failed:
        say(f"mend them, remove {summary.store} and start again: only they are read again ({summary.store}.partial)")
    earlier = f" ({summary.before} before this start)" if summary.before else ""
    say(f"clips: {summary.done} of {summary.clips} done{earlier}, {summary.failed} failed")
    say(f"utterances: {', '.join(f'{name} {count}' for name, count in summary.utterances.items())}")
    say(f"present: {', '.join(f'{name} {share:.0%}' for name, share in summary.modalities.items())}")
    shares = {"frames with a face": summary.face, "time with speech": summary.speech}
    found = [f"{name} {share:.0%}" for name, share in shares.items() if share is not None]
    say(f"{', '.join([*found, f'transcriber {summary.transcriber}'])}")
    if summary.media_seconds:
        say(f"{summary.media_seconds:.0f} s of media in {summary.seconds:.0f} s: {summary.speed:.1f} s per second")
    say(f"{summary.store}; next: polymodal fit mmcl --data {shlex.quote(summary.store)}")
