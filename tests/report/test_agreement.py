"""The part of a report on raters: one line per figure, people beside the run, a dashed line over the bars."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polymodal.core import RunError
from polymodal.report.agreement import mark, one_rater, rater_table
from polymodal.report.folder import Run, read_run
from polymodal.report.plots import subset_bars
from polymodal.report.sections import sections

PLACE = {"split": "test", "target": "emotion", "raters": 3, "main": False, "std": 0.0, "least": None, "most": None}
FIGURE = {**PLACE, "count": 90, "groups": 30, "seeds": [0.5]}
AGREEMENT = [
    {**FIGURE, "what": "agreement", "metric": "alpha_nominal", "mean": 0.5, "low": 0.4, "high": 0.6},
    {**FIGURE, "what": "one rater", "metric": "accuracy", "mean": 0.8, "low": 0.7, "high": 0.9},
    {**FIGURE, "what": "one rater", "metric": "f1", "mean": 0.99, "low": None, "high": None, "main": True},
    {**FIGURE, "what": "soft labels", "metric": "cross_entropy", "mean": 0.7, "low": 0.6, "high": 0.8},
    {**FIGURE, "what": "soft labels", "metric": "entropy", "mean": 0.25, "low": 0.2, "high": 0.3},
    {
        **FIGURE,
        "what": "one rater",
        "metric": "f1",
        "mean": 0.1,
        "low": 0,
        "high": 0,
        "main": True,
        "split": "test_ood",
    },
]


def _rated(folder: Path, rows: list[dict[str, Any]]) -> Run:
    file = folder / "evaluation" / "scores.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"agreement": rows}))
    return read_run(folder)


def test_people_stand_beside_the_run(make_run: Callable[..., Path]) -> None:
    table = rater_table(_rated(make_run("classification"), AGREEMENT))
    assert table is not None
    lines = [[cell.text for cell in line] for line in table.lines]
    assert [line[:2] for line in lines] == [
        ["Krippendorff's alpha, nominal", "0.500"],
        ["Accuracy ↑, one rater", "80.0"],
        ["F1 ↑, one rater", "99.0"],
        ["Cross entropy with shares", "–"],  # noqa: RUF001
        ["Entropy of shares", "0.250"],
    ]
    assert [line[2] for line in lines] == ["–", "90.0 ± 1.2", "90.0 ± 1.2", "0.700", "–"]  # noqa: RUF001
    assert {line[3] for line in lines} == {"90 / 30"}
    assert "Cross entropy holds" in table.caption


def test_the_line_lies_where_bars_are_measured_and_is_never_cut_off(make_run: Callable[..., Path]) -> None:
    run = _rated(make_run("classification"), AGREEMENT)
    person = one_rater(run)
    assert person is not None
    figure = subset_bars([r for r in run.main if r.split == run.split])
    said = mark(figure, person)
    assert said == " Dashed: one rater against the others, F1 99.0."
    line = figure.axes[0].lines[-1]
    assert line.get_xdata()[0] == pytest.approx(99)
    assert figure.axes[0].get_xlim()[1] > 99
    parts = {part.name: part for part in sections(run)}
    assert parts["subsets"].caption.endswith(said)
    assert parts["raters"].table is not None


def test_without_ratings_there_is_neither(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run("classification"))
    assert (rater_table(run), one_rater(run)) == (None, None)
    assert "raters" not in [part.name for part in sections(run)]


def test_a_damaged_figure_is_named(make_run: Callable[..., Path]) -> None:
    run = _rated(make_run("classification"), [{"split": "test", "what": "agreement"}])
    with pytest.raises(RunError, match=r"are incomplete .* run polymodal evaluate again"):
        rater_table(run)
