"""The whole chain: a run on extracted features, served by a real worker process, asked for a real clip."""

from __future__ import annotations

import json
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from polymodal import Corpus, Run, fit
from polymodal.cascade.folder import digest
from polymodal.cascade.predictor import CascadePredictor
from polymodal.cli.main import main
from polymodal.core import Schema, Target
from polymodal.data.split import build_split
from polymodal.media.extraction import Extraction
from polymodal.media.pipeline import Pipeline
from polymodal.predict.predictor import Predictor
from polymodal.serve.app import create_app
from polymodal.serve.load import load_predictor
from polymodal.serve.scratch import Scratch
from polymodal.serve.settings import Settings

pytestmark = pytest.mark.slow


def _run(folder: Path, folds: int | None = None, seeds: tuple[int, ...] = (1,), called: str = "run") -> Run:
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
    return fit("linear", corpus, epochs=1, folds=folds, seeds=seeds, out=folder / called)


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


def _cascade(place: Path, small: Run, large: dict[str, Any]) -> Path:
    """Write a cascade that is sure of nothing."""
    members = {"basis": "members", "temperature": 1.0, "scale": 3.0}
    stored = {
        "small": {"run": str(small.path), "digest": digest(small.path), "sureness": members},
        "large": {"sureness": members, **large},
        "target": "sentiment",
        "rule": {"small": -1.0, "large": 1.0, "agreed": "average", "middle": 0.0},
        "data": {"source": "made", "name": "moods", "hash": "x"},
        "fitted": {},
    }
    place.mkdir()
    (place / "cascade.json").write_text(json.dumps(stored))
    return place


def test_a_cascade_of_two_runs_is_served_and_written_by_the_command(
    run: Run, wav: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = _run(tmp_path, seeds=(1, 2), called="large")
    place = _cascade(tmp_path / "cascade", run, {"spec": f"run:{other.path}", "name": "run large"})
    (tmp_path / "clip.wav").write_bytes(wav)
    expected = CascadePredictor(place).predict(tmp_path / "clip.wav").to_dict()
    assert [u["estimates"]["sentiment"]["cascade"]["by"] for u in expected["utterances"]] == ["large"]
    app = create_app(partial(load_predictor, str(place), None, 1), Settings("cascade"), Scratch(tmp_path / "scratch"))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/healthz").json()["status"] == "ready"
        response = client.post("/predict", files={"clip": ("clip.wav", wav)})
        assert response.status_code == 200, response.text
        assert {**response.json(), "seconds": 0, "run": 0} == {**expected, "seconds": 0, "run": 0}
        lost = client.post("/predict", json={"rows": [{"audio": None, "vision": None}]})
        assert lost.status_code == 422
        assert "row 0: no modality 'vision'" in lost.json()["error"]
    assert main(["predict", str(place), str(tmp_path / "clip.wav"), "--html", str(tmp_path / "page.html")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "went to the large model, run large" in shown
    assert '"stage": "2a"' in (tmp_path / "page.html").read_text()


def test_a_service_that_never_ends_its_reply_leaves_clips_to_the_small_run_in_time(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts connections and says nothing; a whole timeout of it would be longer than a client waits."""
    monkeypatch.setenv("POLYMODAL_LLM_MODEL", "stub")
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    place = _cascade(tmp_path / "cascade", run, {"spec": "http?timeout=60", "name": "stub", "sureness": None})
    width = run.schema.modalities[0].width
    rows = [{"audio": np.ones((4, width)).tolist(), "text": f"words {i}"} for i in range(3)]
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("POLYMODAL_LLM_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}/v1")
        load = partial(load_predictor, str(place), None, 1, within=2.0)
        app = create_app(load, Settings("cascade", time_limit=20.0), Scratch(tmp_path / "scratch"))
        with TestClient(app, base_url="http://127.0.0.1") as client:
            for most in (12.0, 5.0):  # the second clip does not wait for it again
                began = time.monotonic()
                response = client.post("/predict", json={"rows": rows})
                assert time.monotonic() - began < most
                assert response.status_code == 200, response.text
                told = response.json()
                assert {u["estimates"]["sentiment"]["cascade"]["stage"] for u in told["utterances"]} == {"failed"}
                assert "left 3 of 3 questions unanswered" in " ".join(told["notes"])
            assert client.get("/healthz").json()["workers"] == 1
