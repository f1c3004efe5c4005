"""What a search wrote is read again: whole, by an older version, damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polymodal.best.candidates import Candidate
from polymodal.best.records import FILE, FOLDER, Record, Records
from polymodal.core import RunError
from polymodal.report.best import best_sentences, best_table, read_best
from polymodal.report.metrics import MISSING

FIGURE = {"mean": 0.2, "low": 0.1, "high": 0.3, "std": 0.0}
GAIN = {"difference": -0.1, "low": -0.2, "high": -0.05, "p": 0.01, "groups": 9}
BEST: dict[str, Any] = {
    "folds": 3,
    "target": "mood",
    "metric": "mae",
    "higher_is_better": False,
    "tried": [
        {"name": "a", "state": "done", "why": "", "seconds": 1.0, "loss": 0.2, "figure": FIGURE},
        {"name": "b", "state": "slow", "why": "too slow", "seconds": 0.0, "loss": None, "figure": None},
    ],
    "ensemble": {"loss": 0.2, "figure": FIGURE},
    "nested": {"ensemble": FIGURE, "single": FIGURE, "gain": GAIN},
    "members": [{"name": "a", "weight": 1.0, "by_fold": [1.0, 1.0, 1.0]}],
    "curve": {"name": "a", "points": {"0.5": FIGURE}, "gain": GAIN},
    "honest": "Believe the nested figures.",
}


def told(folder: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """Return what is said of a search whose ``best.json`` was changed."""
    found = deepcopy(BEST)
    change(found)
    (folder / "best.json").write_text(json.dumps(found))
    read = read_best(folder)
    assert read is not None
    assert len(best_table(read).lines) == 1 + len(found["tried"])
    return " ".join(best_sentences(read))


def test_a_search_is_told(tmp_path: Path) -> None:
    assert read_best(tmp_path) is None
    whole = told(tmp_path, lambda _: None)
    assert "1 candidates in 3 folds, 1 more given up; ensemble: a 100%" in whole
    assert "the ensemble is better" in whole
    assert "by share of the groups to learn from: 50% 0.200 [0.100 to 0.300]; more data would help" in whole


def test_what_an_older_search_did_not_tell_is_left_out(tmp_path: Path) -> None:
    lifted = {"mood": {"calm": 0.0, "sad": 0.5}}
    assert "logits by: sad +0.50" in told(tmp_path, lambda found: found.update(lifted=lifted))
    assert "more data" not in told(tmp_path, lambda found: found.pop("curve"))
    assert "lifted" not in told(tmp_path, lambda found: found.pop("honest"))
    assert "nested figures" not in told(tmp_path, lambda found: found.pop("honest"))


def test_what_is_not_defined_is_a_dash_and_nothing_is_concluded(tmp_path: Path) -> None:
    def undefined(found: dict[str, Any]) -> None:
        found["nested"]["ensemble"] = dict.fromkeys(FIGURE)
        found["nested"]["gain"] = dict.fromkeys(GAIN)

    assert f"on the other folds: {MISSING}; best single, so chosen: 0.200 [0.100 to 0.300]; cannot be told" in told(
        tmp_path, undefined
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found.pop("metric"), "metric is missing"),
        (lambda found: found["nested"].pop("gain"), "nested.gain is missing"),
        (lambda found: found["curve"].update(points={"0.5": 3}), "curve.points.0.5 must be an object, got 3"),
        (lambda found: found["members"].append("b"), r"members\[1\] must be an object"),
    ],
)
def test_what_cannot_be_told_is_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    with pytest.raises(RunError, match=rf"best.json: {said}.*; remove it, and the report does without"):
        told(tmp_path, change)


def searched(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Records:
    """Return the records of a search whose ``search.json`` was changed."""
    records = Records(folder, {"seed": 1}, encode={}, complete=1, first={"c": 2.0})
    records.done = [Record(Candidate("linear", {"lr": 0.1}, ("audio",)), "done", 3.0, 1.0, 0.5, 0.4, "well")]
    records.save(10.0)
    file = folder / FOLDER / FILE
    stored = json.loads(file.read_text())
    change(stored)
    file.write_text(json.dumps(stored))
    return Records.open(folder, {"seed": 1})


def test_a_search_goes_on_from_what_an_older_version_wrote(tmp_path: Path) -> None:
    whole = searched(tmp_path, lambda _: None)
    assert (whole.spent, whole.complete, whole.first) == (10.0, 1, {"c": 2.0})

    def older(stored: dict[str, Any]) -> None:
        for name in ("complete", "first"):
            del stored[name]
        for name in ("asking", "together", "why"):
            del stored["done"][0][name]
        stored["done"][0]["of a later version"] = 1

    found = searched(tmp_path, older)
    assert found.done == [replace(whole.done[0], asking=0.0, together=None, why="")]
    assert (found.complete, found.first) == (0, {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stored: stored.pop("spent"), "spent is missing"),
        (lambda stored: stored["done"][0].pop("candidate"), r"done\[0\].candidate is missing"),
        (lambda stored: stored["done"][0].update(state="odd"), r"done\[0\].state must be"),
    ],
)
def test_a_damaged_search_is_one_sentence(tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str) -> None:
    with pytest.raises(RunError, match=rf"search.json: {said}.*; choose another --out"):
        searched(tmp_path, change)
