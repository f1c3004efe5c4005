"""A dead microphone and a stuck camera are absent, whichever door the clip comes in by."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from polymodal import Corpus, Run, fit
from polymodal.core import Schema, Target
from polymodal.data.sources import load_corpus
from polymodal.data.split import build_split
from polymodal.media.clip.decode import Media
from polymodal.media.extraction import Extraction
from polymodal.media.folder.extract import extract
from polymodal.media.folder.manifest import read_manifest
from polymodal.media.pipeline import Pipeline
from polymodal.predict.live import Clock, watch
from polymodal.predict.predictor import Predictor
from polymodal.serve.app import create_app
from polymodal.serve.load import load_predictor
from polymodal.serve.scratch import Scratch
from polymodal.serve.settings import Settings

EXTRACTION = Extraction(audio="logmel", text="none", utterances="clip", fps=10)
DEAD = {
    "mute.mkv": ("vision", "audio", "the sound is digital silence"),
    "stuck.mkv": ("audio", "vision", "the picture stands still"),
}
"""Clip -> what is there, what is not, and why."""


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face that speaks without sound, and a tone with a face that is stuck."""
    file = Path(__file__).parents[1] / "media" / "clips.py"
    specification = importlib.util.spec_from_file_location("clips", file)
    assert specification is not None
    assert specification.loader is not None
    clips = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(clips)
    with Media(shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg") as media:
        images: list[Any] = [p.image for p in media.pieces(audio=False)]  # type: ignore[union-attr]
    home = tmp_path_factory.mktemp("dead")
    clips.write_clip(home / "mute.mkv", images=images, samples=np.zeros((1, 3 * 48_000), np.float32))
    clips.write_clip(home / "stuck.mkv", images=[images[0]] * 75, seconds=3.0)
    return home


@pytest.fixture(scope="module")
def run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    modalities = Pipeline(EXTRACTION, assets=shared / "models").modalities
    schema = Schema(modalities, (Target("sentiment", "regression", (-3.0, 3.0)),))
    rng, splits = np.random.default_rng(0), {}
    for name, size in {"train": 20, "valid": 20, "test": 5}.items():
        mood = rng.uniform(-3, 3, size)
        columns: dict[str, Any] = {m.name: [v + rng.normal(0, 1, (5, m.width)) for v in mood] for m in modalities}
        splits[name] = build_split(schema, [f"{name}{i}" for i in range(size)], columns, {"sentiment": mood})
    told = {"options": EXTRACTION.to_dict(), "versions": {}, "modalities": ["audio", "vision"]}
    corpus = Corpus("moods", "made", schema, splits, extraction=told)
    return fit("linear", corpus, epochs=1, out=tmp_path_factory.mktemp("dead") / "run")


def check(timeline: dict[str, Any]) -> None:
    """The timeline of one of the clips knows what is dead."""
    there, lost, why = DEAD[timeline["clip"]]
    (utterance,) = timeline["utterances"]
    assert utterance["present"] == [there]
    assert utterance["absent"] == {lost: why}
    assert f"{timeline['clip']}: {why}, {lost} is absent" in timeline["notes"]


def test_extract_stores_no_features_of_what_is_dead(folder: Path, shared: Path, tmp_path: Path) -> None:
    rows = [
        f"{folder / name},{split},{i}.5" for i, (name, split) in enumerate(zip(DEAD, ("train", "test"), strict=True))
    ]
    (tmp_path / "clips.csv").write_text("\n".join(["clip,split,label", *rows]))
    manifest = read_manifest(tmp_path / "clips.csv")
    summary = extract(manifest, tmp_path / "store", extraction=EXTRACTION, assets=shared / "models")
    assert summary.modalities == {"audio": 0.5, "vision": 0.5}
    corpus = load_corpus(tmp_path / "store")
    for split, (there, lost, why) in zip(("train", "test"), DEAD.values(), strict=True):
        assert corpus.splits[split].present[there].tolist() == [True]
        assert corpus.splits[split].present[lost].tolist() == [False]
        assert any(note.endswith(f"{why}, {lost} is absent") for note in summary.notes)


def test_predict_judges_what_is_alive_and_says_why(run: Run, folder: Path, shared: Path) -> None:
    predictor = Predictor.load(run.path, assets=shared / "models")
    for name in DEAD:
        check(predictor.predict(folder / name, utterances="clip").to_dict())


@pytest.mark.slow
def test_serve_answers_the_same(run: Run, folder: Path, shared: Path, tmp_path: Path) -> None:
    load = partial(load_predictor, str(run.path), str(shared / "models"), 1)
    with TestClient(create_app(load, Settings("run"), Scratch(tmp_path)), base_url="http://127.0.0.1") as client:
        for name in DEAD:
            files = {"clip": (name, (folder / name).read_bytes())}
            answer = client.post("/predict", files=files, data={"utterances": "clip"})
            assert answer.status_code == 200, answer.text
            check(answer.json())


def test_live_estimates_say_it_each(run: Run, folder: Path, shared: Path) -> None:
    predictor = Predictor.load(run.path, assets=shared / "models")
    for name, (there, lost, why) in DEAD.items():
        with Media(folder / name) as media:
            glances = list(watch(predictor, media.pieces(fps=10), Clock(), window=1.0, step=0.5))
        last = glances[-1].moment
        assert last.end > 2.0
        assert last.present == (there,)
        assert last.absent == {lost: why}
