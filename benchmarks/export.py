"""Which methods become an ONNX graph, how far it is from torch, and how fast.

    python benchmarks/export.py             every method anew
    python benchmarks/export.py mult tfn    these, beside what was measured of the others

Every method is trained for an epoch on a small random corpus of three vectors and on one of three sequences, with its
default options (``missing-adapt`` around late-fusion), then exported as ``polymodal export`` does it, which compares
graph and run on random batches with absent modalities and other sizes than those traced. Speed: one sample (sequences:
20 steps), one thread, median of processor time of both in turn.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from measure import RESULTS, save
from polymodal import fit
from polymodal.audit.panels import panel_of
from polymodal.core import Kind, Modality, PolymodalError, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.split import Split, build_split
from polymodal.export.folder import export
from polymodal.export.script import inputs
from polymodal.methods import find_method, method_ids
from polymodal.predict.features import Features
from polymodal.train.run import Run

KINDS: tuple[Kind, ...] = ("sequence", "vector")
ROUNDS, STEPS = 60, 20
OPTIONS = {"missing-adapt": {"base": "late-fusion"}}
"""Its default base is MulT, seven times over: more than ten minutes to export."""


def corpus(kind: Kind, task: str, domains: tuple[str, ...] = ()) -> Corpus:
    widths = {"text": 16, "audio": 12, "vision": 8}
    target = Target("y", "regression", (-3, 3)) if task == "regression" else Target("y", task, classes=("a", "b", "c"))
    schema = Schema(tuple(Modality(n, kind, w) for n, w in widths.items()), (target,), domains=domains)
    splits = {n: split(schema, n, size) for n, size in {"train": 24, "valid": 12, "test": 12}.items()}
    return Corpus(f"random-{kind}s", f"random:{kind}", schema, splits)


def split(schema: Schema, name: str, size: int) -> Split:
    rng = np.random.default_rng(size)
    columns = {
        m.name: [values(rng, m, int(rng.integers(2, STEPS)) if i % 4 else 0) for i in range(size)]
        for m in schema.modalities
    }
    where = [schema.domains[i % 2] for i in range(size)] if schema.domains else None
    labels = rng.uniform(-3, 3, size) if schema.targets[0].spec.answer == "number" else rng.integers(0, 3, size)
    return build_split(schema, [f"{name}{i}" for i in range(size)], columns, {"y": labels}, domains=where)


def values(rng: np.random.Generator, modality: Modality, steps: int) -> np.ndarray[Any, Any] | None:
    """One sample; None, which is absent, for no steps."""
    found = rng.standard_normal((steps, modality.width)) if steps else None
    return found if found is None or modality.kind == "sequence" else found[0]


def measured(name: str, kind: Kind) -> dict[str, Any]:
    """What comes of exporting a method."""
    cls = find_method(name)
    task = "regression" if "regression" in cls.tasks else "classification"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            run = fit(
                name,
                corpus(kind, task, ("here", "there") if cls.needs_domains else ()),
                options=OPTIONS.get(name),
                epochs=1,
                batch_size=12,
                device="cpu",
                out=folder / "run",
            )
        except PolymodalError as error:
            return {"untrained": str(error)}
        began = time.perf_counter()
        try:
            worst = export(run, folder / "onnx")
        except PolymodalError as error:
            return {"refused": str(error).replace(str(folder / "run"), "the run").partition(" (unhinted")[0][:200]}
        seconds = time.perf_counter() - began
        size = (folder / "onnx/model.onnx").stat().st_size
        return {"error": worst, "export_seconds": round(seconds, 1), "kilobytes": size // 1000} | speed(run, folder)


def speed(run: Run, folder: Path) -> dict[str, float]:
    about = json.loads((folder / "onnx/model.json").read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "onnx/model.onnx", options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    row = {m.name: values(rng, m, STEPS) for m in run.schema.modalities}
    feed, batch, panel = inputs(about, [row]), Features(run).batch([row], ["sample"]), panel_of(run)
    works = (lambda: panel(batch), lambda: session.run(None, feed))
    times = [[seconds(work) for work in works] for _ in range(ROUNDS)][5:]
    of_torch, of_onnx = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return {"torch_ms": round(of_torch, 3), "onnx_ms": round(of_onnx, 3), "times_faster": round(of_torch / of_onnx, 1)}


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def table(figures: dict[str, dict[str, Any]]) -> str:
    lines = ["| method | vectors: error | torch / ONNX ms | sequences: error | torch / ONNX ms |", "| --- " * 5 + "|"]
    lines += [f"| `{n}` | {cells(found, 'vector')} | {cells(found, 'sequence')} |" for n, found in figures.items()]
    reasons = [
        f"- `{name}`, {kind}s: {found[kind][key]}"
        for name, found in figures.items()
        for kind in found
        for key in ("untrained", "refused")
        if key in found[kind]
    ]
    return "\n".join([*lines, "", "Not exported:", "", *(reasons or ["nothing"])]) + "\n"


def cells(found: dict[str, dict[str, Any]], kind: str) -> str:
    one = found.get(kind, {})
    if "error" not in one:
        return "no | " if one else " | "
    return f"{one['error']:.0e} | {one['torch_ms']:.2f} / {one['onnx_ms']:.2f} = {one['times_faster']:.1f} x"


def main(names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    kept = RESULTS / "export.json"
    before = json.loads(kept.read_text())["figures"] if names and kept.exists() else {}
    figures: dict[str, dict[str, Any]] = {
        name: before.get(name, {}) for name in sorted({*before, *(names or method_ids())})
    }
    for name, kind in product(names or method_ids(), KINDS):
        figures[name][kind] = measured(name, kind)
        print(name, kind, figures[name][kind], flush=True)
        # Each time: beside other work the whole takes an hour.
        save("export", figures)
        (RESULTS / "export.md").write_text(table(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
