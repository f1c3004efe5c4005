"""Translation between representations of modalities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class CascadedTranslator(nn.Module):
    """Cascaded residual autoencoder (Tran et al., CVPR 2017; convolutional as in CyIN, NeurIPS 2025, arXiv 2602.04920).

    Block b reconstructs what goes in plus what came out of the block before: ``u_b = u_(b-1) + v_(b-1)``, ``v_b =
    decode_b(encode_b(u_b))`` with ``u_1 = x``; two more convolutions read ``u_n + v_n``. Nothing has a bias, so that
    zeros, an absent source, are translated to exact zeros.

    ``(batch, time, width)`` -> the same shape. Every step counts as real: bring sequences to one length first.

    Args:
        width: features per step.
        channels: of the encoder's layers in each block; the decoder mirrors them.
        blocks: autoencoders in the cascade.
        kernel: odd number of steps that each convolution sees.
    """

    def __init__(self, width: int, channels: Sequence[int], blocks: int, kernel: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_autoencoder([width, *channels], kernel) for _ in range(blocks))
        self.transition = nn.Sequential(_conv(width, width, kernel), nn.ReLU(), _conv(width, width, kernel))

    def forward(self, x: Tensor) -> Tensor:
        """Return the translation."""
        u = x.transpose(1, 2)
        v = self.blocks[0](u)
        for block in self.blocks[1:]:
            u = u + v
            v = block(u)
        return self.transition(u + v).transpose(1, 2)


def _autoencoder(widths: list[int], kernel: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width in pairwise(widths):
        layers += [_conv(width_in, width, kernel), nn.LeakyReLU()]
    layers.pop()  # the code itself is linear
    for width_in, width in pairwise(widths[:0:-1]):
        layers += [_conv(width_in, width, kernel), nn.ReLU()]
    return nn.Sequential(*layers, _conv(widths[1], widths[0], 1))


def _conv(width_in: int, width: int, kernel: int) -> nn.Conv1d:
    return nn.Conv1d(width_in, width, kernel, padding=kernel // 2, bias=False)
