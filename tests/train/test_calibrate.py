"""What fit measures on validation, who reads it, and that it holds on other samples."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal import Run, evaluate, fit, load_corpus
from polymodal.core import OptionError, RunError
from polymodal.score.calibration import residual_quantile, temperature
from polymodal.train.calibration import FILE, LEVELS
from polymodal.train.infer import infer

FAST: dict[str, Any] = {"options": {"width": 4}, "epochs": 1, "batch_size": 8}


def test_every_subset_of_modalities_has_its_figures(trained: Path) -> None:
    data = json.loads((trained / FILE).read_text())
    assert data["seeds"] == [1, 2]
    assert [s["present"] for s in data["subsets"]] == [["audio", "vision"], ["audio"], ["vision"]]
    assert [s["targets"]["agreement"]["count"] for s in data["subsets"]] == [20, 20, 20]


def test_the_temperature_is_that_of_the_mean_of_the_seeds(trained: Path) -> None:
    run = Run.load(trained)
    corpus, calibration = run.corpus(), run.calibration
    assert calibration is not None
    for kept, absent in (({"audio", "vision"}, []), ({"audio"}, ["vision"])):
        columns = [infer(run.method(s), run.loader(corpus, "valid").epoch(), absent=absent)[0] for s in (1, 2)]
        mean = (columns[0]["agreement/probability"].astype(float) + columns[1]["agreement/probability"]) / 2
        wanted = temperature(run.schema.targets[0], columns[0]["agreement/true"], mean)
        assert calibration.temperature("agreement", kept) == pytest.approx(wanted)
    assert calibration.temperature("agreement", []) is None


def test_half_widths_are_order_statistics_of_the_residuals(tmp_path: Path) -> None:
    run = fit("linear", "synthetic:unimodal?n=60", out=tmp_path / "run")
    columns = run.predict(run.corpus(), "valid")
    target, calibration = run.schema.targets[0].name, run.calibration
    assert calibration is not None
    residuals = columns[f"{target}/true"] - columns[f"{target}/predicted"].astype(float)
    for level in LEVELS:
        found = calibration.half_width(target, run.schema.names, level)
        assert found == pytest.approx(residual_quantile(residuals, level))
    with pytest.raises(OptionError, match=r"one of 0.5, 0.8, 0.9, 0.95, got 0.7"):
        calibration.half_width(target, run.schema.names, 0.7)


def test_samples_without_a_modality_count_only_where_it_is_not_asked_for(tmp_path: Path) -> None:
    corpus = load_corpus("synthetic:xor?n=40&absent=0.3")
    run = fit("linear", corpus, out=tmp_path / "run")
    there = corpus["valid"].present
    counts = {
        tuple(s["present"]): s["targets"]["agreement"]["count"]
        for s in json.loads((run.path / FILE).read_text())["subsets"]
    }
    assert counts["audio",] == there["audio"].sum() < len(corpus["valid"])
    assert counts["audio", "vision"] == (there["audio"] & there["vision"]).sum()


def test_a_finished_run_that_is_resumed_keeps_its_bytes(tmp_path: Path) -> None:
    run = fit("late-fusion", "synthetic:xor?n=20", out=tmp_path / "run", **FAST)
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    fit("late-fusion", "synthetic:xor?n=20", out=tmp_path / "run", resume=True, **FAST)
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before
    (run.path / FILE).unlink()
    fit("late-fusion", "synthetic:xor?n=20", out=tmp_path / "run", resume=True, **FAST)
    assert (run.path / FILE).read_bytes() == before[run.path / FILE]


def test_a_run_without_calibration_or_with_other_seeds_is_not_calibrated(trained: Path) -> None:
    (trained / "seed-2/result.json").rename(trained / "result.json")
    assert Run.load(trained).calibration is None
    (trained / "result.json").rename(trained / "seed-2/result.json")
    assert Run.load(trained).calibration is not None
    (trained / FILE).unlink()
    assert Run.load(trained).calibration is None
    assert evaluate(trained, subsets=False)["calibration"] == []


def test_a_validation_split_of_a_few_samples_calibrates_nothing(tmp_path: Path) -> None:
    corpus = load_corpus("synthetic:xor?n=20")
    corpus = corpus.with_split("valid", corpus["valid"].select(range(5)))
    run = fit("linear", corpus, out=tmp_path / "run")
    assert run.calibration is None


@pytest.mark.parametrize("content", ["{", "[]", '{"seeds": [1, 2]}'])
def test_a_damaged_calibration_is_one_sentence(trained: Path, content: str) -> None:
    (trained / FILE).write_text(content)
    with pytest.raises(RunError, match=r"calibration\.json.* make it again with fit --resume"):
        _ = Run.load(trained).calibration


def test_scores_tell_the_calibration_error_and_leave_the_rows_alone(trained: Path) -> None:
    scores = evaluate(trained)
    (row,) = scores["calibration"]
    assert (row["split"], row["target"], row["count"]) == ("test", "agreement", 20)
    assert 0 <= row["ece"] <= 1
    assert 0 <= row["ece_uncalibrated"] <= 1
    assert {r["metric"] for r in scores["rows"]}.isdisjoint({"ece", "coverage"})
    assert json.loads((trained / "evaluation/scores.json").read_text())["calibration"] == [row]


def test_intervals_hold_the_promised_share_of_new_labels(tmp_path: Path) -> None:
    """300 for calibration and 300 to look: coverage varies by 2.4 points (one standard deviation)."""
    corpus = load_corpus("synthetic:talk?n=1500")
    kept = {n: corpus[n].select(range(min(300, len(corpus[n])))) for n in ("train", "valid", "test")}
    run = fit("linear", replace(corpus, splits=kept, stored_hash=None), out=tmp_path / "run")
    (row,) = evaluate(run, replace(corpus, splits=kept), subsets=False)["calibration"]
    assert row["level"] == 0.9
    assert row["count"] == len(kept["test"])
    assert row["coverage"] == pytest.approx(0.9, abs=0.06)
    assert row["width"] == pytest.approx(2 * np.float64(_width(run)))


def _width(run: Run) -> float:
    assert run.calibration is not None
    width = run.calibration.half_width("sentiment", run.schema.names, 0.9)
    assert width is not None
    return width
