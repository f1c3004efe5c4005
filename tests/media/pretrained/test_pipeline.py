"""Several networks at once: in a store, at prediction, and the same whoever does the work."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polymodal import Predictor, fit, load_corpus
from polymodal.core import OptionError
from polymodal.media.extraction import Extraction
from polymodal.media.folder.extract import extract
from polymodal.media.folder.manifest import read_manifest
from polymodal.media.pipeline import Pipeline
from polymodal.media.types import RATE, Samples, Segment, Track

Networks = Callable[[str], Path]


def _table(folder: Path, make_clip: Callable[..., Path], noise: Callable[..., np.ndarray]) -> Path:
    with (folder / "clips.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["clip", "label", "speaker", "split", "text"])
        for i in range(6):
            sound = noise(0.5 + 0.1 * i, seed=i)[None] * (1 + i % 2)
            make_clip(f"c{i}.wav", samples=sound, rate=RATE)
            out.writerow([f"c{i}.wav", "ab"[i % 2], f"s{i}", ("train", "valid", "test")[i // 2], "a very good film"])
    return folder / "clips.csv"


def test_streams_have_names_of_their_own() -> None:
    assert Extraction(audio="whisper").streams("audio") == {"audio": "whisper"}
    found = Extraction(audio="egemaps-functionals,whisper?rate=5,hf:org/Wav-2@main,hf:other/wav-2").streams("audio")
    assert list(found) == ["audio", "audio_whisper", "audio_wav_2", "audio_wav_2_2"]
    assert Extraction(audio="none").streams("audio") == Extraction(vision="file").streams("vision") == {}
    assert Extraction(vision="crops,hf:a/vit").streams("vision") == {"vision": "crops", "vision_vit": "hf:a/vit"}
    assert Extraction(vision="hf:a/vit,face").streams("vision") == {"vision": "hf:a/vit", "vision_face": "face"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"audio": "egemaps,none"}, "audio 'none' stands alone"),
        ({"vision": "face,file"}, "vision 'file' stands alone"),
        ({"audio": "whisper,whisper"}, "names the same features twice"),
        ({"audio": "wisper"}, "there is no audio 'wisper'; did you mean"),
        ({"audio": "logmel?rate=5"}, "there is no audio 'logmel"),
        ({"reader": "minilm"}, "cannot read text"),
        ({"reader": "hf:a/b", "text": "none"}, "cannot read text"),
    ],
)
def test_what_does_not_go_together(options: dict[str, str], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Extraction(**options)


def test_features_crops_and_a_network_side_by_side_are_those_of_each_alone(shared: Path, networks: Networks) -> None:
    pytest.importorskip("mediapipe")
    clip, vit = shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg", networks("vit")

    def tracks(vision: str) -> dict[str, Track]:
        extraction = Extraction(audio="none", text="none", vision=vision, utterances="clip")
        pipeline = Pipeline(extraction, assets=shared / "models")
        with pipeline.read(clip) as reading:
            (found,) = reading
        kinds = ["frames" if part == "crops" else "sequence" for part in vision.split(",")]
        assert [(m.name, m.kind) for m in pipeline.modalities] == list(zip(found.tracks, kinds, strict=True))
        return found.tracks

    face, crops, seen = tracks(f"face,crops,hf:{vit}?fps=5").values()
    assert len(face) == len(crops) > 70
    assert seen.times == pytest.approx(np.arange(15) / 5, abs=0.05)
    assert (face.values == tracks("face")["vision"].values).all()
    assert (crops.values == tracks("crops")["vision"].values).all()
    alone = tracks(f"hf:{vit}")["vision"]
    assert seen.values == pytest.approx(alone.values[np.isin(alone.times, seen.times)], abs=1e-4)


@pytest.mark.slow
def test_a_store_of_several_networks_and_a_run_on_it(
    tmp_path: Path,
    make_clip: Callable[..., Path],
    noise: Callable[..., np.ndarray],
    networks: Networks,
    make_bert: Callable[[int], str],
) -> None:
    manifest = read_manifest(str(_table(tmp_path, make_clip, noise)), targets=["label"])
    extraction = Extraction(
        audio=f"logmel,hf:{networks('wav2vec2')}?rate=5",
        vision="none",
        text="given",
        reader=f"hf:{make_bert(1)}",
        utterances="clip",
    )
    stores = [tmp_path / "one", tmp_path / "two"]
    for workers, store in enumerate(stores, 1):
        extract(manifest, store, extraction=extraction, workers=workers)
    one, two = map(load_corpus, map(str, stores))
    kinds = [(m.name, m.kind, m.width) for m in one.schema.modalities]
    assert kinds == [("text", "sequence", 16), ("audio", "sequence", 42), ("audio_wav2vec2", "sequence", 16)]
    for split, rows in one.splits.items():
        for name, column in rows.columns.items():
            for i in range(len(rows)):
                assert np.array_equal(column[i], two.splits[split].columns[name][i])
    assert one.extraction is not None
    assert "@" in one.extraction["options"]["audio"]
    assert one.extraction["trained_on"] == {"text": [], "audio_wav2vec2": []}

    run = fit("linear", one, out=tmp_path / "run")
    predictor = Predictor.load(run.path, threads=1)
    assert list(predictor.clips.sources) == ["text", "audio", "audio_wav2vec2"]
    with predictor.clips.pipeline.read(tmp_path / "c0.wav", segments=[Segment(0, 9, "a very good film")]) as reading:
        (utterance,) = reading
    row, split = predictor.clips.row(utterance), one.splits["train"]
    for name in one.schema.names:
        assert np.abs(np.asarray(row[name]) - split.columns[name][split.ids.index("c0")]).max() < 1e-5
    assert set(predictor.predict(tmp_path / "c0.wav").moments[0].present) == {"audio", "audio_wav2vec2"}


def test_silence_is_absent_for_every_ear_and_a_stretch_has_its_own_states(
    networks: Networks, noise: Callable[..., np.ndarray]
) -> None:
    pipeline = Pipeline(Extraction(audio=f"logmel,hf:{networks('wav2vec2')}", vision="none", text="none"))
    quiet = Samples(0.0, np.zeros(RATE, np.float32))
    with pipeline.read([quiet], utterances="clip") as reading:
        (utterance,) = reading
    assert utterance.tracks == {}
    assert set(utterance.absent) == {"audio", "audio_wav2vec2"}
    with pipeline.read([Samples(0.0, noise(1.0))], segments=[Segment(0.25, 0.75)]) as reading:
        (utterance,) = reading
    lengths = {name: len(track) for name, track in utterance.tracks.items()}
    assert lengths == {"audio": 50, "audio_wav2vec2": 5}
    assert utterance.tracks["audio_wav2vec2"].times[0] == pytest.approx(0.3)


@pytest.mark.slow
def test_faces_are_looked_at_by_an_image_encoder(shared: Path, networks: Networks) -> None:
    pytest.importorskip("mediapipe")
    clip = shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg"
    extraction = Extraction(audio="none", vision=f"crops,hf:{networks('vit')}", text="none", fps=5)
    pipeline = Pipeline(extraction, assets=shared / "models")
    with pipeline.read(clip, utterances="clip") as reading:
        (utterance,) = reading
    faces, states = utterance.tracks["vision"], utterance.tracks["vision_vit"]
    assert (len(faces), states.values.shape[1]) == (len(states), 16)
    assert np.array_equal(faces.times, states.times)
    (sight,) = [s for s in pipeline.sights.values() if s]
    assert np.abs(sight.describe(faces).values - states.values).max() < 1e-6
