import time
import tracemalloc

import numpy as np
import pytest
from scipy.stats import t as student_t

from polymodal.core import DataError, Modality, OptionError, Schema, Target
from polymodal.score import Blocks, area_measures, evaluate, intervals, paired_difference, score, summarise
from polymodal.score.metrics import measures

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


GROUPS = np.repeat([f"speaker {i}" for i in range(12)], [1, 2, 3, 4, 5, 5, 4, 3, 3, 4, 3, 3])


@pytest.mark.parametrize("target", [MOSI, FREE, BINARY, MANY], ids=lambda t: t.name)
def test_intervals_equal_a_plain_loop_that_leaves_groups_out(target):
    y, p, q = a_case(target, seeds=2)
    found = summarise(target, y, p, q, groups=GROUPS, level=0.9)
    sizes = np.unique(GROUPS, return_counts=True)[1]
    of_groups = sizes.sum() ** 2 / (sizes**2).sum() - 1
    first = None if q is None else q[0]
    for name, summary in found.items():
        parts = []
        for group in np.unique(GROUPS):
            kept = group != GROUPS
            scores = [evaluate(target, y[kept], p[s, kept], None if q is None else q[s, kept])[name][0] for s in (0, 1)]
            parts.append(np.mean(scores))
        if np.isnan(summary.mean):
            continue
        group_part = 11 / 12 * np.sum((np.array(parts) - np.mean(parts)) ** 2)
        seed_part = np.var(summary.seeds, ddof=1) / 2
        both = group_part + seed_part
        freedom = both**2 / (group_part**2 / of_groups + seed_part**2 / 1)
        half = student_t.ppf(0.95, freedom) * np.sqrt(both)
        ends = np.clip([summary.mean - half, summary.mean + half], *measures(target, y, p[0], first)[name].range)
        assert (summary.low, summary.high) == pytest.approx(ends, abs=1e-9), name
        assert (summary.groups, summary.count) == (12, evaluate(target, y, p[0], first)[name][1])


def test_intervals_end_where_the_metric_does_and_those_of_differences_do_not():
    y, right = np.tile([0, 1], 20), np.tile([0, 1], 20)
    two = [right, 1 - right]  # one seed knows all, one nothing: 12.7 standard errors either way
    found = summarise(BINARY, y, two)
    assert (found["f1"].low, found["f1"].mean, found["f1"].high) == (0, 0.5, 1)
    values = np.tile([-1.0, 1.0], 20)
    numbers = summarise(FREE, values, [values, -values])
    assert {name: (numbers[name].low, numbers[name].high) for name in ("corr", "mae", "r2")} == {
        "corr": (-1, 1),
        "mae": (0, pytest.approx(1 + 12.706, abs=1e-3)),
        "r2": (pytest.approx(-1 - 2 * 12.706, abs=1e-3), 1),
    }
    difference = paired_difference(BINARY, y, two, [right, right], "f1")
    assert difference.low < -1, "what two systems differ by is not cut"


@pytest.mark.parametrize("target", [MOSI, FREE, BINARY, MANY], ids=lambda t: t.name)
def test_no_metric_leaves_its_range(target):
    y, p, q = a_case(target, seeds=20)
    for seed in range(20):
        table = measures(target, y, p[seed], None if q is None else q[seed])
        for name, measure in (table | area_measures((0, 1), (table, table))).items():
            low, high = measure.range
            assert low - 1e-12 <= np.nan_to_num(measure.value(np.ones((1, len(y))))[0]) <= high + 1e-12, name
            assert np.isfinite(low + high) == (name not in ("mae", "rmse", "r2")), name


def test_intervals_do_not_depend_on_how_much_is_held_in_memory(monkeypatch):
    y, p, _ = a_case(MOSI, seeds=1)
    large = summarise(MOSI, y, p)
    monkeypatch.setattr(intervals, "CELLS", 7 * len(y))
    small = summarise(MOSI, y, p)
    for name, summary in large.items():
        assert (summary.low, summary.high) == pytest.approx((small[name].low, small[name].high), abs=1e-12)


def test_few_groups_have_a_range_and_no_interval():
    y, p = np.zeros(30), np.repeat([0.5, 1.0, 1.5], 10)
    found = summarise(FREE, y, [p], groups=np.repeat(["a", "b", "c"], 10))["mae"]
    assert (found.mean, found.groups) == (pytest.approx(1.0), 3)
    assert (found.least, found.most) == pytest.approx((0.5, 1.5))
    assert np.isnan([found.low, found.high]).all()


def test_copies_of_samples_within_groups_widen_nothing_and_narrow_nothing():
    rng = np.random.default_rng(2)
    y, p = rng.normal(size=20), rng.normal(size=20)
    once = summarise(FREE, y, [p], groups=np.arange(20))["mae"]
    copied = summarise(FREE, np.repeat(y, 9), [np.repeat(p, 9)], groups=np.repeat(np.arange(20), 9))["mae"]
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert summarise(FREE, np.repeat(y, 9), [np.repeat(p, 9)])["mae"].high < once.high


