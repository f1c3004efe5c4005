"""Task metrics as the field computes them, intervals, significance."""

from polymodal.score.compare import (
    Comparison,
    align,
    compare_tables,
    holm,
    paired_difference,
    sign_flip,
    swap_test,
    told_apart,
)
from polymodal.score.curve import area_measures, auilc
from polymodal.score.intervals import Blocks, score, summarise, summarise_tables, tables_by_seed
from polymodal.score.metrics import evaluate, f1_weighted, sample_scores
from polymodal.score.robustness import Robustness, blind_guess, robustness

__all__ = [
    "Blocks",
    "Comparison",
    "Robustness",
    "align",
    "area_measures",
    "auilc",
    "blind_guess",
    "compare_tables",
    "evaluate",
    "f1_weighted",
    "holm",
    "paired_difference",
    "robustness",
    "sample_scores",
    "score",
    "sign_flip",
    "summarise",
    "summarise_tables",
    "swap_test",
    "tables_by_seed",
    "told_apart",
]
