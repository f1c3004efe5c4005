"""A task written in one file is a task everywhere: checked, learned, scored, reported, benchmarked, predicted."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from polymodal import Predictor, Run, evaluate, fit, load_corpus
from polymodal.bench import bench, read_plan
from polymodal.core import DataError, OptionError, Target, find_task
from polymodal.data.info import describe
from polymodal.data.progress import console
from polymodal.predict.table import timeline_table
from polymodal.report import write_report
from polymodal.train.compare import paired_tests

FILE = Path(__file__).resolve().parents[2] / "examples/own_task.py"
SOURCE = f"{FILE}:laughs"
TARGET = Target("laughs", f"{FILE}:LogCount")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("own") / "run"
    return fit("late-fusion", SOURCE, options={"width": 16}, epochs=20, lr=0.01, out=folder)


def test_it_is_learned_evaluated_and_compared(run: Run) -> None:
    rows = {r["metric"]: r for r in evaluate(run)["rows"] if r["condition"] == "complete"}
    assert list(rows) == ["log_error", "share_exact"]
    assert rows["log_error"]["main"]
    assert not rows["log_error"]["higher_is_better"]
    assert rows["log_error"]["count"] == 54  # six of 60 labels are not known
    true = load_corpus(SOURCE)["test"].targets["laughs"]
    logs = np.log1p(true[np.isfinite(true)])
    assert rows["log_error"]["mean"] < 0.6 * np.abs(logs - np.median(logs)).mean()
    floor = fit("linear", run.corpus(), out=run.path.parent / "linear")
    evaluate(floor)
    (test,) = paired_tests([floor, run])
    assert test.metric == "log_error"
    assert test.low < test.difference < test.high


def test_the_linear_floor_learns_it_in_its_own_space(run: Run) -> None:
    floor = fit("linear", run.corpus(), out=run.path.parent / "floor")
    columns = floor.predict(floor.corpus())
    known = np.isfinite(columns["laughs/true"])
    found = TARGET.spec.sample_scores(columns["laughs/true"][known], columns["laughs/predicted"][known])
    assert found.mean() < 0.45


def test_its_report_has_its_figures(run: Run) -> None:
    evaluate(run)
    page = write_report(run.path).read_text()
    assert "Log error" in page
    assert "laughs" in (run.path / "tables/scores.md").read_text()
    assert (run.path / "figures/predictions.png").is_file()


def test_a_prediction_is_written_as_the_task_says_with_an_interval(run: Run) -> None:
    row = {"audio": np.array([1.0, 0, 0], np.float32), "face": np.array([1.0, 0], np.float32)}
    timeline = Predictor(run, level=0.8).predict_features([row])
    estimate = timeline.moments[0].estimates["laughs"]
    assert estimate.value is not None
    assert estimate.low is not None
    assert sum(estimate.contributions.values()) == pytest.approx(estimate.value - estimate.baseline, abs=1e-4)  # type: ignore[operator]
    screen = Console(file=StringIO(), width=200)
    screen.print(timeline_table(timeline))
    assert f"{estimate.value:.0f} times" in screen.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_benchmark_ranks_by_its_metric(tmp_path: Path) -> None:
    late = {"method": "late-fusion", "set": {"width": 4, "epochs": 2}}
    asked = {"methods": [late], "corpora": {"laughs": SOURCE}, "preset": "", "seeds": [1], "stress": []}
    board = bench(read_plan(None, asked), tmp_path, workers=1, device="cpu")
    console.quiet = False
    assert not board.left
    assert (board.corpora[0].metric, board.corpora[0].higher_is_better) == ("log_error", False)
    assert {f.entry for f in board.figures if f.main} == {"linear", "late-fusion"}


def test_its_labels_are_checked_and_counted() -> None:
    assert json.loads(json.dumps(describe(load_corpus(SOURCE))["splits"]["test"]["targets"]["laughs"]))["unknown"] == 6
    with pytest.raises(DataError, match=r"label 'laughs' of sample 'a' .* is 0\.5, expected a whole number"):
        TARGET.spec.labels([0.5], ["a"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("regresion", "no task 'regresion'; did you mean 'regression'"),
        (f"{FILE}:LogCont", "no Task class 'LogCont'; did you mean 'LogCount'"),
        ("nowhere.py:Task", "there is no file nowhere.py"),
        ("polymodal.nowhere:Task", "task 'polymodal.nowhere:Task' cannot be imported"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_sentence(name: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        find_task(name)
