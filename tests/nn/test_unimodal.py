"""Heads of single modalities: only who has the modality is judged."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from polymodal.core import Batch, Modality, Schema, Stream, Target
from polymodal.nn.unimodal import UnimodalHeads

SCHEMA = Schema(
    (Modality("audio", "vector", 3),),
    (Target("score", "regression", (-3.0, 3.0)), Target("mood", "classification", classes=("sad", "glad"))),
)


def batch(present: list[bool]) -> Batch:
    here = torch.tensor(present)
    targets = {"score": torch.tensor([1.0, -2.0, 3.0]), "mood": torch.tensor([0, 1, 1])}
    return Batch({"audio": Stream(torch.randn(3, 3), None, here)}, targets, ["a", "b", "c"])


def test_the_loss_is_the_mean_over_targets_on_the_samples_that_have_the_modality() -> None:
    heads, vector, given = UnimodalHeads(SCHEMA, ["audio"], 4), torch.randn(3, 4), batch([True, False, True])
    out, rows = heads["audio"](vector), [0, 2]
    score = (out["score"] - given.targets["score"])[rows].abs().mean()
    mood = F.cross_entropy(out["mood"][rows], given.targets["mood"][rows])
    assert heads.loss(given, "audio", vector).item() == pytest.approx((score + mood).item() / 2)


def test_where_nobody_has_it_the_loss_is_zero_with_zero_gradients() -> None:
    heads = UnimodalHeads(SCHEMA, ["audio"], 4)
    loss = heads.loss(batch([False] * 3), "audio", torch.randn(3, 4))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert all(p.grad is not None and not p.grad.any() for p in heads.parameters())
