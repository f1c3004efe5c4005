import time
import tracemalloc

import numpy as np
import pytest

from polymodal.core import DataError, Modality, OptionError, Schema, Target, numpy_rng
from polymodal.score import evaluate, intervals, score, summarise

MOSI = Target("sentiment", "regression", (-3, 3))
FREE = Target("arousal", "regression", (1, 9))
BINARY = Target("humour", "classification", classes=("no", "yes"))
MANY = Target("emotions", "multilabel", classes=("joy", "fear"))


def a_case(target, seeds, n=40):
    """True labels, predictions and probabilities per seed; coarse, so that values tie."""
    rng = np.random.default_rng(0)
    if target.task == "regression":
        y = np.round(rng.normal(scale=1.5, size=n).clip(-3, 3))
        return y, np.round(y + rng.normal(size=(seeds, n)), 1), None
    shape = (n, 2) if target.task == "multilabel" else (n,)
    y = rng.integers(2, size=shape)
    return y, rng.integers(2, size=(seeds, *shape)), np.round(rng.random((seeds, n, 2)), 1)


@pytest.mark.parametrize("target", [MOSI, FREE, BINARY, MANY], ids=lambda t: t.name)
def test_intervals_equal_a_plain_loop_over_copied_resamples(target):
    y, p, q = a_case(target, seeds=2)
    n, resamples = len(y), 60
    rng = numpy_rng("bootstrap", 5)
    slow = {}
    for _ in range(resamples):
        rows = rng.integers(n, size=n)
        for seed in range(2):
            found = evaluate(target, y[rows], p[seed, rows], None if q is None else q[seed, rows])
            for name, (value, _) in found.items():
                slow.setdefault(name, []).append(value)
    fast = summarise(target, y, p, q, resamples=resamples, level=0.9, seed=5)
    for name, all_values in slow.items():
        means = np.mean(np.reshape(all_values, (resamples, 2)), axis=1)
        low, high = np.nanquantile(means, [0.05, 0.95])
        assert (fast[name].low, fast[name].high) == pytest.approx((low, high), abs=1e-9), name


def test_resamples_do_not_depend_on_the_block_size(monkeypatch):
    y, p, _ = a_case(MOSI, seeds=1)
    large = summarise(MOSI, y, p, resamples=300)
    monkeypatch.setattr(intervals, "BLOCK", 7 * len(y))
    small = summarise(MOSI, y, p, resamples=300)
    for name, summary in large.items():
        assert (summary.low, summary.high) == pytest.approx((small[name].low, small[name].high), abs=1e-12)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        y = rng.uniform(-3, 3, size=120)
        found = summarise(MOSI, y, [y + rng.normal(size=120)], resamples=300, seed=seed)["mae"]
        inside += found.low <= np.sqrt(2 / np.pi) <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_the_interval_of_a_mean_is_close_to_the_normal_one():
    rng = np.random.default_rng(1)
    y = np.zeros(400)
    p = rng.normal(size=400)
    found = summarise(FREE, y, [p], resamples=4000)["mae"]
    half = 1.96 * np.abs(p).std() / np.sqrt(400)
    assert (found.mean - found.low, found.high - found.mean) == pytest.approx((half, half), rel=0.1)


@pytest.mark.parametrize("target", [MOSI, FREE, BINARY, MANY], ids=lambda t: t.name)
def test_equal_seeds_give_the_figures_of_one_seed(target):
    y, p, q = a_case(target, seeds=1)
    one = summarise(target, y, p, q, resamples=200)
    three = summarise(target, y, np.repeat(p, 3, axis=0), None if q is None else np.repeat(q, 3, axis=0), resamples=200)
    for name, value in evaluate(target, y, p[0], None if q is None else q[0]).items():
        single, triple = one[name], three[name]
        assert (single.mean, single.count) == (pytest.approx(value[0]), value[1])
        assert single.std == 0
        assert triple.std == pytest.approx(0, abs=1e-12)
        assert (triple.mean, triple.low, triple.high) == pytest.approx((single.mean, single.low, single.high))


