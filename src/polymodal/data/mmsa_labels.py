"""Labels of the MMSA layout: which ones there are, and on which scale."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from polymodal.core import DataError, Target
from polymodal.data.columns import SENTIMENT, as_array, check_range, is_text, keys_of, numbers, text_of
from polymodal.data.ragged import Array

Part = dict[str, Any]
Task = Literal["regression", "classification"]

_SHORT = {"M": "sentiment", "T": "sentiment_text", "A": "sentiment_audio", "V": "sentiment_vision"}
_SIMS = (-1.0, 1.0)
_SIMS_WIDTHS = {(33, 709), (25, 177)}  # (audio, vision) of CH-SIMS and of CH-SIMS v2


def read_labels(
    parts: dict[str, Part],
    ids: dict[str, list[str]],
    task: Task | None,
    bounds: tuple[float, float] | None,
    notes: list[str],
) -> tuple[list[Target], dict[str, dict[str, Array]]]:
    """Return the targets, and per split the labels of each.

    Args:
        parts: split name -> its columns.
        ids: split name -> sample ids.
        task: labels to use; None prefers regression.
        bounds: lowest and highest label; None decides between the scales of CMU-MOSI and of CH-SIMS.
        notes: gets what was decided.

    Raises:
        DataError: a split without labels, labels that are no numbers or out of range.
    """
    task = task or _task(parts)
    labels = {name: _stored(part, ids[name], name, task) for name, part in parts.items()}
    if task == "classification":
        classes = ("negative", "neutral", "positive")
        return [Target("sentiment", "classification", classes=classes)], labels
    return _regression_targets(parts, labels, ids, bounds, notes), labels


def _task(parts: dict[str, Part]) -> Task:
    scored = any(part.get(k) is not None for part in parts.values() for k in ("regression_labels", "labels"))
    return "regression" if scored else "classification"


def _stored(part: Part, ids: list[str], split: str, task: Task) -> dict[str, Array]:
    """Return target name -> labels."""
    if task == "classification":
        stored = {"M": part.get("classification_labels")}
    else:
        joint = part.get("regression_labels", part.get("labels"))
        stored = {**joint} if isinstance(joint, dict) else {"M": joint}
        stored.update({k: part[f"regression_labels_{k}"] for k in "TAV" if f"regression_labels_{k}" in part})
    if stored.get("M") is None:
        raise DataError(f"split {split!r} has no {task} labels; its keys are {keys_of(part)}")
    return {name: numbers(stored[k], f"{task} labels", ids, split) for k, name in _SHORT.items() if k in stored}


def _regression_targets(
    parts: dict[str, Part],
    labels: dict[str, dict[str, Array]],
    ids: dict[str, list[str]],
    bounds: tuple[float, float] | None,
    notes: list[str],
) -> list[Target]:
    names = ["sentiment"]
    for name in [n for n in _SHORT.values() if n != "sentiment" and any(n in of for of in labels.values())]:
        if all(name in of and np.isfinite(of[name]).all() for of in labels.values()):
            names.append(name)
        else:
            notes.append(f"{name} was left out: some samples have no such label")
    joint = np.concatenate([of["sentiment"] for of in labels.values()])
    bounds = bounds or _scale(joint, parts, len(names) > 1, notes)
    for split, of in labels.items():
        for name in names:
            check_range(of[name], ids[split], bounds)
    return [Target(n, "regression", bounds, modality=n.partition("_")[2] or None) for n in names]


def _scale(joint: Array, parts: dict[str, Part], unimodal: bool, notes: list[str]) -> tuple[float, float]:
    """Decide between the scales of CMU-MOSI and of CH-SIMS; the metrics follow from it."""
    if not (np.abs(joint[np.isfinite(joint)]) <= _SIMS[1]).all():
        return SENTIMENT
    reason = "it has labels for single modalities" if unimodal else _sims_reason(parts)
    if reason is None:
        notes.append("labels lie in -1 to 1, but nothing else looks like CH-SIMS: scored as CMU-MOSI; or ?range=-1,1")
        return SENTIMENT
    notes.append(f"labels are scored as CH-SIMS, -1 to 1, because {reason}; or ?range=-3,3")
    return _SIMS


def _sims_reason(parts: dict[str, Part]) -> str | None:
    for part in parts.values():
        columns = [part.get("audio"), part.get("vision")]
        shapes = [as_array(c[0], "audio or vision").shape for c in columns if c is not None and len(c)]
        widths = tuple(shape[-1] for shape in shapes if shape)
        if widths in _SIMS_WIDTHS:
            return "audio and vision have the widths of CH-SIMS"
        sentences = part.get("raw_text")
        if sentences is None or not is_text(sentences):
            continue
        found = (text_of(sentence, "a sentence of raw_text") or "" for sentence in sentences[:50])
        if any("\u4e00" <= c <= "\u9fff" for sentence in found for c in sentence):
            return "its text is Chinese"
    return None
