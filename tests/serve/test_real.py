"""The whole chain: a run on extracted features, served by a real worker process, asked for a real clip."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from polymodal import Corpus, Run, fit
from polymodal.core import Schema, Target
from polymodal.data.corpus import build_split
from polymodal.media.extraction import Extraction
from polymodal.media.pipeline import Pipeline
from polymodal.predict.predictor import Predictor
from polymodal.serve.app import create_app
from polymodal.serve.load import load_predictor
from polymodal.serve.scratch import Scratch
from polymodal.serve.settings import Settings

pytestmark = pytest.mark.slow


def _run(folder: Path, folds: int | None = None) -> Run:
    """A run on log-mel features that no clip was needed for."""
    extraction = Extraction(audio="logmel", vision="none", text="none")
    (audio,) = Pipeline(extraction).modalities
    schema = Schema((audio,), (Target("sentiment", "regression", (-3.0, 3.0)),))
    rng, splits = np.random.default_rng(0), {}
    for name, size in {"train": 40, "valid": 40, "test": 20}.items():
        mood = rng.uniform(-3, 3, size)
        steps: list[Any] = [m + rng.normal(0, 1, (5, audio.width)) for m in mood]
        splits[name] = build_split(schema, [f"{name}{i}" for i in range(size)], {"audio": steps}, {"sentiment": mood})
    told = {"options": extraction.to_dict(), "versions": {}, "modalities": ["audio"]}
    corpus = Corpus("moods", "made", schema, splits, extraction=told)
    return fit("linear", corpus, epochs=1, folds=folds, out=folder / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _run(tmp_path_factory.mktemp("real"))


def test_a_run_of_folds_is_served(tmp_path: Path) -> None:
    run = _run(tmp_path, folds=3)
    app = create_app(partial(load_predictor, str(run.path), None, 1), Settings("run"), Scratch(tmp_path / "scratch"))
    rows = [{"audio": np.ones((4, run.schema.modalities[0].width)).tolist()}]
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answered = client.post("/predict", json={"rows": rows}).json()
    assert answered["utterances"] == Predictor.load(run.path).predict_features(rows).to_dict()["utterances"]
    assert answered["calibrated"]


def test_the_service_says_what_the_predictor_says(run: Run, shared: Path, tmp_path: Path) -> None:
    clips = sorted((shared / "data" / "grid_av_speech" / "clips_s1").glob("*.mpg"))[:2]
    predictor = Predictor.load(run.path, threads=1)
    app = create_app(partial(load_predictor, str(run.path), None, 1), Settings("run"), Scratch(tmp_path / "scratch"))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for clip in clips:
            response = client.post("/predict", files={"clip": (clip.name, clip.read_bytes())})
            assert response.status_code == 200, response.text
            expected = predictor.predict(clip).to_dict()
            assert {**response.json(), "seconds": 0, "run": 0} == {**expected, "seconds": 0, "run": 0}
        rows = [{"audio": np.ones((4, run.schema.modalities[0].width)).tolist()}, {"audio": None}]
        answered = client.post("/predict", json={"rows": rows}).json()
        expected = predictor.predict_features(rows).to_dict()
        assert answered["utterances"] == expected["utterances"]
        content = clips[0].read_bytes()
        for name, bad in {
            "cut.mpg": content[:3000],
            "silent.txt": b"no clip at all",
            "passwd": b"",
            "list.m3u8": b"#EXTM3U\nfile:///etc/passwd\n",
        }.items():
            response = client.post("/predict", files={"clip": (name, bad)})
            assert response.status_code == 422
            assert name in response.json()["error"]
        for values in ("[[1.0, 2.0]]", "[" + "9" * 400 + "]", "[[NaN]]", "{}", '"good"'):
            wrong = client.post(
                "/predict", content=f'{{"rows": [{{"audio": {values}}}]}}', headers={"content-type": "application/json"}
            )
            assert wrong.status_code == 422
            assert "row 0" in wrong.json()["error"]
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["lock"]
