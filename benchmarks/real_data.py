"""Linear models, fusion baselines and MMCL on public data under one protocol; run it from the repository root.

    python benchmarks/real_data.py                        # all of it: hours on two cores
    python benchmarks/real_data.py --only mosi ravdess    # rows of other corpora stay as they are
    python benchmarks/real_data.py --quick                # does it work? one seed, two epochs, results into --out

Runs stay in ``--out`` and finished ones are reused, so the script can be stopped and started again. It writes
``benchmarks/results/real_data.json`` (all metrics of all seeds) and ``real_data.md`` (what a reader wants first).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import polymodal
from polymodal.core import Target
from polymodal.score import summarise
from polymodal.score.intervals import FEW
from polymodal.train.evaluate import PROTOCOL
from polymodal.train.infer import Columns

RESULTS = Path("benchmarks/results")
SEEDS = (1111, 1112, 1113)
ONCE = SEEDS[:1]
SHOWN = ("mae", "corr", "acc2", "acc7", "accuracy", "ua", "auc")
"""Metrics of the Markdown tables, where a target has them."""

MINILM = {"text": "minilm?layers=3"}
SMALL_MULT = {"width": 16, "heads": 4, "layers": 2, "lr": 1e-3, "epochs": 20}
"""Two layers of width 16 instead of four of 40: what two cores can afford."""

RAVDESS_CONTROL = {
    "context": "transformer",
    "layers": 2,
    "pool": "mean",
    "dropout": 0.5,
    "epochs": 25,
    "batch_size": 64,
    "lr": 1e-3,
    "weight_decay": 0.1,
    "patience": 7,
}
"""The settings of MMCL's preset, so that the control differs in the method only."""

FEW_SAMPLES = {"width": 64, "dropout": 0.5, "weight_decay": 0.1}
"""Not tuned: what RAVDESS taught about a few hundred samples."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a method on one corpus, or on several (folds) whose test samples are pooled."""

    corpus: str
    name: str
    method: str
    sources: tuple[str, ...]
    preset: str | None = None
    encode: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = SEEDS


def source(function: str, **options: Any) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"benchmarks/corpora.py:{function}" + (f"?{query}" if query else "")


def mosi() -> list[Row]:
    both, text, audio = source("cmu_mosi"), *(source("cmu_mosi", modalities=m) for m in ("text", "audio"))
    return [
        Row("mosi", "linear", "linear", (both,), encode=MINILM, seeds=ONCE),
        Row("mosi", "linear, text", "linear", (text,), encode=MINILM, seeds=ONCE),
        Row("mosi", "linear, audio", "linear", (audio,), seeds=ONCE),
        Row("mosi", "late-fusion", "late-fusion", (both,), preset="mosi"),
        Row("mosi", "mult, small", "mult", (both,), encode=MINILM, options=SMALL_MULT),
        Row("mosi", "mmcl", "mmcl", (both,), preset="mosi"),
        Row("mosi", "mmcl, text", "mmcl", (text,), preset="mosi"),
        Row("mosi", "mmcl, fine-tuned", "mmcl", (both,), preset="mosi-finetuned"),
    ]


def ravdess() -> list[Row]:
    both, vision, audio = source("ravdess_av"), *(source("ravdess_av", modalities=m) for m in ("vision", "audio"))
    return [
        Row("ravdess", "linear", "linear", (both,), seeds=ONCE),
        Row("ravdess", "linear, vision", "linear", (vision,), seeds=ONCE),
        Row("ravdess", "linear, audio", "linear", (audio,), seeds=ONCE),
        Row("ravdess", "late-fusion", "late-fusion", (both,), options=RAVDESS_CONTROL),
        Row("ravdess", "mmcl", "mmcl", (both,), preset="ravdess"),
        Row("ravdess", "mmcl, vision", "mmcl", (vision,), preset="ravdess"),
        Row("ravdess", "mmcl, audio", "mmcl", (audio,), preset="ravdess"),
    ]


