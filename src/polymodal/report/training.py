"""How a run was trained: its losses, the epochs that were kept, how evenly the encoders learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from polymodal.report import plots
from polymodal.report.folder import Run, best_epochs, read_epochs
from polymodal.report.section import Section
from polymodal.train.learning import learning_index
from polymodal.train.recipe import advice

MANY = 10
"""Trainings above which a caption does not name each."""


def training_section(run: Run) -> Section:
    """Return the losses of every epoch, the epochs kept, and how evenly the encoders learned."""
    title = "Training"
    epochs = read_epochs(run)
    if not epochs:
        done = any((folder / "result.json").is_file() for folder in run.members.values())
        why = "the method was fitted in closed form." if done else f"what trains the run: {run.info['command']}"
        return Section("losses", title, missing=f"No epoch was logged; {why}")
    best = best_epochs(run, epochs)
    terms = dict.fromkeys(term for lines in epochs.values() for line in lines for term in line["train"])
    curves = {
        term: {name: {part: _curve(lines, part, term) for part in ("train", "valid")} for name, lines in epochs.items()}
        for term in sorted(terms, key=lambda t: t != "loss")  # the sum first, then its terms as logged
    }
    kept, each = _kept(best), "fold and seed" if "folds" in run.info else "seed"
    last = max(lines[-1]["epoch"] for lines in epochs.values())
    return Section(
        "losses",
        title,
        plots.loss_curves(curves, best),
        f"Curves of {', '.join(curves)} over {last} epochs, {len(epochs)} trainings (per {each}); epochs kept: {kept}.",
        f"Each loss term against epochs, a line per {each}. “loss” is the sum of the others. Epochs kept: {kept}."
        + _more(run, best, epochs)
        + _learned(epochs),
    )


def _kept(best: dict[str, int]) -> str:
    """Say which epochs were kept; of many trainings, between which."""
    if len(best) > MANY:
        return f"{min(best.values())} to {max(best.values())}, median {np.median(list(best.values())):g}"
    return ", ".join(f"{epoch} ({name})" for name, epoch in best.items()) or "unknown"


def _more(run: Run, best: dict[str, int], epochs: dict[str, list[dict[str, Any]]]) -> str:
    """Say which trainings more epochs would have helped; of many, how many."""
    done = [name for name in best if (run.members[name] / "result.json").is_file()]
    advised = ((n, advice(best[n], epochs[n][-1]["epoch"], run.info["recipe"]["patience"])) for n in done)
    found = {name: text for name, text in advised if text}
    if len(found) > MANY:
        return f" {len(found)} of {len(done)} were still improving when the epochs ran out."
    return "".join(f" {name[0].upper()}{name[1:]}: {text}." for name, text in found.items())


def _learned(epochs: dict[str, list[dict[str, Any]]]) -> str:
    """Say how evenly the encoders learned, where each modality has one: means over epochs and trainings."""
    lines = [line["gradients"] for of in epochs.values() for line in of if line.get("gradients")]
    if not lines:
        return ""
    sizes = {name: float(np.mean([line[name] for line in lines])) for name in lines[0]}
    index = learning_index(sizes)
    if not np.isfinite(index):
        return ""
    spelled = ", ".join(f"{name} {size:.2g}" for name, size in sizes.items())
    return (
        f" Modality Learning Index {index:.2f} (1: all encoders learn alike, 0: one does not), from the gradient per "
        f"weight of each encoder: {spelled}."
    )


def _curve(lines: list[dict[str, Any]], part: str, term: str) -> plots.Curve:
    values = [(line["epoch"], (line.get(part) or {}).get(term)) for line in lines]
    return [(epoch, value) for epoch, value in values if value is not None]  # a loss that was NaN is null
