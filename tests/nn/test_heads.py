"""Prediction heads."""

from __future__ import annotations

import torch

from polymodal.core import Modality, Schema, Target
from polymodal.nn.heads import Heads, task_loss

SCHEMA = Schema(
    (Modality("audio", "sequence", 3),),
    (
        Target("stars", "regression", (1, 7)),
        Target("mood", "classification", classes=("low", "high", "none")),
        Target("free", "regression"),
        Target("tags", "multilabel", classes=("a", "b")),
    ),
)


def test_a_regression_starts_at_the_middle_of_its_scale() -> None:
    out = Heads(SCHEMA, 4)(torch.zeros(2, 4))
    assert out["stars"].tolist() == [4.0, 4.0]
    assert out["free"].abs().max() < 1
    assert {n: tuple(y.shape) for n, y in out.items()} == {"stars": (2,), "mood": (2, 3), "free": (2,), "tags": (2, 2)}


def test_task_losses_have_their_closed_forms() -> None:
    stars, mood, _, tags = SCHEMA.targets
    assert float(task_loss(stars, torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0]))) == 1.5
    even = task_loss(mood, torch.zeros(2, 3), torch.tensor([0, 2]))
    torch.testing.assert_close(even, torch.tensor(3.0).log())
    torch.testing.assert_close(task_loss(tags, torch.zeros(2, 2), torch.eye(2)), torch.tensor(2.0).log())
