"""All modalities as tokens of one width, side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from polymodal.core import Modality, Stream
from polymodal.nn.inputs import as_sequence
from polymodal.nn.sequence import SequenceEncoder
from polymodal.nn.shortened import shortened

MOST = 50
"""Steps of a modality at most; longer ones are resampled."""


class Tokens(nn.ModuleDict):
    """Every modality as a sequence of ``width`` features a step, at most ``MOST`` steps; a vector as a single step.

    Args:
        modalities: name -> what is read, as from ``Inputs``.
        width: features per step.
        plain: names that get no context: words whose encoder has given them one, or needs none.
        layers: of the transformer over the steps of the others; 0 for none.
        dropout: after the input map and between layers.
    """

    def __init__(
        self, modalities: Mapping[str, Modality], width: int, *, plain: Collection[str], layers: int, dropout: float
    ) -> None:
        super().__init__()
        for name, modality in modalities.items():
            context = layers and modality.kind == "sequence" and name not in plain
            self[name] = SequenceEncoder(
                modality.width,
                width,
                context="transformer" if context else "none",
                layers=layers,
                pool="mean",
                # A vector has no neighbours: a wider kernel would hold weights that only ever see zeros.
                kernel=3 if modality.kind == "sequence" else 1,
                dropout=dropout,
            )

    def forward(self, streams: Mapping[str, Stream]) -> dict[str, Stream]:
        """Return modality -> sequence of tokens, zero at padding and where absent."""
        found = {}
        for name, stream in streams.items():
            encoder, short = self[name], shortened(as_sequence(stream), MOST)
            assert isinstance(encoder, SequenceEncoder)
            found[name] = Stream(encoder.states(short)[0], short.lengths, short.present)
        return found


def side_by_side(streams: Mapping[str, Stream]) -> tuple[Tensor, Tensor, Tensor]:
    """Return all tokens in one sequence ``(batch, tokens, width)``, which are real ``(batch, tokens)`` bool, and the
    number of the modality that each belongs to, ``(tokens,)`` long."""
    parts = list(streams.values())
    owner = torch.cat([torch.full((s.tensor.shape[1],), i, device=s.present.device) for i, s in enumerate(parts)])
    return torch.cat([s.tensor for s in parts], dim=1), torch.cat([s.mask for s in parts], dim=1), owner
