"""Damaged files through the doors: `python benchmarks/fuzz_doors.py [--count 2000] [--seed 0] [--door csv] [--save]`.

A door is a reader of what strangers sent or a disk has spoilt: pickles, tables of clips, transcripts of five kinds,
requests, records as JSON, clips, run folders, stores. Small sound files are mutated (seeds fixed) and read under a
limit of memory and of time. Every file must end well: read, or refused with one sentence; of a run folder and a store,
what is read must be what was written. Prints a table, then what was found, and, last, one line of JSON. What was found
once is kept in `regressions.json` and read again by the tests.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import pickle
import signal
import tempfile
import time
import wave
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fuzz_media import MUTATIONS, Bytes
from measure import machine, save

LIMIT = 5
"""Seconds of computing for a file."""

MEMORY = 500
"""MiB that the files of a door may take beyond what reading the sound one did."""

REGRESSIONS = Path(__file__).with_name("regressions.json")

WORDS = [
    b"", b"\0", b"\x1b[2J", b"-1", b"1e309", b"NaN", b"null", b"[" * 5000, b"{}", b'"', b",,,,", b"\n", b"\xff\xfe",
    b"\\ud800", b"=1+1", b"../../x", b"-->", b"99:99:99,999", b"<v", b"9" * 5000, b"\xed\xa0\x80", b"%s%n",
    b"&#x110000;",
]  # fmt: skip
"""What parsers trip over."""


def insert(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Put something that parsers trip over where it does not belong."""
    word = np.frombuffer(WORDS[int(rng.integers(len(WORDS)))], np.uint8)
    at, gone = int(rng.integers(0, len(data) + 1)), int(rng.choice([0, 0, 1, 4]))
    return np.concatenate([data[:at], word, data[at + gone :]])


ODD: list[Any] = [
    None, True, 0, -1, 1e308, float("nan"), 2**70, "", "x" * 3000, "\ud800\x1b[2J", "../../x", [], {}, [[]], [None],
]  # fmt: skip
"""What readers of JSON trip over."""


def odd(base: bytes, rng: np.random.Generator) -> bytes:
    """Return JSON that holds something odd in the place of a value, twice a value, or lacks one."""
    whole = json.loads(base)
    places: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting:
        here = waiting.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here))
        places += [(here, key) for key in keys]
        waiting += [here[key] for key in keys if isinstance(here[key], dict | list)]
    for at in rng.choice(len(places), rng.choice([1, 1, 2]), replace=False):
        here, key = places[at]
        way = rng.integers(4)
        if way == 0 and key in here:
            del here[key]
        elif way == 1 and isinstance(here, list):
            here.extend(here[:3])
        elif not isinstance(here, list) or key < len(here):
            here[key] = ODD[int(rng.integers(len(ODD)))]
    return json.dumps(whole).encode()


def mutant(base: bytes, seed: int, number: int) -> bytes:
    """Return mutation ``number`` of ``base``, always the same one; of JSON, every other one is JSON."""
    rng = np.random.default_rng([seed, number])
    if number % 2 and base[:1] in (b"{", b"["):
        return odd(base, rng)
    data = np.frombuffer(base, np.uint8).copy()
    ways = [*MUTATIONS, insert, insert, insert]
    for i in rng.choice(len(ways), rng.choice([1, 1, 2, 3]), replace=False):
        if len(data) > 16:
            data = ways[i](data.copy(), rng)
    return data.tobytes()


def packed(content: bytes) -> str:
    """Return a file as `regressions.json` keeps it."""
    return base64.b64encode(zlib.compress(content, 9)).decode()


def unpacked(text: str) -> bytes:
    """Inverse of ``packed``."""
    return zlib.decompress(base64.b64decode(text))


def _pickle() -> bytes:
    rng, data = np.random.default_rng(0), {}
    for split, rows in (("train", 4), ("valid", 3), ("test", 3)):
        data[split] = {
            "text": rng.standard_normal((rows, 3, 2)).astype(np.float32),
            "audio": rng.standard_normal((rows, 3, 2)).astype(np.float32),
            "raw_text": [f"word {i}" for i in range(rows)],
            "id": [f"{split}{i}$_$0" for i in range(rows)],
            "regression_labels": np.linspace(-3, 3, rows),
        }
    return pickle.dumps(data)


def _wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes((np.sin(np.arange(2000) / 9) * 9000).astype("<i2").tobytes())
    return out.getvalue()


