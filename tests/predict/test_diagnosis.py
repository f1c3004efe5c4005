"""What stands beside an estimate: how modalities go together, how unlike training it is, whether the run is silent."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from polymodal import Run
from polymodal.core import Target
from polymodal.predict.page import write_page
from polymodal.predict.plot import figure
from polymodal.predict.predictor import Predictor
from polymodal.predict.table import line, timeline_table
from polymodal.predict.timeline import Estimate, Moment, Timeline
from polymodal.predict.together import Together, together
from polymodal.train.unlike import Unlike

ROW: dict[str, Any] = {
    "text": "so good",
    "audio": np.linspace(-1, 1, 12).reshape(4, 3),
    "vision": np.linspace(0, 2, 18).reshape(9, 2),
}


@pytest.mark.parametrize(
    ("alone", "moved", "joint", "cancelled", "word"),
    [
        ((1.0, 1.0), 2.0, 0.0, 0.0, ""),  # they add up
        ((1.0, -0.8), 0.2, 0.0, 0.8, "conflict"),
        ((0.0, 0.0), 1.5, 1.5, 0.0, "synergy"),  # neither alone says anything
        ((1.0, 0.5), -2.0, -3.5, 0.0, "synergy"),  # together they say the opposite, and more of it
        ((1.0, 1.0), 1.0, -1.0, 0.0, "overlap"),
        ((0.1, -0.1), 0.0, 0.0, 0.1, ""),  # nothing is at stake
    ],
)
def test_the_word_is_what_most_of_it_is(
    alone: tuple[float, float], moved: float, joint: float, cancelled: float, word: str
) -> None:
    found = together({"text": alone[0], "audio": alone[1]}, moved, 6.0)
    assert found is not None
    assert (found.joint, found.cancelled) == pytest.approx((joint, cancelled))
    assert found.word == word


def test_one_modality_goes_with_nothing() -> None:
    assert together({"text": 1.0}, 1.0, 6.0) is None


def test_singles_and_what_is_left_over_sum_to_the_contributions(make_run: Callable[..., Run]) -> None:
    run = make_run(targets="sentiment,emotion,tags", method="late-fusion")
    rows = [ROW, {"text": "awful", "audio": ROW["audio"]}, {"vision": ROW["vision"]}]
    predictor = Predictor(run)
    whole, _, one = predictor.predict_features(rows).moments
    alone = [predictor.predict_features([{n: ROW[n]}]).moments[0].estimates["sentiment"] for n in ROW]
    found = whole.estimates["sentiment"].together
    assert found is not None
    assert list(found.alone.values()) == pytest.approx([e.value - e.baseline for e in alone], abs=1e-5)  # type: ignore[operator]
    for estimate in whole.estimates.values():
        told, shares = estimate.together, estimate.contributions
        assert told is not None
        if estimate.probabilities and estimate.labels is not None:
            best = max(estimate.probabilities, key=estimate.probabilities.__getitem__)
            shares = {n: s[best] for n, s in shares.items()}
        assert sum(told.alone.values()) + told.joint == pytest.approx(sum(shares.values()), abs=1e-6)
    assert one.estimates["sentiment"].together is None


def test_a_sum_of_modalities_leaves_nothing_over(make_run: Callable[..., Run]) -> None:
    (moment,) = Predictor(make_run()).predict_features([ROW]).moments  # a linear model
    found = moment.estimates["sentiment"].together
    assert found is not None
    assert found.joint == pytest.approx(0, abs=1e-5)


def test_features_unlike_training_are_told_with_the_modality(make_run: Callable[..., Run]) -> None:
    predictor = Predictor(make_run())
    far = ROW | {"audio": np.full((4, 3), 40.0)}
    timeline = predictor.predict_features([ROW, far, {}])
    assert timeline.moments[1].unlike is not None
    assert timeline.moments[1].unlike.alarm
    assert timeline.moments[1].unlike.modality == "audio"
    assert timeline.moments[2].unlike is None
    assert any(
        note.endswith("are unlike the training data; of clips like those 5% would be") for note in timeline.notes
    )
    assert Timeline.from_dict(json.loads(json.dumps(timeline.to_dict()))) == timeline


def test_a_run_is_silent_to_keep_an_error(make_run: Callable[..., Run]) -> None:
    run = make_run(valid=200)
    known = run.calibration
    assert known is not None
    steps = known.steps("sentiment", run.schema.names)
    error = min(s.bound for s in steps) + 1e-6
    timeline = Predictor(run, abstain_at=error).predict_features([ROW, {}])
    whole, nothing = (m.estimates["sentiment"].abstained for m in timeline.moments)
    assert whole is not None
    assert nothing is True
    assert timeline.abstain_at == error
    assert any("of validation, mean error of the rest" in note for note in timeline.notes)
    assert any(note.startswith("sentiment: silent on ") for note in timeline.notes)
    assert Predictor(run).predict_features([ROW]).moments[0].estimates["sentiment"].abstained is None


@pytest.fixture
def remarked() -> Timeline:
    """Three utterances: one plain, one silent, one unlike training."""
    pair = Together({"text": 1.0, "audio": -0.9}, 0.0, 0.9, "conflict")
    plain = Estimate(0.1, {"text": 1.0, "audio": -0.9}, value=0.2, low=-1.0, high=1.0, together=pair, abstained=False)
    moments = (
        Moment(0.0, 2.0, ("text", "audio"), {"mood": plain}, "one"),
        Moment(2.0, 4.0, ("text", "audio"), {"mood": replace(plain, together=None, abstained=True)}, "two"),
        Moment(
            4.0, 6.0, ("text", "audio"), {"mood": replace(plain, together=None)}, "three", unlike=Unlike(0.01, "audio")
        ),
    )
    target = Target("mood", "regression", (-3.0, 3.0))
    return Timeline("clip", 6.0, "run", "linear", ("text", "audio"), (target,), moments, abstain_at=0.5)


def test_table_line_and_csv_say_so(remarked: Timeline) -> None:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(timeline_table(remarked))
    head, plain, *rest = console.export_text().splitlines()[1:]
    assert "remarks" in head
    assert "conflict" in plain
    silent = next(row for row in rest if "two" in row)
    assert "silent" in silent
    assert "-1.00 to" not in silent
    assert "unlike training (audio, p = 0.01)" in next(row for row in rest if "three" in row)
    assert "silent" in line(remarked.targets, remarked.moments[1], 0.1)
    assert "p = 0.01" in line(remarked.targets, remarked.moments[2], 0.1)
    rows = list(csv.DictReader(remarked.to_csv().splitlines()))
    assert [r["mood"] for r in rows] == ["0.2", "", "0.2"]
    assert [r["mood/abstained"] for r in rows] == ["0", "1", "0"]
    assert [r["mood/together"] for r in rows] == ["conflict", "", ""]
    assert [(r["unlike_p"], r["unlike_modality"]) for r in rows] == [("", ""), ("", ""), ("0.01", "audio")]
    calm = replace(remarked, moments=remarked.moments[1:2])
    console.print(timeline_table(calm))
    assert "remarks" not in console.export_text()


def test_plot_and_page_show_it(remarked: Timeline, tmp_path: Path) -> None:
    axes = figure(remarked).axes[1]
    labels = axes.get_legend_handles_labels()[1]
    assert {"silent", "unlike training"} <= set(labels)
    drawn = next(c for c in axes.collections if c.get_label() == "prediction")
    assert len(drawn.get_segments()) == 2  # type: ignore[attr-defined]
    plain = replace(remarked, moments=remarked.moments[:1])
    assert not {"silent", "unlike training"} & set(figure(plain).axes[1].get_legend_handles_labels()[1])
    text = write_page(remarked, None, tmp_path / "page.html").read_text()
    assert '"abstained": true' in text
    assert '"alarm": true' in text
