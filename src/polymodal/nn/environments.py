"""Environments where no domains are known: clusters of what samples sound and look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from polymodal.core import Stream
from polymodal.nn.masking import masked_mean

ROUNDS = 10


class Environments(nn.Module):
    """Clusters (k-means) of the mean features of some modalities; known once ``fit`` has seen the training samples.

    Args:
        names: the modalities, sequences or vectors.
        width: features of all of them together.
        count: clusters.
    """

    centres: Tensor

    def __init__(self, names: Sequence[str], width: int, count: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("centres", torch.zeros(count, width), persistent=False)  # only training needs it

    def fit(self, batches: Iterable[Mapping[str, Stream]]) -> None:
        """Find the clusters, from equal shares along the direction of most variance on; the same for the same data."""
        x = torch.cat([self._means(streams) for streams in batches])
        directions = torch.linalg.eigh(torch.cov(x.T).reshape(x.shape[1], -1)).eigenvectors
        place = ((x - x.mean(0)) @ directions[:, -1]).argsort().argsort()
        cluster = place * len(self.centres) // len(x)
        for _ in range(ROUNDS):
            for k in cluster.unique():
                self.centres[k] = x[cluster == k].mean(0)
            cluster = torch.cdist(x, self.centres).argmin(1)

    def forward(self, streams: Mapping[str, Stream]) -> Tensor:
        """Return the number of each sample's cluster, ``(batch,)``."""
        return torch.cdist(self._means(streams), self.centres).argmin(1)

    def _means(self, streams: Mapping[str, Stream]) -> Tensor:
        parts = [streams[n] for n in self.names]
        return torch.cat([s.tensor if s.lengths is None else masked_mean(s.tensor, s.mask) for s in parts], 1).float()
