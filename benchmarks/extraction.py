"""Extraction of a folder: seconds of media per second with one worker process and with two, faces and sound.

    python benchmarks/extraction.py          about 3 minutes on 2 cores
    python benchmarks/extraction.py --quick

The clips are those of GRID (video, 3 s each) and EmoDB (sound only), each video linked several times so that starting
the processes weighs as little as in a real job; that start is part of the time. Every measurement runs in a process of
its own, one and two workers in turn; the best of each counts. Needs the real data ($POLYMODAL_SHARED or ../shared).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path

from measure import in_fresh_process, save

SHARED = Path(os.environ.get("POLYMODAL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
LABELS = ("one", "two")


def link_clips(folder: Path, copies: int, sounds: int) -> None:
    """Fill ``folder`` with class folders of links; the labels mean nothing."""
    videos = sorted((SHARED / "data/grid_av_speech").glob("*/*.mpg")) * copies
    paths = [*videos, *sorted((SHARED / "data/emodb/audio").glob("*.flac"))[:sounds]]
    if not paths:
        raise SystemExit(f"no clips in {SHARED}; set POLYMODAL_SHARED")
    for number, path in enumerate(paths):
        link = folder / LABELS[number % 2] / f"{number:04}{path.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def measure(clips: str, workers: int) -> dict[str, object]:
    from polymodal.media.extraction import Extraction
    from polymodal.media.folder.extract import extract
    from polymodal.media.folder.manifest import read_manifest

    chosen = Extraction(text="none", utterances="clip")
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "store"
        summary = extract(
            read_manifest(clips), out, extraction=chosen, workers=workers, assets=SHARED / "models"
        ).to_dict()
    if summary["failed"]:
        raise SystemExit(f"clips failed: {summary['failures'][:3]}")
    wanted = ("clips", "media_seconds", "seconds", "speed", "stages", "modalities")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # What the workers computed: the same for one and two unless they are in each other's way. Unlike seconds, it hardly
    # depends on what else the machine does.
    return {**{name: summary[name] for name in wanted}, "cpu_seconds": used.ru_utime + used.ru_stime}


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
        return
    quick = "--quick" in sys.argv
    with tempfile.TemporaryDirectory() as place:
        link_clips(Path(place), copies=1 if quick else 6, sounds=20 if quick else 80)
        runs = {
            (turn, workers): in_fresh_process(__file__, "--measure", place, str(workers))
            for turn in range(1 if quick else 2)
            for workers in (1, 2)
        }
    best = {n: min((r for (_, w), r in runs.items() if w == n), key=lambda r: r["seconds"]) for n in (1, 2)}
    figures = {
        "workers": {str(n): result for n, result in best.items()},
        "ratio": best[2]["speed"] / best[1]["speed"],
    }
    print(json.dumps(figures, indent=1))
    if not quick:
        save("extraction", figures)


if __name__ == "__main__":
    main()
