"""Damaged clips through the decoder: `python benchmarks/fuzz_media.py [--count 1000] [--seed 0]`.

Small clips in many containers and codecs are mutated (seeds fixed) and read by a worker process that is killed when it
takes too long. Every clip must end well: read, read with notes, or refused with a DataError. Prints a table and, last,
one line of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from measure import machine, private_mib

LIMIT = 30.0
EVERY = 100
"""Clips between two measurements of memory; the first one is taken when every decoder has been loaded."""

EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
SEEDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "hevc.mp4": {"video": "libx265"},
    "mpeg4.mov": {"video": "mpeg4", "rotation": 90},
    "h264.mkv": {"channels": 2},
    "flac.mkv": {"audio": "flac", "channels": 8},
    "vp8.webm": {},
    "vp9.webm": {"video": "libvpx-vp9"},
    "mpeg4.avi": {},
    "mjpeg.avi": {"video": "mjpeg", "audio": "pcm_s16le"},
    "mpeg1.mpg": {},
    "mpeg2.mpg": {"video": "mpeg2video", "channels": 2},
    "h264.ts": {},
    "s16.wav": {},
    "u8.wav": {"audio": "pcm_u8"},
    "f32.wav": {"audio": "pcm_f32le"},
    "a.flac": {},
    "a.mp3": {},
    "a.ogg": {},
}
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def flip(data: Bytes, rng: np.random.Generator) -> Bytes:
    at = rng.integers(0, len(data), rng.integers(1, 2 + len(data) // 200))
    data[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
    return data


def truncate(data: Bytes, rng: np.random.Generator) -> Bytes:
    return data[: rng.integers(1, len(data))]


def behead(data: Bytes, rng: np.random.Generator) -> Bytes:
    return data[rng.integers(1, len(data) // 2) :]


def swap(data: Bytes, rng: np.random.Generator) -> Bytes:
    size = int(rng.integers(1, max(2, len(data) // 4)))
    a, b = sorted(rng.integers(0, len(data) - size, 2))
    data[a : a + size], data[b : b + size] = data[b : b + size].copy(), data[a : a + size].copy()
    return data


def repeat(data: Bytes, rng: np.random.Generator) -> Bytes:
    start, stop = sorted(rng.integers(0, len(data), 2))
    return np.concatenate([data[:stop], *[data[start:stop]] * int(rng.integers(1, 4)), data[stop:]])


def blank(data: Bytes, rng: np.random.Generator) -> Bytes:
    start, stop = sorted(rng.integers(0, len(data), 2))
    data[start:stop] = rng.choice([0, 255])
    return data


def scramble(data: Bytes, rng: np.random.Generator) -> Bytes:
    start = int(rng.integers(0, len(data)))
    stop = start + int(rng.integers(1, max(2, len(data) // 8)))
    data[start:stop] = rng.integers(0, 256, len(data[start:stop]))
    return data


def edit_header(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Write extreme numbers into the first or last kilobyte, where containers keep their fields."""
    for _ in range(int(rng.integers(1, 6))):
        width = int(rng.choice([1, 2, 4]))
        at = int(rng.integers(0, min(1024, len(data) - width)))
        at = at if rng.random() < 0.7 else len(data) - width - at
        value = int(rng.choice(EXTREMES)) & ((1 << 8 * width) - 1)
        order = "big" if rng.random() < 0.5 else "little"
        data[at : at + width] = np.frombuffer(value.to_bytes(width, order), np.uint8)
    return data


MUTATIONS: list[Callable[[Bytes, np.random.Generator], Bytes]] = [
    flip,
    truncate,
    behead,
    swap,
    repeat,
    blank,
    scramble,
    edit_header,
    edit_header,
]


def mutant(folder: Path, seed: int, number: int) -> tuple[str, bytes]:
    """Return name and content of the mutated clip ``number``."""
    rng = np.random.default_rng([seed, number])
    name = list(SEEDS)[number % len(SEEDS)]
    data = np.frombuffer((folder / name).read_bytes(), np.uint8).copy()
    names = []
    for i in rng.choice(len(MUTATIONS), rng.choice([1, 1, 2]), replace=False):
        if len(data) > 16:
            data, names = MUTATIONS[i](data, rng), [*names, MUTATIONS[i].__name__]
    return f"{number}-{'-'.join(names)}-{name}", data.tobytes()