SRT = b"1\n00:00:00,000 --> 00:00:01,000\nhello <i>there</i>\n\n2\n00:00:01,200 --> 00:00:02,000\n{\\an8}so &amp; so\n"
VTT = (
    b"WEBVTT\n\nNOTE a\n\n00:00.000 --> 00:01.000 align:left\n<v Ann>hello <00:00.500>there\n\n"
    b"00:01.2 --> 00:02.000\nb\n"
)
GRID = (
    b'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\nsize = 1\nitem []:\n'
    b'    item [1]:\n        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n        xmax = 2\n'
    b"        intervals: size = 2\n        intervals [1]:\n            xmin = 0\n            xmax = 1\n"
    b'            text = "hello"\n        intervals [2]:\n            xmin = 1\n            xmax = 2\n'
    b'            text = ""\n'
)
SAID = json.dumps(
    {
        "segments": [
            {"start": 0, "end": 1.5, "text": "hello", "speaker": "A", "words": [{"word": "a", "start": 0, "end": 1}]},
            {"start": 2, "end": 3, "text": "so"},
        ]
    }
).encode()  # fmt: skip
TABLE = b'clip,label,start,end,text,speaker,split\na.wav,1.5,0,0.1,hello,ann,train\na.wav,-2,0.1,0.2,"b, c",bob,test\n'
STATISTICS = b'{"audio": {"mean": [0.5, -1.0], "std": [1.0, 2.0]}, "vision": {"mean": [0.0], "std": [1.0]}}'
ROWS = json.dumps(
    {"rows": [{"audio": [[1.0, -1, 0, 2, 0.5, 1e-3]] * 2, "vision": [[0.5] * 8]}, {"audio": [[0] * 6]}]}
).encode()
ALIGN = b"0 5000 sil\n5000 9000 bin\n9000 12000 blue\n"


def _run() -> dict[str, bytes]:
    from polymodal.train.fit import fit

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        fit("late-fusion", "synthetic:xor?n=120", options={"width": 4, "epochs": 1}, out=out)
        return _files(out, {".json", ".safetensors"})


def _store() -> dict[str, bytes]:
    from polymodal.data.sources import load_corpus
    from polymodal.data.store import write_store

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "store"
        write_store(load_corpus("synthetic:xor?n=24"), out)
        return _files(out, set())


def _files(folder: Path, kinds: set[str]) -> dict[str, bytes]:
    """Return the files below ``folder`` whose names end so; all where no kinds are named."""
    found = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: p.read_bytes() for name, p in found.items() if not kinds or p.suffix in kinds}


def _corpus(folder: Path) -> None:
    from polymodal.data.sources import load_corpus

    load_corpus(f"{folder / 'a.pkl'}?text=raw")


def _transcript(folder: Path) -> None:
    from polymodal.media.words.transcripts import read_transcript

    for segment in read_transcript(next(folder.iterdir())):
        assert 0 <= segment.start <= segment.end, "times run backwards"
        segment.text.encode()
        assert "\x1b" not in segment.text, "a text commands the terminal"


def _manifest(folder: Path) -> None:
    from polymodal.media.folder.manifest import read_manifest

    (folder / "a.wav").touch()
    for row in read_manifest(folder / "a.csv").rows:
        (row.clip + row.id + row.text).encode()


@cache
def _predictor() -> Any:
    from polymodal.core.limits import Limits
    from polymodal.predict.predictor import Predictor

    with tempfile.TemporaryDirectory() as place:
        _written(Path(place), _run())
        return Predictor.load(place, limits=Limits(rows=50, text=2000))


def _request(folder: Path) -> None:
    from polymodal.serve.worker import rows_of

    answer = _predictor().predict_features(rows_of((folder / "rows.json").read_bytes())).to_dict()
    json.dumps(answer, allow_nan=False)


def _record(folder: Path) -> None:
    from polymodal.core.records import read_record
    from polymodal.data.standardise import Normalizer, StatisticsRecord

    Normalizer.from_dict(dict(read_record(folder / "normalizer.json", dict[str, StatisticsRecord], "make it again")))


def _clip(folder: Path) -> None:
    from polymodal.media.clip.decode import Media

    with Media(folder / "a.wav") as media:
        for _ in media.pieces():
            pass


def _asked(folder: Path) -> list[Any]:
    """Return the numbers that a run says about the rows of a request; its names for them are anybody's to change."""
    from polymodal.predict.predictor import Predictor

    answer = Predictor.load(folder).predict_features(json.loads(ROWS)["rows"]).to_dict()
    return list(_numbers({name: value for name, value in answer.items() if name not in ("seconds", "targets")}))


def _numbers(held: Any) -> Iterator[Any]:
    if isinstance(held, dict | list):
        for value in held.values() if isinstance(held, dict) else held:
            yield from _numbers(value)
    elif isinstance(held, float):
        yield held


