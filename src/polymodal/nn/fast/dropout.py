"""Dropout on a CPU that is not Intel's."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.fast.switch import enabled

LEAST = 2**14
"""Elements from which the kernel pays."""


class Dropout(nn.Dropout):
    """``nn.Dropout``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return ``input``, in training with a share ``p`` of its elements set to 0."""
        return dropout(input, self.p) if self.training else input


def dropout(x: Tensor, p: float) -> Tensor:
    """``F.dropout``; its slow twin too, with other random numbers.

    torch draws a double per element, one after the other; on processors of Intel it lets MKL draw them. Here a random
    number decides on four elements. ``p`` is taken in steps of 1/65536, and the rest is scaled by exactly its share.
    """
    if p == 1 or x.numel() < LEAST or x.device.type != "cpu" or not enabled(gains=not _intel()):
        return F.dropout(x, p)
    dropped = round(p * 2**16)
    return x * kept(x, dropped).to(x.dtype).mul_(2**16 / (2**16 - dropped))


def kept(like: Tensor, dropped: int) -> Tensor:
    """Return True with a probability of 1 - ``dropped`` / 65536, in the shape of ``like``; on a CPU."""
    bits = torch.empty(-(-like.numel() // 4), dtype=torch.long).random_(-(2**63), None).view(torch.int16)
    return (bits[: like.numel()] >= dropped - 2**15).view(like.shape)


@cache
def _intel() -> bool:
    linux = Path("/proc/cpuinfo")
    return "GenuineIntel" in (linux.read_text() if linux.exists() else platform.processor())
