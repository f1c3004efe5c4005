"""Modalities as tokens, side by side."""

from __future__ import annotations

import torch

from polymodal.core import Modality, Schema, Target
from polymodal.nn.tokens import MOST, Tokens, side_by_side
from polymodal.testing import random_batch

SCHEMA = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("face", "vector", 3)),
    (Target("score", "regression"),),
)


def tokens(layers: int = 1) -> Tokens:
    modalities = {m.name: m for m in SCHEMA.modalities}
    return Tokens(modalities, 8, plain=("text",), layers=layers, dropout=0.0).eval()


def test_every_modality_has_its_tokens_and_a_vector_one() -> None:
    batch = random_batch(SCHEMA, longest=2 * MOST).without("audio", rows=torch.arange(8) < 2)
    found = tokens()(batch.streams)
    for name, stream in found.items():
        assert stream.tensor.shape[::2] == (8, 8)
        assert not stream.tensor[~stream.mask].any()
        assert stream.tensor.shape[1] == (1 if name == "face" else MOST)
    x, mask, owner = side_by_side(found)
    assert x.shape == (8, 2 * MOST + 1, 8)
    assert owner.tolist() == [0] * MOST + [1] * MOST + [2]
    torch.testing.assert_close(x[:, owner == 1], found["audio"].tensor)
    assert (mask[:, owner == 1] == found["audio"].mask).all()


def test_only_sequences_that_are_not_plain_have_context() -> None:
    assert {n: m.context for n, m in tokens().items()} == {"text": "none", "audio": "transformer", "face": "none"}
    assert {m.context for m in tokens(0).values()} == {"none"}
