"""The report's parts on absence and noise: tables, curves, words, and nothing where nothing was tested."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import Target
from polymodal.core.estimate import plain
from polymodal.report import write_report
from polymodal.report.costs import cost_table, cost_words
from polymodal.report.folder import read_run
from polymodal.report.rows import costs
from polymodal.report.stress import stress_curves
from polymodal.report.tables import stress_table
from polymodal.score import Blocks, Robustness, robustness, tables_by_seed

NAMES = ("missing:rate=0.1", "missing:rate=0.5", "noise:snr=0", "area")
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
PAIR = ("text", "audio")


def found(off: dict[str, float]) -> Robustness:
    """What is found of predictions that are off by so much, of labels whose median misses by 1.54."""
    true = np.linspace(-3, 3, 40)
    tables = {name: tables_by_seed(SCORE, true, (true + by)[None]) for name, by in off.items()}
    return robustness(SCORE, tables, PAIR, true, Blocks.of(40))


@pytest.fixture
def stressed(make_run: Callable[..., Path]) -> Path:
    """A run whose scores get worse by 0.1 from stress to stress."""
    folder = make_run("regression")
    file = folder / "evaluation/scores.json"
    scores: dict[str, Any] = json.loads(file.read_text())
    for row in [r for r in scores["rows"] if r["condition"] == "complete"]:
        for number, (name, value) in enumerate(zip(NAMES, (0.1, 0.5, None, None), strict=True), start=1):
            place = {"condition": name, "series": "" if "noise" in name else "missing:rate", "value": value}
            scores["rows"].append({**row, **place, "mean": row["mean"] + 0.1 * number})
    lost = found({"complete": 0.5, "subset:text": 0.6, "subset:audio": 1.2, "missing:rate=0.5": 0.9})
    scores["robustness"] = [{"split": "test", **plain(lost)}]
    file.write_text(json.dumps(scores))
    return folder


def test_the_table_lists_complete_input_and_each_stress(stressed: Path) -> None:
    run = read_run(stressed)
    table = stress_table(run.rows, "sentiment", "test")
    assert [line[0].text for line in table.lines] == ["complete", *NAMES[:3], "area under missing:rate"]
    assert [line[1].text[:5] for line in table.lines] == ["0.700", "0.800", "0.900", "1.000", "1.100"]


def test_only_series_with_several_points_are_drawn(stressed: Path) -> None:
    run = read_run(stressed)
    rows = [r for r in run.main if r.split == run.split and not r.present]
    complete = next(r for r in run.main if r.complete and r.split == run.split)
    figure = stress_curves(rows, complete)
    assert figure is not None
    assert [ax.get_xlabel() for ax in figure.axes] == ["missing:rate"]
    assert stress_curves(rows[2:3], complete) is None


def test_the_page_has_the_parts_only_where_something_was_tested(stressed: Path, make_run: Callable[..., Path]) -> None:
    page = write_report(stressed).read_text()
    assert "Absence and noise" in page
    assert "<p>Worst subset: audio (MAE 1.200); synergy over text alone: 0.100" in page
    assert (stressed / "figures/stress.png").stat().st_size > 1000
    text = (stressed / "tables/scores.md").read_text()
    assert "area under missing:rate" in text
    assert "| subset:audio | 0.700 |" in text
    plain_page = write_report(make_run("regression", name="plain")).read_text()
    assert "Absence and noise" not in plain_page
    assert "What is lost without it" not in plain_page


def test_what_is_lost_in_words() -> None:
    words = cost_words(found({"complete": 0.5, "subset:text": 0.6, "subset:audio": 1.2}), PAIR).split("; ")
    assert words[0].startswith("without text: worse by 0.700 [")
    assert words[0].endswith("], 67% of the gain over a blind guess")  # of 1.54 - 0.5
    assert words[1].startswith("without audio: worse by 0.100 ")
    assert words[2] == "worst subset: audio (MAE 1.200)"
    assert words[3].startswith("synergy over text alone: 0.100 [")
    assert words[4].startswith("MEI 0.74 ")


def test_negative_synergy_is_said() -> None:
    words = cost_words(found({"complete": 0.5, "subset:text": 0.2, "subset:audio": 1.2}), PAIR)
    assert "without audio: no worse" in words
    assert "negative synergy over text alone: -0.300 [-0.300, -0.300], all together are worse" in words
    nothing = cost_words(found({"complete": 2.5, "subset:text": 2.0, "subset:audio": 2.2}), PAIR)
    assert "MEI undefined" in nothing


def test_what_is_stored_is_read_again(stressed: Path) -> None:
    run = read_run(stressed)
    assert run.scores is not None
    ((place, again),) = costs(run.scores).items()
    assert place == ("test", "sentiment")
    assert plain(again) == {k: v for k, v in run.scores["robustness"][0].items() if k != "split"}
    shares = [line[3].text for line in cost_table(again, "test").lines]
    assert shares == ["10%", "67%", "39%"]
