"""Which rows are chosen: scores with known values, different rows first, ranks of several scores."""

from __future__ import annotations

import numpy as np
import pytest

from polymodal.core import OptionError
from polymodal.predict.choose import choose, disagreement, entropy, newness, ranks, spread, yes_or_no


def test_entropy_is_zero_for_the_sure_and_one_for_the_clueless() -> None:
    found = entropy(np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]]))
    assert found == pytest.approx([0.0, 1.0, np.log(2) / np.log(3)], abs=1e-6)
    assert yes_or_no(np.array([[0.5, 1.0], [0.0, 1.0]])) == pytest.approx([0.5, 0.0], abs=1e-6)


def test_modalities_disagree_as_far_as_what_they_say_lies_apart() -> None:
    said = {
        "text": np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]]),
        "audio": np.array([[0.0, 1.0], [0.5, 0.5], [0.0, 1.0]]),
    }
    there = {"text": np.array([True, True, True]), "audio": np.array([True, True, False])}
    assert disagreement(said, there, 2.0) == pytest.approx([1.0, 0.0, 0.0])
    values = {"a": np.array([[3.0]]), "b": np.array([[-3.0]]), "c": np.array([[0.0]])}
    all_there = {n: np.array([True]) for n in values}
    assert disagreement(values, all_there, 6.0) == pytest.approx([(1 + 0.5 + 0.5) / 3])


def test_what_lies_far_from_training_is_new() -> None:
    known = np.zeros((10, 2))
    assert newness(np.array([[0.0, 0.0], [3.0, 4.0]]), known) == pytest.approx([0.0, 5.0])
    assert newness(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx([2.5])


def groups() -> np.ndarray:
    """Return 30 rows in three heaps of 20, 7 and 3."""
    rng = np.random.default_rng(0)
    centres = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], [20, 7, 3], axis=0)
    return np.asarray(centres + rng.normal(0, 0.1, centres.shape))


def heap(row: int) -> int:
    return int(np.digitize(row, [20, 27]))


def test_diverse_rows_come_from_every_heap_and_are_typical_of_it() -> None:
    x = groups()
    chosen = spread(x, 3)
    assert sorted(map(heap, chosen)) == [0, 1, 2]
    assert heap(chosen[0]) == 0  # the largest heap first
    for row in chosen:
        own = x[[i for i in range(30) if heap(i) == heap(row)]]
        apart = np.linalg.norm(own - own.mean(0), axis=1)
        assert np.linalg.norm(x[row] - own.mean(0)) == pytest.approx(apart.min())
    assert sorted(spread(x, 100)) == list(range(30))
    assert spread(np.zeros((0, 2)), 3) == []
    assert len(set(spread(np.zeros((8, 2)), 3))) == 3


def test_one_score_is_followed_to_the_letter() -> None:
    scores = {"uncertainty": np.arange(30.0), "conflict": -np.arange(30.0)}
    assert choose("uncertainty", scores, groups(), 3) == [29, 28, 27]
    assert choose("conflict", scores, groups(), 2) == [0, 1]


def test_mixed_takes_high_scores_that_differ() -> None:
    unsure = np.zeros(30)
    unsure[[0, 1, 2, 20, 21, 22, 27, 28, 29]] = 1.0
    chosen = choose("mixed", {"uncertainty": unsure, "conflict": unsure}, groups(), 3)
    assert len({heap(i) for i in chosen}) == 3


def test_ranks_are_shares_with_equals_halved() -> None:
    assert ranks(np.array([3.0, 1.0, 1.0, 7.0])) == pytest.approx([0.625, 0.25, 0.25, 0.875])


@pytest.mark.parametrize(("by", "named"), [("certainty", "did you mean 'uncertainty'"), ("distance", "cannot be told")])
def test_what_cannot_be_is_one_sentence(by: str, named: str) -> None:
    with pytest.raises(OptionError, match=named):
        choose(by, {"uncertainty": np.zeros(30)}, groups(), 1)
