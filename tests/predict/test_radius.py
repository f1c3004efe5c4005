"""The radius of a run that certifies its answers: in JSON, CSV and table, in evaluations, and of several members."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from polymodal import Run, evaluate, fit
from polymodal.predict.predictor import Predictor
from polymodal.predict.table import timeline_table
from polymodal.predict.timeline import Timeline
from polymodal.train.answers import common_radius
from polymodal.train.predictions import FILE, column, read_table

ROWS: list[dict[str, Any]] = [
    {"audio": np.linspace(-1, 1, 24).reshape(4, 6), "vision": np.linspace(0, 2, 24).reshape(3, 8)},
    {"audio": np.linspace(2, -1, 42).reshape(7, 6), "vision": None},
    {},
]


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two seeds of crmt."""
    return trained(tmp_path_factory.mktemp("certified") / "run", "crmt", {"base_options": {"width": 4}}, (1, 2))


def trained(out: Path, method: str, options: dict[str, Any], seeds: tuple[int, ...] = (1,)) -> Run:
    return fit(method, "synthetic:xor?n=60", options=options, epochs=2, seeds=seeds, device="cpu", out=out)


def printed(timeline: Timeline) -> str:
    out = io.StringIO()
    Console(width=200, file=out).print(timeline_table(timeline))
    return out.getvalue()


def test_several_members_have_the_least_radius_where_they_agree() -> None:
    found = common_radius([np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 9.0])], [np.array([0, 1, 1])] * 2)
    assert found.tolist() == [1.0, 1.0, 3.0]
    apart = common_radius([np.array([1.0, 2.0])] * 2, [np.array([0, 1]), np.array([0, 2])])
    assert apart.tolist() == [1.0, 0.0]


def test_every_answer_has_a_radius_in_json_csv_and_table(certified: Run) -> None:
    timeline = Predictor(certified).predict_features(ROWS)
    said = [m.estimates["agreement"] for m in timeline.moments]
    radii = [e.radius for e in said]
    assert all(r is not None and r >= 0 for r in radii)
    assert radii[2] == pytest.approx(0, abs=1e-6)  # nothing is there that could move
    assert Timeline.from_dict(timeline.to_dict()) == timeline
    assert timeline.to_dict()["utterances"][0]["estimates"]["agreement"]["radius"] == radii[0]
    table = list(csv.DictReader(timeline.to_csv().splitlines()))
    assert [float(row["agreement/radius"]) for row in table] == radii
    assert "radius" in printed(timeline).splitlines()[1]
    assert f"{radii[0]:.2f}" in printed(timeline)


def test_a_run_that_certifies_nothing_says_nothing_of_it(tmp_path: Path) -> None:
    timeline = Predictor(trained(tmp_path / "run", "late-fusion", {"width": 4})).predict_features(ROWS)
    assert "radius" not in str(timeline.to_dict())
    assert "radius" not in timeline.to_csv()
    assert "radius" not in printed(timeline)


def test_an_evaluation_holds_the_radius_of_every_sample_and_condition(certified: Run) -> None:
    evaluate(certified)
    table = read_table(certified.path / "evaluation" / FILE)
    radius, right = column(table, "agreement/radius"), column(table, "agreement/probability").max(1)
    assert len(radius) == len(table)
    assert (radius >= 0).all()
    assert np.corrcoef(radius, right)[0, 1] > 0.3  # sure answers are far from the border
