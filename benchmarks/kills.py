"""Kills: `python benchmarks/kills.py [--count 100] [--seed 0] [--only fit] [--save]`.

Commands are started as a user would, each in a process group of its own, ended by SIGKILL at a random moment of their
work (seeded; between the first thing that a start writes and the time that the whole took), the whole group or the
parent alone, and started again with the same command, several times; then they are let through. What lies there
must be what a start that nobody killed leaves: every file of the same bytes (JSON: but for times), no file more, no
process left. Afterwards two start in one folder: one is refused with a sentence, the other is unharmed. Prints a table
and, last, one line of JSON; `--save` replaces the rows that were run in results/kills.json.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from fuzz_media import write_clips
from kills_serve import serve_and_kill
from kills_start import PATIENCE, Row, Start, difference, outlived
from measure import RESULTS, machine, save

TINY = "width=8 layers=1"
TALK = "--data synthetic:talk?n=32&absent=0.2 --batch-size 4"
JOBS = {
    "fit late-fusion": (10, "fit late-fusion --data synthetic:xor?n=80&absent=0.2 --set width=8 schedule=plateau "
        "patience=2 --epochs 6 --batch-size 4 --checkpoint-seconds 0 --resume --out out"),
    "fit mmcl, two seeds": (10, f"fit mmcl {TALK} --set width=8 --epochs 4 --seeds 1,2 --resume --out out"),
    "fit argf, alternating": (8, f"fit argf {TALK} --set width=8 --epochs 3 --checkpoint-seconds 0 --resume --out out"),
    "fit curriculum-wsmcl, phases": (6, f"fit curriculum-wsmcl {TALK} --set {TINY} pretrain=0.25 --epochs 4 "
        "--checkpoint-seconds 0 --resume --out out"),
    "fit late-fusion, folds": (6, "fit late-fusion --data synthetic:xor?n=60 --set width=8 --epochs 3 --folds 3 "
        "--batch-size 4 --checkpoint-seconds 0 --resume --out out"),
    "extract": (25, "extract ../../../clips --out out --audio egemaps,logmel --vision none --text none --workers 2"),
    "bench": (25, "bench ../../../plan.yaml --workers 2 --device cpu --out out"),
    "serve": (10, "serve ../../../run --port 0"),
}  # fmt: skip
"""Name -> kills of a hundred, the command; it runs in a folder of its own three levels below the material."""

IN_A_FOLDER = 6
"""Kills before a command is let through."""

TWO: dict[str, tuple[float, ...]] = {"fit late-fusion": (0, 1 / 3), "extract": (0, 1 / 3), "bench": (1 / 3,)}
"""Those of which two start in one folder -> shares of its work after which the first one holds still for the other."""

PLAN = """
methods: [{method: late-fusion, set: {width: 8, epochs: 3, batch_size: 8}}]
corpora: {xor: "synthetic:xor?n=48"}
preset: ""
seeds: [1]
stress: ["missing:rate=0.5"]
trials: 2
space: {lr: [0.0001, 0.01]}
"""


def make_material(root: Path) -> None:
    """Write clips, a table of them, and a plan of a benchmark into ``root``."""
    (root / "clips").mkdir()
    names = [f"{i}.{'mp4' if i % 3 == 2 else 'wav'}" for i in range(9)]
    tones: dict[str, dict[str, Any]] = {n: {"seconds": 2.0, "tone": 200.0 + 40 * i} for i, n in enumerate(names)}
    write_clips(root / "clips", tones | {"long.wav": {"seconds": 30.0}})
    rows = [f"{n},{('train', 'train', 'valid', 'test')[i % 4]},{i % 5 - 2}" for i, n in enumerate(names)]
    (root / "clips" / "clips.csv").write_text("\n".join(["clip,split,label", *rows]))
    (root / "plan.yaml").write_text(PLAN)


def kill_and_compare(
    words: list[str], kills: int, dice: random.Random, root: Path, *, two: Sequence[float] = (), minutes: float = 60
) -> Row:
    """Kill a command that writes a folder ``kills`` times, let it through, compare; then two write there (see TWO).

    After ``minutes`` no folder is begun.
    """
    row, whole, end = Row(), root / "whole", time.monotonic() + 60 * minutes
    start = Start(words, whole)
    start.until_work()
    began = time.monotonic()
    if start.end():
        row.problems.append(f"it does not work: {start.said()}")
        return row
    row.seconds_of_work = round(time.monotonic() - began, 1)
    while row.kills < kills and time.monotonic() < end:
        place = root / f"killed-{row.folders}"
        row.folders += 1
        row.problems += _killed(words, place, row, kills, dice)
        problems = difference(whole, place)
        row.equal += not problems
        row.problems += problems
    for share in two:
        row.problems += _two_writers(words, root / f"two-{share:.1f}", whole, share * row.seconds_of_work)
    return row


def _killed(words: list[str], place: Path, row: Row, kills: int, dice: random.Random) -> list[str]:
    """Kill and start again in ``place``, at last let it through; return what went wrong."""
    starts: list[Start] = []
    for _ in range(min(IN_A_FOLDER, kills - row.kills)):
        start = Start(words, place)
        starts.append(start)
        start.until_work()
        alone, hurry = dice.random() < 0.4, dice.random() < 0.5
        if not start.killed_after(dice.uniform(0, row.seconds_of_work), alone):
            return _ended(starts)  # it was quicker, as the rest of a work may be
        row.kills, row.parent_alone = row.kills + 1, row.parent_alone + alone
        if not hurry:  # else the next start meets those that have not noticed yet
            row.longest_orphan = max(row.longest_orphan, round(outlived(start), 2))
        if words[0] == "extract" and (place / "out").exists():
            return _late(starts)  # killed when all was done; another start would rightly refuse
    starts.append(Start(words, place))
    return _ended(starts)


def _ended(starts: list[Start]) -> list[str]:
    """Return what went wrong where the last start was let through."""
    last = starts[-1]
    wrong = [f"{last.place.name}: exit status {last.end()}: {last.said()}"] if last.end() else []
    return wrong + _late(starts)


def _late(starts: list[Start]) -> list[str]:
    late = [start for start in starts if outlived(start) >= PATIENCE]
    return [f"{start.place.name}: a process outlived its parent" for start in late]


def _two_writers(words: list[str], place: Path, whole: Path, delay: float) -> list[str]:
    """Start a second one while the first holds still; return what went wrong."""
    first = Start(words, place)
    first.until_work()
    time.sleep(delay)
    first.hold_still()
    second = Start(words, place)
    second.end()
    first.go_on()
    refused = [start for start in (first, second) if start.end() != 0]
    if len(refused) != 1:
        return [f"two writers: {len(refused)} of them were refused: {first.said()} {second.said()}"]
    sentence = refused[0].said()
    told = "\n" not in sentence and ("another" in sentence or "exists already" in sentence)
    return ([] if told else [f"two writers: {sentence}"]) + difference(whole, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="what the names of the commands begin with")
    parser.add_argument("--forked", action="store_true", help="share what is imported; not the service")
    parser.add_argument("--minutes", type=float, default=60, help="after which a command is begun in no other folder")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    rows: dict[str, Any] = {}
    print(f"{'':<30} kills  alone  folders  equal  orphans  problems")
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        make_material(Path(name))
        for job, (share, line) in JOBS.items():
            if not job.startswith(asked.only):
                continue
            kills, dice = max(1, round(share * asked.count / 100)), random.Random(f"{asked.seed} {job}")
            Start.forked = asked.forked and job != "serve"
            way: Callable[..., Row] = partial(kill_and_compare, two=TWO.get(job, ()), minutes=asked.minutes)
            way = serve_and_kill if job == "serve" else way
            row = way(line.split(), kills, dice, Path(name) / job.replace(" ", "-"))
            rows[job] = {
                **asdict(row),
                "forked": Start.forked,
                "measured": machine()["date"] + " " + machine()["clock"],
            }
            print(
                f"{job:<30} {row.kills:>5} {row.parent_alone:>6} {row.folders:>8} {row.equal:>6} "
                f"{row.longest_orphan:>7}s  {len(row.problems)}",
                *row.problems, sep="\n  ", flush=True,
            )  # fmt: skip
            if asked.save:
                _keep(rows)
    print(json.dumps({"count": asked.count, "seed": asked.seed, "rows": rows}))


def _keep(rows: dict[str, Any]) -> None:
    """Replace ``rows`` in results/kills.json; the others stay."""
    file = RESULTS / "kills.json"
    held = (json.loads(file.read_text())["figures"] if file.is_file() else {}) | rows
    save("kills", {job: held[job] for job in JOBS if job in held})


if __name__ == "__main__":
    main()