def test_summary_has_population_mean_and_deviation_over_seeds():
    y, p, _ = a_case(MOSI, seeds=4)
    found = summarise(MOSI, y, p, resamples=0)["mae"]
    each = [np.abs(y - row).mean() for row in p]
    assert found.seeds == pytest.approx(each)
    assert (found.mean, found.std) == pytest.approx((np.mean(each), np.std(each)))
    assert np.isnan([found.low, found.high]).all()


def test_averaging_seeds_narrows_the_interval():
    rng = np.random.default_rng(0)
    y = rng.uniform(-3, 3, 200)
    p = y + rng.normal(size=(10, 200))
    one, ten = (summarise(MOSI, y, p[:k], resamples=400)["mae"] for k in (1, 10))
    assert ten.high - ten.low < 0.6 * (one.high - one.low)


def test_one_undefined_seed_makes_the_mean_undefined():
    y, p, _ = a_case(MOSI, seeds=2)
    p[1] = 0.5
    found = summarise(MOSI, y, p, resamples=50)
    assert np.isnan([found["corr"].mean, found["corr"].low]).all()
    assert np.isfinite(found["mae"].low)


def test_score_gives_figures_with_intervals_for_every_joint_target():
    schema = Schema(
        (Modality("text", "text"),), (MOSI, BINARY, MANY, Target("tone", "regression", (-1, 1), modality="text"))
    )
    columns = {"id": np.array([f"clip{i}" for i in range(40)])}
    for target in schema.joint_targets:
        y, p, q = a_case(target, seeds=1)
        columns |= {f"{target.name}/true": y, f"{target.name}/predicted": p[0]}
        if q is not None:
            columns[f"{target.name}/probability"] = q[0]
    found = score(schema, columns, resamples=100)
    assert list(found.figures) == ["sentiment", "humour", "emotions"]
    for target in schema.joint_targets:
        y, p, q = a_case(target, seeds=1)
        expected = summarise(target, y, p, q, resamples=100)
        for name, figure in found.figures[target.name].items():
            same = expected[name]
            assert (figure.value, figure.count, figure.low, figure.high) == (
                same.mean,
                same.count,
                same.low,
                same.high,
            )
            assert figure.low <= figure.value <= figure.high
    assert score(schema, columns, resamples=0).figures["humour"]["auc"].low is None
    assert found.predictions["id"][0] == "clip0"


def test_score_names_a_missing_column_and_a_bad_sample():
    schema = Schema((Modality("text", "text"),), (MOSI,))
    with pytest.raises(DataError, match=r"no column 'sentiment/predicted'; did you mean 'sentiment/prediction'"):
        score(schema, {"sentiment/true": np.zeros(2), "sentiment/prediction": np.zeros(2)})
    bad = {"id": ["a", "b$_$2"], "sentiment/true": np.zeros(2), "sentiment/predicted": np.array([0, np.nan])}
    with pytest.raises(DataError, match=r"prediction of sample 'b\$_\$2' \(row 1\) is nan"):
        score(schema, bad)


def test_no_samples_have_no_interval():
    schema = Schema((Modality("text", "text"),), (MOSI,))
    figure = score(schema, {"sentiment/true": np.empty(0), "sentiment/predicted": np.empty(0)}).figures["sentiment"]
    assert (figure["mae"].count, figure["mae"].low) == (0, None)


@pytest.mark.parametrize("options", [{"resamples": -1}, {"level": 1.0}, {"level": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        summarise(MOSI, [1.0], [[1.0]], **options)


def test_seeds_of_predictions_and_probabilities_must_agree():
    y, p, q = a_case(BINARY, seeds=2)
    with pytest.raises(DataError, match="2 seeds but probabilities of 1"):
        summarise(BINARY, y, p, q[:1])
    with pytest.raises(DataError, match="no seed"):
        summarise(BINARY, y, p[:0])


def test_the_test_set_of_mosi_takes_under_a_second_and_64_mib():
    rng = np.random.default_rng(0)
    y = np.round(rng.uniform(-3, 3, 686), 1)
    p = y + rng.normal(size=(3, 686))
    start = time.process_time()
    summarise(MOSI, y, p)
    assert time.process_time() - start < 1.0
    tracemalloc.start()
    summarise(MOSI, y, p)
    summarise(FREE, y, p)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20
