"""Damaged files through the doors: `python benchmarks/fuzz_doors.py [--count 2000] [--seed 0] [--door csv]`.

A door is a reader of what strangers sent: pickles, tables of clips, transcripts of five kinds, rows and records as
JSON, clips. Small sound files are mutated (seeds fixed) and read under a limit of memory and of time. Every file must
end well: read, or refused with one sentence. Prints a table, then what was found, and, last, one line of JSON. What was
found once is kept in `regressions.json` and read again by the tests.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fuzz_media import MUTATIONS, Bytes

LIMIT = 20
"""Seconds of computing for a file; the first one of a door loads libraries."""

MEMORY = 1024
"""MiB that all of it may take."""

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


def mutant(base: bytes, seed: int, number: int) -> bytes:
    """Return mutation ``number`` of ``base``, always the same one."""
    rng = np.random.default_rng([seed, number])
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
ALIGN = b"0 5000 sil\n5000 9000 bin\n9000 12000 blue\n"


def _corpus(path: Path) -> None:
    from polymodal.data.sources import load_corpus

    load_corpus(f"{path}?text=raw")


def _transcript(path: Path) -> None:
    from polymodal.media.words.transcripts import read_transcript

    for segment in read_transcript(path):
        assert 0 <= segment.start <= segment.end, "times run backwards"
        segment.text.encode()
        assert "\x1b" not in segment.text, "a text commands the terminal"


def _manifest(path: Path) -> None:
    from polymodal.media.folder.manifest import read_manifest

    (path.parent / "a.wav").touch()
    for row in read_manifest(path).rows:
        (row.clip + row.id + row.text).encode()


def _rows(path: Path) -> None:
    from polymodal.core import DataError
    from polymodal.core.limits import Limits
    from polymodal.core.records import read_json

    held = read_json(path, "send it again", DataError)
    segments = held.get("segments") if isinstance(held, dict) else None
    if isinstance(segments, list) and all(isinstance(row, dict) for row in segments):
        Limits(rows=5, text=50).check_rows(segments)


def _record(path: Path) -> None:
    from polymodal.core.records import read_record
    from polymodal.data.standardise import Normalizer, StatisticsRecord

    Normalizer.from_dict(dict(read_record(path, dict[str, StatisticsRecord], "make it again")))


def _clip(path: Path) -> None:
    from polymodal.media.clip.decode import Media

    with Media(path) as media:
        for _ in media.pieces():
            pass


DOORS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], None]]] = {
    "pickle": ("a.pkl", _pickle, _corpus),
    "srt": ("a.srt", lambda: SRT, _transcript),
    "vtt": ("a.vtt", lambda: VTT, _transcript),
    "textgrid": ("a.TextGrid", lambda: GRID, _transcript),
    "transcript json": ("a.json", lambda: SAID, _transcript),
    "align": ("a.align", lambda: ALIGN, _transcript),
    "csv": ("a.csv", lambda: TABLE, _manifest),
    "rows": ("rows.json", lambda: SAID, _rows),
    "record": ("normalizer.json", lambda: STATISTICS, _record),
    "media": ("a.wav", _wav, _clip),
}
"""Door -> name of a file, its sound content, who reads it."""


class _TooLongError(Exception):
    """A file took longer than LIMIT."""


@contextmanager
def _limited() -> Iterator[None]:
    def late(*_: object) -> None:
        raise _TooLongError(f"not done within {LIMIT} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome(door: str, content: bytes, folder: Path) -> tuple[str, str]:
    """Return what became of a file, ``read``, ``refused`` or ``found``, and what was said."""
    from polymodal.core import PolymodalError

    name, _, read = DOORS[door]
    path = folder / name
    path.write_bytes(content)
    try:
        with _limited():
            read(path)
    except PolymodalError as error:
        said = str(error)
        whole = "\n" not in said and "\x1b" not in said and len(said) < 3000
        return ("refused" if whole else "found"), said[:300]
    except Exception as error:  # noqa: BLE001 -- any other exception is what this looks for
        return "found", f"{type(error).__name__}: {error}"[:300]
    return "read", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", choices=DOORS, action="append")
    asked = parser.parse_args()
    from polymodal.core.limits import limit_memory

    limit_memory(MEMORY)
    table: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for door in asked.door or DOORS:
            base, counts, began = DOORS[door][1](), Counter[str](), time.monotonic()
            assert outcome(door, base, Path(place))[0] == "read", f"the sound file of {door} is not read"
            for number in range(asked.count):
                what, said = outcome(door, mutant(base, asked.seed, number), Path(place))
                counts[what] += 1
                if what == "found":
                    content = mutant(base, asked.seed, number)
                    found.append({"door": door, "said": said, "content": packed(content)})
            table[door] = {**counts, "seconds": round(time.monotonic() - began, 1)}
            print(f"{door:<16} {dict(counts)}", flush=True)
    for one in found[:40]:
        print(json.dumps(one))
    print(json.dumps({"count": asked.count, "seed": asked.seed, "doors": table, "found": len(found)}))


if __name__ == "__main__":
    main()
