"""How sure a run is: measured on validation when its seeds are trained, kept as ``calibration.json``.

What is calibrated is what is predicted: the mean over seeds (of values, of probabilities), for every set of modalities
that a sample may have, because less input makes less sure.

In a run of folds every sample is validated on by members that did not train on its group. What they say of all samples
together calibrates the run (cross-conformal by group); the mean over all members, which is what is then predicted, errs
no more than they do on average. What a fold's own validation part says calibrates its predictions of what it tests, so
that no sample calibrates itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.core import Target
from polymodal.core.records import sealed
from polymodal.data.corpus import Corpus
from polymodal.data.progress import progress_bar
from polymodal.data.ragged import Array
from polymodal.data.split import Split
from polymodal.score.calibration import calibration_error, coverage, residual_quantile, temperature, tempered
from polymodal.score.selective import confidence, expected_error, steps
from polymodal.train.abstain import Abstainer, held, losses
from polymodal.train.answers import EVERY, ensemble
from polymodal.train.calibration import FILE, LEVELS, Calibration
from polymodal.train.checkpoint import write_json
from polymodal.train.infer import Columns, infer
from polymodal.train.members import home_of
from polymodal.train.novelty import measure
from polymodal.train.run import Run

if TYPE_CHECKING:
    import torch

Subset = tuple[str, ...]


def calibrate(run: Run, corpus: Corpus, device: torch.device | str = "cpu") -> None:
    """Measure ``run`` on the validation split of ``corpus`` and write ``calibration.json``; the same bytes every time.

    In a run of folds each of them gets a file of its own as well. ``novelty.safetensors`` is written beside it.

    Args:
        run: with all seeds trained.
        corpus: what it was trained on, encoded.
    """
    targets, seeds = _calibrated(run), run.seeds
    if not targets:
        return
    dealt = run.dealt(corpus) if run.crossed else None
    subsets = corpus.schema.subsets()
    by_subset: dict[Subset, list[Columns]] = {kept: [] for kept in subsets}
    with progress_bar() as bar:
        task = bar.add_task("calibrating", total=len(run.members) * len(subsets))
        for fold in run.folds:
            own = dealt.corpus(fold) if dealt and fold is not None else corpus
            said = _predict(run, own, fold, subsets, device, lambda: bar.advance(task))
            merged = {kept: ensemble(targets, columns) for kept, columns in said.items()}
            if dealt:
                _write(run.path / home_of(fold), "valid", seeds, merged, own["valid"], targets)
            for kept, columns in merged.items():
                by_subset[kept].append(columns)
    whole = {kept: _pooled(targets, parts) if dealt else parts[0] for kept, parts in by_subset.items()}
    split = dealt.pooled if dealt else corpus["valid"]
    _write(run.path, "valid of each fold" if dealt else "valid", seeds, whole, split, targets)
    measure(run, corpus).write(run.path)


def _predict(
    run: Run, corpus: Corpus, fold: int | None, subsets: Sequence[Subset], device: Any, done: Callable[[], None]
) -> dict[Subset, list[Columns]]:
    """Return what the members of ``fold`` say of the validation split with every subset, seed by seed."""
    said: dict[Subset, list[Columns]] = {kept: [] for kept in subsets}
    loader = run.loader(corpus, "valid", fold)
    for seed in run.seeds:
        method = run.method(seed, fold).to(device)
        for kept in subsets:
            absent = [n for n in corpus.schema.names if n not in kept]
            said[kept].append(infer(method, loader.epoch(), absent=absent)[0])
            done()
    return said


def _pooled(targets: Iterable[Target], parts: Sequence[Columns]) -> Columns:
    """Return the samples of ``parts`` together, each once, with the mean of what the folds that validated on it say."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _, first, member, counts = np.unique(whole["id"], return_index=True, return_inverse=True, return_counts=True)
    once = {name: values[first] for name, values in whole.items()}
    for target in targets:
        name = f"{target.name}/{target.spec.averaged}"
        sums = np.zeros_like(once[name])
        np.add.at(sums, member, whole[name])
        once[name] = sums / counts.reshape(-1, *[1] * (sums.ndim - 1))
    return once


def _write(
    folder: Path,
    split_name: str,
    seeds: list[int],
    by_subset: dict[Subset, Columns],
    split: Split,
    targets: Sequence[Target],
) -> None:
    measured = [_measure(kept, columns, split, targets) for kept, columns in by_subset.items()]
    about = {"split": split_name, "seeds": seeds, "levels": LEVELS, "subsets": measured}
    write_json(folder / FILE, sealed(about))


def _calibrated(run: Run) -> list[Target]:
    """Return the targets of which it can be known how sure an answer is."""
    return [t for t in run.schema.joint_targets if t.spec.calibration]


