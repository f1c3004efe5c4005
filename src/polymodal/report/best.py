"""What a search for the best found, as a table and in sentences."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NotRequired, TypedDict

from polymodal.core.records import read_record
from polymodal.report.metrics import MISSING, arrow, is_percent, label, write_value
from polymodal.report.tables import Cell, Table

FILE = "best.json"
REMEDY = "remove it, and the report does without, or repeat the search with another --out"


class FigureRecord(TypedDict):
    """An ``Estimate`` in a JSON file, as far as it is told; None is NaN."""

    mean: float | None
    low: float | None
    high: float | None


class GainRecord(TypedDict):
    """A ``Comparison`` in a JSON file, as far as it is told; None is NaN."""

    difference: float | None
    low: float | None
    high: float | None


class TriedRecord(TypedDict):
    """A candidate."""

    name: str
    state: str
    why: str
    seconds: float
    figure: FigureRecord | None


class EnsembleRecord(TypedDict):
    """What the ensemble reaches, on what it was chosen by."""

    figure: FigureRecord


class NestedRecord(TypedDict):
    """What weights that were chosen on the other folds reach."""

    ensemble: FigureRecord
    single: FigureRecord
    gain: GainRecord


class MemberRecord(TypedDict):
    """A candidate in the ensemble."""

    name: str
    weight: float


class CurveRecord(TypedDict):
    """A learning curve."""

    name: str
    points: dict[str, FigureRecord]
    gain: GainRecord


class BestRecord(TypedDict):
    """``best.json``, as far as it is told; a search without ``curve``, ``lifted`` or ``honest`` is told
    without them."""

    folds: int
    target: str
    metric: str
    higher_is_better: bool
    tried: list[TriedRecord]
    ensemble: EnsembleRecord
    nested: NestedRecord
    members: list[MemberRecord]
    curve: NotRequired[CurveRecord | None]
    lifted: NotRequired[dict[str, dict[str, float]]]
    honest: NotRequired[str]


def read_best(folder: Path) -> BestRecord | None:
    """Return what a search left in a run folder, None where the run is not one of a search.

    Raises:
        RunError: the file is damaged, or of a search that told less than this one reads.
    """
    file = folder / FILE
    return read_record(file, BestRecord, REMEDY) if file.is_file() else None


def best_table(found: BestRecord) -> Table:
    """Return a line per candidate: its figure out of fold, its weight, what it cost."""
    metric = found["metric"]
    weights = {member["name"]: member["weight"] for member in found["members"]}
    lines = [
        (
            Cell(tried["name"]),
            _cell(metric, tried["figure"]) if tried["figure"] else Cell(MISSING, tried["why"]),
            Cell(f"{weights[tried['name']]:.0%}" if weights.get(tried["name"]) else ""),
            Cell(f"{tried['seconds']:.1f}"),
        )
        for tried in found["tried"]
    ]
    lines.append((Cell("ensemble"), _cell(metric, found["ensemble"]["figure"]), Cell("100%"), Cell("")))
    caption = (
        f"{label(metric)} of {found['target']} out of fold, with 95% intervals over groups: the figures that members "
        "and weights were chosen by."
    )
    head = ("Candidate", f"{label(metric)} {arrow(found['higher_is_better'])}", "Weight", "Seconds")
    return Table(caption, head, tuple(lines))


def _cell(metric: str, figure: FigureRecord) -> Cell:
    mean, low, high = (
        write_value(metric, math.nan if v is None else v) for v in (figure["mean"], figure["low"], figure["high"])
    )
    return Cell(mean, "" if figure["low"] is None else f"{low} to {high}")


def best_sentences(found: BestRecord) -> list[str]:
    """Return what ``best.json`` says, in sentences."""
    metric, percent = found["metric"], "%" if is_percent(found["metric"]) else ""

    def value(figure: FigureRecord) -> str:
        cell = _cell(metric, figure)
        return f"{cell.text}{percent} [{cell.detail}]" if cell.detail else f"{cell.text}{percent}"

    done = sum(tried["state"] == "done" for tried in found["tried"])
    weights = ", ".join(f"{m['name']} {m['weight']:.0%}" for m in found["members"] if m["weight"])
    nested = found["nested"]
    lines = [
        f"{done} candidates in {found['folds']} folds, {len(found['tried']) - done} more given up; ensemble: {weights}",
        f"{label(metric)} of {found['target']} out of fold, weights chosen on the other folds: "
        f"{value(nested['ensemble'])}; best single, so chosen: {value(nested['single'])}; {_gained(found)}",
    ]
    for name, offsets in found.get("lifted", {}).items():
        told = ", ".join(f"{of} {offset:+.2f}" for of, offset in offsets.items() if offset)
        lines.append(f"rare classes of {name} are lifted for the sake of {label(metric)}, logits by: {told}")
    if curve := found.get("curve"):
        points = ", ".join(f"{_share(share)} {value(point)}" for share, point in curve["points"].items())
        lines.append(f"{curve['name']} by share of the groups to learn from: {points}; {_more(found, curve)}")
    return [*lines, *filter(None, [found.get("honest")])]


def _share(text: str) -> str:
    """Return a share as the file names it, in percent; as it is where it is no number."""
    try:
        return f"{float(text):.0%}"
    except ValueError:
        return text


def _gained(found: BestRecord) -> str:
    return _told(found, found["nested"]["gain"], "the ensemble is better", "the ensemble is WORSE", "cannot be told")


def _more(found: BestRecord, curve: CurveRecord) -> str:
    sentences = ("more data would help", "more data did not help", "whether more would help cannot be told")
    return _told(found, curve["gain"], *sentences)


def _told(found: BestRecord, gain: GainRecord, better: str, worse: str, unsure: str) -> str:
    """Return which of three may be said of a difference."""
    difference, low, high = gain["difference"], gain["low"], gain["high"]
    if difference is None or low is None or high is None or low <= 0 <= high:
        return unsure
    return better if (difference > 0) == found["higher_is_better"] else worse
