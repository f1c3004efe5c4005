"""Cross-modal transformers between all modalities, and a fusion of sequences of one length by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import permutations

import torch
from torch import Tensor, nn

from polymodal.core import Stream
from polymodal.nn.attention import CrossModalStack


class Crossings(nn.ModuleDict):
    """A cross-modal transformer for every ordered pair of modalities, named ``<source>_to_<target>``.

    Args:
        names: modalities.
        stack: source and target -> their transformer.
    """

    def __init__(self, names: Sequence[str], stack: Callable[[str, str], CrossModalStack]) -> None:
        super().__init__({f"{s}_to_{t}": stack(s, t) for s, t in permutations(names, 2)})

    def read(self, target: str, streams: Mapping[str, Stream]) -> Tensor:
        """Return what a target found in each of the other ``streams``, side by side: ``(batch, target time, width)``; a
        single modality as it is."""
        low = streams[target]
        found = [self[f"{s}_to_{target}"](low, source) for s, source in streams.items() if s != target]
        return torch.cat(found, dim=2) if found else low.tensor


class CrossModalFusion(nn.Module):
    """A multimodal transformer (Tsai et al., ACL 2019) on codes of equal length, without positions, averaged over time.

    Modality -> ``(batch, time, code)``, every step real, becomes one vector ``(batch, self.width)``.

    Args:
        names: modalities.
        code: features per step of every modality.
        width: features per step after the input convolution.
        heads: attention heads; must divide ``width``.
        layers: of each cross-modal transformer; memory transformers have max(layers, 3).
        kernel: steps seen by the input convolution, which makes sequences shorter by ``kernel`` - 1.
        dropouts: on attention weights by target modality, and at ``memory``, ``embed`` and ``output``.
    """

    def __init__(
        self,
        names: Sequence[str],
        code: int,
        *,
        width: int,
        heads: int,
        layers: int,
        kernel: int,
        dropouts: Mapping[str, float],
    ) -> None:
        super().__init__()
        stack = partial(CrossModalStack, heads=heads, positions=False, embed_dropout=dropouts["embed"])
        self.convolutions = nn.ModuleDict({n: nn.Conv1d(code, width, kernel, bias=False) for n in names})
        self.crossings = Crossings(names, lambda s, t: stack(width, layers=layers, attention_dropout=dropouts[t]))
        mixed = width * max(1, len(names) - 1)
        memory = partial(stack, mixed, layers=max(layers, 3), attention_dropout=dropouts["memory"])
        self.memories = nn.ModuleDict({t: memory() for t in names})
        self.width = mixed * len(names)
        self.residual = nn.Sequential(
            nn.Linear(self.width, self.width),
            nn.ReLU(),
            nn.Dropout(dropouts["output"]),
            nn.Linear(self.width, self.width),
        )

    def forward(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Return the fused vector."""
        low = {n: _whole(self.convolutions[n](z.transpose(1, 2)).transpose(1, 2)) for n, z in codes.items()}
        fused = torch.cat([self.memories[t](_whole(self.crossings.read(t, low))).mean(1) for t in low], dim=1)
        return fused + self.residual(fused)


def _whole(x: Tensor) -> Stream:
    """Return ``x`` (batch, time, width) as a stream of which every step is true."""
    lengths = torch.full((x.shape[0],), x.shape[1], device=x.device)
    return Stream(x, lengths, lengths > 0)
