"""What methods ask of labels: how far apart they are, and which are of one kind."""

from __future__ import annotations

import pytest
import torch

from polymodal.core import Target


def test_a_label_on_the_field_scale_is_its_rounded_value() -> None:
    target = Target("sentiment", "regression", (-3, 3))
    labels = torch.tensor([-3.0, -2.6, -0.4, 0.0, 0.6, 2.4, 3.0])
    assert target.spec.kinds(labels).tolist() == [-3, -3, 0, 0, 1, 2, 3]
    assert target.spec.kinds(labels, "sign").tolist() == [-1, -1, -1, 0, 1, 1, 1]


@pytest.mark.parametrize("scale", [(-1.0, 1.0), (0.0, 100.0), None])
def test_any_other_scale_is_brought_to_the_field_scale(scale: tuple[float, float] | None) -> None:
    low, high = scale or (2.0, 8.0)
    labels = low + (high - low) * torch.tensor([0.0, 1 / 6, 0.5, 0.99, 1.0])
    assert Target("x", "regression", scale).spec.kinds(labels).tolist() == [-3, -2, 0, 3, 3]


def test_classes_and_sets_of_labels_stay_what_they_are() -> None:
    assert Target("e", "classification", classes=("a", "b")).spec.kinds(torch.tensor([1, 0, 1])).tolist() == [
        1,
        0,
        1,
    ]
    sets = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    first, second, third = Target("e", "multilabel", classes=("a", "b")).spec.kinds(sets).tolist()
    assert first == third != second


def test_labels_are_as_far_apart_as_on_the_scale_of_mosi() -> None:
    sims = Target("y", "regression", (-1.0, 1.0))
    assert sims.spec.distance(torch.tensor([-1.0, 1.0]))[0, 1] == 6
    assert Target("y", "regression").spec.distance(torch.tensor([5.0, 5.0, 8.0])).tolist() == [
        [0, 0, 6],
        [0, 0, 6],
        [6, 6, 0],
    ]
    classes = Target("y", "classification", classes=("a", "b", "c"))
    assert classes.spec.distance(torch.tensor([0, 2, 2])).tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
    tags = Target("y", "multilabel", classes=("a", "b", "c"))
    assert tags.spec.distance(torch.tensor([[1.0, 0, 1], [0, 1, 1]])).tolist() == [[0, 2], [2, 0]]
