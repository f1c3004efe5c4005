"""A cascade is an entry: its members are cells of their own, and what it predicts is what routing them gives."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from polymodal.bench import bench, read_plan
from polymodal.bench.cascaded import parts, run_entry
from polymodal.bench.job import Cell, Outcome
from polymodal.bench.plan import Conditions, EntryPlan
from polymodal.bench.tables import leaderboard_tables
from polymodal.cascade.evaluate import evaluate_cascade
from polymodal.core import OptionError
from polymodal.data.progress import console

SMALL = EntryPlan("u small", "ubm", options={"width": 8, "epochs": 2})
LARGE = EntryPlan("u large", "early-fusion", options={"width": 8, "epochs": 2})
STRESS = ("missing:rate=0.4",)
CLASSES, NUMBERS = "synthetic:xor?n=60", "synthetic:talk?n=40"


@pytest.fixture(autouse=True)
def _loud():
    yield
    console.quiet = False


def cell(folder: Path, source: str, large: EntryPlan = LARGE, **options: Any) -> Cell:
    entry = EntryPlan("u", "u-acs", options=options, members=(SMALL, large))
    return Cell(entry, "corpus", source, 1, Conditions(STRESS), folder, "cpu")


def table(outcome: Outcome) -> pd.DataFrame:
    assert outcome.run is not None, outcome.reason
    found: pd.DataFrame = parquet.read_table(outcome.run / "predictions.parquet").to_pandas()
    return found.sort_values(["condition", "id"], ignore_index=True)


def member(one: Cell, which: int) -> pd.DataFrame:
    again = run_entry(parts(one)[which])
    assert again.reused
    return table(again)


@pytest.mark.parametrize("source", [CLASSES, NUMBERS])
def test_without_a_budget_the_small_member_answers_in_every_condition(tmp_path: Path, source: str) -> None:
    one = cell(tmp_path, source, rho=0.0)
    found, small = table(run_entry(one)), member(one, 0)
    assert set(found["condition"]) >= {"complete", "missing:rate=0.4"}
    for name in found:
        if name.endswith("probability"):
            np.testing.assert_allclose(np.stack(found[name]), np.stack(small[name]), atol=1e-5)
        elif name.endswith("predicted"):
            np.testing.assert_allclose(found[name], small[name], atol=1e-5)
        else:
            assert found[name].tolist() == small[name].tolist()


def test_classes_are_those_of_one_member_and_as_sure(tmp_path: Path) -> None:
    one = cell(tmp_path, CLASSES, rho=0.5)
    outcome = run_entry(one)
    found, small, large = table(outcome), member(one, 0), member(one, 1)
    shares, first, second = (np.stack(t["agreement/probability"]) for t in (found, small, large))
    from_first, from_second = (np.isclose(shares, own, atol=1e-5).all(1) for own in (first, second))
    assert (from_first | from_second).all()
    assert (from_second & ~from_first).any()
    assert (shares.argmax(1) == found["agreement/predicted"]).all()
    assert outcome.run is not None
    facts = json.loads((outcome.run / "cell.json").read_text())
    costs = [json.loads((run_entry(p).run / "cell.json").read_text()) for p in parts(one)]  # type: ignore[operator]
    assert facts["parameters"] == sum(c["parameters"] for c in costs)
    assert set(facts["escalated"]) == set(found["condition"])
    assert facts["latency_ms"] == pytest.approx(
        costs[0]["latency_ms"] + facts["escalated"]["complete"] * costs[1]["latency_ms"], abs=1e-3
    )


@pytest.mark.parametrize("source", [CLASSES, NUMBERS])
def test_on_complete_input_it_says_what_evaluate_says_of_the_same_cascade(tmp_path: Path, source: str) -> None:
    outcome = run_entry(cell(tmp_path, source, rho=0.4))
    assert outcome.run is not None, outcome.reason
    found = table(outcome).query("condition == 'complete'")
    scores = evaluate_cascade(outcome.run)
    routed = (
        parquet.read_table(outcome.run / "evaluation/predictions.parquet")
        .to_pandas()
        .query("split == 'test'")
        .sort_values("id")
    )
    name = next(c for c in found if c.endswith("predicted"))
    np.testing.assert_allclose(found[name], routed["score"], atol=1e-5)
    escalated = json.loads((outcome.run / "cell.json").read_text())["escalated"]["complete"]
    assert escalated == pytest.approx(scores["splits"]["test"]["escalated"])
    assert 0 < escalated < 1


def test_a_finished_cell_is_not_run_again_and_other_options_are_another_cell(tmp_path: Path) -> None:
    first = cell(tmp_path, CLASSES, rho=0.3)
    made = run_entry(first)
    assert not made.reused
    again = run_entry(first)
    assert (again.run, again.reused) == (made.run, True)
    other = run_entry(cell(tmp_path, CLASSES, rho=0.6))
    assert other.run not in (None, made.run)
    more = Cell(**{**vars(first), "tests": Conditions((*STRESS, "noise:snr=0"))})
    assert run_entry(more).run == made.run
    assert {"noise:snr=0", "missing:rate=0.4"} <= set(table(run_entry(first))["condition"])


def test_what_cannot_be_routed_is_left_out_in_a_sentence(tmp_path: Path) -> None:
    sure = cell(tmp_path, NUMBERS)
    sure = Cell(**{**vars(sure), "entry": EntryPlan("u", "u-acs", members=(LARGE, SMALL))})
    equally = run_entry(sure)
    assert (equally.run, equally.failed) == (None, False)
    assert "equally sure" in equally.reason
    unfit = run_entry(cell(tmp_path, CLASSES, EntryPlan("u large", "self-mm")))
    assert (unfit.run, unfit.failed) == (None, False)
    assert unfit.reason.startswith("u large: ")
    wrong = run_entry(cell(tmp_path, CLASSES, EntryPlan("u large", "early-fusion", options={"widht": 8})))
    assert wrong.failed


def test_a_plan_names_members_as_words_or_as_lines() -> None:
    lines = ["ubm", {"method": "u-acs", "small": "ubm", "large": {"method": "mib", "set": {"hidden": 64}}, "rho": 0.2}]
    plan = read_plan(None, {"methods": lines, "corpora": [CLASSES], "training": {"epochs": 2}})
    small, large = plan.entries[2].members
    assert (small.method, small.preset, small.options) == ("ubm", "cpu", {"epochs": 2})
    assert (large.method, large.options) == ("mib", {"epochs": 2, "hidden": 64})
    assert plan.entries[2].options == {"rho": 0.2, "by": "budget", "agreed": "average"}
    # mib is no entry of its own: nothing to compare with.
    assert plan.contrasts == (("u-acs", "ubm"), ("ubm", "linear"), ("u-acs", "linear"))
    word = read_plan(None, {"methods": ["u-acs?small=ubm&large=mib&rho=0.2&name=both"], "corpora": [CLASSES]})
    assert [m.name for m in word.entries[1].members] == ["both small", "both large"]
    assert word.entries[1].options["rho"] == 0.2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("u-acs", "needs small"),
        ("u-acs?small=ubm", "needs large"),
        ("u-acs?small=ubm&large=mibb", "did you mean"),
        ("u-acs?small=ubm&large=mib&rho=2", "a share from 0 to 1"),
        ("u-acs?small=ubm&large=mib&budget=1", "no option 'budget'"),
        (
            {"method": "u-acs", "small": "ubm", "large": {"method": "u-acs", "small": "ubm", "large": "mib"}},
            "a cascade of",
        ),
    ],
)
def test_a_wrong_line_is_refused(line: Any, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        read_plan(None, {"methods": [line], "corpora": [CLASSES]})


@pytest.mark.slow
def test_a_cascade_stands_on_a_board_that_others_are_added_to(tmp_path: Path) -> None:
    tiny = {"set": {"width": 8}}
    asked = {
        "methods": [{"method": "ubm", **tiny}, {"method": "u-acs", "small": {"method": "ubm", **tiny}, "large": "mib"}],
        "corpora": {"xor": "synthetic:xor?n=130"},
        "training": {"epochs": 2},
        "preset": "",
        "protocol": "missmac",
        "seeds": [1, 2],
        "trials": 2,
    }
    board = bench(read_plan(None, asked), tmp_path / "runs", workers=1, device="cpu", publish=tmp_path / "board")
    assert not board.left
    assert [(c.first, c.second) for c in board.contrasts] == [("u-acs", "ubm"), ("ubm", "linear"), ("u-acs", "linear")]
    costs = {c.entry: c for c in board.costs}
    assert 0 < costs["u-acs"].escalated < 1
    assert math.isnan(costs["ubm"].escalated)
    assert {"u-acs small", "u-acs large"} <= {s.entry for s in board.searches}
    heads = [head for t in leaderboard_tables(board, "xor") for head in t.head]
    assert "Asks the large one" in heads
    from polymodal.bench.published import Published
    from polymodal.bench.run import added

    published = Published.load(tmp_path / "board")
    plan = added(published, ["u-acs?small=ubm&large=early-fusion&name=second"])
    assert plan.contrasts == (("second", "ubm"), ("second", "linear"))
    more = bench(plan, tmp_path / "runs", workers=1, device="cpu", beside=published)
    assert [e.name for e in more.entries] == ["linear", "ubm", "u-acs", "second"]
    assert not more.left