def _measure(kept: tuple[str, ...], columns: Columns, split: Split, targets: Iterable[Target]) -> dict[str, Any]:
    """Return the figures of the samples that have all of ``kept``."""
    have, group = set(kept), split.with_groups({"id": columns["id"]}).get("group")
    rows = np.array([have <= present for present in _presence(columns, split)], dtype=bool)
    figures: dict[str, dict[str, Any]] = {}
    for target in targets:
        known = rows & target.spec.known(columns[f"{target.name}/true"])
        true = columns[f"{target.name}/true"][known]
        said = columns[f"{target.name}/{target.spec.averaged}"][known]
        figure: dict[str, Any] = {"count": len(true)}
        if target.spec.calibration == "interval":
            figure["half_widths"] = [residual_quantile(true - said, level) for level in LEVELS]
        else:
            figure["temperature"] = temperature(target, true, said)
            said = tempered(target, said, figure["temperature"] or 1.0)
        figure["selective"] = _selective(target, true, said, None if group is None else group[known])
        figures[target.name] = figure
    return {"present": list(kept), "targets": figures}


def _selective(target: Target, true: Array, said: Array, groups: Array | None) -> dict[str, Any]:
    """Return what is needed to answer only where it is sure, see ``score.selective``; ``said`` is tempered."""
    cost = losses(target, true, said)
    expected: tuple[float, ...] = ()
    if target.spec.answer != "number":
        sure = confidence(target, said)
    elif len(true):
        expected, sure = expected_error(said, cost, groups)
    else:
        return {"expected": [], "steps": []}
    return {"expected": expected, "steps": steps(sure, cost, groups, bounded=target.spec.answer != "number")}


def _presence(columns: Columns, split: Split) -> list[set[str]]:
    """Return the modalities that each row of ``columns`` has in ``split``."""
    where = {name: row for row, name in enumerate(split.ids)}
    rows = [where[name] for name in columns["id"].tolist()]
    return [{name for name, present in split.present.items() if present[row]} for row in rows]


def reliability(run: Run, split: Split, by_seed: Sequence[Columns], level: float = 0.9) -> list[dict[str, Any]]:
    """Return whether intervals and probabilities hold what they promise on other samples, one row per target.

    A row has ``target``, ``count`` (samples with a known figure), and ``level``, ``coverage``, ``width`` (mean width of
    the interval) for a regression, ``ece`` and ``ece_uncalibrated`` (expected calibration error) otherwise. No rows for
    a run that is not calibrated. What was predicted out of fold is held against the calibration of its own fold.
    """
    targets = _calibrated(run)
    columns = ensemble(targets, by_seed)
    calibrations, presence = _own(run, columns), _presence(columns, split)
    found = (_reliability(calibrations, target, columns, presence, level) for target in targets)
    return [row for row in found if row["count"]]


def selective(run: Run, split: Split, by_seed: Sequence[Columns], abstainer: Abstainer) -> list[dict[str, Any]]:
    """Return whether ``abstainer`` keeps its promise on other samples, one row per target, see ``abstain.held``.

    What was predicted out of fold is answered by the calibration of its own fold.
    """
    targets = _calibrated(run)
    columns = ensemble(targets, by_seed)
    calibrations, presence, rows = _own(run, columns), _presence(columns, split), []
    for target in targets:
        known = np.flatnonzero(target.spec.known(columns[f"{target.name}/true"]))
        own, there = [calibrations[i] for i in known], [presence[i] for i in known]
        said = columns[f"{target.name}/{target.spec.averaged}"][known]
        if target.spec.calibration == "temperature":
            warmth = [(c.temperature(target.name, p) if c else None) or 1.0 for c, p in zip(own, there, strict=True)]
            said = tempered(target, said, np.asarray(warmth))
        if len(known):
            rows.append(held(abstainer, target, columns[f"{target.name}/true"][known], said, there, own))
    return rows


def _own(run: Run, columns: Columns) -> list[Calibration | None]:
    """Return for each row the calibration of the fold that predicted it, or of the run."""
    numbers = columns["fold"].tolist() if "fold" in columns else [EVERY] * len(columns["id"])
    own = {n: run.calibration if n == EVERY else run.calibration_of(n) for n in set(numbers)}
    return [own[n] for n in numbers]


def _reliability(
    calibrations: Sequence[Calibration | None],
    target: Target,
    columns: Columns,
    presence: list[set[str]],
    level: float,
) -> dict[str, Any]:
    interval = target.spec.calibration == "interval"
    known = [
        None if c is None else c.half_width(target.name, p, level) if interval else c.temperature(target.name, p)
        for c, p in zip(calibrations, presence, strict=True)
    ]
    rows = np.array([k is not None for k in known], dtype=bool) & target.spec.known(columns[f"{target.name}/true"])
    figures: Array = np.array([k for k, row in zip(known, rows, strict=True) if row])
    true = columns[f"{target.name}/true"][rows]
    said = columns[f"{target.name}/{target.spec.averaged}"][rows]
    row: dict[str, Any] = {"target": target.name, "count": len(true)}
    if not len(true):
        return row
    if interval:
        share = coverage(true, said, figures)
        return row | {"level": level, "coverage": share, "width": float(2 * figures.mean())}
    return row | {
        "ece": calibration_error(target, true, tempered(target, said, figures)),
        "ece_uncalibrated": calibration_error(target, true, said),
    }
