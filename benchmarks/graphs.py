"""What unaligned sequences cost: processor time of a training step and of a prediction, by their length.

    python benchmarks/graphs.py         about 6 minutes on one core

Three modalities (widths 300, 5 and 20) of 50, 375 or 500 steps each, methods with default sizes, ``graphcage`` reading
all steps, with matrices for each or shared ones; batches of 4, one thread, median of rounds in turn but the first.
Memory is the peak of three training steps of 500 beyond what the process held before, in a fresh process. Written to
``results/graphs.json`` and ``results/graphs.md``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from measure import RESULTS, MemoryPeak, in_fresh_process, machine, save

LENGTHS = (50, 375, 500)
ROUNDS, BATCH = 5, 4
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "late-fusion": ("late-fusion", {}),
    "multimodal-graph": ("multimodal-graph", {}),
    "multimodal-graph, pooling mean": ("multimodal-graph", {"pooling": "mean"}),
    "graphcage": ("graphcage", {}),
    "graphcage, shared": ("graphcage", {"shared": True}),
    "mult": ("mult", {}),
}


class Work:
    """A method, a batch of sequences of ``steps``, and an optimiser."""

    def __init__(self, name: str, steps: int) -> None:
        import torch

        from polymodal.core import Batch, Modality, Schema, Stream, Target
        from polymodal.methods import build, find_method

        torch.manual_seed(0)
        widths = {"text": 300, "audio": 5, "vision": 20}
        schema = Schema(tuple(Modality(n, "sequence", w) for n, w in widths.items()), (Target("y", "regression"),))
        lengths, here = torch.full((BATCH,), steps), torch.ones(BATCH, dtype=torch.bool)
        streams = {n: Stream(torch.randn(BATCH, steps, w), lengths, here) for n, w in widths.items()}
        self.batch = Batch(streams, {"y": torch.randn(BATCH)}, [str(i) for i in range(BATCH)])
        method, options = METHODS[name]
        reads = {"steps": steps} if method == "graphcage" else {}
        self.method = build(find_method(method), schema, {**options, **reads})
        self.weights = sum(p.numel() for p in self.method.parameters())
        self.optimizer = torch.optim.AdamW(self.method.parameters(), lr=1e-4)
        self.still = torch.no_grad

    def train(self) -> None:
        """Take a training step."""
        self.method.train()
        loss = sum(self.method.losses(self.batch, self.method(self.batch)).values())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        self.optimizer.step()

    def predict(self) -> None:
        """Predict the batch."""
        self.method.eval()
        with self.still():
            self.method(self.batch)


def seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def timed(steps: int) -> dict[str, dict[str, float]]:
    """Return per method the median processor seconds of a training step and of a prediction, and its weights."""
    works = {name: Work(name, steps) for name in METHODS}
    found: dict[str, dict[str, list[float]]] = {name: {"train": [], "predict": []} for name in works}
    for number in range(ROUNDS + 1):
        for name, work in works.items():
            for what, act in (("train", work.train), ("predict", work.predict)):
                taken = seconds(act)
                if number:
                    found[name][what].append(taken)
    return {n: {**{k: median(v) for k, v in f.items()}, "weights": works[n].weights} for n, f in found.items()}


def memory(name: str, steps: int) -> dict[str, float]:
    """Return the peak of three training steps in MiB, weights and the optimiser's moments included."""
    Work("late-fusion", 1).train()  # what libraries take is not counted
    with MemoryPeak() as watch:
        work = Work(name, steps)
        for _ in range(3):
            work.train()
    return {"mib": round(watch.peak - watch.start, 1)}


def page(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the figures as a table in Markdown, with machine and date."""
    facts = machine()
    lines = [
        f"Processor seconds of a training step / of a prediction, batch of {BATCH}, median of {ROUNDS} rounds in turn; "
        f"MiB at the peak of training, 500 steps. {facts['date']}, {facts['processor']}, {facts['cores']} cores, one "
        f"thread, load {facts['load_before']}, torch {facts['torch']}.",
        "",
        "| method | " + " | ".join(f"{steps} steps" for steps in LENGTHS) + " | MiB | weights |",
        "| --- |" + " --- |" * (len(LENGTHS) + 2),
    ]
    for name in METHODS:
        rows = [figures[str(steps)][name] for steps in LENGTHS]
        cells = [f"{r['train']:.3f} / {r['predict']:.3f}" for r in rows]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {rows[-1]['mib']:.0f} | {rows[-1]['weights']:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if len(sys.argv) > 1:  # a fresh process
        what, steps, *name = sys.argv[1:]
        print(json.dumps(timed(int(steps)) if what == "time" else memory(name[0], int(steps))))
        return
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for steps in LENGTHS:
        figures[str(steps)] = in_fresh_process(__file__, "time", str(steps))
        print(steps, figures[str(steps)], flush=True)
    for name in METHODS:
        figures[str(LENGTHS[-1])][name] |= in_fresh_process(__file__, "memory", str(LENGTHS[-1]), name)
    (RESULTS / "graphs.md").write_text(page(figures))
    save("graphs", figures)


if __name__ == "__main__":
    main()
