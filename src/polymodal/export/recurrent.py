"""LSTM and GRU as one node of an ONNX graph, for any number of samples and steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.nn.certified import CertifiedHead

_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Places of torch's gates (input, forget, cell, output; reset, update, new) in the order of ONNX."""


class Recurrent(nn.Module):
    """What ``rnn`` computes from zero states, to be exported: running it returns zeros.

    Args:
        rnn: an LSTM or GRU in one direction, batch first, in evaluation mode.
    """

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.kind, self.hidden, self.layers = rnn.mode, rnn.hidden_size, rnn.num_layers
        order = _GATES[self.kind]
        for layer, (w, r, bw, br) in enumerate(rnn.all_weights):
            parts = [torch.cat([x.detach().chunk(len(order))[i] for i in order]).unsqueeze(0) for x in (w, r, bw, br)]
            self.register_buffer(f"w{layer}", parts[0])
            self.register_buffer(f"r{layer}", parts[1])
            self.register_buffer(f"b{layer}", torch.cat(parts[2:], dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the states ``(batch, time, hidden)``, as the first of two like torch."""
        extra = {"linear_before_reset": 1} if self.kind == "GRU" else {}
        x = x.transpose(0, 1)
        for layer in range(self.layers):
            weights = (self.get_buffer(f"{name}{layer}") for name in "wrb")
            shape = (x.shape[0], 1, x.shape[1], self.hidden)
            states = torch.onnx.ops.symbolic(
                self.kind, (x, *weights), {"hidden_size": self.hidden, **extra}, dtype=x.dtype, shape=shape
            )
            x = states.squeeze(1)
        return x.transpose(0, 1), None


def exportable(module: nn.Module) -> nn.Module:
    """Put ``Recurrent`` in the place of every LSTM and GRU of ``module``, settle certified heads, and return it."""
    for parent in list(module.modules()):
        if isinstance(parent, CertifiedHead):
            parent.settle()
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.LSTM | nn.GRU):
                setattr(parent, name, Recurrent(child))
    return module