def ict_mmmo() -> list[Row]:
    # With text, validation and test would read it with an encoder that no training sample has reached.
    seen = source("ict_mmmo", modalities="audio,vision")
    return [
        Row("ict_mmmo", "linear, audio + vision", "linear", (seen,), seeds=ONCE),
        Row("ict_mmmo", "mmcl, audio + vision", "mmcl", (seen,), options=FEW_SAMPLES),
        Row("ict_mmmo", "mmcl, text untrained", "mmcl", (source("ict_mmmo"),), options=FEW_SAMPLES),
    ]


def pom() -> list[Row]:
    return [
        Row("pom", "linear", "linear", (source("pom"),), seeds=ONCE),
        Row("pom", "mmcl", "mmcl", (source("pom"),), options=FEW_SAMPLES),
    ]


def real_life_trial() -> list[Row]:
    folds = tuple(source("real_life_trial", fold=fold) for fold in range(5))
    return [
        Row("real_life_trial", "linear", "linear", folds, seeds=ONCE),
        Row("real_life_trial", "mmcl", "mmcl", folds, options=FEW_SAMPLES, seeds=ONCE),
    ]


PLAN = {f.__name__: f for f in (mosi, ravdess, ict_mmmo, pom, real_life_trial)}


def train(row: Row, folder: Path) -> list[polymodal.Run]:
    """Return one finished run per source; those in ``folder`` are reused."""
    name = "".join(c if c.isalnum() else "-" for c in row.name)
    runs = []
    for number, data in enumerate(row.sources):
        out = folder / row.corpus / (name if len(row.sources) == 1 else f"{name}-{number}")
        run = polymodal.fit(
            row.method,
            data,
            preset=row.preset,
            encode=row.encode,
            options=row.options,
            seeds=row.seeds,
            device="cpu",
            out=out,
            resume=True,
        )
        runs.append(run)
    return runs


def measure(row: Row, runs: list[polymodal.Run]) -> dict[str, Any]:
    """Return everything the JSON says about ``row``; the test samples of all its runs are pooled."""
    corpora = [run.corpus() for run in runs]
    # [run][seed] -> prediction columns
    columns = [[run.predict(c, seed=seed) for seed in row.seeds] for run, c in zip(runs, corpora, strict=True)]
    targets = runs[0].schema.joint_targets
    figures = {target.name: score(target, columns) for target in targets}
    if len(targets) > 1:
        figures[f"mean of {len(targets)} targets"] = average(list(figures.values()), targets[0].spec.metrics)
    results = [r for run in runs for r in run.results().values()]
    first = runs[0].config
    return {
        "corpus": row.corpus,
        "name": row.name,
        "commands": [run.config["command"] for run in runs],
        "data": [run.config["data"]["hash"] for run in runs],
        "code": first["code"],
        "created": first["created"],
        "versions": first["versions"],
        "parameters": first["parameters"],
        "seeds": list(row.seeds),
        "samples": sum(len(c["test"]) for c in corpora),
        "best_epochs": [r["best_epoch"] for r in results],
        "train_seconds": round(sum(r["seconds"] for r in results) / len(row.seeds), 1),
        "figures": figures,
    }


def score(target: Target, columns: list[list[Columns]]) -> dict[str, Any]:
    """Return every metric of ``target`` as plain data; ``columns`` as in ``measure``."""

    def pooled(part: str) -> np.ndarray:
        return np.concatenate([np.stack([c[f"{target.name}/{part}"] for c in run]) for run in columns], axis=1)

    probability = pooled("probability") if f"{target.name}/probability" in columns[0][0] else None
    found = summarise(target, pooled("true")[0], pooled("predicted"), probability)
    parts = ("mean", "std", "low", "high", "count", "seeds")
    return {metric: {n: tidy(getattr(summary, n)) for n in parts} for metric, summary in found.items()}


