"""Late fusion: separate encoders, no interaction before the perceptron."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from polymodal.core import Batch, Modality, OptionError, Schema, Target
from polymodal.methods.late_fusion import LateFusion

MakeBatch = Callable[..., Batch]
SCHEMA = Schema(
    (Modality("text", "text"), Modality("audio", "sequence", 3), Modality("face", "vector", 2)),
    (Target("y", "regression"),),
)


def test_a_modality_whose_columns_are_zero_decides_nothing(make_batch: MakeBatch) -> None:
    method = LateFusion(SCHEMA, width=8).eval()
    batch, other = make_batch(SCHEMA), make_batch(SCHEMA, seed=1)
    changed = replace(batch, streams={**batch.streams, "audio": other["audio"]})
    assert not torch.allclose(method(changed).predictions["y"], method(batch).predictions["y"])
    with torch.no_grad():
        method.mix[1].weight[:, 8:16] = 0
    torch.testing.assert_close(method(changed).predictions["y"], method(batch).predictions["y"])


def test_the_vector_of_a_modality_depends_on_it_alone_and_is_zero_without(make_batch: MakeBatch) -> None:
    method = LateFusion(SCHEMA, width=8).eval()
    batch = make_batch(SCHEMA)
    full, without = method(batch).representations, method(batch.without("audio")).representations
    assert torch.equal(full["text"], without["text"])
    assert torch.equal(full["face"], without["face"])
    assert not without["audio"].any()
    assert full["audio"].any()


@pytest.mark.parametrize("context", ["none", "gru", "transformer"])
def test_order_of_frames_matters_exactly_where_there_is_context(context: str, make_batch: MakeBatch) -> None:
    method = LateFusion(SCHEMA, width=8, context=context).eval()
    batch = make_batch(SCHEMA)
    audio = batch["audio"]
    mirrored = audio.tensor.clone()
    for i, n in enumerate(audio.lengths.tolist()):
        mirrored[i, :n] = audio.tensor[i, :n].flip(0)
    other = replace(batch, streams={**batch.streams, "audio": replace(audio, values=mirrored)})
    unchanged = torch.allclose(method(other).predictions["y"], method(batch).predictions["y"], atol=1e-6)
    assert unchanged == (context == "none")


def test_wrong_options_are_named() -> None:
    with pytest.raises(OptionError, match="context must be one of lstm, gru, transformer, none, got 'gruu'"):
        LateFusion(SCHEMA, context="gruu")
    with pytest.raises(OptionError, match="dropout must be at least 0 and below 1, got 1"):
        LateFusion(SCHEMA, dropout=1)
