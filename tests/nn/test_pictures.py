"""Vision transformers of a folder read pictures inside methods."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polymodal.core import Modality, OptionError, Schema, Stream, Target
from polymodal.nn.inputs import Inputs
from polymodal.nn.pictures import PictureTransformer

FRAMES = Modality("face", "frames", shape=(3, 16, 16))


def reader(modality: Modality, name: Path | str) -> PictureTransformer:
    schema = Schema((modality,), (Target("y", "regression"),)).with_encoders({modality.name: str(name)})
    found = Inputs(schema).encoders[modality.name]
    assert isinstance(found, PictureTransformer)
    return found.eval()


def test_frames_become_the_mean_state_of_the_network(vit: Path) -> None:
    from transformers import AutoModel

    encoder, lengths = reader(FRAMES, vit), torch.tensor([3, 0, 1])
    clips = Stream(torch.randn(3, 3, 3, 16, 16), lengths, lengths > 0)
    found = encoder(clips)
    assert found.tensor.shape == (3, 3, encoder.width) == (3, 3, 16)
    assert not found.tensor[~clips.mask].any()
    with torch.no_grad():
        states = AutoModel.from_pretrained(vit)(pixel_values=clips.tensor[0]).last_hidden_state
    torch.testing.assert_close(found.tensor[0], states.mean(1), rtol=1e-4, atol=1e-5)


def test_an_image_is_a_sequence_of_patches_stretched_to_the_sides_of_the_network(vit: Path) -> None:
    encoder = reader(Modality("scene", "image", shape=(3, 20, 10)), vit)
    found = encoder(Stream(torch.randn(2, 3, 20, 10), None, torch.tensor([True, False])))
    assert found.lengths is not None
    assert found.lengths.tolist() == [1 + 2 * 2, 0]


def test_without_a_picture_nothing_is_read(vit: Path) -> None:
    lengths = torch.tensor([0, 0])
    assert not reader(FRAMES, vit)(Stream(torch.zeros(2, 1, 3, 16, 16), lengths, lengths > 0)).tensor.any()


def test_adapters_train_in_the_place_of_the_network(vit: Path) -> None:
    pytest.importorskip("peft")
    encoder = reader(FRAMES, f"{vit}?tuning=lora")
    assert not encoder.is_pretrained
    trainable = [n for n, p in encoder.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora" in n for n in trainable)


def test_what_cannot_read_pictures_is_named(bert: str, vit: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is no vision transformer of square pictures"):
        reader(FRAMES, bert)
    with pytest.raises(OptionError, match=r"cannot be loaded .*give 'patches', a folder with a vision transformer"):
        reader(FRAMES, tmp_path / "nothing")
    with pytest.raises(OptionError, match="modality 'grey' has 1 channels; give three, or use patches"):
        reader(Modality("grey", "frames", shape=(1, 16, 16)), vit)
