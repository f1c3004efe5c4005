"""torch's LSTM where oneDNN has none in half precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """``nn.LSTM``; on a CPU without AVX-512, on which it would stop under autocast, in single precision."""

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the states, and the last state and cell."""
        if input.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not _halves():
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float(), hx)
        return super().forward(input, hx)


def _halves() -> bool:
    return not torch.backends.mkldnn.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
