"""Agreement of raters against published examples, libraries and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from polymodal.core import Target
from polymodal.score.agreement import agreement, alpha, icc, kappa

SCORE = Target("score", "regression")
MOOD = Target("mood", "classification", classes=("sad", "calm", "glad"))
NOT = np.nan

# Shrout & Fleiss, Psychological Bulletin 1979, table 2: six samples, four judges.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)

# Krippendorff, Computing Krippendorff's alpha-reliability, 2011: four observers, twelve units.
OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NOT, NOT, NOT],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NOT, 3],
        [NOT, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NOT],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NOT],
    ]
).T


def test_icc_is_that_of_shrout_and_fleiss() -> None:
    single, together = icc(JUDGES)
    assert (round(single, 2), round(together, 2)) == (0.29, 0.62)


def test_alpha_is_that_of_krippendorff() -> None:
    found = {level: round(alpha(OBSERVERS, level), 3) for level in ("nominal", "ordinal", "interval")}
    assert found == {"nominal": 0.743, "ordinal": 0.815, "interval": 0.849}


def test_kappa_is_the_mean_over_pairs_who_share_samples() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 3, (40, 3)).astype(float)
    ratings[:15, 1] = ratings[:15, 0]
    ratings[rng.random(ratings.shape) < 0.2] = NOT
    pairs = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        both = ~np.isnan(ratings[:, a]) & ~np.isnan(ratings[:, b])
        pairs.append(cohen_kappa_score(ratings[both, a], ratings[both, b]))
    once = np.ones((1, 40))
    assert kappa(ratings, 3)(once)[0] == pytest.approx(np.mean(pairs))


def _rated(samples: int, raters: int, spread: float, bias: float, noise: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    truth = spread * rng.standard_normal((samples, 1))
    return truth + bias * rng.standard_normal((1, raters)) + noise * rng.standard_normal((samples, raters))


def test_icc_with_missing_ratings_finds_the_variances_that_were_planted() -> None:
    ratings = _rated(2000, 30, spread=1.0, bias=0.5, noise=1.0)
    drawn = np.random.default_rng(2).random(ratings.shape)
    ratings[drawn > np.sort(drawn, axis=1)[:, [3]]] = NOT  # four raters of thirty each
    single, together = icc(ratings)
    assert single == pytest.approx(1 / (1 + 0.25 + 1), abs=0.06)
    assert together == pytest.approx(1 / (1 + 1.25 / 4), abs=0.06)


def test_icc_of_a_complete_table_does_not_change_when_an_empty_row_and_rater_join() -> None:
    wider = np.full((7, 5), NOT)
    wider[:6, :4] = JUDGES
    assert icc(wider) == pytest.approx(icc(JUDGES))


def test_nobody_to_compare_with_is_nan_not_an_error() -> None:
    alone = np.where(np.eye(12, 3, dtype=bool), 1.0, NOT)
    for found in (agreement(SCORE, alone), agreement(MOOD, alone), agreement(SCORE, np.full((12, 2), 0.1))):
        assert all(np.isnan(s.mean) for s in found.values())


def test_each_task_has_its_own_figures_with_intervals_over_groups() -> None:
    ratings = _rated(200, 4, 1.0, 0.0, 1.0)
    groups = [f"speaker {i // 10}" for i in range(200)]
    found = agreement(SCORE, ratings, groups)
    assert list(found) == ["icc_single", "icc_mean", "alpha_interval", "alpha_ordinal"]
    single = found["icc_single"]
    assert single.low < 0.5 < single.high
    assert (single.count, single.groups) == (200, 20)
    few = agreement(SCORE, ratings, [f"speaker {i // 50}" for i in range(200)])["icc_single"]
    assert np.isnan(few.low)
    assert few.least < few.mean < few.most
    classes = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(float)
    assert list(agreement(MOOD, classes)) == ["alpha_nominal", "cohen_kappa"]
    crowd = np.full((60, 30), NOT)
    crowd[:, :4] = classes
    assert list(agreement(MOOD, crowd)) == ["alpha_nominal"]
    assert agreement(MOOD, crowd)["alpha_nominal"].mean == pytest.approx(agreement(MOOD, classes)["alpha_nominal"].mean)


def test_no_interval_goes_beyond_full_agreement() -> None:
    scores = np.repeat(np.linspace(-1, 1, 24)[:, None], 2, axis=1)
    scores[:2, 1] += 1.5  # one speaker is heard in two ways
    classes = np.repeat(np.arange(24)[:, None] % 3.0, 2, axis=1)
    classes[:2, 1] = 2
    groups = [f"speaker {i // 2}" for i in range(24)]
    ends = [s.high for ratings, t in ((scores, SCORE), (classes, MOOD)) for s in agreement(t, ratings, groups).values()]
    assert ends == [1] * 6


def test_an_interval_holds_what_leaving_groups_out_by_hand_gives() -> None:
    ratings = _rated(30, 3, 1.0, 0.2, 1.0)
    found = agreement(SCORE, ratings)["icc_single"]
    parts = np.array([icc(np.delete(ratings, row, axis=0))[0] for row in range(30)])
    error = np.sqrt(29 / 30 * ((parts - parts.mean()) ** 2).sum())
    assert found.high - found.mean == pytest.approx(2.045 * error, rel=1e-3)
