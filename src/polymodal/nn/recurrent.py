"""An LSTM over a whole sequence whose products go through oneDNN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.nn.linear import linear, product, suits


def lstm_states(rnn: nn.LSTM, x: Tensor) -> Tensor:
    """Return the hidden states of a unidirectional, batch-first ``rnn``, as ``rnn(x)[0]``: ``(batch, time, hidden)``.

    torch's kernel always makes the gradient of its input, which for features from a file nobody needs and which costs
    as much as that of the weights.
    """
    if x.requires_grad or not suits(x, len(x) * rnn.hidden_size * rnn.hidden_size) or rnn.num_layers > 1:
        return rnn(x)[0]
    inputs, recurrent, *biases = rnn.all_weights[0]
    bias = biases[0] + biases[1] if biases else None
    states, _ = unroll(linear(x, inputs, bias).transpose(0, 1), recurrent)
    return states.transpose(0, 1)


def unroll(projected: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor]:
    """Step an LSTM from zero states; the gradient is written out, one pass back over the steps.

    Args:
        projected: ``(time, batch, 4 * hidden)``, its input and biases; gates in torch's order (i, f, g, o).
        recurrent: ``(4 * hidden, hidden)``.

    Returns:
        hidden states and cells, each ``(time, batch, hidden)``.
    """
    # In the weights' precision: under autocast the projection is half precision, the cells must not be.
    states, cells = _Unrolled.apply(projected.to(recurrent.dtype), recurrent)
    return states, cells


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor]:
        steps, rows, hidden = *projected.shape[:2], recurrent.shape[1]
        gates = projected.new_empty(steps, rows, 4 * hidden)
        cells, states, squashed = (projected.new_empty(steps + n, rows, hidden) for n in (1, 1, 0))
        cells[0], states[0] = 0, 0
        multiply = _multiplier(projected, rows, recurrent)
        for t in range(steps):
            torch.add(projected[t], multiply(states[t], recurrent), out=gates[t])
            parts = gates[t].view(rows, 4, hidden)
            i, f, g, o = parts.unbind(1)
            # tanh(x) = 2 sigmoid(2 x) - 1, and torch's sigmoid is several times faster than its tanh.
            g.mul_(2)
            gates[t].sigmoid_()
            g.mul_(2).sub_(1)
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
            torch.mul(cells[t + 1], 2, out=squashed[t]).sigmoid_().mul_(2).sub_(1)
            torch.mul(o, squashed[t], out=states[t + 1])
        ctx.save_for_backward(gates, cells, states, squashed, recurrent)
        return states[1:], cells[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_states: Tensor, grad_cells: Tensor) -> tuple[Tensor, Tensor]:
        gates, cells, states, squashed, recurrent = ctx.saved_tensors
        steps, rows, hidden = squashed.shape
        i, f, g, o = gates.view(steps, rows, 4, hidden).unbind(2)
        grad = torch.empty_like(gates)
        parts = grad.view(steps, rows, 4, hidden)
        # What does not depend on the steps behind, for all steps at once: slopes of the gates, and of the way from
        # the state to the cell.
        torch.mul(i, 1 - i, out=parts[:, :, 0]).mul_(g)
        torch.mul(f, 1 - f, out=parts[:, :, 1]).mul_(cells[:-1])
        torch.mul(1 - g * g, i, out=parts[:, :, 2])
        torch.mul(o, 1 - o, out=parts[:, :, 3]).mul_(squashed)
        through = (1 - squashed * squashed).mul_(o)
        turned, multiply = recurrent.t(), _multiplier(gates, rows, recurrent)
        state, cell = grad_states[-1], torch.zeros_like(squashed[0])
        for t in range(steps - 1, -1, -1):
            cell.add_(grad_cells[t]).addcmul_(state, through[t])
            parts[t, :, :3].mul_(cell[:, None])
            parts[t, :, 3].mul_(state)
            cell.mul_(f[t])
            if t:
                state = multiply(grad[t], turned).add_(grad_states[t - 1])
        flat, before = grad.flatten(0, 1), states[:-1].flatten(0, 1)
        weights = product(flat.t(), before.t()) if suits(flat, flat.numel() * hidden) else flat.t() @ before
        return grad, weights


def _multiplier(x: Tensor, rows: int, recurrent: Tensor) -> Any:
    """Return what makes ``x @ y.T`` for one step."""
    return product if suits(x, rows * recurrent.numel()) else lambda a, b: a @ b.t()
