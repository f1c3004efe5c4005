"""All modalities as one row of tokens with places and kinds, and a last token that is asked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Schema
from polymodal.nn.inputs import Inputs
from polymodal.nn.sequence import sinusoid
from polymodal.nn.tokens import Tokens, side_by_side


class Row(NamedTuple):
    """Tokens of all modalities, one after another.

    Attributes:
        tokens: ``(batch, tokens, width)``, the asking one last.
        known: ``(batch, tokens)`` bool, which are no padding.
        owner: ``(tokens,)`` number of the modality in ``TokenRow.names``; their count for the last one.
    """

    tokens: Tensor
    known: Tensor
    owner: Tensor


class TokenRow(nn.Module):
    """Reads a batch as one row of tokens: language last, as in a prompt, then one learned token that is to answer.

    Args:
        schema: what the batches hold.
        width: features per token.
        dropout: after the input maps.

    Attributes:
        names: modalities in the order of their tokens.
    """

    def __init__(self, schema: Schema, width: int, dropout: float) -> None:
        super().__init__()
        self.inputs = Inputs(schema)
        self.names = (*(n for n in schema.names if n not in schema.language), *schema.language)
        self.tokens = Tokens(self.inputs.modalities, width, plain=schema.language, layers=0, dropout=dropout)
        self.kinds = nn.Parameter(0.02 * torch.randn(len(self.names), width))
        self.ask = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, batch: Batch) -> Row:
        """Return the row of tokens of each sample."""
        streams = self.tokens(self.inputs(batch))
        x, known, owner = side_by_side({n: streams[n] for n in self.names})
        steps = [streams[n].tensor.shape[1] for n in self.names]
        places = torch.cat([sinusoid(count, x.shape[2], x.device) for count in steps]).to(x.dtype)
        x = x + places + self.kinds[owner]
        last = self.ask.expand(x.shape[0], 1, -1)
        owner = torch.cat([owner, owner.new_full((1,), len(self.names))])
        return Row(torch.cat([x, last], 1), torch.cat([known, known.new_ones(known.shape[0], 1)], 1), owner)
