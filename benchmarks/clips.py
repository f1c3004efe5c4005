"""From a clip to an answer: seconds per stage, memory over half an hour, first and later answers.

python benchmarks/clips.py                  needs the real clips and the face model in ../shared or $POLYMODAL_SHARED
python benchmarks/clips.py --only "33 s"    figures of other cases stay as they are

A run is trained first on utterances of the same clips (speaker's sex; it only has to be there). The clips are then put
end to end, as 640x360 H.264 at 25 frames per second with AAC, and repeated for as long as needed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from measure import RESULTS, MemoryPeak, in_fresh_process, save

SHARED = Path(os.environ.get("POLYMODAL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
GRID = SHARED / "data/grid_av_speech"
COMMAND = [sys.executable, "-m", "polymodal"]
HELD_OUT = {"bbal8p": "test", "swiz3n": "test", "lwbsza": "test", "bbaf2n": "valid", "lbbc2a": "valid"}
CASES = {
    "33 s": (1, "auto", 25.0),
    "33 s, 12.5 fps": (1, "auto", 12.5),
    "33 s, no transcription": (1, "none", 25.0),
    "3 min, no transcription": (6, "none", 25.0),
    "30 min, no transcription": (60, "none", 25.0),
    "3 min": (6, "auto", 25.0),
    "30 min": (60, "auto", 25.0),
}
"""How often the clips are repeated, what transcribes them, and how many frames per second are looked at."""


def table(path: Path) -> Path:
    """Write the table of clips: speaker s1 is a man, the others are told."""
    rows = [(clip, "m") for clip in sorted((GRID / "clips_s1").glob("*.mpg"))]
    with (GRID / "clips_other_speakers.csv").open() as file:
        rows += [(GRID / row["file"], row["sex"]) for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "sex", "split"])
        writer.writerows([clip, sex, HELD_OUT.get(clip.stem, "train")] for clip, sex in rows)
    return path


def joined(path: Path, size: tuple[int, int] = (640, 360)) -> float:
    """Write all clips end to end and return the seconds."""
    import av

    clips = sorted(GRID.glob("clips_*/*.mpg"))
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        sound = out.add_stream("aac", rate=44_100)
        for number, clip in enumerate(clips):
            with av.open(str(clip)) as source:
                for index, frame in enumerate(source.decode(video=0)):
                    picture = frame.reformat(*size, format="yuv420p")
                    picture.pts, picture.time_base = number * 75 + index, Fraction(1, 25)
                    out.mux(video.encode(picture))
            with av.open(str(clip)) as source:
                for frame in source.decode(audio=0):
                    frame.pts = round((number * 3 + frame.time) * 44_100)
                    frame.time_base = Fraction(1, 44_100)
                    out.mux(sound.encode(frame))
        out.mux(video.encode())
        out.mux(sound.encode())
    return 3.0 * len(clips)


def repeated(source: Path, path: Path, times: int, period: float) -> None:
    """Write the packets of ``source`` ``times`` times, one round after the other."""
    import av

    with av.open(str(path), "w") as out:
        copies: dict[int, Any] = {}
        for turn in range(times):
            with av.open(str(source)) as clip:
                copies = copies or {s.index: out.add_stream_from_template(s) for s in clip.streams}
                for packet in clip.demux():
                    if packet.dts is None:
                        continue
                    shift = round(turn * period / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = copies[packet.stream.index]
                    out.mux(packet)


def processor_seconds() -> float:
    """Return those of this process and of its children, the recogniser among them."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            _state, parent, *after = file.read_text().rpartition(")")[2].split()
            if os.getpid() in (int(parent), int(file.parent.name)):
                ticks += int(after[9]) + int(after[10])  # in the program, in the system for it
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(run: str, clip: str, text: str, fps: str) -> dict[str, Any]:
    """Predict twice in this process, long clips once; with ``text`` none nothing is transcribed."""
    import torch

    torch.set_num_threads(2)
    from polymodal.predict.predictor import Predictor

    predictor = Predictor.load(run, assets=SHARED / "models")
    began = time.perf_counter()
    _ = predictor.clips
    loaded = time.perf_counter() - began
    pipeline = predictor.clips.pipeline
    pipeline.extraction = replace(pipeline.extraction, fps=float(fps))
    if text == "none":
        pipeline.transcriber = None
    worked = processor_seconds()
    with MemoryPeak() as memory:
        began = time.perf_counter()
        first = predictor.predict(clip)
        once = time.perf_counter() - began
        grown = memory.peak - memory.start
    twice = once
    if first.duration < 60:
        began, worked = time.perf_counter(), processor_seconds()
        predictor.predict(clip)
        twice = time.perf_counter() - began
    worked = processor_seconds() - worked
    return {
        "media_s": first.duration,
        "utterances": len(first.moments),
        "load_s": round(loaded, 2),
        "first_s": round(once, 2),
        "later_s": round(twice, 2),
        "media_s_per_s": round(first.duration / twice, 2),
        "later_processor_s": round(worked, 2),
        "stages_s_per_media_s": {n: round(s / first.duration, 4) for n, s in first.seconds.items()},
        "peak_growth_mib": round(grown),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="cases; default: all")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    if not GRID.is_dir():
        raise SystemExit(f"no real clips at {GRID}; set POLYMODAL_SHARED")
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        assets = ["--assets", str(SHARED / "models")]
        extract = [*COMMAND, "extract", str(table(work / "grid.csv")), "--out", str(work / "store"), *assets]
        subprocess.run([*extract, "--target", "sex"], check=True)
        fit = [*COMMAND, "fit", "mmcl", "--data", str(work / "store"), "--epochs", "5", "--set", "batch_size=4"]
        subprocess.run([*fit, "--out", str(work / "run")], check=True)
        seconds = joined(work / "clip.mp4")
        file = RESULTS / "clips.json"
        figures: dict[str, Any] = json.loads(file.read_text())["figures"] if file.is_file() else {}
        short = str(GRID / "clips_other_speakers/swiz3n.mpg")
        figures["one clip of 3 s"] = in_fresh_process(__file__, "--one", str(work / "run"), short, "auto", "25")
        for name in arguments.only:
            times, text, fps = CASES[name]
            clip = work / f"{times}.mp4"
            if not clip.exists():
                repeated(work / "clip.mp4", clip, times, seconds)
            figures[name] = in_fresh_process(__file__, "--one", str(work / "run"), str(clip), text, str(fps))
            print(f"{name}: {json.dumps(figures[name])}", flush=True)
    save("clips", figures)


if __name__ == "__main__":
    main()
