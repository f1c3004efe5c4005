"""Which sample goes with it: the modalities of a sample find each other among all samples of their split."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from polymodal.core.errors import DataError, TrainingError
from polymodal.core.tasks import Array, Column, Measure, Similarity, Task
from polymodal.score import statistics as st

if TYPE_CHECKING:
    from torch import Tensor

BEST = (1, 5, 10)
"""Ranks up to which recall is counted."""

BLOCK = 512
"""Queries, and candidates, whose similarities are in memory at once."""


class Retrieval(Task):
    """The anchor modality of a sample is to find the others of the same sample, and these the anchor.

    A method predicts embeddings ``(batch, modalities, width)`` and says with ``Method.similarity`` how well an anchor
    goes with the other modalities of a sample; candidates are all samples of the split. There is no loss of the task's
    own: ``losses`` of the method gives one. Labels are whole numbers: samples with the same one match, so a sample with
    a number of its own matches itself alone; a sample without a label (-1) is a candidate but asks nothing. See
    ``Corpus.for_retrieval``.

    Predicted: the rank of the best match, ``(samples, 2)``, of anchor -> others and of others -> anchor. It counts the
    candidates that do not match and are more similar, and half of those that are as similar: ties rank in the middle,
    so that a constant similarity is chance. Metrics of the second direction end in ``_back``.
    """

    answer = "match"
    dtype = np.int64
    main = sample_metric = "recall_at_1"

    def check(self) -> None:
        """Neither classes nor a range."""
        if self.target.classes or self.target.range:
            raise DataError(f"retrieval target {self.target.name!r} has classes or a range; remove them")

    @property
    def choices(self) -> str:
        """What is looked for."""
        return "the sample that it goes with"

    @property
    def label(self) -> Column:
        """A number that matching samples share."""
        return Column((), "a whole number, 0 or more", lambda y: (y >= 0) & (y == np.floor(y)))

    @property
    def predicted(self) -> Column:
        """Ranks in both directions."""
        return Column((2,), "ranks, 1 or more", lambda ranks: ranks >= 1)

    def counts(self, labels: Array) -> dict[str, int]:
        """Count the samples that match themselves alone, and the others."""
        _, sizes = np.unique(labels, return_counts=True)
        alone = int((sizes == 1).sum())
        return {"match alone": alone, "match others": len(labels) - alone}

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """There is none."""
        raise NotImplementedError("a retrieval has no loss of its own; the method's losses() must give one")

    def columns(self, prediction: Tensor) -> dict[str, Tensor]:
        """Embeddings; ranks need the whole split."""
        return {"embedding": prediction}

    def finish(self, columns: dict[str, Array], similarity: Similarity) -> dict[str, Array]:
        """Ranks in the place of embeddings."""
        return {"true": columns["true"], "predicted": match_ranks(columns["embedding"], columns["true"], similarity)}

    @property
    def metrics(self) -> dict[str, bool]:
        """Recalls and median rank, in both directions."""
        return {f"{name}{way}": name != "median_rank" for way in ("", "_back") for name in (*_RECALLS, "median_rank")}

    def measures(self, true: Array, predicted: Array, probability: Array | None) -> dict[str, Measure]:
        """Of each direction."""
        table: dict[str, Measure] = {}
        n = len(true)
        for way, ranks in zip(("", "_back"), predicted.T, strict=True):
            table |= {f"{name}{way}": Measure(st.average(ranks <= k), n, st.SHARE) for name, k in _RECALLS.items()}
            table[f"median_rank{way}"] = Measure(st.median(ranks), n, (1.0, np.inf))
        return table

    def sample_scores(self, true: Array, predicted: Array) -> Array:
        """1 where the anchor finds a match first."""
        return (predicted[:, 0] <= 1).astype(float)

    def chance(self, true: Array) -> dict[str, float]:
        """Recalls of a random order: that of the best k of N candidates holding one of a sample's m matches."""
        known, total = true[true >= 0], len(true)
        _, number, sizes = np.unique(known, return_inverse=True, return_counts=True)
        if not len(known):
            return {}
        found = {}
        for name, k in _RECALLS.items():
            drawn = np.arange(min(k, total))
            missed = np.prod(np.maximum(total - sizes[number][:, None] - drawn, 0) / (total - drawn), axis=1)
            found[name] = found[f"{name}_back"] = float(1 - missed.mean())
        return found


_RECALLS = {f"recall_at_{k}": k for k in BEST}


def match_ranks(embeddings: Array, labels: Array, similarity: Similarity, block: int = BLOCK) -> Array:
    """Return the rank of the best match of each anchor among the others, and of each sample's others among the anchors.

    Args:
        embeddings: ``(samples, modalities, width)``.
        labels: ``(samples,)``, equal for samples that match; below 0 for those that ask nothing.
        similarity: of anchors of the first argument to the others of the second.
        block: samples on each side that are compared at once.

    Returns:
        ``(samples, 2)``, 1 for the first place; NaN where nothing is asked.

    Raises:
        TrainingError: a similarity that is NaN.
    """
    parts = [slice(i, i + block) for i in range(0, len(labels), block)]

    def pairs() -> Iterator[tuple[slice, slice, Array, Array]]:
        for a, b in product(parts, parts):
            scores = similarity(embeddings[a], embeddings[b])
            if np.isnan(scores).any():
                raise TrainingError("a similarity of the method became NaN; lower --lr or train in --precision 32")
            yield a, b, scores, labels[a][:, None] == labels[b]

    # Once for the best match, once to count what is above it: all similarities of a large split do not fit into memory.
    best = np.full((len(labels), 2), -np.inf)
    for a, b, scores, match in pairs():
        own = np.where(match, scores, -np.inf)
        best[a, 0] = np.maximum(best[a, 0], own.max(axis=1))
        best[b, 1] = np.maximum(best[b, 1], own.max(axis=0))
    ranks = np.ones((len(labels), 2))
    for a, b, scores, match in pairs():
        for side, rows, limit in ((0, a, best[a, 0][:, None]), (1, b, best[b, 1][None])):
            above = (scores > limit) + 0.5 * (scores == limit)
            ranks[rows, side] += np.where(match, 0, above).sum(axis=1 - side)
    ranks[labels < 0] = np.nan
    return ranks
