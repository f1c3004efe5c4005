"""How a metric is named and how its values are written, the same in tables, plots and sentences."""

from __future__ import annotations

import math
import re

MISSING = "–"  # noqa: RUF001  a dash, not a minus

_NAMES = {
    "mae": ("MAE", "mean absolute error"),
    "rmse": ("RMSE", "root mean squared error"),
    "corr": ("Corr", "correlation"),
    "ccc": ("CCC", "concordance correlation"),
    "spearman": ("Spearman", "rank correlation"),
    "r2": ("R²", "coefficient of determination"),
    "accuracy": ("Accuracy", "accuracy"),
    "weighted_accuracy": ("Weighted acc.", "weighted accuracy"),
    "ua": ("UA", "unweighted accuracy"),
    "auc": ("AUC", "area under the ROC curve"),
    "eer": ("EER", "equal error rate"),
    "icc_single": ("ICC(2,1), one rating", "reliability of one rating"),
    "icc_mean": ("ICC(2,k), all ratings", "reliability of all ratings"),
    "alpha_interval": ("Krippendorff's alpha, interval", "Krippendorff's alpha"),
    "alpha_ordinal": ("Krippendorff's alpha, ordinal", "Krippendorff's alpha"),
    "alpha_nominal": ("Krippendorff's alpha, nominal", "Krippendorff's alpha"),
    "cohen_kappa": ("Cohen's kappa, pairs", "Cohen's kappa"),
    "cross_entropy": ("Cross entropy with shares", "cross entropy with the shares of raters"),
    "entropy": ("Entropy of shares", "entropy of the shares of raters"),
    "median_rank": ("Median rank", "median rank"),
}
# Shares of samples or of decisions are read in percent; errors and correlations are not.
_PERCENT = re.compile(r"(^|_)(acc\d*|accuracy|f1|precision|recall|share|ua|auc|eer)(_|$)")


def is_percent(metric: str) -> bool:
    """Whether values of ``metric`` lie in [0, 1] and are written times 100."""
    return _PERCENT.search(metric.partition("/")[0]) is not None


def scale(metric: str) -> float:
    """The factor between a stored value and a written one: 100 for shares, else 1."""
    return 100.0 if is_percent(metric) else 1.0


def write_value(metric: str, value: float) -> str:
    """Return ``value`` as text: three decimals, or times 100 with one; NaN as a dash."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value * scale(metric):.{1 if is_percent(metric) else 3}f}"
    return text.lstrip("-") if float(text) == 0 else text  # no "-0.000"


def of_one_class(metric: str) -> bool:
    """Whether ``metric`` describes a single class, as ``f1/joy`` does: a detail that only the score table lists."""
    return "/" in metric


def label(metric: str) -> str:
    """Short name for a table head or an axis: ``acc2_has0`` is ``Acc-2 has0``, ``f1/joy`` is ``F1 of joy``."""
    stem, slash, name = metric.partition("/")
    if stem in _NAMES:
        short = _NAMES[stem][0]
    else:
        short = re.sub(r"^acc(\d*)", lambda m: "Acc-" + m[1] if m[1] else "Acc", stem.replace("_", " "))
        short = short[:1].upper() + short[1:]
    return f"{short} of {name}" if slash else short


def long_name(metric: str) -> str:
    """Name for a sentence, for example ``mean absolute error``."""
    return _NAMES[metric][1] if metric in _NAMES else label(metric)


def arrow(higher_is_better: bool) -> str:
    """The arrow that says which way is better."""
    return "↑" if higher_is_better else "↓"
