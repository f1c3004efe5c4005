"""Do 95 % intervals hold the truth 95 times in 100, and do tests of no difference reject 5 times in 100?

    python benchmarks/coverage.py              about ten minutes on one core
    python benchmarks/coverage.py --draws 200  a look

Samples are drawn in groups whose labels and errors share a part, ``correlation`` of the variance; the truth is measured
on 40,000 groups. Percentiles of resampled groups stand beside the library's intervals, and intervals over samples, as
if there were no groups. Written to ``results/coverage.json`` and ``coverage.md``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from measure import RESULTS, save
from polymodal.core import Measure, Target, numpy_rng
from polymodal.score import paired_difference, sample_scores, sign_flip, summarise_tables, swap_test
from polymodal.score.intervals import Blocks
from polymodal.score.metrics import measures

Array = np.ndarray[Any, Any]
SCORE = Target("score", "regression", (-9, 9))
CLASS = Target("class", "classification", classes=("a", "b", "c"))
METRICS = {"mae": SCORE, "corr": SCORE, "accuracy": CLASS, "f1_macro": CLASS}
GROUPS, CORRELATIONS, SIZE = (10, 30, 100), (0.0, 0.1, 0.3), 20
TRUTH, RESAMPLES, ROUNDS = 40_000, 199, 199
HELD, REJECTED = (0.93, 0.97), (0.04, 0.06)


class Sample:
    """Labels in groups, and a system's answers to them."""

    def __init__(self, rng: np.random.Generator, groups: int, correlation: float, unequal: bool) -> None:
        drawn = rng.lognormal(np.log(SIZE) - 0.32, 0.8, groups).round().astype(int)
        self.group = np.repeat(np.arange(groups), np.maximum(2, drawn) if unequal else SIZE)
        self.rng, self.groups, self.correlation = rng, groups, correlation
        self.label, self.kind = self._normal(), np.digitize(self._normal(), [-0.5, 0.6])

    def _normal(self) -> Array:
        """Return standard normal values that share a part within each group."""
        shared, own = self.rng.standard_normal(self.groups)[self.group], self.rng.standard_normal(len(self.group))
        return np.asarray(np.sqrt(self.correlation) * shared + np.sqrt(1 - self.correlation) * own)

    def answers(self) -> tuple[Array, Array]:
        """Return a value and a class for every sample."""
        wrong = (self.kind + self.rng.integers(1, 3, len(self.group))) % 3
        return 0.6 * self.label + 0.8 * self._normal(), np.where(self._normal() < 0.5, self.kind, wrong)

    def table(self) -> dict[str, Measure]:
        """Return all measures of one system."""
        values, kinds = self.answers()
        return {**measures(SCORE, self.label, values), **measures(CLASS, self.kind, kinds)}


def coverage(groups: int, correlation: float, unequal: bool, draws: int) -> Iterator[dict[str, Any]]:
    """Yield, per metric, how often each kind of interval holds the truth."""
    rng = numpy_rng("coverage", groups, correlation, unequal)
    whole = Sample(rng, TRUTH, correlation, unequal)
    found = whole.table()
    truth = {name: found[name].value(np.ones((1, len(whole.group))))[0] for name in METRICS}
    held = {name: dict.fromkeys(("groups", "percentile", "samples"), 0) for name in METRICS}
    for _ in range(draws):
        sample = Sample(rng, groups, correlation, unequal)
        table = {name: m for name, m in sample.table().items() if name in METRICS}
        count = len(sample.group)
        ours = summarise_tables([table], Blocks.of(count, sample.group))
        naive = summarise_tables([table], Blocks.of(count))
        times = rng.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES)[:, sample.group].astype(float)
        for name, right in truth.items():
            low, high = np.nanquantile(table[name].value(times), (0.025, 0.975))
            held[name]["groups"] += ours[name].low <= right <= ours[name].high
            held[name]["samples"] += naive[name].low <= right <= naive[name].high
            held[name]["percentile"] += low <= right <= high
    for name, counts in held.items():
        yield {"metric": name, **{kind: round(float(n) / draws, 4) for kind, n in counts.items()}}


def rejections(groups: int, correlation: float, unequal: bool, draws: int) -> Iterator[dict[str, Any]]:
    """Yield, per metric, how often two equally good systems are told apart at 5 %."""
    rng = numpy_rng("rejections", groups, correlation, unequal)
    wrong = {name: dict.fromkeys(("test", "interval"), 0) for name in ("mae", "f1_macro")}
    for draw in range(draws):
        sample = Sample(rng, groups, correlation, unequal)
        (a, kind_a), (b, kind_b) = sample.answers(), sample.answers()
        difference = sample_scores(SCORE, sample.label, a) - sample_scores(SCORE, sample.label, b)
        flipped = sign_flip(difference, groups=sample.group, rounds=ROUNDS, seed=draw)
        swapped = swap_test(
            CLASS, sample.kind, kind_a, kind_b, "f1_macro", groups=sample.group, rounds=ROUNDS, seed=draw
        )
        of_mae = paired_difference(SCORE, sample.label, a, b, "mae", groups=sample.group)
        of_f1 = paired_difference(CLASS, sample.kind, kind_a, kind_b, "f1_macro", groups=sample.group)
        wrong["mae"]["test"] += flipped <= 0.05
        wrong["mae"]["interval"] += of_mae.p <= 0.05
        wrong["f1_macro"]["test"] += swapped <= 0.05
        wrong["f1_macro"]["interval"] += of_f1.p <= 0.05
    for name, counts in wrong.items():
        yield {"metric": name, **{kind: round(float(n) / draws, 4) for kind, n in counts.items()}}


def page(rows: list[dict[str, Any]], draws: int) -> str:
    """Return the Markdown table, one line per setting."""
    lines = [
        f"Share of {draws} draws in percent (standard error about {100 * (0.0475 / draws) ** 0.5:.1f}). Bold: outside",
        "93 to 97 for our intervals, outside 4 to 6 for our tests.",
        "",
        "| groups | correlation | sizes | interval over groups: mae, corr, accuracy, F1 "
        "| percentiles of resampled groups | interval over samples "
        "| test rejects: mae, F1 | interval rejects: mae, F1 |",
        "| ---: | ---: | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [_cells(row["coverage"], "groups", HELD)]
        cells += [_cells(row["coverage"], kind) for kind in ("percentile", "samples")]
        cells += [_cells(row["rejections"], kind, REJECTED) for kind in ("test", "interval")]
        place = (row["groups"], row["correlation"], "unequal" if row["unequal"] else "equal")
        lines.append(f"| {' | '.join(map(str, (*place, *cells)))} |")
    return "\n".join(lines) + "\n"


def _cells(rows: list[dict[str, Any]], kind: str, bounds: tuple[float, float] = (0, 1)) -> str:
    low, high = bounds
    shown = ((100 * r[kind], low <= r[kind] <= high) for r in rows)
    return ", ".join(f"{value:.1f}" if fine else f"**{value:.1f}**" for value, fine in shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    rows, began = [], time.monotonic()
    for groups, correlation, unequal in product(GROUPS, CORRELATIONS, (False, True)):
        place = {"groups": groups, "correlation": correlation, "unequal": unequal}
        both = {f.__name__: list(f(groups, correlation, unequal, draws)) for f in (coverage, rejections)}
        rows.append(place | both)
        print(f"{time.monotonic() - began:.0f} s: {place}", file=sys.stderr, flush=True)
    save("coverage", {"draws": draws, "rows": rows})
    (RESULTS / "coverage.md").write_text(page(rows, draws))


if __name__ == "__main__":
    main()
