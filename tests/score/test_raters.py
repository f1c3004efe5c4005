"""What raters say together, what one of them reaches, and predictions against shares of raters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polymodal.core import Target
from polymodal.score.raters import consensus, held_against_others, one_rater, shares, soft_scores

SCORE = Target("score", "regression")
MOOD = Target("mood", "classification", classes=("sad", "calm", "glad"))
NOT = np.nan


def test_numbers_have_their_mean_and_classes_their_majority() -> None:
    ratings = np.array([[1, 2, NOT], [0, 0, 2], [NOT, NOT, NOT], [2, NOT, NOT]])
    np.testing.assert_allclose(consensus(SCORE, ratings), [1.5, 2 / 3, NOT, 2])
    # One to one is a tie: nobody decides.
    np.testing.assert_array_equal(consensus(MOOD, ratings), [NOT, 0, NOT, 2])


def test_the_others_leave_out_the_rating_itself() -> None:
    ratings = np.array([[1, 2, 0], [1, NOT, 2], [1, NOT, NOT]])
    rows, raters, labels, weights = held_against_others(SCORE, ratings)
    assert list(zip(rows, raters, labels, weights, strict=True)) == [
        (0, 0, 1, 1),
        (0, 1, 0.5, 1),
        (0, 2, 1.5, 1),
        (1, 0, 2, 1),
        (1, 2, 1, 1),
    ]


def test_a_mean_of_zero_is_zero_whatever_rounding_says() -> None:
    ratings = np.array([[0.1, 0.2, -0.3], [0.2, 0.7, -0.2]])
    assert consensus(SCORE, ratings)[0] == 0.0
    rows, raters, labels, _ = held_against_others(SCORE, ratings)
    assert labels[(rows == 1) & (raters == 1)].tolist() == [0.0]
    assert consensus(SCORE, np.full((2, 2), NOT)).tolist() == pytest.approx([NOT, NOT], nan_ok=True)


def test_others_who_tie_stand_for_all_that_they_name() -> None:
    rows, raters, labels, weights = held_against_others(MOOD, np.array([[2, 2, 0], [1, NOT, NOT], [1, NOT, 2]]))
    assert list(zip(rows, raters, labels, weights, strict=True)) == [
        (0, 0, 0, 0.5),
        (0, 0, 2, 0.5),
        (0, 1, 0, 0.5),
        (0, 1, 2, 0.5),
        (0, 2, 2, 1),
        (2, 0, 2, 1),
        (2, 2, 1, 1),
    ]


def test_shares_count_the_raters_who_rated() -> None:
    ratings = np.array([[0, 0, 2], [1, NOT, 2], [NOT, NOT, NOT]])
    np.testing.assert_allclose(shares(MOOD, ratings), [[2 / 3, 0, 1 / 3], [0, 0.5, 0.5], [NOT, NOT, NOT]])


def test_one_rater_of_numbers_lies_where_the_closed_form_says() -> None:
    rng = np.random.default_rng(0)
    spread, noise, raters = 1.0, 0.8, 5
    ratings = spread * rng.standard_normal((4000, 1)) + noise * rng.standard_normal((4000, raters))
    found = one_rater(SCORE, ratings)
    own, others = noise**2, noise**2 / (raters - 1)
    assert found["mae"].mean == pytest.approx(math.sqrt(2 / math.pi * (own + others)), rel=0.02)
    assert found["corr"].mean == pytest.approx(spread**2 / math.sqrt((1 + own) * (1 + others)), abs=0.01)
    assert found["mae"].low < math.sqrt(2 / math.pi * (own + others)) < found["mae"].high
    # Twenty thousand ratings, of four thousand samples that are on their own.
    assert (found["mae"].count, found["mae"].groups) == (20000, 4000)


def test_one_rater_of_classes_lies_where_the_closed_form_says() -> None:
    rng = np.random.default_rng(0)
    right = 0.7
    mood = Target("mood", "classification", classes=("sad", "glad"))
    truth = rng.integers(0, 2, (6000, 1))
    ratings = np.where(rng.random((6000, 3)) < right, truth, 1 - truth).astype(float)
    # The two others agree, or each of them counts by half: either way one rater meets another.
    expected = right**2 + (1 - right) ** 2
    found = one_rater(mood, ratings)
    assert found["accuracy"].mean == pytest.approx(expected, abs=0.01)
    assert found["accuracy"].low < expected < found["accuracy"].high
    assert found["accuracy"].count == 18000
    assert {"auc", "eer"}.isdisjoint(found)
    many = np.where(rng.random((6000, 301)) < right, truth, 1 - truth).astype(float)[:600]
    assert one_rater(mood, many)["accuracy"].mean == pytest.approx(right, abs=0.01)  # three hundred are always right


def test_groups_hold_ratings_of_their_samples_together() -> None:
    ratings = np.random.default_rng(0).standard_normal((60, 3))
    found = one_rater(SCORE, ratings, [f"speaker {i // 5}" for i in range(60)])["mae"]
    assert (found.count, found.groups) == (180, 12)
    assert one_rater(SCORE, np.where(np.eye(60, 3, dtype=bool), 1.0, NOT)) == {}


def test_intervals_of_raters_end_where_their_metrics_do() -> None:
    ratings = np.repeat(np.arange(24)[:, None] % 2.0, 2, axis=1)
    ratings[:2, 1] = 1 - ratings[:2, 1]
    mood = Target("mood", "classification", classes=("sad", "glad"))
    assert one_rater(mood, ratings, [f"speaker {i // 2}" for i in range(24)])["accuracy"].high == 1
    sure = np.eye(2)[ratings[:, 0].astype(int)]
    assert (
        soft_scores(mood, ratings, np.stack([0.98 * sure + 0.01, 0.98 * (1 - sure) + 0.01]))["cross_entropy"].low == 0
    )


def test_predictions_are_held_against_shares() -> None:
    ratings = np.array([[0, 0, 0, 2], [1, 1, 2, 2], [NOT, NOT, NOT, NOT]])
    said = shares(MOOD, ratings)
    even = np.full((3, 3), 1 / 3)
    found = soft_scores(MOOD, ratings, np.stack([np.nan_to_num(said), even]))
    entropy = (0.75 * math.log(4 / 3) + 0.25 * math.log(4) + math.log(2)) / 2
    assert found["entropy"].mean == pytest.approx(entropy)
    # Whoever says the shares reaches the entropy of the raters; whoever knows nothing the logarithm of the classes.
    assert found["cross_entropy"].seeds == pytest.approx((entropy, math.log(3)))
    assert found["cross_entropy"].count == 2
    sure = np.eye(3)[[1, 1, 1]]
    assert math.isfinite(soft_scores(MOOD, ratings, sure[None])["cross_entropy"].mean)
