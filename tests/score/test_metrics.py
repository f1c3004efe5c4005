import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as draw
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from polymodal.core import DataError, Target
from polymodal.score import evaluate, f1_weighted, sample_scores

MOSI = Target("sentiment", "regression", (-3, 3))
SIMS = Target("sentiment", "regression", (-1, 1))
FREE = Target("arousal", "regression", (1, 9))
THREE = Target("emotion", "classification", classes=("joy", "fear", "anger"))
BINARY = Target("humour", "classification", classes=("no", "yes"))
MANY = Target("emotions", "multilabel", classes=("joy", "fear"))
ALL = (MOSI, SIMS, FREE, THREE, BINARY, MANY)

MOSI_TRUE = (-3, -1.8, -0.6, 0, 0.4, 1.0, 2.6)
MOSI_PREDICTED = (-2.2, -0.4, 0.2, -0.1, 0.6, 1.6, 3.4)
SIMS_TRUE = (-1, -0.8, -0.4, -0.2, 0, 0, 0.2, 0.6, 1)
SIMS_PREDICTED = (-1.3, -0.5, -0.05, 0.05, 0.02, -0.3, 0.4, 0.1, 0.75)


def values(target, true, predicted, probability=None):
    return {name: value for name, (value, _) in evaluate(target, true, predicted, probability).items()}


def a_case(target, rng, n):
    """Labels, predictions and probabilities of ``n`` samples; coarse, so that values tie."""
    if target.task == "regression":
        low, high = target.range
        y, p = (np.round(rng.uniform(low, high, n), 1) for _ in range(2))
        return y, p * 1.1, None
    shape = (n, len(target.classes)) if target.task == "multilabel" else n
    y, p = (rng.integers(target.spec.width if target.task == "classification" else 2, size=shape) for _ in range(2))
    return y, p, np.round(rng.random((n, len(target.classes))), 1)


def test_mosi_metrics_match_the_values_worked_out_by_hand():
    expected = {
        "acc7": 0.2857,
        "acc5": 0.4286,
        "acc3": 0.5714,
        "acc2_has0": 0.7143,
        "f1_has0": 0.7143,
        "acc2": 0.8333,
        "f1": 0.8286,
        "mae": 0.6714,
        "corr": 0.9650,
        "ccc": 0.8961,
        "acc2_nonpos": 0.8571,
    }
    assert values(MOSI, MOSI_TRUE, MOSI_PREDICTED) == pytest.approx(expected, abs=5e-5)


def test_neutral_samples_are_left_out_of_acc2_and_f1_only():
    counts = {name: count for name, (_, count) in evaluate(MOSI, MOSI_TRUE, MOSI_PREDICTED).items()}
    assert {name for name, count in counts.items() if count == 6} == {"acc2", "f1"}
    assert set(counts.values()) == {6, 7}


def test_sims_metrics_match_the_values_worked_out_by_hand():
    found = values(SIMS, SIMS_TRUE, SIMS_PREDICTED)
    expected = {"acc2": 7 / 9, "acc3": 5 / 9, "acc5": 4 / 9, "f1": 0.7833, "mae": 0.2411, "corr": 0.8849}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=5e-5)
    assert evaluate(SIMS, SIMS_TRUE, SIMS_PREDICTED)["acc2_weak"] == (pytest.approx(3 / 5), 5)
    assert np.abs(np.subtract(SIMS_TRUE, SIMS_PREDICTED)).mean() == pytest.approx(0.2744, abs=5e-5)  # unclipped


def test_sims_r2_is_of_clipped_values():
    clipped = np.clip(SIMS_PREDICTED, -1, 1)
    assert values(SIMS, SIMS_TRUE, SIMS_PREDICTED)["r2"] == pytest.approx(sk.r2_score(SIMS_TRUE, clipped))


