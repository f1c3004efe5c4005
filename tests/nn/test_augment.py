"""What an augmentation changes, and what it never touches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.core import Modality, OptionError, Stream
from polymodal.nn.augment import (
    AUGMENTATIONS,
    VECTOR_AUGMENTATIONS,
    augment,
    check_augmentations,
    feature_cutoff,
    jitter,
    temporal_cutmix,
    temporal_cutoff,
)

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=8)


def sequence(lengths: list[int], width: int = 5, dtype: torch.dtype = torch.float32) -> Stream:
    """Random positive steps (so that a zero is a cut), zero padding two steps beyond the longest row."""
    true = torch.tensor(lengths)
    stream = Stream(torch.rand(len(lengths), max(lengths) + 2, width, dtype=dtype) + 0.5, true, true > 0)
    return replace(stream, values=stream.tensor * stream.mask.unsqueeze(-1))


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, name=st.sampled_from(list(AUGMENTATIONS)), double=st.booleans(), width=st.integers(1, 12))
def test_lengths_presence_dtype_and_padding_stay(lengths: list[int], name: str, double: bool, width: int) -> None:
    stream = sequence(lengths, width, torch.float64 if double else torch.float32)
    before = stream.tensor.clone()
    view = AUGMENTATIONS[name](stream)
    assert torch.equal(stream.tensor, before)
    assert view.lengths is stream.lengths
    assert view.present is stream.present
    assert view.tensor.shape == before.shape
    assert view.tensor.dtype == before.dtype
    assert view.tensor.isfinite().all()
    assert not view.tensor[~stream.mask].any()


def test_the_zeroed_share_lies_within_its_bounds_for_every_length() -> None:
    lengths = list(range(401)) * 3
    cut = (temporal_cutoff(sequence(lengths, 1)).tensor == 0).squeeze(-1) & sequence(lengths, 1).mask
    for length, zeroed in zip(lengths, cut, strict=True):
        count = int(zeroed.sum())
        if length < 4:
            assert count == 0
        else:
            assert length <= 10 * count <= 3 * length
            assert (zeroed.long().diff() == 1).sum() + zeroed[0] == 1  # one span


def test_spans_vary_between_samples_and_reach_both_ends() -> None:
    zeroed = temporal_cutoff(sequence([20] * 500, 1)).tensor[:, :20, 0] == 0
    assert zeroed[:, 0].any()
    assert zeroed[:, 19].any()
    assert set(zeroed.sum(1).tolist()) == {2, 3, 4, 5, 6}


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS)
def test_cutmix_takes_true_steps_of_one_other_sample_at_the_same_place(lengths: list[int]) -> None:
    stream = sequence(lengths)
    view = temporal_cutmix(stream).tensor
    for row, length in enumerate(lengths):
        changed = (view[row] != stream.tensor[row]).all(1)
        assert torch.equal(changed, (view[row] != stream.tensor[row]).any(1))
        assert 10 * int(changed.sum()) <= 3 * length
        donors = [
            other
            for other in range(len(lengths))
            if other != row and torch.equal(view[row][changed], stream.tensor[other][changed])
        ]
        assert donors or not changed.any()
        assert not changed[length:].any()
        if len(lengths) > 1 and min(lengths) >= 13:
            assert changed.any()


def test_cutmix_of_a_single_sample_is_the_identity() -> None:
    stream = sequence([30])
    assert torch.equal(temporal_cutmix(stream).tensor, stream.tensor)


@pytest.mark.parametrize(("width", "zeroed"), [(1, 0), (2, 1), (5, 1), (20, 2), (74, 7)])
def test_a_tenth_of_the_channels_goes_for_the_whole_sequence(width: int, zeroed: int) -> None:
    stream = sequence([9] * 50, width)
    gone = feature_cutoff(stream).tensor[:, :9] == 0
    assert torch.equal(gone.all(1), gone.any(1))
    assert (gone.all(1).sum(1) == zeroed).all()
    if zeroed:
        assert len({tuple(row.tolist()) for row in gone[:, 0]}) > 1


def test_jitter_is_scaled_by_each_channel() -> None:
    scale = torch.tensor([0.0, 1.0, 100.0])
    true = torch.full((64,), 50)
    stream = Stream(5 + scale * torch.randn(64, 50, 3), true, true > 0)
    noise = jitter(stream).tensor - stream.tensor
    torch.testing.assert_close(noise.std((0, 1)), 0.1 * scale, rtol=0.05, atol=1e-6)


@pytest.mark.parametrize("name", VECTOR_AUGMENTATIONS)
def test_vectors_are_augmented_without_time(name: str) -> None:
    present = torch.tensor([True, True, False])
    stream = Stream((torch.rand(3, 20) + 0.5) * present.unsqueeze(1), None, present)
    view = AUGMENTATIONS[name](stream)
    assert view.tensor.shape == (3, 20)
    assert (view.tensor != stream.tensor).any(1).tolist() == [True, True, False]


def test_a_vector_passes_over_augmentations_that_need_time() -> None:
    stream = Stream(torch.rand(4, 6), None, torch.ones(4, dtype=torch.bool))
    assert torch.equal(augment(stream, ("temporal_cutoff", "temporal_cutmix")).tensor, stream.tensor)
    assert not torch.equal(augment(stream, tuple(AUGMENTATIONS)).tensor, stream.tensor)


def test_two_augmentations_are_composed() -> None:
    view = augment(sequence([20] * 4), ("temporal_cutoff", "feature_cutoff")).tensor[:, :20] == 0
    assert view.all(2).any(1).all()  # a step lost every channel
    assert view.all(1).any(1).all()  # a channel lost every step


def test_the_same_seed_gives_the_same_view() -> None:
    stream = sequence([20, 3, 0])
    views = []
    for _ in range(2):
        torch.manual_seed(5)
        views.append(augment(stream, tuple(AUGMENTATIONS)).tensor)
    assert torch.equal(*views)


def test_a_wrong_name_and_a_menu_that_does_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="did you mean 'jitter'"):
        check_augmentations(("jiter",), [])
    with pytest.raises(OptionError, match="vector modality 'face'; add one of feature_cutoff, jitter"):
        check_augmentations(("temporal_cutoff",), [Modality("face", "vector", 3)])
    check_augmentations(("jitter",), [Modality("face", "vector", 3), Modality("audio", "sequence", 3)])
