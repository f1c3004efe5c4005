"""Which samples are drawn as mismatches, and the scores that they ought to have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Stream, Target
from polymodal.nn.mismatches import RATIO, label_distance, mismatches, target_scores

SCORE = Target("score", "regression", (-3.0, 3.0))
KIND = Target("kind", "classification", classes=("x", "y", "z"))
TAGS = Target("tags", "multilabel", classes=("p", "q"))


def batch(**targets: Tensor) -> Batch:
    count = len(next(iter(targets.values())))
    stream = Stream(torch.zeros(count, 1), None, torch.ones(count, dtype=torch.bool))
    return Batch({"a": stream}, targets, [str(i) for i in range(count)])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
def test_no_sample_is_drawn_twice_in_one_tuple_and_there_are_not_too_many(count: int, size: int) -> None:
    rows = mismatches(count, size, torch.device("cpu"))
    assert len(rows) <= RATIO * count
    assert all(len(set(row)) == size for row in rows.tolist())
    if count < size:
        assert not len(rows)
    if count == 40:
        assert len(rows) == RATIO * count


def test_scores_of_mismatches() -> None:
    distance, known = label_distance([SCORE], batch(score=torch.tensor([3.0, 3.0, -3.0, 1.0])))
    assert known.all()
    assert target_scores(distance, torch.tensor([[0, 1, 2]])).item() == pytest.approx(0.8184, abs=5e-4)
    assert target_scores(distance, torch.tensor([[0, 2]])).item() == pytest.approx(1.0)
    equal = target_scores(distance, torch.tensor([[0, 1]])).item()
    assert equal == pytest.approx(0.1 / 6.1)
    alike = target_scores(torch.zeros(3, 3), torch.tensor([[0, 1, 2]])).item()
    assert alike == pytest.approx(0.00953, abs=1e-5)
    assert target_scores(distance, torch.tensor([[1, 3]])).item() == pytest.approx(2.1 / 6.1)


def test_distances_of_several_targets_are_averaged_over_those_both_samples_have() -> None:
    targets = {
        "score": torch.tensor([-3.0, 3.0, 0.0, torch.nan]),
        "kind": torch.tensor([0, 1, -1, -1]),
        "tags": torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [torch.nan, torch.nan]]),
    }
    distance, known = label_distance([SCORE, KIND, TAGS], batch(**targets))
    assert known.tolist() == [True, True, True, False]
    assert distance[0, 1].item() == pytest.approx((6 + 6 + 3) / 3)
    assert distance[0, 2].item() == pytest.approx((3 + 6) / 2)
    assert distance[0, 3].item() == pytest.approx(6.0)
    assert distance[0, 0].item() == pytest.approx(0.0)
    torch.testing.assert_close(distance, distance.T)
