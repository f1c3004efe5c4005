"""How replies are scored: emotions that were met, words that are not repeated, words that were understood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from polymodal.reply.labels import SCORED, parsed


def hit_rate(predicted: Sequence[str], true: Sequence[str]) -> float:
    """Return the share of dialogues whose predicted emotion has the coarse class of the true one.

    Args:
        predicted: answers as they were given; one in which no label can be read counts as neutral.
        true: labels.

    Raises:
        ValueError: none at all, or not one of each.
    """
    if not true or len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} answers to {len(true)} labels")
    return sum(SCORED[parsed(p)] == SCORED[t] for p, t in zip(predicted, true, strict=True)) / len(true)


def distinct(replies: Sequence[str], n: int) -> float:
    """Return Dist-n: the mean over replies of distinct n-grams per n-gram, in lower case, cut at spaces.

    Replies with fewer than ``n`` words are left out. Not that of a whole corpus: a reply given twice costs nothing.

    Returns:
        NaN where no reply is long enough.
    """
    shares = []
    for reply in replies:
        words = reply.lower().split()
        grams = list(zip(*(words[k:] for k in range(n)), strict=False))
        if grams:
            shares.append(len(set(grams)) / len(grams))
    return float(np.mean(shares)) if shares else float("nan")


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Return the least words to insert, delete or replace in ``heard`` to get ``said``, per word of ``said``."""
    row: list[int] = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[:], i
        for j, other in enumerate(heard, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return row[-1] / max(1, len(said))


def figures(replies: Sequence[str]) -> dict[str, Any]:
    """Return Dist-1 and Dist-2 of replies."""
    return {"dist1": distinct(replies, 1), "dist2": distinct(replies, 2), "replies": len(replies)}
