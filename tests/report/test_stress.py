"""The report's part on absence and noise: its table, its curves, and its absence where nothing was stressed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from polymodal.report import write_report
from polymodal.report.folder import read_run
from polymodal.report.stress import stress_curves, stress_rows, stress_table

NAMES = ("missing:rate=0.1", "missing:rate=0.5", "noise:snr=0", "area")


@pytest.fixture
def stressed(make_run: Callable[..., Path]) -> Path:
    """A run whose scores get worse by 0.1 from stress to stress."""
    folder = make_run("regression")
    file = folder / "evaluation/scores.json"
    scores = json.loads(file.read_text())
    scores["stress"] = []
    for row in scores["rows"]:
        if row["complete"]:
            for number, (name, value) in enumerate(zip(NAMES, (0.1, 0.5, None, None), strict=True), start=1):
                place = {"stress": name, "series": "" if "noise" in name else "missing:rate", "value": value}
                scores["stress"].append(
                    {**row, **place, "mean": None if row["mean"] is None else row["mean"] + 0.1 * number}
                )
    file.write_text(json.dumps(scores))
    return folder


def test_the_table_says_what_each_stress_costs(stressed: Path) -> None:
    run = read_run(stressed)
    complete = next(r for r in run.main if r.complete and r.split == run.split)
    table = stress_table(stress_rows(run), complete)
    names = [line[0].text for line in table.lines]
    assert names == ["complete", *NAMES[:3], "area under missing:rate"]
    assert [line[3].text for line in table.lines] == ["", "-0.1", "-0.2", "-0.3", "-0.4"]  # MAE rose: worse


def test_only_series_with_several_points_are_drawn(stressed: Path) -> None:
    run = read_run(stressed)
    complete = next(r for r in run.main if r.complete and r.split == run.split)
    figure = stress_curves(stress_rows(run), complete)
    assert figure is not None
    assert [ax.get_xlabel() for ax in figure.axes] == ["missing:rate"]
    assert stress_curves(stress_rows(run)[2:3], complete) is None


def test_the_page_has_the_part_only_where_something_was_stressed(stressed: Path, make_run: Callable[..., Path]) -> None:
    assert "Absence and noise" in write_report(stressed).read_text()
    assert (stressed / "figures/stress.png").stat().st_size > 1000
    assert "area under missing:rate" in (stressed / "tables/scores.md").read_text()
    assert "Absence and noise" not in write_report(make_run("regression", name="plain")).read_text()
