"""Staying silent to keep an error: what is promised on validation, and what becomes of it on the test split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from polymodal import Corpus, Run, evaluate, fit
from polymodal.core import Modality, OptionError, Schema, Target
from polymodal.core.records import sealed
from polymodal.data.split import build_split
from polymodal.train.abstain import Abstainer
from polymodal.train.calibration import FILE

EMOTION = Target("emotion", "classification", classes=("anger", "joy"))
MOOD = Target("mood", "regression", (-3.0, 3.0))


def corpus(target: Target, groups: int = 50) -> Corpus:
    """Return samples whose features say the sign of the label clearly, or hardly; errors of numbers grow with them."""
    schema = Schema((Modality("voice", "vector", 2), Modality("face", "vector", 2)), (target,))
    rng, splits = np.random.default_rng(0), {}
    for name, count in (("train", 5 * groups), ("valid", 5 * groups), ("test", 10 * groups)):
        mood = rng.uniform(-1, 1, count)
        columns = {
            m.name: list(np.stack([mood + rng.normal(0, 0.2, count), rng.normal(0, 1, count)], axis=1))
            for m in schema.modalities
        }
        noise = rng.normal(0, 1, count) * np.where(mood > 0, 1.5, 0.1)
        label = (mood > 0).astype(int) if target is EMOTION else np.clip(1.5 * mood + noise, -3, 3)
        ids = [f"{name}-{i}" for i in range(count)]
        splits[name] = build_split(
            schema, ids, columns, {target.name: label}, [f"{name}-{i // 5}" for i in range(count)]
        )
    return Corpus("moods", "made", schema, splits)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    place = tmp_path_factory.mktemp("runs")
    return {t.name: fit("linear", corpus(t), out=place / t.name) for t in (EMOTION, MOOD)}


@pytest.mark.parametrize(("target", "error"), [(EMOTION, 0.05), (MOOD, 0.4)])
def test_what_is_answered_keeps_the_error_that_all_would_break(
    runs: dict[str, Run], target: Target, error: float
) -> None:
    (row,) = evaluate(runs[target.name], corpus(target), abstain_at=error)["selective"]
    assert (row["split"], row["target"], row["promised"]) == ("test", target.name, error)
    assert row["all"] > error
    assert row["error"] < error
    assert 0.1 < row["silent"] < 0.9
    assert row["count"] == 500


def test_every_set_of_modalities_has_its_own_promise(runs: dict[str, Run]) -> None:
    known = runs["emotion"].calibration
    assert known is not None
    both, one = (Abstainer(0.045).step(known, EMOTION, p) for p in (("voice", "face"), ("voice",)))
    assert both is not None
    assert one is not None
    assert both.share > one.share
    assert Abstainer(0.045).step(known, EMOTION, ()) is None
    assert "silent, because a mean error of 0.045 cannot be promised" in Abstainer(0.045).told(known, EMOTION, ())
    assert "of validation, mean error of the rest" in Abstainer(0.045).told(known, EMOTION, ("voice",))


def test_what_cannot_be_promised_is_one_sentence_and_what_it_names_can(runs: dict[str, Run]) -> None:
    with pytest.raises(OptionError, match=r"cannot promise a mean error of 0.001: .* is emotion (\S+); ask") as told:
        evaluate(runs["emotion"], corpus(EMOTION), abstain_at=0.001)
    lowest = float(str(told.value).rsplit("emotion ", 1)[1].split(";")[0])
    Abstainer(lowest).check(runs["emotion"])
    with pytest.raises(OptionError, match="above 0"):
        Abstainer(0.0)


def test_a_run_of_an_older_version_loads_and_says_what_is_missing(trained: Path) -> None:
    data = json.loads((trained / FILE).read_text())
    for subset in data["subsets"]:
        for figure in subset["targets"].values():
            figure["selective"]["steps"] = []
    (trained / FILE).write_text(json.dumps(sealed(data)))
    with pytest.raises(OptionError, match=r"validation has too few groups .* fit on more"):
        Abstainer(0.3).check(Run.load(trained))
    for subset in data["subsets"]:
        for figure in subset["targets"].values():
            del figure["selective"]
    del data["sealed"], data["checksum"]
    (trained / FILE).write_text(json.dumps(data))
    assert evaluate(trained, subsets=False)["selective"] == []
    with pytest.raises(OptionError, match="nothing was measured for it"):
        evaluate(trained, abstain_at=0.3)


def test_folds_answer_by_their_own_calibration(tmp_path: Path) -> None:
    mine = corpus(EMOTION, 20)
    run = fit("linear", mine, folds=3, out=tmp_path / "run")
    (row,) = evaluate(run, mine, subsets=False, abstain_at=0.3)["selective"]
    assert row["error"] < 0.3
    assert row["count"] == 400
