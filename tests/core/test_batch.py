"""Streams and batches: masks, and absence that leaks nothing."""

from __future__ import annotations

from dataclasses import replace

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


def test_selected_samples_keep_their_labels_and_are_cut_to_the_longest() -> None:
    batch = replace(_batch(), domain=torch.tensor([0, 1, 1]), group=torch.tensor([4, 5, 4]))
    chosen = batch.select(torch.tensor([False, True, True]))
    assert chosen.ids == batch.ids[1:]
    assert chosen["text"].texts == batch["text"].texts[1:]
    assert chosen["audio"].lengths is not None
    assert chosen["audio"].tensor.shape[1] == max(1, int(chosen["audio"].lengths.max()))
    assert chosen.domain is not None
    assert chosen.group is not None
    assert (chosen.domain.tolist(), chosen.group.tolist()) == ([1, 1], [5, 4])
    turned = batch.select(torch.tensor([2, 0]))
    assert turned.ids == [batch.ids[2], batch.ids[0]]


def test_no_sample_can_be_selected() -> None:
    assert len(_batch().select(torch.zeros(3, dtype=torch.bool))) == 0


def test_labels_that_are_not_known_are_told_for_every_task() -> None:
    nan = float("nan")
    targets = {
        "value": torch.tensor([0.5, nan, 0.0]),
        "class": torch.tensor([-1, 0, 2]),
        "tags": torch.tensor([[0.0, 1.0], [nan, nan], [0.0, 0.0]]),
    }
    batch = replace(_batch(), targets=targets)
    assert batch.labelled("value").tolist() == [True, False, True]
    assert batch.labelled("class").tolist() == [False, True, True]
    assert batch.labelled("tags").tolist() == [True, False, True]
