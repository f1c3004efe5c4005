"""polymodal against the PyPI package MMSA 2.2.1: same data, sizes, batch and threads, in one run and in turn.

    python benchmarks/peers/compare.py              all rows that ``results/peers.json`` does not have yet
    python benchmarks/peers/compare.py --only lmf,score/lmf
    python benchmarks/peers/compare.py --quick      a small pickle, results beside it

MMSA lives in a virtual environment of its own (--venv), made once, outside the repository:

    python3.11 -m venv ~/.cache/polymodal-peers/mmsa
    ~/.cache/polymodal-peers/mmsa/bin/pip install torch==2.13.0 MMSA==2.2.1

A row is kept as soon as it is measured, so a run that was stopped goes on. Every row starts three workers (MMSA, ours
padded like it, ours in length buckets), which then work in turn, ``--rounds`` times; the minimum counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from rows import ROWS  # noqa: E402
from tables import report  # noqa: E402

from measure import RESULTS, machine  # noqa: E402 (found through the line above)

HOME = Path.home() / ".cache" / "polymodal-peers"
SIDES = ("theirs", "padded", "bucketed")
SCORED, SLOWER = ("lmf", "lf_dnn", "ef_lstm"), ("tfn", "mfn")
"""Models whose scores are compared, and those only where ``--only`` names them."""
SEEDS = (1111, 1112, 1113)
SCORED_EPOCHS = 15


class Worker:
    """A process that works when told to.

    Args:
        python: the interpreter of its virtual environment.
        script: beside this file.
        job: what it is to do.
    """

    def __init__(self, python: str, script: str, job: dict[str, Any]) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        settings = {**os.environ, "OMP_NUM_THREADS": str(job["threads"]), "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [python, str(HERE / script), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=settings,
        )

    def answer(self) -> dict[str, Any]:
        """Return the next answer; SystemExit with the worker's last words if it died."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise SystemExit(f"{' '.join(map(str, self.process.args))} stopped:\n{self.log.read()[-3000:]}")  # type: ignore[union-attr]
        found: dict[str, Any] = json.loads(line)
        return found

    def go(self) -> dict[str, Any]:
        """Let it do one unit of work and return its figures."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.answer()

    def stop(self) -> None:
        """Close the line and wait."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Bench:
    """Measures rows with the given virtual environment, data and patience."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    @contextmanager
    def worker(self, side: str, row: str, task: str, **more: Any) -> Iterator[Worker]:
        """Start the worker of one side."""
        options, made = self.options, ROWS[row]
        job = {
            "row": row,
            "task": task,
            "folder": str(options.data),
            "data": made.data,
            "text": made.text,
            "threads": options.threads,
            "bucket": side == "bucketed",
            "epochs": 1000,
            **more,
        }
        ours = side != "theirs"
        worker = Worker(
            sys.executable if ours else str(options.venv / "bin" / "python"),
            "polymodal_side.py" if ours else "mmsa_side.py",
            job,
        )
        try:
            yield worker
        finally:
            worker.stop()

    def speed(self, row: str) -> dict[str, Any]:
        """Return seconds, memory and parameters of the three sides."""
        task = "epochs" if ROWS[row].unit == "epoch" else "steps"
        steps = dict.fromkeys(SIDES, self.options.steps)
        if row == "mult":
            steps = {"theirs": 1, "padded": 1, "bucketed": 6}
        with ExitStack() as stack:
            workers = {s: stack.enter_context(self.worker(s, row, task, steps=steps[s])) for s in SIDES}
            found = {s: w.answer() for s, w in workers.items()}
            units: dict[str, list[Any]] = {s: [] for s in SIDES}
            for _ in range(self.options.rounds):
                for side, worker in workers.items():
                    units[side].append(worker.go())
        for side, rounds in units.items():
            last = rounds[-1]
            each = [min(times) for times in zip(*(u["steps"] for u in rounds), strict=False)]
            seconds = min(u["seconds"] for u in rounds) if task == "epochs" else sum(each) / len(each)
            found[side] |= {"seconds": round(seconds, 3), "rounds": [u["seconds"] for u in rounds]}
            found[side] |= {"peak_mib": last["peak_mib"], "now_mib": [u["now_mib"] for u in rounds]}
            if task == "steps":
                found[side]["steps"] = each
        return found

    def loading(self, row: str) -> dict[str, Any]:
        """Return the smallest of several times from the file to the first batch, a new process each."""
        found: dict[str, list[Any]] = {s: [] for s in SIDES}
        for _ in range(self.options.rounds):
            for side in SIDES:
                with self.worker(side, row, "load") as worker:
                    found[side].append(worker.go())
        return {s: min(f, key=lambda figures: figures["seconds"]) for s, f in found.items()}

    def scores(self, row: str) -> dict[str, Any]:
        """Return test scores of every seed: MMSA's, ours, and ours told, like MMSA, that padding is data."""
        plan = {"theirs": {}, "bucketed": {}, "padded": {"hidden": True}}
        found = {}
        for side, more in plan.items():
            with self.worker(side, row, "score", seeds=SEEDS, epochs=self.options.epochs, **more) as worker:
                found[side] = [worker.answer() for _ in SEEDS]
        return found

    def measure(self, name: str) -> dict[str, Any]:
        """Return what the row called ``name`` shows."""
        kind, _, row = name.rpartition("/")
        measured = {"": self.speed, "load": self.loading, "score": self.scores}[kind](row)
        return {**measured, "machine": machine() | {"threads": self.options.threads}}


