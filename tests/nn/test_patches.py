"""Pixels become sequences: only true pictures are encoded, and nothing else decides what they become."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, Schema, Stream, Target
from polymodal.nn.inputs import Inputs
from polymodal.nn.patches import GRID, PatchEncoder

IMAGE, FRAMES = Modality("scene", "image", shape=(2, 9, 6)), Modality("face", "frames", shape=(2, 9, 6))


def _frames(lengths: list[int], steps: int = 5, seed: int = 0) -> Stream:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), steps, 2, 9, 6, generator=random)
    count = torch.tensor(lengths)
    stream = Stream(values, count, count > 0)
    return Stream(values * stream.mask[..., None, None, None], count, count > 0)


def test_patches_are_the_picture_cut_row_by_row_and_filled_with_zeros() -> None:
    encoder = PatchEncoder(Modality("scene", "image", shape=(2, 9, 14)))
    assert (encoder.size, encoder.grid) == (2, (5, 7))
    picture = torch.randn(3, 2, 9, 14)
    patches = encoder.cut(picture)
    assert patches.shape == (3, 35, 2 * 2 * 2)
    whole = torch.cat([picture, torch.zeros(3, 2, 1, 14)], dim=2)
    for number, (row, column) in enumerate((r, c) for r in range(5) for c in range(7)):
        part = whole[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(patches[:, number], part.flatten(1))


@pytest.mark.parametrize(("sides", "size"), [((112, 112), 16), ((16, 16), 3), ((1, 1), 1), ((3, 100), 15)])
def test_a_picture_has_at_most_seven_patches_a_side(sides: tuple[int, int], size: int) -> None:
    encoder = PatchEncoder(Modality("scene", "image", shape=(1, *sides)))
    assert encoder.size == size
    assert max(encoder.grid) <= GRID
    assert encoder(Stream(torch.randn(2, 1, *sides), None, torch.tensor([True, True]))).tensor.shape[2] == 64


def test_a_frame_is_the_mean_over_the_patches_of_an_image() -> None:
    image, frames = PatchEncoder(IMAGE), PatchEncoder(FRAMES)
    frames.load_state_dict(image.state_dict())
    clips = _frames([4, 2])
    found = frames(clips)
    for row, length in enumerate([4, 2]):
        for step in range(length):
            alone = image(Stream(clips.tensor[row, step][None], None, torch.tensor([True])))
            assert alone.lengths is not None
            assert alone.lengths.tolist() == [alone.tensor.shape[1]]
            torch.testing.assert_close(alone.tensor.mean(1)[0], found.tensor[row, step])


def test_padding_and_absence_are_exact_zeros_and_change_nothing() -> None:
    encoder = PatchEncoder(FRAMES)
    short = _frames([3, 0, 5, 1])
    found = encoder(short)
    assert found.lengths is short.lengths
    assert not found.tensor[~short.mask].any()
    longer = torch.cat([short.tensor, torch.full((4, 7, 2, 9, 6), torch.nan)], dim=1)
    again = encoder(Stream(longer, short.lengths, short.present)).tensor
    torch.testing.assert_close(again[:, :5], found.tensor)
    assert not again[:, 5:].any()
    alone = encoder(Stream(short.tensor[:1, :3], torch.tensor([3]), torch.tensor([True])))
    torch.testing.assert_close(alone.tensor[0], found.tensor[0, :3])


def test_an_absent_image_has_no_patches_whatever_its_pixels() -> None:
    encoder = PatchEncoder(IMAGE)
    present = torch.tensor([True, False])
    pixels = torch.randn(2, 2, 9, 6)
    found = encoder(Stream(pixels, None, present))
    pixels[1] = torch.nan
    assert found.lengths is not None
    assert found.lengths.tolist() == [found.tensor.shape[1], 0]
    assert not found.tensor[1].any()
    torch.testing.assert_close(encoder(Stream(pixels, None, present)).tensor, found.tensor)


def test_only_true_frames_are_encoded() -> None:
    encoder, seen = PatchEncoder(FRAMES), []
    encoder.embed.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    encoder(_frames([3, 0, 5, 1]))
    encoder(_frames([0, 0]))
    assert seen == [9, 0]


def test_gradients_reach_every_weight_and_are_zero_where_nothing_is_present() -> None:
    for lengths in ([2, 1], [0, 0]):
        encoder = PatchEncoder(FRAMES)
        clips = _frames(lengths)
        weight = torch.randn(2, 5, 64)
        (encoder(clips).tensor * weight).sum().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.any()) == any(lengths), name


def _corners(size: int) -> tuple[Tensor, Tensor]:
    """Pictures with a bright spot, its corner (0 to 3), everything else noise."""
    corner = torch.randint(4, (size,))
    pictures = 0.3 * torch.randn(size, 2, 9, 6)
    for picture, number in zip(pictures, corner.tolist(), strict=True):
        down, right = divmod(number, 2)
        picture[:, 5 * down + 1 : 5 * down + 3, 3 * right + 1 : 3 * right + 2] += 1.5
    return pictures, corner


def test_where_something_is_in_a_frame_can_be_learned() -> None:
    encoder, head = PatchEncoder(FRAMES, width=16), nn.Linear(16, 4)
    pictures, corner = _corners(128)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(encoder.states(pictures).mean(1)), corner).backward()
        optimizer.step()
    pictures, corner = _corners(200)
    assert (head(encoder.states(pictures).mean(1)).argmax(1) == corner).float().mean() > 0.9


def test_inputs_turn_pixels_into_sequences() -> None:
    schema = Schema((IMAGE, FRAMES), (Target("y", "regression"),))
    inputs = Inputs(schema)
    assert [(m.kind, m.width, m.shape) for m in inputs.modalities.values()] == [("sequence", 64, ())] * 2
    clips, here = _frames([3, 1]), torch.tensor([True, True])
    found = inputs(Batch({"scene": Stream(clips.tensor[:, 0], None, here), "face": clips}, {}, ["a", "b"]))
    assert found["scene"].tensor.shape == (2, 5 * 3, 64)  # 9 x 6 pixels in patches of 2 x 2
    assert found["face"].tensor.shape == (2, 5, 64)
