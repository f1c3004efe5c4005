"""What limits and checks cost: predict and extract of this checkout against those of an earlier one, in turn.

    git worktree add ../earlier COMMIT
    python benchmarks/limits.py ../earlier [--rounds 5] [--save]     about 5 minutes, needs ../shared

Processor time, children included, on real clips of GRID: ``extract`` of 12 clips into a store; ``predict`` of 6 clips
by a run that the earlier checkout trained, its extractors loaded. A fresh process per version and round, the lowest of
the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from clips import GRID, SHARED, table
from measure import machine, save

HERE = Path(__file__).resolve().parents[1]

PREDICT = """
import json, resource, sys
from pathlib import Path
from polymodal.predict.predictor import Predictor
run, *clips = sys.argv[1:]
predictor = Predictor.load(run, threads=1)
predictor.predict(clips[0])
def spent():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
began = spent()
for clip in clips[1:]:
    predictor.predict(clip)
print(json.dumps(spent() - began))
"""

EXTRACT = """
import json, resource, subprocess, sys
subprocess.run([sys.executable, "-m", "polymodal", *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
print(json.dumps(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])))
"""


def run_in(checkout: Path, script: str, *words: str | Path) -> float:
    """Return what a script prints last, run on the code of ``checkout``."""
    settings = os.environ | {"PYTHONPATH": str(checkout / "src"), "POLYMODAL_ASSETS": str(SHARED / "models")}
    settings |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(json.loads(done.stdout.splitlines()[-1]))


def measured(earlier: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """Return the lowest processor seconds of both versions and their ratios."""
    rows = table(folder / "all.csv").read_text().splitlines()
    few = folder / "few.csv"
    few.write_text("\n".join([rows[0], *rows[1:13]]) + "\n")
    clips = [row.split(",")[0] for row in rows[1:8]]
    store, run = folder / "store", folder / "run"
    plain = ["--audio", "egemaps", "--text", "none", "--utterances", "clip", "--workers", "1", "--target", "sex"]
    run_in(earlier, EXTRACT, "extract", folder / "all.csv", "--out", store, *plain)
    run_in(earlier, EXTRACT, "fit", "late-fusion", "--data", store, "--set", "epochs=2", "--out", run)
    seconds: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for name, checkout in (("earlier", earlier), ("now", HERE)):
            out = folder / f"{name}-{number}"
            found = {
                "extract": run_in(checkout, EXTRACT, "extract", few, "--out", out, *plain),
                "predict": run_in(checkout, PREDICT, run, *clips),
            }
            for what, took in found.items():
                seconds.setdefault(what, {}).setdefault(name, []).append(took)
    return {
        what: {
            **{name: round(min(took), 3) for name, took in by_name.items()},
            "ratio": round(min(by_name["now"]) / min(by_name["earlier"]), 4),
            "ratios": [round(b / a, 4) for a, b in zip(by_name["earlier"], by_name["now"], strict=True)],
        }
        for what, by_name in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path, help="another checkout of polymodal")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="write results/limits.json")
    asked = parser.parse_args()
    if not GRID.is_dir():
        raise SystemExit(f"no clips at {GRID}; set POLYMODAL_SHARED")
    if not (asked.earlier / "src/polymodal").is_dir():
        raise SystemExit(f"{asked.earlier} is no checkout of polymodal; make one by `git worktree add`")
    commit = subprocess.run(
        ["git", "-C", asked.earlier, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory() as place:
        result = {"earlier": commit.stdout.strip(), **measured(asked.earlier.resolve(), asked.rounds, Path(place))}
    print(json.dumps(result | machine(), indent=1))
    if asked.save:
        save("limits", result)


if __name__ == "__main__":
    main()
