"""A run of folds applied to what it never saw, and handed to others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal import Run, evaluate, fit, load_corpus
from polymodal.core import RunError
from polymodal.data.loader import Loader
from polymodal.data.split import build_split
from polymodal.predict.hub import export, resolve
from polymodal.predict.predictor import Predictor
from polymodal.train.answers import ensemble
from polymodal.train.infer import infer

MakeRun = Callable[..., Run]
MakeClip = Callable[..., Path]
ROWS: list[dict[str, Any]] = [
    {"text": "so good", "audio": np.linspace(-1, 1, 12).reshape(4, 3), "vision": np.linspace(0, 2, 18).reshape(9, 2)},
    {"text": "awful", "audio": np.linspace(2, -1, 21).reshape(7, 3), "vision": None},
]


@pytest.fixture
def crossed(make_run: MakeRun) -> Run:
    """A run of three folds and two seeds on features made by extraction, each modality on another scale."""
    return make_run(extraction={}, method="late-fusion", seeds=(1, 2), folds=3)


def test_the_prediction_is_the_mean_over_members_each_behind_its_own_statistics(crossed: Run) -> None:
    schema = crossed.schema
    columns = {n: [row.get(n) for row in ROWS] for n in schema.names}
    split = build_split(schema, ["a", "b"], columns, {"sentiment": [0.0, 0.0]})
    parts = []
    for member in crossed.members:
        loader = Loader(split, schema, 1, normalizer=crossed.normalizer_of(member.fold), bucket=False)
        parts.append(infer(crossed.method(member.seed, member.fold), loader.epoch())[0])
    assert len(parts) == 6
    wanted = ensemble(schema.joint_targets, parts)["sentiment/predicted"]
    assert np.ptp([p["sentiment/predicted"][0] for p in parts]) > 1e-3  # the members do not agree
    timeline = Predictor(crossed, level=0.8).predict_features(ROWS)
    said = [m.estimates["sentiment"] for m in timeline.moments]
    assert [e.value for e in said] == pytest.approx(wanted.tolist(), abs=1e-5)
    known = crossed.calibration
    assert known is not None
    width = known.half_width("sentiment", schema.names, 0.8)
    assert width is not None
    assert said[0].high == pytest.approx(min(wanted[0] + width, 3), abs=1e-5)
    assert timeline.calibrated
    for e in said:
        assert sum(e.contributions.values()) == pytest.approx(e.value - e.baseline, abs=1e-6)  # type: ignore[operator, arg-type]


@pytest.mark.usefixtures("pipeline")
def test_clips_and_streams_are_predicted(crossed: Run, make_clip: MakeClip) -> None:
    predictor = Predictor.load(crossed.path)
    timeline = predictor.predict(make_clip())
    assert len(timeline.moments) == 3
    assert timeline.calibrated
    pieces: Any = json.loads(make_clip().read_text())["utterances"]
    assert [m.estimates for m in predictor.stream(pieces)] == [m.estimates for m in timeline.moments]


def test_a_run_that_is_handed_over_predicts_the_same_and_names_nobody(tmp_path: Path) -> None:
    corpus = load_corpus("synthetic:talk?n=40")
    named = {n: replace(s, groups=[f"jane-{g}" for g in s.groups]) for n, s in corpus.splits.items()}
    corpus = replace(corpus, splits=named)
    run = fit("linear", corpus, folds=3, seeds=(1, 2), out=tmp_path / "run")
    mine = evaluate(run, corpus, subsets=False)
    (hub := tmp_path / "hub").mkdir()
    export(run, hub, "org/talk")
    files = {p.relative_to(hub).as_posix() for p in hub.rglob("*") if p.is_file()}
    each = {f"fold-{f}/{n}" for f in range(3) for n in ("normalizer.json", "calibration.json")}
    each |= {f"fold-{f}/seed-{s}/{n}" for f in range(3) for s in (1, 2) for n in ("best.safetensors", "result.json")}
    measured = {"calibration.json", "novelty.safetensors"}
    assert files == {"run.json", *measured, "evaluation/scores.json", "README.md", *each}
    assert "jane" in (run.path / "run.json").read_text()
    assert not any(b"jane" in (hub / file).read_bytes() for file in files)
    assert "and over 3 folds" in (hub / "README.md").read_text()
    rows = [{"text": "the film was wonderful", "audio": None, "vision": None}]
    one, two = (Predictor.load(p).predict_features(rows).to_dict()["utterances"] for p in (run.path, hub))
    assert one == two
    theirs = evaluate(Run.load(hub), corpus, subsets=False)
    assert theirs["rows"] == mine["rows"]
    moved = replace(corpus["test"], groups=corpus["test"].groups[::-1])
    with pytest.raises(RunError, match=r"cannot be made again from .*: its groups have changed"):
        evaluate(Run.load(hub), corpus.with_split("test", moved), subsets=False)


def test_a_number_of_folds_that_is_none_is_not_opened(
    crossed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = crossed.config | {"folds": crossed.config["folds"] | {"count": "../../x"}}
    (tmp_path / "run.json").write_text(json.dumps(config))
    monkeypatch.setattr("polymodal.predict.hub._download", lambda *_: tmp_path)
    with pytest.raises(RunError, match=r"folds\.count must be a whole number"):
        resolve("org/talk")
