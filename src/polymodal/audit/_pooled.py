"""Samples as fixed numbers of features, whatever their modality: for questions about the data itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from polymodal.core import Batch, Stream, Target
from polymodal.data.ragged import Array

MOST = 32
"""Features of a modality that are kept, those with the largest variance."""

WORDS = 4096
"""Places of hashed words."""


@dataclass
class Pooled:
    """All labelled samples of some batches.

    Attributes:
        features: modality -> ``(samples, width)``, standardised principal components; zeros where absent.
        texts: modality -> one string per sample, of raw text.
        true: ``(samples,)`` or ``(samples, classes)``, labels as in ``core.Batch``.
        groups: ``(samples,)``; ids where no groups are known.
        ids: of the samples.
    """

    features: dict[str, Array]
    texts: dict[str, list[str]]
    true: Array
    groups: Array
    ids: list[str] = field(default_factory=list)


def pooled(batches: Callable[[], Iterable[Batch]], target: Target) -> Pooled:
    """Return what ``batches`` hold: means over time of sequences and frames, hashed words of raw text."""
    rows: dict[str, list[Array]] = {}
    texts: dict[str, list[str]] = {}
    true: list[Array] = []
    groups: list[object] = []
    ids: list[str] = []
    for batch in batches():
        batch = batch.select(batch.labelled(target.name))
        ids += batch.ids
        groups += batch.ids if batch.group is None else batch.group.tolist()
        true.append(batch.targets[target.name].cpu().numpy())
        for name, stream in batch.streams.items():
            if isinstance(stream.values, Tensor):
                rows.setdefault(name, []).append(_means(stream))
            else:
                texts.setdefault(name, []).extend(stream.texts)
    names = [*rows, *texts]
    features = {n: _components(np.concatenate(rows[n]) if n in rows else _hashed(texts[n])) for n in names}
    return Pooled(features, texts, np.concatenate(true) if true else np.empty(0), np.asarray(groups), ids)


def _means(stream: Stream) -> Array:
    """Return the mean over the real steps, ``(batch, width)``; zeros where absent."""
    values, mask = stream.tensor.double().cpu(), stream.mask.cpu()
    if stream.lengths is not None:
        real = mask.view(*mask.shape, *[1] * (values.dim() - 2))
        values = (values * real).sum(1) / stream.lengths.clamp(min=1).cpu().view(-1, *[1] * (values.dim() - 2))
    found: Array = values.flatten(1).numpy()
    return found


def _hashed(texts: list[str]) -> Array:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(n_features=WORDS, alternate_sign=False).transform(texts)


def _components(values: Array) -> Array:
    """Return the first principal components ``(samples, width)``, standardised together, so that their order stays."""
    from scipy.sparse import issparse
    from sklearn.decomposition import PCA, TruncatedSVD

    most = min(MOST, *values.shape)
    if not issparse(values) and not values.std() > 0:  # one and the same, or all absent
        return np.zeros((len(values), 1))
    if issparse(values):
        found = TruncatedSVD(min(most, values.shape[1] - 1), random_state=0).fit_transform(values)
    else:
        found = PCA(most, random_state=0).fit_transform(values) if len(values) > 1 else values
    return np.asarray(found / (found.std() or 1.0), float)
