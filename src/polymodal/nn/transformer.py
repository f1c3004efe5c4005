"""A small transformer from scratch, where no pre-trained one reads the text."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from polymodal.core import Stream
from polymodal.nn.masking import masked_mean
from polymodal.nn.renamed import load_renamed
from polymodal.nn.sequence import sinusoid

Shift = Callable[[Tensor], Tensor]


class SmallTransformer(nn.Module):
    """A linear map, positions, post-norm layers, the mean of true steps: a sequence -> ``(batch, width)``.

    Args:
        width_in: features per step of the input.
        width: features per token.
        heads: attention heads; must divide ``width``.
        layers: number of layers.
        dropout: on the embeddings and in the layers.
    """

    def __init__(self, width_in: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(width_in, width), nn.LayerNorm(width), nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True)
            for _ in range(layers)
        )
        load_renamed(self, "layers.layers.", "layers.")

    def forward(self, stream: Stream, shift: Shift | None = None, place: int = 0) -> Tensor:
        """Return one vector per sample, zero where absent.

        Args:
            stream: a sequence.
            shift: what is made of the tokens ``(batch, time, width)`` before they enter a layer.
            place: that layer, counted from 0.
        """
        x = self.linear(stream.tensor)
        x = self.drop(self.norm(x + sinusoid(x.shape[1], x.shape[2], x.device).to(x.dtype)))
        padding = ~stream.mask
        padding[:, 0] = False  # a softmax over nothing is NaN: an absent row looks at its first step, then is dropped
        for number, layer in enumerate(self.layers):
            x = shift(x) if shift and number == place else x
            x = layer(x, src_key_padding_mask=padding)
        return masked_mean(x, stream.mask)
