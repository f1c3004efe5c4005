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
from polymodal.core.estimate import plain
from polymodal.data.split import Split
from polymodal.score import align, holm, paired_difference, summarise, told_apart
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
    # Its own split tests three actors, too few for an interval: every actor is tested once.
    both, vision, audio = (
        tuple(source("ravdess_av", **kept, held_out=f"{fold}/5") for fold in range(5))
        for kept in ({}, {"modalities": "vision"}, {"modalities": "audio"})
    )
    return [
        Row("ravdess", "linear", "linear", both, seeds=ONCE),
        Row("ravdess", "linear, vision", "linear", vision, seeds=ONCE),
        Row("ravdess", "linear, audio", "linear", audio, seeds=ONCE),
        Row("ravdess", "late-fusion", "late-fusion", both, options=RAVDESS_CONTROL, seeds=ONCE),
        Row("ravdess", "mmcl", "mmcl", both, preset="ravdess", seeds=ONCE),
        Row("ravdess", "mmcl, vision", "mmcl", vision, preset="ravdess", seeds=ONCE),
        Row("ravdess", "mmcl, audio", "mmcl", audio, preset="ravdess", seeds=ONCE),
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

PAIRS = {
    "mosi": [
        ("late-fusion", "linear"),
        ("mmcl", "linear"),
        ("mmcl", "late-fusion"),
        ("mmcl, text", "mmcl"),
        ("mmcl, fine-tuned", "mmcl"),
    ],
    "ravdess": [("mmcl", "linear"), ("late-fusion", "linear"), ("mmcl", "late-fusion"), ("mmcl", "mmcl, vision")],
    "ict_mmmo": [
        ("mmcl, audio + vision", "linear, audio + vision"),
        ("mmcl, text untrained", "mmcl, audio + vision"),
    ],
    "real_life_trial": [("mmcl", "linear")],
}
"""Rows that are compared, declared before any was measured with groups; a mean over targets (``pom``) has no test."""

Said = dict[str, Any]
"""What a row's models say of the pooled test samples ``id`` of ``target``: ``true``, ``predicted`` and ``probability``
with a row per seed, ``groups``."""


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


def measure(row: Row, runs: list[polymodal.Run]) -> tuple[dict[str, Any], Said]:
    """Return everything the JSON says about ``row``, and what its models say about the first target.

    The test samples of all its runs are pooled.
    """
    corpora = [run.corpus() for run in runs]
    # [run][seed] -> prediction columns
    columns = [[run.predict(c, seed=seed) for seed in row.seeds] for run, c in zip(runs, corpora, strict=True)]
    targets = runs[0].schema.joint_targets
    ids = [by_seed[0]["id"] for by_seed in columns]  # the order of predictions is not always that of the split
    groups = [g for c, i in zip(corpora, ids, strict=True) if (g := grouped(c["test"], i)) is not None]
    pool = {"id": np.concatenate(ids), "groups": np.concatenate(groups) if groups else None}
    said = [pooled(target, columns) | pool for target in targets]
    figures = {target.name: score(s) for target, s in zip(targets, said, strict=True)}
    if len(targets) > 1:
        figures[f"mean of {len(targets)} targets"] = average(list(figures.values()), targets[0].spec.metrics)
    results = [r for run in runs for r in run.results().values()]
    first = runs[0].config
    found = {
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
    return found, said[0]


def grouped(split: Split, ids: np.ndarray) -> np.ndarray | None:
    """Return the group of each of the samples ``ids``; None where none are known."""
    return split.with_groups({"id": ids}).get("group")


def pooled(target: Target, columns: list[list[Columns]]) -> Said:
    """Return what was said of ``target``; ``columns`` as in ``measure``."""

    def part(name: str) -> np.ndarray:
        return np.concatenate([np.stack([c[f"{target.name}/{name}"] for c in run]) for run in columns], axis=1)

    known = f"{target.name}/probability" in columns[0][0]
    probability = part("probability") if known else None
    return {"target": target, "true": part("true")[0], "predicted": part("predicted"), "probability": probability}


def score(said: Said) -> dict[str, Any]:
    """Return every metric as plain data."""
    found = summarise(said["target"], said["true"], said["predicted"], said["probability"], groups=said["groups"])
    parts = ("mean", "std", "low", "high", "least", "most", "count", "groups", "seeds")
    return {metric: {n: tidy(getattr(summary, n)) for n in parts} for metric, summary in found.items()}


def compared(corpus: str, said: dict[str, Said]) -> list[dict[str, Any]]:
    """Return the declared comparisons of ``corpus``: the first row minus the second in the main metric."""
    found = []
    for first, second in PAIRS.get(corpus, []):
        a, b = said[first], said[second]
        target, rows = a["target"], align(a["id"].tolist(), b["id"].tolist())
        metric = target.spec.main
        difference = paired_difference(
            target,
            a["true"],
            a["predicted"],
            b["predicted"][:, rows],
            metric,
            probability_a=a["probability"],
            probability_b=None if b["probability"] is None else b["probability"][:, rows],
            groups=a["groups"],
        )
        named = {"corpus": corpus, "first": first, "second": second, "metric": metric}
        found.append(named | {"higher_is_better": target.spec.metrics[metric]} | plain(difference))
    return found


def average(tables: list[dict[str, Any]], metrics: Iterable[str]) -> dict[str, Any]:
    """Return the mean over targets per metric and seed; an interval would need all targets resampled together."""
    out = {}
    for metric in metrics:
        by_seed = np.mean([t[metric]["seeds"] for t in tables], axis=0)
        out[metric] = {
            "mean": float(by_seed.mean()),
            "std": float(by_seed.std()),
            **dict.fromkeys(("low", "high", "least", "most")),
            "count": tables[0][metric]["count"],
            "groups": tables[0][metric]["groups"],
            "seeds": by_seed.tolist(),
        }
    return out


def tidy(value: Any) -> Any:
    """JSON has no NaN and no tuples."""
    if isinstance(value, tuple):
        return [tidy(v) for v in value]
    return None if value != value else value


def page(results: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> str:
    """Return the Markdown page of all rows and pairs measured so far."""
    lines = [
        "# Real data",
        "",
        f"Made by `python benchmarks/real_data.py` on {machine()}. Selection: {PROTOCOL['selection']} Figures: test "
        "split, mean ± population standard deviation over seeds [95% interval of the mean over groups of test samples "
        f"and seeds; below {FEW} groups the range over groups, in braces]. n: samples, of so many groups. s: seconds "
        "to train one seed (all folds), while other work may have shared the machine.",
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
            rest = [
                f"{r['samples']}, {r['figures'][target][metrics[0]]['groups']}",
                len(r["seeds"]),
                f"{r['train_seconds']:.0f}",
                r["created"][:10],
            ]
            lines.append("| " + " | ".join(map(str, [r["name"], *cells, *rest])) + " |")
        lines += ["", f"Data (hash after encoding): {hashes}."]
    lines += [
        "",
        "## Compared",
        "",
        f"First minus second, 95% interval over groups and seeds, p adjusted for all {len(pairs)} (Holm).",
        "",
        "| corpus | metric | first | second | difference | p | groups | first is |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in pairs:
        shown = f"{r['difference']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]"
        told = told_apart(r["p_holm"], r["low"], r["high"])
        word = ("better" if (r["difference"] > 0) == r["higher_is_better"] else "WORSE") if told else "cannot be told"
        lines.append(
            f"| {r['corpus']} | {r['metric']} | {r['first']} | {r['second']} | {shown} | {r['p_holm']:.3f} | "
            f"{r['groups']} | {word} |"
        )
    return "\n".join(lines) + "\n"


def cell(figure: dict[str, Any]) -> str:
    if figure["mean"] is None:
        return "-"
    text = f"{figure['mean']:.3f}" + (f" ± {figure['std']:.3f}" if len(figure["seeds"]) > 1 else "")
    if figure["least"] is not None:
        return f"{text} {{{figure['least']:.3f}, {figure['most']:.3f}}}"
    return text if figure["low"] is None else f"{text} [{figure['low']:.3f}, {figure['high']:.3f}]"


def machine() -> str:
    return f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), no GPU"


def save(rows: list[dict[str, Any]], pairs: list[dict[str, Any]], folder: Path) -> None:
    """Put the rows and comparisons of a corpus into the results in ``folder``, in the order of the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "real_data.json"
    held = json.loads(file.read_text()) if file.is_file() else {}
    by_name = {(r["corpus"], r["name"]): r for r in [*held.get("rows", []), *rows]}
    by_pair = {(r["corpus"], r["first"], r["second"]): r for r in [*held.get("pairs", []), *pairs]}
    order = [(row.corpus, row.name) for make in PLAN.values() for row in make()]
    results = [by_name[key] for key in order if key in by_name]
    known = [by_pair[key] for name in PLAN for pair in PAIRS.get(name, []) if (key := (name, *pair)) in by_pair]
    for pair, p in zip(known, holm([pair["p"] for pair in known]), strict=True):
        pair["p_holm"] = float(p)
    protocol = {name: rule.format(few=FEW) for name, rule in PROTOCOL.items()}
    content = {"protocol": protocol, "machine": machine(), "rows": results, "pairs": known}
    file.write_text(json.dumps(content, indent=1) + "\n")
    (folder / "real_data.md").write_text(page(results, known))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PLAN, default=list(PLAN), help="corpora; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/real_data"), help="folder of the runs")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs, results into --out")
    arguments = parser.parse_args()
    out, results = arguments.out, RESULTS
    if arguments.quick:
        out = results = arguments.out / "quick"
    for name in arguments.only:
        rows, said = [], {}
        for row in PLAN[name]():
            if arguments.quick:
                epochs = {} if row.method == "linear" else {"epochs": 2}
                row = replace(row, seeds=ONCE, options=row.options | epochs)
            measured, said[row.name] = measure(row, train(row, out))
            rows.append(measured)
        save(rows, compared(name, said), results)


if __name__ == "__main__":
    main()
