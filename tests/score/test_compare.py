from itertools import product

import numpy as np
import pytest
from scipy.stats import kstest

from polymodal.core import DataError, OptionError, Target
from polymodal.score import align, evaluate, holm, paired_difference, sample_scores, sign_flip, swap_test

MOSI = Target("sentiment", "regression", (-3, 3))
THREE = Target("emotion", "classification", classes=("joy", "fear", "anger"))
BINARY = Target("humour", "classification", classes=("no", "yes"))


def two_systems(n, noise_a=1.0, noise_b=1.0, seeds=None, seed=0):
    rng = np.random.default_rng(seed)
    y = np.round(rng.uniform(-3, 3, n), 1)
    shape = (n,) if seeds is None else (seeds, n)
    return y, y + noise_a * rng.normal(size=shape), y + noise_b * rng.normal(size=shape)


def test_difference_is_that_of_the_plain_metrics():
    y, a, b = two_systems(80)
    for metric in ("mae", "corr", "f1", "acc7"):
        expected = evaluate(MOSI, y, a)[metric][0] - evaluate(MOSI, y, b)[metric][0]
        found = paired_difference(MOSI, y, a, b, metric)
        assert found.difference == pytest.approx(expected)
        assert found.low <= found.difference <= found.high


def test_a_planted_difference_is_found_by_every_test():
    y, a, b = two_systems(200, noise_a=0.5)
    found = paired_difference(MOSI, y, a, b, "mae")
    assert found.high < 0
    assert found.p < 0.01
    assert sign_flip(sample_scores(MOSI, y, a) - sample_scores(MOSI, y, b), rounds=1000) < 0.01
    assert swap_test(MOSI, y, a, b, "corr", rounds=1000) < 0.01


def test_a_system_does_not_differ_from_itself():
    y, a, _ = two_systems(50)
    found = paired_difference(MOSI, y, a, a, "corr")
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert swap_test(MOSI, y, a, a, "corr", rounds=200) == 1
    assert sign_flip(np.zeros(50), rounds=200) == 1


@pytest.mark.parametrize("test", ["sign_flip", "swap_test", "paired_difference"])
def test_p_values_are_uniform_when_the_systems_are_equally_good(test):
    found = []
    for seed in range(200):
        y, a, b = two_systems(60, seed=seed)
        if test == "sign_flip":
            found.append(sign_flip(sample_scores(MOSI, y, a) - sample_scores(MOSI, y, b), rounds=199, seed=seed))
        elif test == "swap_test":
            found.append(swap_test(MOSI, y, a, b, "corr", rounds=199, seed=seed))
        else:
            found.append(paired_difference(MOSI, y, a, b, "mae").p)
    assert kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) < 0.10


def test_few_samples_are_enumerated_exactly():
    assert sign_flip([1.0, 2.0, 3.0]) == 2 / 8
    assert sign_flip([1.0, 2.0, -3.0]) == 1
    difference = np.random.default_rng(0).normal(0.4, 1, size=9)
    slow = [abs(np.dot(signs, difference)) for signs in product((-1, 1), repeat=9)]
    assert sign_flip(difference) == np.mean(np.array(slow) >= abs(difference.sum()) - 1e-9)


def test_equal_differences_give_the_sign_test():
    # Eight times 0.2 better, twice 0.2 worse: as extreme are at most two or at least eight of ten. Sums of tenths in
    # another order differ in the last digit, which must not count.
    y, a, b = np.zeros(10), np.array([0.1] * 8 + [0.4] * 2), np.array([0.3] * 8 + [0.2] * 2)
    expected = 2 * (1 + 10 + 45) / 2**10
    assert sign_flip(a - b) == expected
    assert swap_test(MOSI, y, a, b, "mae") == expected


def test_random_sign_flips_agree_with_the_enumeration():
    difference = np.random.default_rng(2).normal(0.3, 1, size=16)
    # A sample without a difference changes no sum, but makes 17 samples: too many to enumerate.
    assert sign_flip(np.append(difference, 0.0)) == pytest.approx(sign_flip(difference), abs=0.02)


@pytest.mark.parametrize("n", [12, 40])
@pytest.mark.parametrize("seeds", [None, 3])
def test_exchanging_predictions_equals_flipping_signs_for_a_mean_over_samples(n, seeds):
    y, a, b = two_systems(n, noise_a=0.8, seeds=seeds)
    scores = [np.mean([sample_scores(MOSI, y, row) for row in np.atleast_2d(p)], axis=0) for p in (a, b)]
    flipped = sign_flip(scores[0] - scores[1], rounds=500)
    assert swap_test(MOSI, y, a, b, "mae", rounds=500) == pytest.approx(flipped)


def test_exchanging_predictions_equals_a_plain_loop_for_f1():
    rng = np.random.default_rng(0)
    y, a, b = rng.integers(3, size=(3, 8))
    found = []
    for exchanged in product((False, True), repeat=8):
        first, second = np.where(exchanged, b, a), np.where(exchanged, a, b)
        found.append(abs(evaluate(THREE, y, first)["f1"][0] - evaluate(THREE, y, second)["f1"][0]))
    assert swap_test(THREE, y, a, b, "f1") == pytest.approx(np.mean(np.array(found) >= found[0] - 1e-9))