def _opened(folder: Path) -> str:
    """Return all that a store holds: a digest of its content, and the statistics that it is standardised with."""
    from polymodal.data.sources import load_corpus
    from polymodal.data.store import verify

    corpus = verify(load_corpus(str(folder)))
    return f"{replace(corpus, stored_hash=None).hash} {corpus.normalizer.to_dict()}"


@dataclass(frozen=True)
class Door:
    """What is read.

    Attributes:
        files: name -> sound content, of the folder that is given to ``read``.
        read: reads them; what it returns must stay the same.
    """

    files: Callable[[], dict[str, bytes]]
    read: Callable[[Path], Any]

    @classmethod
    def of(cls, name: str, content: Callable[[], bytes], read: Callable[[Path], Any]) -> Door:
        """Return a door for a single file."""
        return cls(lambda: {name: content()}, read)


DOORS: dict[str, Door] = {
    "pickle": Door.of("a.pkl", _pickle, _corpus),
    "srt": Door.of("a.srt", lambda: SRT, _transcript),
    "vtt": Door.of("a.vtt", lambda: VTT, _transcript),
    "textgrid": Door.of("a.TextGrid", lambda: GRID, _transcript),
    "transcript json": Door.of("a.json", lambda: SAID, _transcript),
    "align": Door.of("a.align", lambda: ALIGN, _transcript),
    "csv": Door.of("a.csv", lambda: TABLE, _manifest),
    "request": Door.of("rows.json", lambda: ROWS, _request),
    "record": Door.of("normalizer.json", lambda: STATISTICS, _record),
    "media": Door.of("a.wav", _wav, _clip),
    "run": Door(cache(_run), _asked),
    "store": Door(cache(_store), _opened),
}


@cache
def sound(door: str) -> Any:
    """Return what is read of the sound files of a door."""
    with tempfile.TemporaryDirectory() as place:
        _written(Path(place), DOORS[door].files())
        return DOORS[door].read(Path(place))


def _written(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


class _TooLongError(Exception):
    """A file took longer than LIMIT."""


@contextmanager
def _limited() -> Iterator[None]:
    def late(*_: object) -> None:
        raise _TooLongError(f"not done within {LIMIT} s")

    # Not SIGPROF: MediaPipe's profiler has that signal, and taking its handler away ends the process later.
    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def outcome(door: str, file: str, content: bytes) -> tuple[str, str]:
    """Return what became of a door's ``file`` with another content, ``read``, ``refused`` or ``found``, and what was
    said."""
    from polymodal.core import PolymodalError

    wanted = sound(door)
    with tempfile.TemporaryDirectory() as place:
        _written(Path(place), {**DOORS[door].files(), file: content})
        try:
            with _limited():
                answer = DOORS[door].read(Path(place))
        except PolymodalError as error:
            said = str(error)
            whole = "\n" not in said and "\x1b" not in said and len(said) < 3000
            return ("refused" if whole else "found"), said[:300]
        except Exception as error:  # noqa: BLE001 -- any other exception is what this looks for
            return "found", f"{type(error).__name__}: {error}"[:300]
    return ("read", "") if answer == wanted else ("found", f"changed without a word: {answer}"[:300])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", choices=DOORS, action="append")
    parser.add_argument("--save", action="store_true", help="write results/doors.json")
    asked = parser.parse_args()
    from polymodal.core.limits import limit_memory

    table: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    for door in asked.door or DOORS:
        files, counts, longest, began = DOORS[door].files(), Counter[str](), 0.0, time.monotonic()
        sound(door)
        limit_memory(MEMORY)
        for number in range(asked.count):
            name = list(files)[int(np.random.default_rng([asked.seed, number, 1]).integers(len(files)))]
            content, started = mutant(files[name], asked.seed, number), time.monotonic()
            what, said = outcome(door, name, content)
            longest = max(longest, time.monotonic() - started)
            counts[what] += 1
            if what == "found":
                found.append({"door": door, "file": name, "said": said, "content": packed(content)})
        limit_memory(0)
        table[door] = {**counts, "seconds": round(time.monotonic() - began, 1), "longest": round(longest, 2)}
        print(f"{door:<16} {dict(counts)}", flush=True)
    for one in found[:40]:
        print(json.dumps(one)[:2000])
    result = {"count": asked.count, "seed": asked.seed, "memory_mib": MEMORY, "doors": table, "found": len(found)}
    print(json.dumps(result | machine()))
    if asked.save:
        save("doors", result)


if __name__ == "__main__":
    main()