def test_labels_stored_in_float32_score_like_float64():
    # 0.4 and 0.1 in float32 lie above 0.4 and 0.1 in float64: a naive comparison loses the samples at the edge.
    single = np.asarray(SIMS_TRUE, np.float32), np.asarray(SIMS_PREDICTED, np.float32)
    found, expected = evaluate(SIMS, *single), evaluate(SIMS, SIMS_TRUE, SIMS_PREDICTED)
    assert {n: c for n, (_, c) in found.items()} == {n: c for n, (_, c) in expected.items()}
    assert values(SIMS, *single) == pytest.approx(values(SIMS, SIMS_TRUE, SIMS_PREDICTED), abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sims_bins_are_closed_on_the_right(dtype):
    edges = np.array([-0.7, -0.1, 0.1, 0.7], dtype)
    inside = np.array([-0.8, -0.4, 0.0, 0.4], dtype)
    assert values(SIMS, edges, inside)["acc5"] == 1
    assert values(SIMS, np.array([0.0], dtype), np.array([-1.0], dtype))["acc2"] == 1


def test_halves_round_to_the_even_class():
    halves, classes = (0.5, 1.5, 2.5, -0.5, -1.5, -2.5), (0, 2, 2, 0, -2, -2)
    assert values(MOSI, classes, halves)["acc7"] == 1
    assert values(MOSI, (1, 1, 3, -1, -1, -3), halves)["acc7"] == 0


def test_values_beyond_the_scale_are_clipped_for_classes_but_not_for_errors():
    found = values(MOSI, (3.0, -3.0), (7.0, -7.0))
    assert (found["acc7"], found["acc5"], found["acc3"], found["mae"]) == (1, 1, 1, 4)


def test_three_classes_match_the_values_worked_out_by_hand():
    found = values(THREE, (0, 0, 0, 0, 1, 1, 2), (0, 0, 1, 0, 1, 0, 2))
    assert (found["accuracy"], found["ua"], found["f1"]) == pytest.approx((5 / 7, 0.75, 0.7143), abs=5e-5)
    assert evaluate(THREE, (0, 0, 0, 0, 1, 1, 2), (0, 0, 1, 0, 1, 0, 2))["f1/fear"] == (pytest.approx(0.5), 2)


def test_weighted_accuracy_matches_the_value_worked_out_by_hand():
    one = Target("emotions", "multilabel", classes=("joy",))
    true, predicted = np.array([[1, 1, 0, 0, 0, 0, 0, 0]]).T, np.array([[1, 0, 0, 0, 0, 1, 0, 0]]).T
    assert values(one, true, predicted)["weighted_accuracy"] == pytest.approx(0.6667, abs=5e-5)


def test_f1_depends_on_the_order_of_its_arguments():
    true, predicted = (1, 1, 1, 1, 1, 0), (1, 1, 1, 0, 0, 0)
    assert f1_weighted(true, predicted) == pytest.approx(0.7083, abs=5e-5)
    assert f1_weighted(true, predicted, swapped=True) == pytest.approx(0.6250, abs=5e-5)
    rated = np.array(MOSI_TRUE) != 0
    true, predicted = np.array(MOSI_TRUE)[rated] > 0, np.array(MOSI_PREDICTED)[rated] > 0
    assert f1_weighted(true, predicted, swapped=True) == pytest.approx(0.8381, abs=5e-5)


@given(seed=draw.integers(0, 10_000), n=draw.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_regression_metrics_equal_scipy_and_sklearn(seed, n):
    y, p, _ = a_case(FREE, np.random.default_rng(seed), n)
    assume(np.ptp(y) > 0 and np.ptp(p) > 0)
    assert values(FREE, y, p) == pytest.approx(
        {
            "mae": sk.mean_absolute_error(y, p),
            "rmse": sk.root_mean_squared_error(y, p),
            "corr": pearsonr(y, p).statistic,
            "ccc": 2 * np.cov(y, p, bias=True)[0, 1] / (np.var(y) + np.var(p) + (np.mean(y) - np.mean(p)) ** 2),
            "spearman": spearmanr(y, p).statistic,
            "r2": sk.r2_score(y, p),
        }
    )


@given(seed=draw.integers(0, 10_000), n=draw.integers(1, 40))
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_classification_metrics_equal_sklearn_also_with_absent_classes(seed, n):
    rng = np.random.default_rng(seed)
    y, p, _ = a_case(THREE, rng, n)
    y = np.minimum(y, rng.integers(3))  # often only one or two classes are true
    found = values(THREE, y, p)
    recall = sk.recall_score(y, p, labels=np.unique(y), average="macro")
    assert [found[m] for m in ("accuracy", "ua", "f1", "f1_macro")] == pytest.approx(
        [
            sk.accuracy_score(y, p),
            recall,
            sk.f1_score(y, p, average="weighted", zero_division=0),
            sk.f1_score(y, p, average="macro", zero_division=0),
        ]
    )
    per_class = sk.f1_score(y, p, labels=range(3), average=None, zero_division=np.nan)
    assert [found[f"f1/{c}"] for c in THREE.classes] == pytest.approx(per_class, nan_ok=True)


@given(seed=draw.integers(0, 10_000), n=draw.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_multilabel_metrics_equal_sklearn(seed, n):
    y, p, q = a_case(MANY, np.random.default_rng(seed), n)
    assume((np.ptp(y, axis=0) == 1).all())
    found = values(MANY, y, p, q)
    balanced = [sk.balanced_accuracy_score(y[:, k], p[:, k]) for k in range(2)]
    assert [found[m] for m in ("weighted_accuracy", "f1", "accuracy", "auc")] == pytest.approx(
        [np.mean(balanced), sk.f1_score(y, p, average="macro"), (y == p).mean(), sk.roc_auc_score(y, q)]
    )
    assert found["weighted_accuracy/fear"] == pytest.approx(balanced[1])
    assert found["f1/joy"] == pytest.approx(sk.f1_score(y[:, 0], p[:, 0]))


@given(seed=draw.integers(0, 10_000), n=draw.integers(2, 60))
@settings(max_examples=60, deadline=None)
def test_auc_and_equal_error_rate_agree_with_the_roc_curve(seed, n):
    y, p, q = a_case(BINARY, np.random.default_rng(seed), n)
    assume(np.ptp(y) > 0)
    found = values(BINARY, y, p, q)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, q[:, 1]))
    accepted, caught, _ = sk.roc_curve(y, q[:, 1], drop_intermediate=False)
    gap = 1 - caught - accepted  # falls from 1 to -1 along the curve
    crossing = np.interp(0, gap[::-1], np.arange(len(gap))[::-1])
    steps = np.arange(len(gap))
    assert found["eer"] == pytest.approx(np.interp(crossing, steps, accepted))
    assert found["eer"] == pytest.approx(np.interp(crossing, steps, 1 - caught))


def test_equal_error_rate_is_half_for_a_constant_and_zero_for_separated_scores():
    y = np.array([0, 1, 0, 1, 0])
    constant, apart = np.full((5, 2), 0.5), np.stack([1 - y, y], axis=1).astype(float)
    assert values(BINARY, y, y, constant)["eer"] == pytest.approx(0.5)
    assert values(BINARY, y, y, constant)["auc"] == pytest.approx(0.5)
    assert values(BINARY, y, y, apart)["eer"] == 0
    assert values(BINARY, y, y, apart[:, ::-1])["eer"] == 1


@pytest.mark.parametrize("target", ALL, ids=lambda t: f"{t.task}{len(t.classes)}{t.range}")
def test_every_named_metric_is_evaluated_in_table_order(target):
    y, p, q = a_case(target, np.random.default_rng(0), 50)
    found = evaluate(target, y, p, q)
    assert list(found) == list(target.spec.metrics)
    assert all(np.isfinite(value) and count > 0 for value, count in found.values())
    assert target.spec.main in found


@pytest.mark.parametrize("target", ALL, ids=lambda t: f"{t.task}{len(t.classes)}{t.range}")
def test_perfect_predictions_reach_the_good_end_of_every_metric(target):
    y, _, _ = a_case(target, np.random.default_rng(1), 50)
    rows = y if target.task == "multilabel" else y[:, None] == np.arange(len(target.classes))
    found = values(target, y, y, rows.astype(float) if target.classes else None)
    assert found == pytest.approx({name: float(higher) for name, higher in target.spec.metrics.items()})


@pytest.mark.parametrize("target", ALL, ids=lambda t: f"{t.task}{len(t.classes)}{t.range}")
def test_no_samples_give_nan_with_count_zero(target):
    empty = np.empty((0, 2)) if target.task == "multilabel" else np.empty(0)
    found = evaluate(target, empty, empty)
    assert list(found) == list(target.spec.metrics)
    assert all(np.isnan(value) and count == 0 for value, count in found.values())


def test_undefined_metrics_are_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = evaluate(MOSI, (0.0, 0.0, 0.0), (0.1, 0.1, 0.1))
        free = values(FREE, (1.1, 1.2, 1.3), (0.3, 0.3, 0.3))
        flat = values(FREE, (0.3, 0.3, 0.3), (1.1, 1.2, 1.3))
        one_sided = values(BINARY, (1, 1), (1, 0), [[0.2, 0.8], [0.6, 0.4]])
        strong = evaluate(SIMS, (0.8, -1.0), (0.5, 0.5))
    assert np.isnan([constant["corr"][0], constant["acc2"][0], constant["f1"][0]]).all()
    assert constant["acc2"][1] == 0
    assert constant["mae"] == (pytest.approx(0.1), 3)
    assert np.isnan([free["corr"], free["spearman"], flat["r2"], one_sided["auc"], one_sided["eer"]]).all()
    assert np.isnan(strong["acc2_weak"][0])
    assert one_sided["ua"] == 0.5


def test_without_probabilities_auc_and_eer_are_nan():
    found = evaluate(BINARY, (0, 1), (0, 1))
    assert np.isnan(found["auc"][0])
    assert found["eer"][1] == 0
    assert found["accuracy"] == (1, 2)


@pytest.mark.parametrize(("shift", "scale"), [(1e6, 1.0), (0.0, 1e-9), (0.0, 1e150)])
def test_correlation_survives_large_offsets_and_scales(shift, scale):
    rng = np.random.default_rng(3)
    y = rng.normal(size=40)
    p = y + rng.normal(size=40)
    found = values(FREE, y, p * scale + shift)["corr"] if scale < 1e100 else values(FREE, y * scale, y * scale)["corr"]
    assert found == pytest.approx(pearsonr(y, p).statistic if scale < 1e100 else 1, abs=1e-8)


@pytest.mark.parametrize(
    ("target", "true", "predicted", "probability", "message"),
    [
        (MOSI, (1, 2, 3), (1, np.nan, np.inf), None, r"prediction of row 1 is nan.*2 such rows"),
        (MOSI, (1, np.inf), (1, 2), None, "label of row 1"),
        (MOSI, (1, 2), (1, 2, 3), None, "3 predictions for 2 labels"),
        (MOSI, (1, 2), ((1,), (2,)), None, r"shape \(2, 1\), expected \(samples,\)"),
        (MOSI, (1, 2), ("good", "bad"), None, "must be a real number"),
        (THREE, (0, 3), (0, 1), None, "label of row 1 is 3.*class number from 0 to 2"),
        (THREE, (0, 1), (0, -1), None, "prediction of row 1"),
        (THREE, (0, 1), (0, 0.5), None, "prediction of row 1 is 0.5"),
        (THREE, (0, 1), (0, 1), ((0.1, 0.2, 0.7),), "1 probabilities for 2 labels"),
        (BINARY, (0, 1), (0, 1), ((2.0, -3.0), (0.5, 0.5)), "not logits"),
        (MANY, ((0, 1),), ((0, 2),), None, "0 or 1 for every class"),
        (MANY, (0, 1), (0, 1), None, r"expected \(samples, 2\)"),
    ],
)
def test_bad_input_is_named(target, true, predicted, probability, message):
    with pytest.raises(DataError, match=message):
        evaluate(target, true, predicted, probability)


@pytest.mark.parametrize(("target", "metric"), [(MOSI, "mae"), (SIMS, "mae"), (THREE, "accuracy"), (MANY, "accuracy")])
def test_sample_scores_average_to_the_metric(target, metric):
    y, p, _ = a_case(target, np.random.default_rng(2), 30)
    assert sample_scores(target, y, p).mean() == pytest.approx(values(target, y, p)[metric])


def test_sample_scores_need_one_prediction_per_label():
    with pytest.raises(DataError, match="1 predictions for 2 labels"):
        sample_scores(MOSI, (1, 2), (1,))
