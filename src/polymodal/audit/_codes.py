"""What classifiers say of sources, in a few kinds, and the tables of kinds and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from polymodal.audit._reader import Reader
from polymodal.data.ragged import Array
from polymodal.score.decomposition import Bounds, Least, bounds
from polymodal.score.information import denoised, joint, noise, shared

CODES, EACH = 6, 40
"""Kinds in which what a modality says about the label is told apart, and samples for each kind beyond these."""


@dataclass(frozen=True)
class Codes:
    """What two sources say about a label, in a few kinds each.

    Attributes:
        first, second, both: ``(samples,)`` from 0 to ``kinds`` - 1, by source 1, by source 2, by both.
        labels: ``(samples,)`` from 0 to ``classes`` - 1.
        classes: how many.
        kinds: how many; see ``kinds_of``.
    """

    first: Array
    second: Array
    both: Array
    labels: Array
    classes: int
    kinds: int = CODES

    def table(self, codes: Array, labels: Array, weights: Array | None = None) -> Array:
        """Return the shares of samples ``(kinds, classes)``."""
        return joint((codes, labels), (self.kinds, self.classes), weights)

    def pairs(self, labels: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Return the tables of each source with the labels, less the noise of their cells."""
        count = float(len(labels) if weights is None else weights.sum())
        one, two = (denoised(self.table(codes, labels, weights), count) for codes in (self.first, self.second))
        return one, two

    def least(self, labels: Array | None = None) -> Least:
        """Return the program of these codes, solved; ``labels`` may be others than the samples' own."""
        return Least.of(*self.pairs(self.labels if labels is None else labels))

    def parts(self, weights: Array | None = None, labels: Array | None = None, least: Least | None = None) -> Array:
        """Return redundant, first, second and synergy, in bits.

        Args:
            weights: how often each sample counts.
            labels: others than the samples' own.
            least: the program as solved for weights near by, to first order; solved anew where not given.
        """
        y = self.labels if labels is None else labels
        one, two = self.pairs(y, weights)
        both = self.table(self.both, y, weights)
        whole = max(0.0, shared(both) - noise(both, float(len(y) if weights is None else weights.sum())))
        found = (least or Least.of(one, two)).parts(one, two, whole)
        return np.array([found.redundant, found.first, found.second, found.synergy])

    def bounds(self) -> Bounds:
        """Return what is known without samples that have both sources and a label."""
        sources = joint((self.first, self.second), (self.kinds, self.kinds))
        return bounds(sources, *self.pairs(self.labels))


def kinds_of(classes: int, samples: int) -> int:
    """Return in how many kinds ``samples`` can be told apart by what is said of ``classes``."""
    return max(CODES, min(classes, samples // EACH))


class Readers:
    """Classifiers of sources and of pairs of them, each made once, whatever labels it is asked for.

    Args:
        features: source -> ``(samples, width)``.
        groups: ``(samples,)``; None where every sample is on its own. Nobody is read by who saw its group.
    """

    def __init__(self, features: Mapping[str, Array], groups: Array | None = None) -> None:
        self.features, self.groups = features, groups
        self._readers: dict[tuple[str, ...], Reader] = {}
        self._known: dict[tuple[tuple[str, ...], bytes], Array] = {}

    def codes(self, a: str, b: str, labels: Array) -> Codes:
        """Return what is read from ``a`` and ``b`` about ``labels`` (samples,), whole numbers."""
        known, y = np.unique(labels, return_inverse=True)
        count = kinds_of(len(known), len(y))
        one, two, both = (self._coded(names, y, count) for names in ((a,), (b,), (a, b)))
        return Codes(one, two, both, y, len(known), count)

    def _coded(self, names: tuple[str, ...], labels: Array, count: int) -> Array:
        key = (names, labels.tobytes())
        if key not in self._known:
            if names not in self._readers:
                self._readers[names] = Reader([self.features[n] for n in names], self.groups)
            self._known[key] = _kinds(self._readers[names](labels), count)
        return self._known[key]


def coded(first: Array, second: Array, labels: Array, groups: Array | None = None) -> Codes:
    """Return what classifiers read from two sources, each sample by those that never saw its group.

    Args:
        first, second: ``(samples, width)`` features.
        labels: ``(samples,)`` whole numbers.
        groups: ``(samples,)``; None where every sample is on its own.
    """
    return Readers({"first": first, "second": second}, groups).codes("first", "second", labels)


def _kinds(said: Array, count: int) -> Array:
    from sklearn.cluster import KMeans

    count = min(count, len(np.unique(said.round(6), axis=0)))
    return np.asarray(KMeans(count, n_init=1, random_state=0).fit_predict(said), np.int64)