def test_auc_of_two_systems_is_compared_through_their_probabilities():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=150)
    good, bad = (np.clip(w * y + (1 - w) * rng.random(150), 0, 1) for w in (0.4, 0.05))
    chances = [np.stack([1 - p, p], axis=1) for p in (good, bad)]
    guesses = [(p > 0.5).astype(int) for p in (good, bad)]
    options = {"probability_a": chances[0], "probability_b": chances[1]}
    found = paired_difference(BINARY, y, *guesses, "auc", **options)
    assert found.low > 0
    assert swap_test(BINARY, y, *guesses, "auc", rounds=500, **options) < 0.01
    assert np.isnan(swap_test(BINARY, y, *guesses, "auc", rounds=500))
    assert np.isnan(paired_difference(BINARY, y, *guesses, "auc").p)


def test_repeated_seeds_change_nothing_and_numbers_of_seeds_may_differ():
    y, a, b = two_systems(60, noise_a=0.9)
    plain = paired_difference(MOSI, y, a, b, "corr")
    seeded = paired_difference(MOSI, y, np.stack([a] * 3), np.stack([b] * 2), "corr")
    assert vars(seeded) == pytest.approx(vars(plain))
    assert swap_test(MOSI, y, [a] * 2, [b] * 2, "corr", rounds=300) == swap_test(MOSI, y, a, b, "corr", rounds=300)
    with pytest.raises(DataError, match="as many seeds of both systems, got 1 and 2"):
        swap_test(MOSI, y, a, [b] * 2, "corr")


def test_the_interval_and_the_p_value_tell_the_same_story():
    for seed in range(30):
        y, a, b = two_systems(60, noise_a=0.8, seed=seed)
        found = paired_difference(MOSI, y, a, b, "mae")
        outside = found.low > 0 or found.high < 0
        assert (found.p < 0.05) == outside


@pytest.mark.parametrize("test", ["sign_flip", "swap_test", "paired_difference"])
def test_groups_keep_their_promise_where_samples_would_not(test):
    """Thirty groups of twenty whose differences share a part: a test over samples finds what is not there."""
    groups, false = np.repeat(np.arange(30), 20), {"groups": 0, "samples": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = np.zeros(600)
        shared = np.repeat(0.5 * rng.normal(size=(2, 30)), 20, axis=1)
        a, b = 3 + shared + rng.normal(size=(2, 600))
        for name, given in (("groups", groups), ("samples", None)):
            if test == "sign_flip":
                p = sign_flip(np.abs(a) - np.abs(b), groups=given, rounds=199, seed=seed)
            elif test == "swap_test":
                p = swap_test(MOSI, y, a, b, "mae", groups=given, rounds=99, seed=seed)
            else:
                p = paired_difference(MOSI, y, a, b, "mae", groups=given).p
            false[name] += p <= 0.05
    assert false["groups"] / 200 < 0.10
    assert false["samples"] / 200 > 0.20


def test_few_groups_have_no_interval_but_an_exact_test():
    y, a, b = two_systems(60, noise_a=0.2)
    groups = np.repeat(np.arange(6), 10)
    found = paired_difference(MOSI, y, a, b, "mae", groups=groups)
    assert np.isnan([found.low, found.high, found.p]).all()
    assert found.groups == 6
    assert sign_flip(sample_scores(MOSI, y, a) - sample_scores(MOSI, y, b), groups=groups) == 2 / 2**6
    assert swap_test(MOSI, y, a, b, "mae", groups=groups) == 2 / 2**6


def test_holm_follows_the_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_leaves_out_comparisons_that_could_not_be_made():
    assert holm([float("nan"), 0.01, 0.2]) == pytest.approx([float("nan"), 0.02, 0.2], nan_ok=True)
    with pytest.raises(DataError, match="from 0 to 1"):
        holm([1.2])


def test_align_brings_both_into_one_order():
    a, b = ["x", "y", "z"], np.array(["z", "x", "y"])
    rows = align(a, b)
    assert list(b[rows]) == a


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (["x", "y"], ["x", "z"], r"different samples \(2 and 2, 'y' is only in the first\)"),
        (["x"], ["x", "z"], "'z' is only in the second"),
        (["x", "y"], ["y", "y"], "'y' appears twice"),
    ],
)
def test_different_test_sets_cannot_be_compared(a, b, message):
    with pytest.raises(DataError, match=message):
        align(a, b)


def test_bad_input_is_named():
    y, a, b = two_systems(20)
    broken = np.where(np.arange(20) == 3, np.nan, b)
    for test in (paired_difference, swap_test):
        with pytest.raises(DataError, match="prediction of row 3 is nan"):
            test(MOSI, y, a, broken, "mae")
        with pytest.raises(DataError, match="19 predictions for 20 labels"):
            test(MOSI, y, a, b[:19], "mae")
        with pytest.raises(OptionError, match="no metric 'acc22'; did you mean 'acc2'"):
            test(MOSI, y, a, b, "acc22")
    for difference in ([], [[1.0]], [np.nan]):
        with pytest.raises(DataError, match="one finite difference per sample"):
            sign_flip(difference)


def test_no_samples_give_nan():
    assert np.isnan(swap_test(MOSI, [], [], [], "mae"))
    found = paired_difference(MOSI, [], [], [], "mae")
    assert np.isnan([found.difference, found.low, found.p]).all()
