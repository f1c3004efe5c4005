"""Paired tests between runs: a planted difference is found, chance is not, both directions agree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from polymodal import Run, evaluate, fit
from polymodal.core import DataError, OptionError, RunError
from polymodal.train.compare import load_scores, paired_tests

Plant = Callable[[str, float], Run]


@pytest.fixture
def plant(trained: Path, tmp_path: Path) -> Plant:
    """``plant(name, share)``: a copy of the run whose predictions are right on that share of 200 samples."""

    def make(name: str, share: float) -> Run:
        folder = Path(shutil.copytree(trained, tmp_path / name))
        rng = np.random.default_rng([ord(c) for c in name])
        true = np.random.default_rng(0).integers(0, 2, 200)
        tables = []
        for seed in (1, 2):
            right = rng.random(200) < share
            predicted = np.where(right, true, 1 - true)
            order = rng.permutation(200)
            tables.append(
                pa.table(
                    {
                        "seed": np.full(200, seed),
                        "split": ["test"] * 200,
                        "condition": ["complete"] * 200,
                        "id": [f"s{i}" for i in order],
                        "agreement/true": true[order],
                        "agreement/predicted": predicted[order],
                        "agreement/probability": list(np.eye(2)[predicted[order]]),
                    }
                )
            )
        # Within a run all seeds have the same order.
        tables[1] = tables[1].take(_places(tables[0]["id"].to_pylist(), tables[1]["id"].to_pylist()))
        parquet.write_table(pa.concat_tables(tables), folder / "evaluation/predictions.parquet")
        return Run.load(folder)

    return make


def _places(wanted: list[str], found: list[str]) -> list[int]:
    place = {name: i for i, name in enumerate(found)}
    return [place[name] for name in wanted]


@pytest.mark.parametrize("metric", [None, "accuracy"])
def test_a_planted_difference_is_found_and_luck_is_not(plant: Plant, metric: str | None) -> None:
    good, same, bad = plant("good", 0.9), plant("same", 0.9), plant("bad", 0.7)
    luck, worse = paired_tests([good, same, bad], metric=metric)
    assert worse.difference == pytest.approx(-0.2, abs=0.08)
    assert worse.high < 0
    assert worse.p_holm < 0.01
    assert worse.sentence.endswith(": worse")
    assert luck.low < 0 < luck.high
    assert luck.p > 0.05
    assert luck.sentence.endswith("it may be luck")


def test_tests_in_both_directions_agree(plant: Plant) -> None:
    good, bad = plant("good", 0.85), plant("bad", 0.75)
    (one,), (other,) = (
        paired_tests([good, bad], metric="accuracy"),
        paired_tests([bad, good], metric="accuracy"),
    )
    assert one.difference == pytest.approx(-other.difference)
    assert (one.low, one.high) == (pytest.approx(-other.high, abs=0.01), pytest.approx(-other.low, abs=0.01))
    assert one.p == pytest.approx(other.p, abs=0.01)


def test_holm_counts_the_runs_compared(plant: Plant) -> None:
    runs = [plant("good", 0.9), plant("bad", 0.8), plant("worse", 0.5)]
    tests = paired_tests(runs, metric="accuracy")
    assert all(t.p_holm >= t.p for t in tests)
    assert max(t.p_holm for t in tests) <= 2 * max(t.p for t in tests)
    assert paired_tests(runs[:1]) == []


def test_a_run_equals_itself(trained: Path) -> None:
    (test,) = paired_tests([Run.load(trained), Run.load(trained)], metric="accuracy")
    assert (test.difference, test.p) == (0, 1)


def test_runs_on_other_samples_or_targets_are_refused(trained: Path, tmp_path: Path) -> None:
    run = Run.load(trained)
    other = fit("linear", "synthetic:unimodal?n=20", out=tmp_path / "other")
    load_scores(other)
    with pytest.raises(DataError, match="predicts sentiment"):
        paired_tests([run, other])
    more = fit("linear", "synthetic:xor?n=100", out=tmp_path / "more")
    load_scores(more)
    with pytest.raises(DataError):
        paired_tests([run, more])
    seeded = fit("linear", "synthetic:xor?n=24&seed=4", out=tmp_path / "seeded")
    load_scores(seeded)
    with pytest.raises(DataError, match="different labels"):
        paired_tests([run, seeded])


def test_an_unknown_metric_or_split_is_named(trained: Path) -> None:
    runs = [Run.load(trained)] * 2
    with pytest.raises(OptionError, match="did you mean 'accuracy'"):
        paired_tests(runs, metric="acuracy")
    with pytest.raises(DataError, match="was not tested on 'test_odd'"):
        paired_tests(runs, split="test_odd")


def test_a_run_is_evaluated_where_it_was_not(trained: Path) -> None:
    stored = load_scores(Run.load(trained))
    shutil.rmtree(trained / "evaluation")
    again = load_scores(Run.load(trained))
    assert [r["mean"] for r in again["rows"]] == [r["mean"] for r in stored["rows"]]
    (trained / "evaluation/scores.json").write_text("{")
    with pytest.raises(RunError, match=r"scores.json cannot be read .*polymodal evaluate"):
        load_scores(Run.load(trained))
    (trained / "evaluation/predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"predictions.parquet cannot be read .*polymodal evaluate"):
        paired_tests([Run.load(trained)] * 2)


def test_a_run_is_evaluated_again_when_another_seed_is_done(trained: Path) -> None:
    result = trained / "seed-2" / "result.json"
    content = result.read_bytes()
    result.unlink()
    assert evaluate(trained)["seeds"] == [1]
    result.write_bytes(content)
    assert load_scores(Run.load(trained))["seeds"] == [1, 2]


def test_scores_are_plain_json(trained: Path) -> None:
    assert json.dumps(load_scores(Run.load(trained)), allow_nan=False)