def read(name: str, content: bytes) -> tuple[str, str]:
    """Read a clip to its end and return (outcome, what was said); AssertionError where a promise is broken."""
    from polymodal.core import DataError
    from polymodal.media.clip.decode import Media
    from polymodal.media.types import Samples

    try:
        with Media(content, name=name) as media:
            last, heard, seen = 0.0, None, -1.0
            for piece in media.pieces():
                assert piece.time >= last - 1e-9, "pieces are not in the order of time"
                last = piece.time
                if isinstance(piece, Samples):
                    assert heard is None or abs(piece.time - heard) < 1e-6, "samples have a gap"
                    assert np.abs(piece.values).max() <= 1.0, "samples beyond 1 or no numbers"
                    heard = piece.end
                else:
                    assert piece.time > seen, "a frame is repeated"
                    assert piece.image.dtype == np.uint8, "no RGB picture"
                    assert piece.image.shape[2] == 3, "no RGB picture"
                    seen = piece.time
            return ("ok with notes" if media.notes else "ok"), "; ".join(media.notes)
    except DataError as error:
        return "DataError" if "\n" not in str(error) else "other exception", str(error)


def work(folder: Path, seed: int) -> None:
    """Read the clips whose numbers come in; answer each with a line of JSON."""
    for line in sys.stdin:
        name, content = mutant(folder, seed, int(line))
        try:
            outcome, said = read(name, content)
        except Exception as error:  # noqa: BLE001 -- any other exception is what this looks for
            outcome, said = "other exception", f"{type(error).__name__}: {error}"
        mib = held_mib() if int(line) % EVERY == EVERY - 1 else None
        print(json.dumps({"clip": name, "outcome": outcome, "said": said, "mib": mib}), flush=True)


def held_mib() -> float:
    """Private memory in use, without what the allocator keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return private_mib()


def run(folder: Path, seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Yield what became of each clip; a worker that dies or hangs is replaced."""
    worker = None
    for number in range(count):
        if worker is None:
            command = [sys.executable, __file__, "--worker", str(folder), "--seed", str(seed)]
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert worker.stdin is not None
        assert worker.stdout is not None
        start = time.monotonic()
        worker.stdin.write(f"{number}\n")
        worker.stdin.flush()
        ready, _, _ = select.select([worker.stdout], [], [], LIMIT)
        line = worker.stdout.readline() if ready else ""
        if line:
            yield {**json.loads(line), "seconds": time.monotonic() - start}
            continue
        worker.kill()
        status = worker.wait()
        worker = None
        outcome = "crash" if ready else "hang"
        yield {"clip": mutant(folder, seed, number)[0], "outcome": outcome, "said": f"exit {status}", "seconds": LIMIT}
    if worker is not None:
        worker.communicate()


def write_clips(folder: Path, wanted: dict[str, dict[str, Any]]) -> None:
    """Write a clip per name into ``folder``, with the options of ``write_clip`` of the tests."""
    place = Path(__file__).parents[1] / "tests/media/clips.py"
    specification = importlib.util.spec_from_file_location("media_clips", place)
    assert specification is not None
    assert specification.loader is not None
    clips: ModuleType = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(clips)
    for name, options in wanted.items():
        clips.write_clip(folder / name, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder, SEEDS)
        results = list(run(folder, options.seed, options.count))
    report(results, options.seed)
    return None


def report(results: list[dict[str, Any]], seed: int) -> None:
    counts = Counter(r["outcome"] for r in results)
    for result in results:
        if result["outcome"] in ("crash", "hang", "other exception"):
            print(f"{result['outcome']}: {result['clip']}: {result['said']}")
    memory = [r["mib"] for r in results if r.get("mib")]
    slowest = max(results, key=lambda r: r["seconds"])
    figures = {
        "clips": len(results),
        "seed": seed,
        **{k: counts[k] for k in ("ok", "ok with notes", "DataError", "crash", "hang", "other exception")},
        "slowest_s": round(slowest["seconds"], 2),
        "slowest": slowest["clip"],
        "memory_growth_mib": round(memory[-1] - memory[0], 1) if memory else None,
        "memory_peak_mib": round(max(memory), 1) if memory else None,
    }
    print("| " + " | ".join(figures) + " |\n|" + " --- |" * len(figures))
    print("| " + " | ".join(str(v) for v in figures.values()) + " |")
    print(json.dumps({"machine": machine(), "figures": figures}))


if __name__ == "__main__":
    main()
