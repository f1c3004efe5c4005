"""Temperature, calibration error and conformal intervals: closed forms, planted miscalibration, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, softmax

from polymodal.core import DataError, OptionError, Target
from polymodal.score.calibration import (
    FLATTEST,
    SHARPEST,
    SMALLEST,
    calibration_error,
    coverage,
    residual_quantile,
    temperature,
    tempered,
)

EMOTION = Target("emotion", "classification", classes=("joy", "anger", "fear"))
TAGS = Target("tags", "multilabel", classes=("humour", "sarcasm"))
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
DRAWS = 20_000


def _draw_classes(chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (rng.random((len(chances), 1)) > np.cumsum(chances, axis=1)).sum(axis=1)


@pytest.mark.parametrize("planted", [0.4, 1.0, 2.5])
def test_planted_temperature_of_classes_is_recovered(planted: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (DRAWS, 3))
    true = _draw_classes(softmax(logits / planted, axis=1), rng)
    found = temperature(EMOTION, true, softmax(logits, axis=1))
    assert found == pytest.approx(planted, rel=0.05)


def test_planted_temperature_of_a_multilabel_target_is_recovered_and_mends_the_error() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (DRAWS, 2))
    true = (rng.random(logits.shape) < expit(logits / 3)).astype(float)
    overconfident = expit(logits)
    found = temperature(TAGS, true, overconfident)
    assert found == pytest.approx(3, rel=0.05)
    assert calibration_error(TAGS, true, overconfident) > 0.1
    assert calibration_error(TAGS, true, tempered(TAGS, overconfident, found)) < 0.01


def test_temperature_of_two_classes_with_one_confidence_has_a_closed_form() -> None:
    """Always 80% sure and right in 60% of cases: log(4) / T = log(1.5)."""
    two = Target("t", "classification", classes=("no", "yes"))
    true = np.array([1] * 60 + [0] * 40)
    found = temperature(two, true, np.tile([0.2, 0.8], (100, 1)))
    assert found == pytest.approx(math.log(4) / math.log(1.5), rel=1e-3)


def test_temperature_one_changes_nothing_and_others_keep_the_order() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(tempered(EMOTION, p, 1.0), p, atol=1e-6)
    each = tempered(EMOTION, p, np.array([1.0, 4.0]))
    np.testing.assert_allclose(each[0], p[0], atol=1e-6)
    np.testing.assert_allclose(each[1], p[1] ** 0.25 / (p[1] ** 0.25).sum(), atol=1e-6)
    np.testing.assert_allclose(tempered(TAGS, [[0.8, 0.5]], 2.0), [[2 / 3, 0.5]], atol=1e-6)


def test_a_few_samples_make_neither_certainty_nor_a_temperature() -> None:
    right = np.tile([0.6, 0.3, 0.1], (SMALLEST, 1))
    assert temperature(EMOTION, np.zeros(SMALLEST, int), right) == pytest.approx(SHARPEST, rel=1e-3)
    assert temperature(EMOTION, np.full(SMALLEST, 2), right) == pytest.approx(FLATTEST, rel=1e-3)
    assert temperature(EMOTION, np.zeros(SMALLEST - 1, int), right[1:]) is None


def test_probabilities_of_zero_and_one_stay_finite() -> None:
    certain = np.eye(3)[[0, 1, 2] * 5]
    wrong = np.array([1, 2, 0] * 5)
    found = temperature(EMOTION, wrong, certain)
    assert found is not None
    assert np.isfinite(tempered(EMOTION, certain, found)).all()
    assert np.isfinite(tempered(TAGS, [[0.0, 1.0]], 0.5)).all()


def test_a_regression_has_no_temperature() -> None:
    with pytest.raises(DataError, match="residual_quantile"):
        temperature(SCORE, [0.0], [[1.0]])


def test_calibration_error_of_known_bins() -> None:
    """90% sure and right in half of the cases, 40% sure and right in all: (0.4 * 4 + 0.6 * 2) / 6."""
    p = np.array([[0.9, 0.05, 0.05]] * 4 + [[0.3, 0.4, 0.3]] * 2)
    true = np.array([0, 0, 1, 2, 1, 1])
    assert calibration_error(EMOTION, true, p) == pytest.approx((0.4 * 4 + 0.6 * 2) / 6)
    assert calibration_error(TAGS, [[1.0, 0.0]], [[1.0, 0.0]]) == 0
    assert math.isnan(calibration_error(EMOTION, np.zeros(0), np.zeros((0, 3))))


def test_residual_quantile_is_an_order_statistic() -> None:
    residuals = [-9.0, 1, -2, 3, 4, 5, -6, 7, 8]
    assert residual_quantile(residuals, 0.5) == 5
    assert residual_quantile(residuals, 0.8) == 8
    assert residual_quantile(residuals, 0.9) == 9
    assert residual_quantile(residuals, 0.95) is None
    assert residual_quantile(residuals[1:], 0.9) is None
    assert residual_quantile([], 0.5) is None
    with pytest.raises(OptionError, match="between 0 and 1"):
        residual_quantile(residuals, 90)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_intervals_cover_exchangeable_labels_at_their_level(level: float) -> None:
    """Over 300 repeats of 100 calibration and 100 new samples with skewed, heavy-tailed errors."""
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(300):
        predicted, errors = rng.normal(0, 1, 200), rng.standard_t(2, 200) + rng.exponential(1, 200)
        width = residual_quantile(errors[:100], level)
        assert width is not None
        shares.append(coverage(predicted[100:] + errors[100:], predicted[100:], width))
    assert np.mean(shares) == pytest.approx(level, abs=0.03)


def test_coverage_takes_one_width_or_one_a_sample() -> None:
    assert coverage([0.0, 1.0], [0.0, 0.0], 1.0) == 1
    assert coverage([0.0, 1.0], [0.0, 0.0], np.array([0.5, 0.5])) == 0.5
    assert math.isnan(coverage([], [], 1.0))
