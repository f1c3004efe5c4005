"""Streams and batches: masks, and absence that leaks nothing."""

from __future__ import annotations

import pytest
import torch

from polymodal.core import Batch, DataError, Stream


def _batch() -> Batch:
    audio = Stream(torch.ones(3, 4, 2), torch.tensor([4, 2, 0]), torch.tensor([True, True, False]))
    face = Stream(torch.ones(3, 5), None, torch.tensor([True, False, True]))
    text = Stream(["one", "two", ""], None, torch.tensor([True, True, False]))
    return Batch({"audio": audio, "face": face, "text": text}, {"y": torch.zeros(3)}, ["a", "b", "c"])


def test_the_mask_is_true_at_real_steps_of_present_samples() -> None:
    batch = _batch()
    expected = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    assert torch.equal(batch["audio"].mask, expected)
    assert torch.equal(batch["face"].mask, torch.tensor([[True], [False], [True]]))
    assert batch["text"].mask.tolist() == [[True], [True], [False]]


def test_presence_has_one_column_per_stream_in_order() -> None:
    assert _batch().present.tolist() == [[True, True, True], [True, False, True], [False, True, False]]


def test_a_removed_modality_is_overwritten_even_where_it_was_nan() -> None:
    batch = _batch()
    batch["audio"].tensor[0, 1, 0] = torch.nan
    gone = batch.without("audio", "text", rows=torch.tensor([True, False, False]))
    assert torch.equal(gone["audio"].tensor[0], torch.zeros(4, 2))
    assert torch.equal(gone["audio"].tensor[1], torch.ones(4, 2))
    assert gone["audio"].lengths is not None
    assert gone["audio"].lengths.tolist() == [0, 2, 0]
    assert gone["text"].texts == ["", "two", ""]
    assert gone["audio"].present.tolist() == [False, True, False]
    assert torch.equal(gone["face"].tensor, batch["face"].tensor)


def test_removing_leaves_the_original_batch_alone() -> None:
    batch = _batch()
    assert not batch.without("face")["face"].present.any()
    assert batch["face"].tensor.sum() == 15
    assert batch["face"].present.tolist() == [True, False, True]


def test_an_unknown_modality_names_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'audio'"):
        _batch().without("adio")


def test_a_stream_gives_strings_or_a_tensor_never_the_other() -> None:
    batch = _batch()
    with pytest.raises(TypeError, match="strings"):
        _ = batch["text"].tensor
    with pytest.raises(TypeError, match="tensor"):
        _ = batch["audio"].texts


def test_moving_a_batch_moves_everything_but_the_strings() -> None:
    moved = _batch().to("meta")
    assert moved["audio"].tensor.is_meta
    assert moved["audio"].mask.is_meta
    assert moved.targets["y"].is_meta
    assert moved["text"].texts == ["one", "two", ""]
    assert len(moved) == 3
