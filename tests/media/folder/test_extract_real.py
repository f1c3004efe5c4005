"""Real clips through the real pipeline."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from polymodal import fit
from polymodal.data.sources import load_corpus
from polymodal.media.extraction import Extraction
from polymodal.media.folder.extract import extract
from polymodal.media.folder.manifest import read_manifest
from polymodal.predict.predictor import Predictor

SOUND = Extraction(audio="logmel", vision="none", text="none", utterances="clip")


@pytest.fixture
def speakers(shared: Path, tmp_path: Path) -> Path:
    """A table of nine clips of EmoDB and one that is none."""
    home = shared / "data" / "emodb"
    with (home / "clips.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["emotion"] in ("anger", "sadness")]
    chosen = [r for speaker in ("03", "08", "09") for r in [r for r in rows if r["speaker"] == speaker][::2]]
    bad = tmp_path / "bad.flac"
    bad.write_bytes((home / chosen[0]["file"]).read_bytes()[:40])
    table = tmp_path / "table.csv"
    lines = [f"{home / r['file']},{r['speaker']},{r['emotion']}" for r in chosen]
    table.write_text("\n".join(["file,speaker,emotion", *lines, f"{bad},03,anger"]))
    return table


def arrow(store: Path) -> dict[str, bytes]:
    names = [*store.rglob("*.arrow"), *store.glob("*.parquet"), store / "polymodal.json"]
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(names)}


def test_sound_of_real_clips_becomes_a_corpus(speakers: Path, tmp_path: Path) -> None:
    manifest = read_manifest(speakers)
    summary = extract(manifest, tmp_path / "store", extraction=SOUND, workers=2)
    assert (summary.done, summary.failed) == (9, 1)
    assert "bad.flac" in summary.failures[0][0]
    corpus = load_corpus(tmp_path / "store")
    assert corpus.schema.targets[0].classes == ("anger", "sadness")
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 3, "valid": 3, "test": 3}
    said = {u["id"]: u for u in pq.read_table(tmp_path / "store" / "utterances.parquet").to_pylist()}
    for split in corpus.splits.values():
        for i, name in enumerate(split.ids):
            steps = len(split.columns["audio"][i])
            assert steps == pytest.approx(100 * said[name]["end"], abs=6)
            assert said[name]["speaker"] == split.groups[i]
    assert summary.media_seconds == pytest.approx(sum(u["end"] for u in said.values()))


SCRIPT = """
import sys
from polymodal.media.folder.extract import extract
from polymodal.media.extraction import Extraction
from polymodal.media.folder.manifest import read_manifest
if __name__ == "__main__":
    sound = Extraction(audio="logmel", vision="none", text="none", utterances="clip")
    extract(read_manifest(sys.argv[1]), sys.argv[2], extraction=sound, workers=2)
"""


@pytest.mark.slow
def test_a_killed_extraction_goes_on_to_the_same_bytes(speakers: Path, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(SCRIPT)
    job = subprocess.Popen([sys.executable, str(tmp_path / "job.py"), str(speakers), str(tmp_path / "store")])
    parts = tmp_path / "store.partial" / "parts"
    deadline = time.monotonic() + 60
    while not list(parts.glob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert not (tmp_path / "store").exists()
    time.sleep(2)  # workers notice within a second
    done = len(list(parts.glob("*.safetensors")))
    assert 1 <= done < 9
    manifest = read_manifest(speakers)
    assert extract(manifest, tmp_path / "store", extraction=SOUND, workers=2).before == done
    extract(manifest, tmp_path / "whole", extraction=SOUND)
    assert arrow(tmp_path / "store") == arrow(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_on_crops_sees_the_same_pixels_in_a_clip(shared: Path, tmp_path: Path) -> None:
    clips = sorted((shared / "data" / "grid_av_speech").glob("*/*.mpg"))
    splits = 6 * ["train"] + 3 * ["valid"] + 2 * ["test"]
    rows = [f"{clip},{split},{i % 3}.5" for i, (clip, split) in enumerate(zip(clips, splits, strict=True))]
    (tmp_path / "clips.csv").write_text("\n".join(["clip,split,label", *rows]))
    chosen = Extraction(audio="none", vision="crops", text="none", utterances="clip", fps=5)
    assets = shared / "models"
    extract(read_manifest(tmp_path), tmp_path / "store", extraction=chosen, assets=assets, workers=2)
    corpus = load_corpus(tmp_path / "store")
    predictor = Predictor(fit("linear", corpus, out=tmp_path / "run"), assets=assets)
    for i, clip in enumerate(clips[-2:]):
        (seen,) = predictor.predict(clip, utterances="clip").moments
        (kept,) = predictor.predict_features([{"vision": corpus.splits["test"].columns["vision"][i]}]).moments
        assert seen.present == kept.present == ("vision",)
        assert seen.estimates["label"].value == pytest.approx(kept.estimates["label"].value, abs=1e-5)


@pytest.mark.slow
def test_faces_sound_and_words_of_real_clips(shared: Path, tmp_path: Path) -> None:
    home = shared / "data" / "grid_av_speech" / "clips_s1"
    rows = [f"{home / n}.mpg,{home / n}.align,{n[3]}" for n in ("bbaf2n", "bbal8p", "bbaszn")]
    (tmp_path / "clips.csv").write_text("\n".join(["clip,transcript,label", *rows]))
    manifest = read_manifest(tmp_path)
    chosen = Extraction(audio="logmel", text="given", align="words", fps=5, **manifest.suggested)
    assets = shared / "models"
    one = extract(manifest, tmp_path / "one", extraction=chosen, assets=assets)
    extract(manifest, tmp_path / "two", extraction=chosen, assets=assets, workers=2)
    assert arrow(tmp_path / "one") == arrow(tmp_path / "two")
    assert one.modalities == {"text": 1.0, "audio": 1.0, "vision": 1.0}
    assert one.face is not None
    assert one.face > 0.9
    corpus = load_corpus(tmp_path / "one")
    words = pq.read_table(tmp_path / "one" / "words.parquet").to_pylist()
    for split in corpus.splits.values():
        for i, name in enumerate(split.ids):
            spoken = [w["word"] for w in words if w["id"] == name]
            assert split.columns["text"][i].split() == spoken
            assert len(split.columns["audio"][i]) == len(split.columns["vision"][i]) == len(spoken)
            assert np.isfinite(split.columns["vision"][i]).all()
    assert corpus.extraction is not None
    assert corpus.extraction["options"]["align"] == "words"
    assert set(corpus.extraction["versions"]) == {"audio", "vision"}
