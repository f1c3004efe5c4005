"""What a method says of single steps reaches JSON and terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from polymodal import Predictor, fit
from polymodal.predict.table import spark, timeline_table
from polymodal.predict.timeline import Timeline


def test_a_curve_shows_the_highest_of_each_stretch() -> None:
    assert spark([0.0, 0.5, 1.0]) == "▁▅█"
    assert spark([0.0] * 23 + [1.0]) == "▁" * 11 + "█"
    assert spark([]) == ""


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_the_steps_of_every_utterance_are_in_its_estimate(seeds: tuple[int, ...], tmp_path: Path) -> None:
    small = {"width": 8, "heads": 2}
    run = fit("macil-sd", "synthetic:xor?n=20", options=small, epochs=1, seeds=seeds, device="cpu", out=tmp_path / "r")
    rng, widths = np.random.default_rng(0), {m.name: m.width for m in run.schema.modalities}
    rows = [{n: rng.standard_normal((steps, w)) for n, w in widths.items()} for steps in (5, 20)]
    timeline = Predictor(run).predict_features([*rows, {}])
    (target,) = timeline.targets
    found = [m.estimates[target.name].steps or {} for m in timeline.moments]
    assert [{len(values) for values in steps.values()} for steps in found] == [{5}, {20}, {0}]
    assert set(found[0]) == set(target.classes)
    assert np.sum([found[1][c] for c in target.classes], axis=0) == pytest.approx(np.ones(20), abs=1e-5)
    assert Timeline.from_dict(timeline.to_dict()) == timeline
    console = Console(width=200)
    with console.capture() as captured:
        console.print(timeline_table(timeline))
    said = timeline.moments[1].estimates[target.name]
    assert spark((said.steps or {})[str(said.label)]) in captured.get()


def test_other_methods_say_nothing_of_steps(tmp_path: Path) -> None:
    run = fit("linear", "synthetic:xor?n=20", out=tmp_path / "r")
    name, width = run.schema.names[0], run.schema.modalities[0].width
    said = Predictor(run).predict_features([{name: np.zeros((3, width))}]).to_dict()
    assert "steps" not in next(iter(said["utterances"][0]["estimates"].values()))