def test_many_groups_are_dealt_into_blocks_whole():
    groups = np.random.default_rng(0).integers(0, 400, 3000)
    blocks = Blocks.of(3000, groups)
    assert blocks.groups == len(np.unique(groups))
    assert blocks.member.max() == intervals.BLOCKS - 1
    for group in np.unique(groups):
        assert len(set(blocks.member[groups == group])) == 1


def test_unequal_groups_count_as_fewer():
    equal, unequal = (Blocks.of(100, np.repeat(np.arange(10), n)) for n in ([10] * 10, [55] + [5] * 9))
    assert equal.freedom == pytest.approx(9)
    assert unequal.freedom == pytest.approx(100**2 / (55**2 + 9 * 25) - 1)


def test_other_numbers_of_groups_and_samples_are_refused():
    with pytest.raises(DataError, match="3 groups for 40 samples"):
        summarise(MOSI, np.zeros(40), [np.zeros(40)], groups=["a", "b", "c"])


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        shared = np.repeat(rng.normal(size=20), 6)
        errors = np.sqrt(0.3) * shared + np.sqrt(0.7) * rng.normal(size=120)
        found = summarise(FREE, np.zeros(120), [errors], groups=np.repeat(np.arange(20), 6))["mae"]
        inside += found.low <= np.sqrt(2 / np.pi) <= found.high
    assert 0.90 <= inside / 300 <= 0.98


def test_the_interval_of_a_mean_is_close_to_the_normal_one():
    rng = np.random.default_rng(1)
    y = np.zeros(400)
    p = rng.normal(size=400)
    found = summarise(FREE, y, [p])["mae"]
    half = 1.96 * np.abs(p).std() / np.sqrt(400)
    assert (found.mean - found.low, found.high - found.mean) == pytest.approx((half, half), rel=0.1)


@pytest.mark.parametrize("target", [MOSI, FREE, BINARY, MANY], ids=lambda t: t.name)
def test_equal_seeds_give_the_figures_of_one_seed(target):
    y, p, q = a_case(target, seeds=1)
    one = summarise(target, y, p, q)
    three = summarise(target, y, np.repeat(p, 3, axis=0), None if q is None else np.repeat(q, 3, axis=0))
    for name, value in evaluate(target, y, p[0], None if q is None else q[0]).items():
        single, triple = one[name], three[name]
        assert (single.mean, single.count) == (pytest.approx(value[0]), value[1])
        assert single.std == 0
        assert triple.std == pytest.approx(0, abs=1e-12)
        assert (triple.mean, triple.low, triple.high) == pytest.approx(
            (single.mean, single.low, single.high), nan_ok=True
        )


def test_summary_has_population_mean_and_deviation_over_seeds():
    y, p, _ = a_case(MOSI, seeds=4)
    found = summarise(MOSI, y, p)["mae"]
    each = [np.abs(y - row).mean() for row in p]
    assert found.seeds == pytest.approx(each)
    assert (found.mean, found.std) == pytest.approx((np.mean(each), np.std(each)))


def test_averaging_seeds_narrows_the_interval():
    rng = np.random.default_rng(0)
    y = rng.uniform(-3, 3, 200)
    p = y + rng.normal(size=(10, 200))
    two, ten = (summarise(MOSI, y, p[:k])["mae"] for k in (2, 10))
    assert ten.high - ten.low < 0.8 * (two.high - two.low)


def test_seeds_that_disagree_widen_the_interval():
    y = np.random.default_rng(0).normal(size=400)
    alike, apart = ([y + 1.0, y + 1.0], [y + 0.5, y + 1.5])
    assert summarise(FREE, y, alike)["mae"].high == pytest.approx(1.0)
    assert summarise(FREE, y, apart)["mae"].high > 1.5


def test_one_undefined_seed_makes_the_mean_undefined():
    y, p, _ = a_case(MOSI, seeds=2)
    p[1] = 0.5
    found = summarise(MOSI, y, p)
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
    found = score(schema, columns)
    assert list(found.figures) == ["sentiment", "humour", "emotions"]
    for target in schema.joint_targets:
        y, p, q = a_case(target, seeds=1)
        expected = summarise(target, y, p, q)
        for name, figure in found.figures[target.name].items():
            assert figure == expected[name]
            assert figure.groups == 40
            assert figure.low <= figure.mean <= figure.high
    few = {name: values[:9] for name, values in columns.items()}
    assert score(schema, few).figures["humour"]["accuracy"].least >= 0
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
    assert figure["mae"].count == 0
    assert np.isnan(figure["mae"].low)


@pytest.mark.parametrize("options", [{"level": 1.0}, {"level": 0.0}])
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
