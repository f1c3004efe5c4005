"""What is promised where only the surest answers are given, and that it holds on others."""

from __future__ import annotations

import numpy as np
import pytest

from polymodal.core import Target
from polymodal.score.selective import (
    SHARES,
    SURE,
    best_step,
    clopper_pearson,
    confidence,
    expected_error,
    steps,
)

NUMBER = Target("sentiment", "regression", (-3.0, 3.0))
CLASSES = Target("emotion", "classification", classes=("anger", "joy", "fear"))
SEVERAL = Target("tags", "multilabel", classes=("a", "b"))


def test_no_error_in_ten_is_no_promise_of_none() -> None:
    assert clopper_pearson(0, 10, 0.05) == pytest.approx(1 - 0.05**0.1)
    assert clopper_pearson(10, 10, 0.05) == 1.0
    right = steps(np.linspace(0, 1, 50), np.zeros(50), bounded=True)
    assert len(right) == len(SHARES) - 1  # five samples are fewer groups than tell anything
    assert right[0].bound == pytest.approx(clopper_pearson(0, 50, (1 - SURE) / len(SHARES)))
    assert [s.bound for s in right] == sorted(s.bound for s in right)


def _drawn(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return confidence, 0/1 losses and groups of five; confidence tells the chance of an error, and groups differ."""
    sure = rng.uniform(0, 1, 5 * groups)
    harder = np.repeat(rng.normal(0, 0.15, groups), 5)
    wrong = rng.uniform(0, 1, 5 * groups) < np.clip(0.5 * (1 - sure) + harder, 0, 1)
    return sure, wrong.astype(float), np.repeat(np.arange(groups), 5)


def test_the_promise_is_kept_on_others_as_often_as_it_says() -> None:
    """Sixty validation splits: of those that promise, a tenth may break it; twice that leaves room for chance."""
    rng = np.random.default_rng(0)
    sure, wrong, _ = _drawn(rng, 40_000)
    broken, promised = 0, 0
    for _ in range(60):
        step = best_step(steps(*_drawn(rng, 60), bounded=True), 0.2)
        if step is not None:
            promised += 1
            broken += wrong[sure >= step.threshold].mean() > 0.2
    assert promised > 30
    assert broken <= 0.2 * promised


def test_bounds_are_over_groups() -> None:
    """Where whole groups are right or wrong, as many samples say less."""
    rng = np.random.default_rng(1)
    loss = np.repeat(rng.uniform(0, 1, 30) < 0.3, 10).astype(float)
    sure, groups = rng.uniform(0, 1, 300), np.repeat(np.arange(30), 10)
    apart, together = steps(sure, loss, bounded=True)[0], steps(sure, loss, groups, bounded=True)[0]
    assert together.error == pytest.approx(apart.error)
    assert together.bound > apart.bound + 0.05
    assert steps(sure[:90], loss[:90], groups[:90], bounded=True) == []  # nine groups


def test_equal_confidence_is_one_step() -> None:
    (only,) = steps(np.ones(40), np.arange(40) / 40, bounded=False)
    assert only.share == 1.0
    assert best_step([only], only.bound) == only
    assert best_step([only], only.bound - 1e-9) is None


def test_confidence_is_how_far_an_answer_is_decided() -> None:
    assert confidence(CLASSES, [[0.2, 0.7, 0.1], [0.4, 0.3, 0.3]]).tolist() == pytest.approx([0.7, 0.4])
    assert confidence(SEVERAL, [[0.1, 0.6], [1.0, 0.0]]).tolist() == pytest.approx([0.75, 1.0])
    assert confidence(NUMBER, [2.0, -1.0], (0.5, 0.1, 0.2)).tolist() == pytest.approx([-1.5, -0.6])


def test_where_numbers_err_more_is_learned_from_other_groups() -> None:
    rng = np.random.default_rng(2)
    said = rng.uniform(-3, 3, 200)
    loss = 0.3 + 0.2 * said**2
    groups = np.repeat(np.arange(40), 5)
    found, sure = expected_error(said, loss, groups)
    assert found == pytest.approx((0.3, 0.0, 0.2), abs=1e-6)
    assert sure == pytest.approx(-loss, abs=1e-6)
    loss[groups == 0] = 50.0  # what is said of a group does not follow from its own losses
    others = expected_error(said, np.where(groups == 0, 0.0, loss), groups)[1]
    assert expected_error(said, loss, groups)[1][groups == 0] == pytest.approx(others[groups == 0])