def names() -> list[str]:
    """Every row: speed of each model, reading of both pickles, scores of the cheap models."""
    return [*ROWS, "load/lmf", "load/ef_lstm", "load/self_mm", *(f"score/{n}" for n in SCORED)]


def kept(file: Path) -> dict[str, Any]:
    """Return the rows that were measured already."""
    rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default="", help="rows to measure, whether they are there or not: " + " ".join(names())
    )
    parser.add_argument("--quick", action="store_true", help="a small pickle and two rounds; shows that all works")
    parser.add_argument("--venv", type=Path, default=HOME / "mmsa", help="virtual environment with MMSA 2.2.1")
    parser.add_argument("--data", type=Path, default=HOME / "data", help="where the pickles are, or will be made")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps of a unit of a BERT-based model")
    parser.add_argument("--epochs", type=int, default=SCORED_EPOCHS, help="most epochs of a scored training")
    options = parser.parse_args()
    if options.quick:
        options.data = options.data.with_name(options.data.name + "-quick")
        options.rounds, options.epochs = 2, 2
    if not (options.venv / "bin" / "python").exists():
        raise SystemExit(f"{options.venv} has no MMSA; make it as the head of {__file__} says, or name another --venv")
    all_names = [*names(), *(f"score/{n}" for n in SLOWER)]
    unknown = set(filter(None, options.only.split(","))) - set(all_names)
    if unknown:
        raise SystemExit(f"there is no row {', '.join(sorted(unknown))}; choose from {' '.join(all_names)}")
    return options


def main() -> None:
    options = parse()
    if not (options.data / "bert" / "config.json").exists():
        size = ["--quick"] if options.quick else []
        subprocess.run([sys.executable, str(HERE / "pickle_like_mosi.py"), str(options.data), *size], check=True)
    place = options.data if options.quick else RESULTS
    file = place / "peers.json"
    bench = Bench(options)
    for name in options.only.split(",") if options.only else [n for n in names() if n not in kept(file)]:
        rows = {**kept(file), name: bench.measure(name)}
        file.write_text(json.dumps(rows, indent=1) + "\n")
        (place / "peers.md").write_text(report(rows))
        print(name, json.dumps({s: v for s, v in rows[name].items() if s != "machine"}), flush=True)
    print(f"{file} and peers.md beside it are complete")


if __name__ == "__main__":
    main()