def average(tables: list[dict[str, Any]], metrics: Iterable[str]) -> dict[str, Any]:
    """Return the mean over targets per metric and seed; an interval would need all targets resampled together."""
    out = {}
    for metric in metrics:
        by_seed = np.mean([t[metric]["seeds"] for t in tables], axis=0)
        out[metric] = {
            "mean": float(by_seed.mean()),
            "std": float(by_seed.std()),
            "low": None,
            "high": None,
            "count": tables[0][metric]["count"],
            "seeds": by_seed.tolist(),
        }
    return out


def tidy(value: Any) -> Any:
    """JSON has no NaN and no tuples."""
    if isinstance(value, tuple):
        return [tidy(v) for v in value]
    return None if value != value else value


def page(results: list[dict[str, Any]]) -> str:
    """Return the Markdown page of all rows measured so far."""
    lines = [
        "# Real data",
        "",
        f"Made by `python benchmarks/real_data.py` on {machine()}. Selection: {PROTOCOL['selection']} Figures: test "
        "split, mean ± population standard deviation over seeds [95% percentile bootstrap interval of the mean over "
        "test samples]. s: seconds to train one seed (all folds), while other work may have shared the machine.",
    ]
    for corpus in dict.fromkeys(r["corpus"] for r in results):
        chosen = [r for r in results if r["corpus"] == corpus]
        target = list(chosen[0]["figures"])[-1]
        metrics = [m for m in SHOWN if m in chosen[0]["figures"][target]]
        hashes = ", ".join(dict.fromkeys(h for r in chosen for h in r["data"]))
        lines += [
            "",
            f"## {corpus}: {target}",
            "",
            "| method | " + " | ".join(metrics) + " | n | seeds | s | date |",
            "|---|" + "---|" * (len(metrics) + 4),
        ]
        for r in chosen:
            cells = [cell(r["figures"][target][m]) for m in metrics]
            rest = [r["samples"], len(r["seeds"]), f"{r['train_seconds']:.0f}", r["created"][:10]]
            lines.append("| " + " | ".join(map(str, [r["name"], *cells, *rest])) + " |")
        lines += ["", f"Data (hash after encoding): {hashes}."]
    return "\n".join(lines) + "\n"


def cell(figure: dict[str, Any]) -> str:
    if figure["mean"] is None:
        return "-"
    text = f"{figure['mean']:.3f}" + (f" ± {figure['std']:.3f}" if len(figure["seeds"]) > 1 else "")
    return text if figure["low"] is None else f"{text} [{figure['low']:.3f}, {figure['high']:.3f}]"


def machine() -> str:
    return f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), no GPU"


def save(measured: dict[str, Any], folder: Path) -> None:
    """Add one row to the results in ``folder``, in the order of the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "real_data.json"
    held = json.loads(file.read_text())["rows"] if file.is_file() else []
    by_name = {(r["corpus"], r["name"]): r for r in [*held, measured]}
    order = [(row.corpus, row.name) for make in PLAN.values() for row in make()]
    results = [by_name[key] for key in order if key in by_name]
    protocol = {name: rule.format(few=FEW) for name, rule in PROTOCOL.items()}
    content = {"protocol": protocol, "machine": machine(), "rows": results}
    file.write_text(json.dumps(content, indent=1) + "\n")
    (folder / "real_data.md").write_text(page(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PLAN, default=list(PLAN), help="corpora; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/real_data"), help="folder of the runs")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs, results into --out")
    arguments = parser.parse_args()
    out, results = arguments.out, RESULTS
    if arguments.quick:
        out = results = arguments.out / "quick"
    for row in (row for name in arguments.only for row in PLAN[name]()):
        if arguments.quick:
            epochs = {} if row.method == "linear" else {"epochs": 2}
            row = replace(row, seeds=ONCE, options=row.options | epochs)
        save(measure(row, train(row, out)), results)


if __name__ == "__main__":
    main()
