"""LSTMs of several modalities stepped together, and the gated memory that watches them (MFN, AAAI 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Modality, OptionError, Stream, nearest
from polymodal.nn.axis import common_axis
from polymodal.nn.inputs import as_sequence
from polymodal.nn.sequence import masked_softmax
from polymodal.nn.subnet import final_state
from polymodal.nn.traced import State, over_time

Number = TypeVar("Number", int, float)

GATES = ("proposal", "retain", "update")
"""The perceptrons of ``GatedMemory``."""


def per_part(
    option: str, value: Number | dict[str, Number], parts: Sequence[str], check: Callable[..., None]
) -> dict[str, Number]:
    """Return an option's value for each of the ``parts`` of a network, all of which ``check`` accepts; OptionError for
    an unknown or missing part."""
    values = value if isinstance(value, dict) else dict.fromkeys(parts, value)
    for name in values:
        if name not in parts:
            raise OptionError(f"{option} names {name!r}{nearest(name, parts)}")
    missing = [p for p in parts if p not in values]
    if missing:
        raise OptionError(f"{option} has no value for {', '.join(missing)}; name every part or give one number")
    check(**{f"{option} of {p}": values[p] for p in parts})
    return {p: values[p] for p in parts}


def aligned(streams: Mapping[str, Stream], max_steps: int) -> dict[str, Stream]:
    """Return the streams on each sample's common axis: all with its length, an absent one as zeros, a vector repeated.

    ``present`` stays what it was, so a stream's ``mask`` covers the steps of the sample also where it is absent.
    """
    parts, lengths = common_axis([as_sequence(s) for s in streams.values()], max_steps)
    return {n: Stream(x, lengths, s.present) for (n, s), x in zip(streams.items(), parts, strict=True)}


class Perceptron(nn.Module):
    """Linear, ReLU, dropout, Linear: ``(..., width_in)`` -> ``(..., width)``."""

    def __init__(self, width_in: int, hidden: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width_in, hidden), nn.Linear(hidden, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        return self.last(self.drop(self.first(x).relu()))


def unroll(projected: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor]:
    """Step an LSTM from zero states.

    torch's fused LSTM keeps its cells to itself. Here the input is projected beforehand, for all steps at once. Time
    comes first: a step is then one block of memory.

    Args:
        projected: ``(time, batch, 4 * hidden)``, its input and biases; gates in torch's order (i, f, g, o).
        recurrent: ``(4 * hidden, hidden)``.

    Returns:
        hidden states and cells, each ``(time, batch, hidden)``.
    """
    # In the weights' precision: under autocast the projection is half precision, the cells must not be.
    start = tuple(recurrent.new_zeros(projected.shape[1], recurrent.shape[1]) for _ in range(2))

    def step(state: State, now: State) -> tuple[State, State]:
        (hidden, cell), (x,) = state, now
        i, f, g, o = torch.addmm(x, hidden, recurrent.t()).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return (hidden, cell), (hidden, cell)

    states, cells = over_time(step, start, (projected.to(recurrent.dtype),))
    return states, cells


class CellStates(nn.Module):
    """One LSTM per modality on a common axis; the hidden state and cell of every step, zero where absent.

    Args:
        modalities: name -> what the LSTM reads.
        hidden: name -> its units.
    """

    def __init__(self, modalities: Mapping[str, Modality], hidden: Mapping[str, int]) -> None:
        super().__init__()
        self.lstms = nn.ModuleDict({n: nn.LSTMCell(m.width, hidden[n]) for n, m in modalities.items()})
        self.widths = [hidden[n] for n in modalities]

    def forward(self, streams: Mapping[str, Stream]) -> tuple[Tensor, Tensor, Tensor]:
        """Return hidden states and cells, both ``(time, batch, sum of hidden)``, and which of their columns belong to
        a present modality ``(batch, sum of hidden)``."""
        found = []
        for name, cell in self.lstms.items():
            assert isinstance(cell, nn.LSTMCell)
            x = F.linear(streams[name].tensor, cell.weight_ih, cell.bias_ih + cell.bias_hh)
            found.append(unroll(x.transpose(0, 1), cell.weight_hh))
        hidden, cells = (torch.cat(parts, dim=2) for parts in zip(*found, strict=True))
        pairs = zip(self.lstms, self.widths, strict=True)
        here = torch.cat([streams[n].present[:, None].expand(-1, w) for n, w in pairs], dim=1)
        return hidden * here, cells * here, here


class GatedMemory(nn.Module):
    """``u_t = g1 * u_{t-1} + g2 * tanh(proposal(x_t))`` from ``u_0 = 0`` (MFN, section 3.3; gates as in its code).

    The gates are sigmoids of perceptrons on ``[x_t, u_{t-1}]``; ``retain`` makes g1 and ``update`` g2.
    ``(time, batch, width)`` -> ``(time, batch, memory)``.

    Args:
        width: features per step.
        memory: features of the memory.
        units: hidden units of each of ``GATES``.
        dropout: inside each of ``GATES``, drawn anew at every step.
    """

    def __init__(self, width: int, memory: int, *, units: Mapping[str, int], dropout: Mapping[str, float]) -> None:
        super().__init__()
        self.proposal = Perceptron(width, units["proposal"], memory, dropout["proposal"])
        self.retain = Perceptron(width + memory, units["retain"], memory, dropout["retain"])
        self.update = Perceptron(width + memory, units["update"], memory, dropout["update"])

    def forward(self, x: Tensor) -> Tensor:
        """Return the memory after every step."""
        proposals = self.proposal(x).tanh()
        gates = (self.retain, self.update)
        first = torch.cat([gate.first.weight for gate in gates])
        # What does not depend on the memory is computed for all steps at once.
        from_x = F.linear(x, first[:, : x.shape[2]], torch.cat([gate.first.bias for gate in gates]))
        from_u = first[:, x.shape[2] :].t()
        sizes = [gate.first.out_features for gate in gates]
        kept = [gate.drop(from_x.new_ones(*x.shape[:2], n)) for gate, n in zip(gates, sizes, strict=True)]

        def step(state: State, now: State) -> tuple[State, State]:
            (u,), (seen, proposal, keep) = state, now
            hidden = torch.addmm(seen, u, from_u).relu()
            hidden = hidden * keep if self.training else hidden
            g1, g2 = (gate.last(part).sigmoid() for gate, part in zip(gates, hidden.split(sizes, 1), strict=True))
            u = g1 * u + g2 * proposal
            return (u,), (u,)

        start = torch.zeros_like(proposals[0], dtype=first.dtype)
        return over_time(step, (start,), (from_x, proposals, torch.cat(kept, 2)))[0]


class MemoryFusion(nn.Module):
    """Memory Fusion Network without its head (Zadeh et al., AAAI 2018, section 3).

    Streams on a common axis -> ``(batch, width)``: the last hidden states of all LSTMs, then the last memory; zeros
    where the sample has no step. Attention looks at the cells of the last ``window`` steps together; the columns of an
    absent modality get none of it.

    Args:
        modalities: name -> what its LSTM reads.
        hidden: name -> units of its LSTM.
        memory: features of the memory.
        units: hidden units of ``attention`` and of each of ``GATES``.
        dropout: inside the same.
        window: steps seen by the attention; 2 is the published delta, 1 takes it away.

    Attributes:
        width: features of the result.
    """

    PARTS = ("attention", *GATES)

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        *,
        hidden: Mapping[str, int],
        memory: int,
        units: Mapping[str, int],
        dropout: Mapping[str, float],
        window: int = 2,
    ) -> None:
        super().__init__()
        self.window = window
        self.cells = CellStates(modalities, hidden)
        total = sum(self.cells.widths)
        self.attention = Perceptron(window * total, units["attention"], window * total, dropout["attention"])
        self.memory = GatedMemory(window * total, memory, units=units, dropout=dropout)
        self.width = total + memory

    def forward(self, streams: Mapping[str, Stream]) -> Tensor:
        """Return the final state."""
        lengths = next(iter(streams.values())).lengths
        assert lengths is not None
        hidden, cells, here = self.cells(streams)
        attended = self.attend(cells, here) * self.windowed(cells)
        return final_state(torch.cat([hidden, self.memory(attended)], dim=2).transpose(0, 1), lengths)

    def windowed(self, cells: Tensor) -> Tensor:
        """Return the cells of the last ``window`` steps side by side, oldest first; zeros before the first step."""
        shifts = range(self.window - 1, -1, -1)
        return torch.cat([F.pad(cells, (0, 0, 0, 0, s, 0))[: cells.shape[0]] for s in shifts], dim=2)

    def attend(self, cells: Tensor, here: Tensor) -> Tensor:
        """Return attention over cells ``(time, batch, window * sum of hidden)``: each step sums to 1, or is 0 where no
        modality is ``here`` (batch, sum of hidden)."""
        return masked_softmax(self.attention(self.windowed(cells)), here.repeat(1, self.window))
