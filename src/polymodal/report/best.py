"""What a search for the best found, as a table and in sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polymodal.core import RunError
from polymodal.report.metrics import MISSING, arrow, is_percent, label, write_value
from polymodal.report.tables import Cell, Table

FILE = "best.json"


def read_best(folder: Path) -> dict[str, Any] | None:
    """Return what a search left in a run folder, None where the run is not one of a search; RunError if damaged."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{file} cannot be read ({error}); run its fit best again") from None


def best_table(found: dict[str, Any]) -> Table:
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


def _cell(metric: str, figure: dict[str, Any]) -> Cell:
    known = figure["low"] is not None
    interval = f"{write_value(metric, figure['low'])} to {write_value(metric, figure['high'])}" if known else ""
    return Cell(write_value(metric, figure["mean"]), interval)


def best_sentences(found: dict[str, Any]) -> list[str]:
    """Return what ``best.json`` says, in sentences."""
    metric, percent = found["metric"], "%" if is_percent(found["metric"]) else ""

    def value(figure: dict[str, Any]) -> str:
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
    if found["curve"]:
        points = ", ".join(f"{float(share):.0%} {value(point)}" for share, point in found["curve"]["points"].items())
        lines.append(f"{found['curve']['name']} by share of the groups to learn from: {points}; {_more(found)}")
    return [*lines, found["honest"]]


def _gained(found: dict[str, Any]) -> str:
    return _told(found, found["nested"]["gain"], "the ensemble is better", "the ensemble is WORSE", "cannot be told")


def _more(found: dict[str, Any]) -> str:
    gain = found["curve"]["gain"]
    return _told(
        found, gain, "more data would help", "more data did not help", "whether more would help cannot be told"
    )


def _told(found: dict[str, Any], gain: dict[str, Any], better: str, worse: str, unsure: str) -> str:
    """Return which of three may be said of a difference."""
    if gain["low"] is None or gain["low"] <= 0 <= gain["high"]:
        return unsure
    return better if (gain["difference"] > 0) == found["higher_is_better"] else worse
