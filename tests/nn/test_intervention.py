"""What says nothing, and whose shortcut meets whose label."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from polymodal.core import Modality, Schema, Target
from polymodal.nn.heads import task_loss
from polymodal.nn.intervention import Uninformed, backdoor_loss, deep_heads, exchanges, uninformed_loss
from polymodal.testing import random_batch

SCORE = Target("score", "regression", (1.0, 5.0))
MOOD = Target("mood", "classification", classes=("low", "middle", "high"))
TAGS = Target("tags", "multilabel", classes=("a", "b"))
SCHEMA = Schema((Modality("x", "vector", 4),), (SCORE, MOOD))
NO_MEAN = torch.zeros(())


def test_of_classes_it_is_the_divergence_from_uniform() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]]).log()
    torch.testing.assert_close(uninformed_loss(MOOD, logits, NO_MEAN), torch.tensor([0.324287, 0.0]))
    said = uninformed_loss(TAGS, torch.tensor([[0.0, 0.0], [2.0, 0.0]]), NO_MEAN)
    p = torch.tensor(2.0).sigmoid()
    wanted = 0.5 * (0.5 * (0.5 / p).log() + 0.5 * (0.5 / (1 - p)).log())
    torch.testing.assert_close(said, torch.stack([torch.zeros(()), wanted]), atol=1e-6, rtol=1e-5)


def test_of_a_number_it_is_the_distance_from_the_mean_label() -> None:
    uninformed, batch = Uninformed(SCHEMA), random_batch(SCHEMA)
    assert uninformed.means[0].item() == 3  # the middle, until labels are known
    labels = torch.tensor([1.0, 2.0, 4.0, torch.nan, torch.nan, torch.nan, torch.nan, torch.nan])
    uninformed.fit([replace(batch, targets={**batch.targets, "score": labels})])
    assert uninformed.means[0].item() == pytest.approx(7 / 3)
    constant = {"score": torch.full((8,), 7 / 3), "mood": torch.zeros(8, 3)}
    rows = torch.arange(8) < 5
    assert uninformed(constant, rows).item() == pytest.approx(0, abs=1e-6)
    moved = {**constant, "score": constant["score"] + torch.tensor([1.0] * 5 + [100.0] * 3)}
    assert uninformed(moved, rows).item() == pytest.approx(0.5)
    assert not uninformed.state_dict()


def test_everybody_gets_one_shortcut_or_everybodys() -> None:
    drawn = exchanges(9, 3, torch.device("cpu"))
    assert drawn.shape == (3, 9)
    assert (drawn.sort(1).values == torch.arange(9)).all()
    every = exchanges(5, 0, torch.device("cpu"))
    assert (every.sort(0).values == torch.arange(5)[:, None]).all()
    assert (every.sort(1).values == torch.arange(5)).all()
    assert exchanges(1, 1, torch.device("cpu")).tolist() == [[0]]


def test_the_label_follows_the_causal_part(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, head = random_batch(SCHEMA), deep_heads(SCHEMA, 6, 4)
    causal, shortcut = torch.randn(8, 6), torch.randn(8, 6)
    order = torch.tensor([3, 4, 5, 6, 7, 0, 1, 2])
    monkeypatch.setattr("polymodal.nn.intervention.exchanges", lambda *_: order[None])
    said = head(causal + shortcut[order])
    wanted = torch.stack([task_loss(t, said[t.name], batch.targets[t.name]) for t in SCHEMA.targets]).mean()
    torch.testing.assert_close(backdoor_loss(SCHEMA, head, causal, shortcut, batch), wanted)


def test_without_shortcuts_the_exchange_changes_nothing() -> None:
    batch, head, causal = random_batch(SCHEMA), deep_heads(SCHEMA, 6, 4), torch.randn(8, 6)
    said = head(causal)
    wanted = torch.stack([task_loss(t, said[t.name], batch.targets[t.name]) for t in SCHEMA.targets]).mean()
    for draws in (0, 1, 3):
        torch.testing.assert_close(backdoor_loss(SCHEMA, head, causal, torch.zeros(8, 6), batch, draws), wanted)


def test_without_labels_there_is_nothing_to_follow() -> None:
    batch = random_batch(SCHEMA)
    unknown = {"score": torch.full((8,), torch.nan), "mood": torch.full((8,), -1)}
    causal = torch.randn(8, 6, requires_grad=True)
    loss = backdoor_loss(SCHEMA, deep_heads(SCHEMA, 6, 4), causal, causal, replace(batch, targets=unknown))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert causal.grad is not None
    assert causal.grad.isfinite().all()
