"""Task metrics as the field computes them, intervals, significance."""

from polymodal.score.compare import Comparison, align, holm, paired_bootstrap, sign_flip, swap_test
from polymodal.score.intervals import Summary, score, summarise
from polymodal.score.metrics import evaluate, f1_weighted, main_metric, metric_names, sample_scores

__all__ = [
    "Comparison",
    "Summary",
    "align",
    "evaluate",
    "f1_weighted",
    "holm",
    "main_metric",
    "metric_names",
    "paired_bootstrap",
    "sample_scores",
    "score",
    "sign_flip",
    "summarise",
    "swap_test",
]
