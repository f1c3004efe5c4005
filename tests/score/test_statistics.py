import numpy as np
import pytest
from scipy.stats import pearsonr

from polymodal.score import statistics as st


@pytest.mark.parametrize("build", [st.correlation, st.spearman, st.explained])
def test_a_resample_of_one_sample_only_is_a_constant(build):
    x = np.random.default_rng(0).normal(size=(2, 50))
    repeats = np.diag(np.arange(1.0, 51.0))  # resample i holds sample i, i + 1 times
    assert np.isnan(build(*x)(repeats)).all()


def test_counts_stand_for_copies():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20))
    times = rng.integers(4, size=(5, 20)).astype(float)
    copies = [np.repeat(np.arange(20), row.astype(int)) for row in times]
    assert st.correlation(x, y)(times) == pytest.approx([pearsonr(x[rows], y[rows]).statistic for rows in copies])
    assert st.average(x, y > 0)(times) == pytest.approx([x[rows][y[rows] > 0].mean() for rows in copies])


def test_middle_ranks_count_draws_below_and_half_of_the_ties():
    groups = st.Groups.of(np.array([0.3, 0.1, 0.3, 0.2]))
    assert groups.middle_ranks(np.array([[1.0, 1, 1, 1], [2, 0, 1, 1]])).tolist() == [
        [3.0, 0.5, 3.0, 1.5],
        [2.5, 0.0, 2.5, 0.5],
    ]


def test_the_mean_of_defined_values_skips_nan():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    assert st.mean_defined(values) == pytest.approx([2.0, np.nan], nan_ok=True)


def test_concordance_is_that_of_lin_and_punishes_a_shift_that_correlation_does_not_see() -> None:
    y = np.array([1.0, 2.0, 3.0, 4.0])
    once = np.ones((1, 4))
    # Covariance and variances 1.25, means 0.5 apart: 2.5 / (2.5 + 0.25).
    assert st.concordance(y + 0.5, y)(once)[0] == pytest.approx(2.5 / 2.75)
    assert st.correlation(y + 0.5, y)(once)[0] == pytest.approx(1)
    assert st.concordance(y, y)(once)[0] == pytest.approx(1)
    assert st.concordance(np.full(4, 2.5), y)(once)[0] == pytest.approx(0)
    assert np.isnan(st.concordance(np.ones(4), np.ones(4))(once)[0])
    rng = np.random.default_rng(0)
    x, y = 1e6 + rng.normal(size=(2, 50))
    rows = rng.integers(50, size=50)
    times = np.bincount(rows, minlength=50)[None].astype(float)
    a, b = x[rows], y[rows]
    slow = 2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    assert st.concordance(x, y)(times)[0] == pytest.approx(slow, abs=1e-9)
