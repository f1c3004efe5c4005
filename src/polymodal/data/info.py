"""What a corpus looks like and what is wrong with it: plain data for programs, tables for the terminal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from polymodal.core import Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.leaks import leaks
from polymodal.data.ragged import Array, Ragged
from polymodal.data.ratings import agreement_rows
from polymodal.data.split import Split, Texts

FEW = 30
"""A split with fewer samples than this is called very small."""


def describe(corpus: Corpus) -> dict[str, Any]:
    """Return what is known about ``corpus`` as plain data for JSON.

    Keys: ``name, source, hash, modalities, targets, splits, agreement, warnings, notes``. Per split: ``samples``,
    ``groups`` (number of videos or speakers, None if unknown), ``modalities`` (``present`` share; ``length`` in steps
    or words: min, median, p95, max; for all but text the ``bytes`` at rest and the shares of ``constant`` channels or
    pixels, of all-``zero`` steps and of ``non_finite`` values) and ``targets`` (``counts``: label or class -> samples;
    ``mean``, ``std`` of a regression; ``unknown``: samples without a label). ``agreement`` has the rows of
    ``data.ratings.agreement_rows`` with their ``split``; none where single raters are not known.
    Memory stays bounded: memory-mapped features are read block by block.
    """
    splits = {name: _split(corpus, split) for name, split in corpus.splits.items()}
    # Tuples as the lists that JSON would make of them, so that a description equals its own copy on disk.
    schema = json.loads(json.dumps(corpus.schema.to_dict()))
    return {
        "name": corpus.name,
        "source": corpus.source,
        "hash": corpus.hash,
        "modalities": schema["modalities"],
        "targets": schema["targets"],
        "splits": splits,
        "agreement": [
            {"split": name, **row}
            for name, split in corpus.splits.items()
            for row in agreement_rows(corpus.schema, split)
        ],
        "warnings": _warnings(corpus, splits),
        "notes": list(corpus.notes),
    }


def _split(corpus: Corpus, split: Split) -> dict[str, Any]:
    modalities = {}
    for name in corpus.schema.names:
        column, present = split.columns[name], split.present[name]
        lengths = column.lengths if isinstance(column, Ragged) else _words(column)
        modalities[name] = {
            "present": float(present.mean()) if len(present) else 0.0,
            "length": _spread(lengths[present]),
            **(_features(column) if isinstance(column, Ragged) else {}),
        }
    return {
        "samples": len(split),
        "groups": len(set(split.groups)) if len(split.groups) else None,
        "modalities": modalities,
        "targets": {t.name: _labels(t, split.targets[t.name]) for t in corpus.schema.targets},
    }


def _words(column: Texts) -> Array:
    return np.array([len(column[i].split()) for i in range(len(column))], np.int64)


def _spread(lengths: Array) -> dict[str, float] | None:
    if not len(lengths):
        return None
    low, median, p95, high = np.quantile(lengths, [0, 0.5, 0.95, 1]).tolist()
    return {"min": low, "median": median, "p95": p95, "max": high}


def _features(column: Ragged) -> dict[str, float | None]:
    """Return bytes, and shares of constant channels, all-zero steps and non-finite values; None without any step."""
    steps, zero, bad = 0, 0, 0
    low, high = np.full(column.width, np.inf), np.full(column.width, -np.inf)
    for whole in column.blocks():
        block = whole.reshape(len(whole), -1)
        steps += len(block)
        zero += int((~block.any(axis=1)).sum())
        bad += int(block.size - np.isfinite(block).sum())
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    size = steps * column.width * np.dtype(column.dtype).itemsize
    if not steps:
        return {"bytes": size, "constant": None, "zero": None, "non_finite": None}
    return {
        "bytes": size,
        "constant": float((low == high).mean()),
        "zero": zero / steps,
        "non_finite": bad / (steps * column.width),
    }


def _labels(target: Target, labels: Array) -> dict[str, Any]:
    known = target.spec.known(labels)
    told = labels[known]
    number = target.spec.answer == "number" and len(told)
    return {
        "counts": target.spec.counts(told),
        "mean": float(told.mean()) if number else None,
        "std": float(told.std()) if number else None,
        "unknown": int((~known).sum()),
    }


def _warnings(corpus: Corpus, splits: dict[str, Any]) -> list[str]:
    return [
        *leaks(corpus),
        *_modality_warnings(corpus.schema, splits),
        *_label_warnings(corpus, splits),
    ]


def _modality_warnings(schema: Schema, splits: dict[str, Any]) -> list[str]:
    found = []
    for split, about in splits.items():
        if about["samples"] < FEW:
            found.append(f"{split} has only {about['samples']} samples: its scores say little")
        for name, facts in about["modalities"].items():
            if facts["present"] == 0:
                found.append(f"{name} is absent from all of {split}")
            elif facts["present"] < 1:
                found.append(f"{name} is absent from {1 - facts['present']:.1%} of {split}")
            if split == "train" and facts.get("constant"):
                parts = "pixels" if schema.modality(name).shape else "channels"
                found.append(f"{facts['constant']:.0%} of the {parts} of {name} are constant in train")
            if facts.get("non_finite"):
                found.append(f"{facts['non_finite']:.1%} of the values of {name} in {split} are NaN or infinite")
    return found


def _label_warnings(corpus: Corpus, splits: dict[str, Any]) -> list[str]:
    if "train" not in splits:
        return ["there is no train split: nothing can be fitted on this corpus"]
    found = []
    for target in corpus.schema.targets:
        facts = splits["train"]["targets"][target.name]
        missing = [c for c in target.classes if not facts["counts"].get(c)]
        if missing:
            found.append(f"{target.name}: train has no {', '.join(missing)}; such samples cannot be learned")
        if facts["std"] == 0:
            found.append(f"{target.name}: all labels of train are the same")
        for split, about in splits.items():
            if unknown := about["targets"][target.name]["unknown"]:
                found.append(f"{target.name}: {unknown} of {about['samples']} labels of {split} are not known")
    return found


def render(description: dict[str, Any]) -> RenderableType:
    """Return tables for the terminal, of what ``describe`` here or ``csd.describe`` returned."""
    if "sequences" in description:
        return Group(Text(description["source"]), *map(_sequence_table, description["sequences"]))
    lines = [Text.assemble("  ! ", warning, style="yellow") for warning in description["warnings"]]
    lines += [Text.assemble("  - ", note) for note in description["notes"]]
    title = Text(f"{description['name']}  ({description['source']})  hash {description['hash']}")
    rated = [_rater_table(description["agreement"])] if description["agreement"] else []
    return Group(title, _modality_table(description), _label_table(description), *rated, *lines)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < 2 else "right", no_wrap=i == 0)
    return table


def _modality_table(description: dict[str, Any]) -> Table:
    table = _table("split", "modality", "rows", "groups", "present", "length", "p95", "max", "MB", "zero", "const")
    kinds = {m["name"]: _form(m) for m in description["modalities"]}
    for split, about in description["splits"].items():
        head = [split, str(about["samples"]), "-" if about["groups"] is None else str(about["groups"])]
        for name, facts in about["modalities"].items():
            length = facts["length"] or {}
            table.add_row(
                escape(head[0]),
                escape(f"{name} {kinds[name]}" if name != kinds[name] else name),
                *head[1:],
                f"{facts['present']:.0%}",
                *(f"{length[k]:.0f}" if length else "-" for k in ("median", "p95", "max")),
                f"{facts['bytes'] / 1e6:.1f}" if "bytes" in facts else "-",
                *("-" if facts.get(k) is None else f"{facts[k]:.0%}" for k in ("zero", "constant")),
            )
            head = ["", "", ""]
    return table


def _form(modality: dict[str, Any]) -> str:
    """Return the kind of a modality and the size of its steps, in short."""
    size = "x".join(map(str, modality["shape"])) or modality["width"]
    return "text" if modality["kind"] == "text" else f"{modality['kind'][:3]} {size}"


def _label_table(description: dict[str, Any]) -> Table:
    table = _table("target", "split", "mean", "std", "labels")
    table.columns[-1].justify = "left"
    for target in description["targets"]:
        for split, about in description["splits"].items():
            facts = about["targets"][target["name"]]
            moments = ["-" if facts.get(k) is None else f"{facts[k]:.3f}" for k in ("mean", "std")]
            counts = "  ".join(f"{label}: {count}" for label, count in facts["counts"].items())
            table.add_row(escape(target["name"]), escape(split), *moments, escape(counts))
    return table


def _rater_table(agreement: list[dict[str, Any]]) -> Table:
    """Return how far raters agree, and what one of them reaches in the main metric."""
    table = _table("raters of", "split", "raters", "figure", "value", "95% interval", "n", "groups")
    table.columns[3].justify, table.columns[3].no_wrap = "left", True
    for row in agreement:
        if row["what"] != "agreement" and not row["main"]:
            continue
        ends = [row["low"], row["high"]] if row["low"] is not None else [row["least"], row["most"]]
        interval = "-" if None in ends else " to ".join(f"{end:.3f}" for end in ends)
        named = row["metric"] if row["what"] == "agreement" else f"{row['metric']} of {row['what']}"
        value = "-" if row["mean"] is None else f"{row['mean']:.3f}"
        figures = (str(row["raters"]), named, value, interval, str(row["count"]), str(row["groups"]))
        table.add_row(escape(row["target"]), escape(row["split"]), *map(escape, figures))
    return table


def _sequence_table(sequence: dict[str, Any]) -> Table:
    lengths = sequence["lengths"]
    table = Table(box=None, show_header=False)
    for name, value in (
        *((key, sequence[key]) for key in ("file", "name", "role", "kind", "entries", "width", "steps")),
        ("steps per entry", f"median {lengths['median']:.0f}, longest {lengths['max']:.0f}"),
        ("hours", f"{sequence['seconds'] / 3600:.2f}"),
    ):
        table.add_row(name, escape(str(value)))
    return table
