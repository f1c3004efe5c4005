"""How sure a run is: measured on validation when its seeds are trained, kept as ``calibration.json``.

What is calibrated is what is predicted: the mean over seeds (of values, of probabilities), for every set of modalities
that a sample may have, because less input makes less sure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.core import Target
from polymodal.data.corpus import Corpus, Split
from polymodal.data.progress import progress_bar
from polymodal.data.ragged import Array
from polymodal.score.calibration import calibration_error, coverage, residual_quantile, temperature, tempered
from polymodal.train.calibration import FILE, LEVELS, Calibration
from polymodal.train.checkpoint import write_json
from polymodal.train.infer import Columns, infer
from polymodal.train.run import Run

if TYPE_CHECKING:
    import torch


def calibrate(run: Run, corpus: Corpus, device: torch.device | str = "cpu") -> None:
    """Measure ``run`` on the validation split of ``corpus`` and write ``calibration.json``; the same bytes every time.

    Args:
        run: with all seeds trained.
        corpus: what it was trained on, encoded.
    """
    names, targets, seeds = corpus.schema.names, _calibrated(run), run.seeds
    if not targets:
        return
    subsets = [kept for size in range(len(names), 0, -1) for kept in combinations(names, size)]
    by_subset: dict[tuple[str, ...], list[Columns]] = {kept: [] for kept in subsets}
    loader = run.loader(corpus, "valid")
    with progress_bar() as bar:
        task = bar.add_task("calibrating", total=len(seeds) * len(subsets))
        for seed in seeds:
            method = run.method(seed).to(device)
            for kept in subsets:
                absent = [n for n in names if n not in kept]
                by_subset[kept].append(infer(method, loader.epoch(), absent=absent)[0])
                bar.advance(task)
    measured = [_measure(kept, ensemble(targets, by_subset[kept]), corpus["valid"], targets) for kept in subsets]
    write_json(run.path / FILE, {"split": "valid", "seeds": seeds, "levels": LEVELS, "subsets": measured})


def _calibrated(run: Run) -> list[Target]:
    """Return the targets of which it can be known how sure an answer is."""
    return [t for t in run.schema.joint_targets if t.spec.calibration]


def ensemble(targets: Iterable[Target], by_seed: Sequence[Columns]) -> Columns:
    """Return columns whose predictions are the mean over seeds: of probabilities where there are some, or of values."""
    merged = dict(by_seed[0])
    for target in targets:
        name = f"{target.name}/{target.spec.averaged}"
        merged[name] = np.stack([columns[name] for columns in by_seed]).astype(np.float64).mean(axis=0)
    return merged


def _measure(kept: tuple[str, ...], columns: Columns, split: Split, targets: Iterable[Target]) -> dict[str, Any]:
    """Return the figures of the samples that have all of ``kept``."""
    have = set(kept)
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
        figures[target.name] = figure
    return {"present": list(kept), "targets": figures}


def _presence(columns: Columns, split: Split) -> list[set[str]]:
    """Return the modalities that each row of ``columns`` has in ``split``."""
    where = {name: row for row, name in enumerate(split.ids)}
    rows = [where[name] for name in columns["id"].tolist()]
    return [{name for name, present in split.present.items() if present[row]} for row in rows]


def reliability(run: Run, split: Split, by_seed: Sequence[Columns], level: float = 0.9) -> list[dict[str, Any]]:
    """Return whether intervals and probabilities hold what they promise on other samples, one row per target.

    A row has ``target``, ``count`` (samples with a known figure), and ``level``, ``coverage``, ``width`` (mean width of
    the interval) for a regression, ``ece`` and ``ece_uncalibrated`` (expected calibration error) otherwise. No rows for
    a run that is not calibrated.
    """
    calibration, targets = run.calibration, _calibrated(run)
    if calibration is None:
        return []
    columns = ensemble(targets, by_seed)
    presence = _presence(columns, split)
    found = (_reliability(calibration, target, columns, presence, level) for target in targets)
    return [row for row in found if row["count"]]


def _reliability(
    calibration: Calibration, target: Target, columns: Columns, presence: list[set[str]], level: float
) -> dict[str, Any]:
    interval = target.spec.calibration == "interval"
    known = [
        calibration.half_width(target.name, p, level) if interval else calibration.temperature(target.name, p)
        for p in presence
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
