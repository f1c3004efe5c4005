"""A long sequence as short clips that overlap by half, each read by a small transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from polymodal.core import Stream
from polymodal.nn.recompute import in_parts
from polymodal.nn.transformer import SmallTransformer


class Windows(nn.Module):
    """Windows of ``steps`` steps, one every half window, each as one vector: ``(batch, time, width_in)`` -> a sequence
    ``(batch, windows, width)``.

    A sample of n steps has ``ceil(n / (steps // 2))`` windows; the last ones may be shorter.

    Args:
        width_in: features per step.
        width: features per window.
        steps: of a window, 2 or more; 100 steps of a log-mel spectrum are a second.
        heads: attention heads; must divide ``width``.
        layers: of the transformer.
        dropout: in the transformer.

    Attributes:
        part: windows whose activations are held at once in training, see ``in_parts``; 0 holds all.
    """

    part: int = 0

    def __init__(self, width_in: int, width: int, *, steps: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.steps, self.hop, self.width = steps, steps // 2, width
        self.transformer = SmallTransformer(width_in, width, heads, layers, dropout)

    def forward(self, stream: Stream) -> Stream:
        """Return the windows of each sample, zero at padding."""
        assert stream.lengths is not None
        lengths = -(-stream.lengths // self.hop)
        most = -(-stream.tensor.shape[1] // self.hop)
        whole = pad(stream.tensor, (0, 0, 0, (most + 1) * self.hop + self.steps - stream.tensor.shape[1]))
        cut = whole.unfold(1, self.steps, self.hop)[:, :most].transpose(2, 3)  # (batch, windows, steps, width_in)
        real = torch.arange(most, device=lengths.device) < lengths[:, None]
        starts = self.hop * torch.arange(most, device=lengths.device)
        within = (stream.lengths[:, None] - starts).clamp(max=self.steps)
        vectors = in_parts(self._read, cut[real], within[real], size=self.part)
        values = vectors.new_zeros(*real.shape, self.width)
        values[real] = vectors
        return Stream(values, lengths, stream.present)

    def _read(self, windows: Tensor, lengths: Tensor) -> Tensor:
        return self.transformer(Stream(windows, lengths, lengths > 0))
