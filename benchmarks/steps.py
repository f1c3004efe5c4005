"""What a training step of every method costs, as a multiple of one of late-fusion on the same batch.

    python benchmarks/steps.py                       all methods, about 5 minutes of one core

Default options, a batch of 32, one thread: forward, losses and backward, without optimiser and reading. Phases count by
their share of a run's epochs, alternating updates all and as often as they are taken; what a phase does not move has no
gradient. Median of rounds in turn with late-fusion. Methods that refuse numbers get classes, or domains.
Written to ``results/steps.json`` and ``steps.md``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from statistics import median
from typing import Any

import numpy as np
import torch

from measure import RESULTS, machine, save
from polymodal.core import Batch, PolymodalError
from polymodal.data.loader import Loader
from polymodal.data.sources import load_corpus
from polymodal.methods import build, described, find_method
from polymodal.methods.base import Method, Now, Phase, View

Row = dict[str, Any]
PLAIN, BATCH, ROUNDS = "late-fusion", 32, 5
CORPORA = {
    "numbers": "synthetic:talk?n=160",
    "classes": "synthetic:xor?n=160",
    "domains": "mix:a=(synthetic:talk?n=80),b=(synthetic:talk?n=80&seed=2)",
}


class Work:
    """A method and a batch of a corpus; PolymodalError where the method cannot learn it."""

    def __init__(self, method: str, source: str) -> None:
        torch.manual_seed(0)
        corpus = load_corpus(source)
        size = min(BATCH, len(corpus["train"]))
        self.batch: Batch = Loader(corpus["train"], corpus.schema, BATCH).batch(np.arange(size))
        self.method: Method = build(find_method(method), corpus.schema, {})
        self.method.prepare(View(train=lambda: [self.batch], valid=lambda: [self.batch]))
        self._moved = [(n, p) for n, p in self.method.named_parameters() if p.requires_grad]
        self.learned = sum(p.numel() for _, p in self._moved)

    def step(self) -> float:
        """Return the processor seconds of a step, the mean over phases by their share."""
        return sum(phase.share * self._in(phase) for phase in self.method.phases())

    def _in(self, phase: Phase) -> float:
        for name, parameter in self._moved:
            parameter.requires_grad_(phase.parameters is None or phase.parameters(name))
        updates = {u.name: u.every for u in phase.updates} or {"": 1}
        return sum(self._once(Now(phase.name, update=update)) / every for update, every in updates.items())

    def _once(self, now: Now) -> float:
        self.method.now = now
        self.method.train()
        began = time.process_time()
        self.method.zero_grad()
        torch.stack(list(self.method.losses(self.batch, self.method(self.batch)).values())).sum().backward()
        return time.process_time() - began


def measured(name: str) -> Row:
    """Return what a step costs on the first corpus that the method does not refuse, or why there is none."""
    refusals = []
    for kind, source in CORPORA.items():
        try:
            work = Work(name, source)
        except PolymodalError as error:
            refusals.append(str(error))
            continue
        if not work.method.phases():
            return {"refused": "it is fitted without steps"}
        plain = Work(PLAIN, source)
        pairs = [(work.step(), plain.step()) for _ in range(ROUNDS + 1)][1:]
        own, other = (median(column) for column in zip(*pairs, strict=True))
        return {"corpus": kind, "seconds": round(own, 4), "ratio": round(own / other, 2), "learned": work.learned}
    return {"refused": refusals[0]}


def page(rows: dict[str, Row], about: Row) -> str:
    """Return the results as Markdown, the cheapest method first."""
    lines = [
        "# What a training step costs",
        "",
        f"`python benchmarks/steps.py`, {about['date']}, one of {about['cores']} cores ({about['processor']}), load "
        f"{about['load_before']}, torch {about['torch']}. Processor time of forward, losses and backward of {BATCH} "
        f"samples with default options, as a multiple of that of {PLAIN} on the same batch, in turn.",
        "",
        f"| method | times {PLAIN} | milliseconds | learned numbers | corpus |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    told = {name: row for name, row in rows.items() if "ratio" in row}
    lines += [
        f"| `{name}` | {row['ratio']:.2f} | {1000 * row['seconds']:.0f} | {row['learned']:,} | {row['corpus']} |"
        for name, row in sorted(told.items(), key=lambda one: one[1]["ratio"])
    ]
    left = [f"- `{name}`: {row['refused']}" for name, row in rows.items() if "refused" in row]
    return "\n".join([*lines, *(["", "Not measured:", "", *left] if left else [])]) + "\n"


def main() -> None:
    names = [info.id for info in described()]
    about, rows = machine(), dict[str, Row]()
    for number, name in enumerate(names, 1):
        rows[name] = measured(name)
        print(f"{number}/{len(names)} {name}: {rows[name]}", flush=True)
    save("steps", rows)
    (RESULTS / "steps.md").write_text(page(rows, about))


if __name__ == "__main__":
    main()
