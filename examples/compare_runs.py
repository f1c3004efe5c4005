"""Two methods, two seeds each, one table, one paired test: does the second beat the floor, or is it luck?

python examples/compare_runs.py
"""

from __future__ import annotations

import polymodal
from polymodal.report import leaderboard, to_markdown
from polymodal.train.compare import load_scores, paired_tests

SOURCE = "synthetic:pair?n=200"


def main() -> None:
    """Train, evaluate and compare."""
    floor = polymodal.fit("linear", SOURCE, seeds=[1, 2], out="runs/floor")
    other = polymodal.fit("late-fusion", SOURCE, seeds=[1, 2], epochs=4, options={"width": 32}, out="runs/late-fusion")
    table = leaderboard([load_scores(run) for run in (floor, other)], split="test")
    print(to_markdown(table))
    for test in paired_tests([floor, other]):
        print(test.sentence)


if __name__ == "__main__":
    main()
