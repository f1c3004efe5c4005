"""Encoders of one modality whose result depends on true steps only, never on padding or batch mates."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from polymodal.core import OptionError, Stream
from polymodal.nn.fast import LSTM
from polymodal.nn.masking import masked_mean

Context = Literal["lstm", "gru", "transformer", "none"]
Pooling = Literal["last", "mean", "attention"]
TextPool = Literal["first", "mean"]


def pool_steps(x: Tensor, mask: Tensor, pool: TextPool) -> Tensor:
    """Return ``(batch, width)`` of ``x`` (batch, time, width): its ``first`` step (a transformer's [CLS]), or the
    ``mean`` of steps where ``mask`` (batch, time) is True; zeros where none is."""
    return x[:, 0] * mask[:, :1] if pool == "first" else masked_mean(x, mask)


class AttentionPool(nn.Module):
    """Weighted mean over true steps with learned weights: softmax(v tanh(W x)) (Yang et al., NAACL 2016, eq. 5-7).

    ``(batch, time, width)``, mask ``(batch, time)`` -> ``(batch, width)``; zeros where a row has no true step.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the pooled vector."""
        return masked_softmax(self.score(x).squeeze(-1), mask).unsqueeze(1).matmul(x).squeeze(1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where ``mask`` is True; exact zeros elsewhere, also in rows without any True."""
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.softmax(scores, dim=-1) * mask


class SequenceEncoder(nn.Module):
    """Linear or convolutional input, context network, pooling: ``(batch, time, width_in)`` -> ``(batch, width)``.

    Args:
        width_in: features per step.
        width: features of the result; even for recurrent contexts (half per direction).
        context: bidirectional ``lstm`` (the fastest on a CPU) or ``gru``, pre-norm ``transformer``, or ``none``.
        layers: layers of the context network.
        pool: ``last`` (final states of both directions; mean for non-recurrent contexts), ``mean``, ``attention``.
        kernel: steps seen by the input convolution; 1 is a linear map per step.
        dropout: after the input map and between layers.

    Raises:
        OptionError: unknown ``context`` or ``pool``, or an odd width of a recurrent context.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        *,
        context: Context = "lstm",
        layers: int = 1,
        pool: Pooling = "attention",
        kernel: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value, choices in (("context", context, get_args(Context)), ("pool", pool, get_args(Pooling))):
            if value not in choices:
                raise OptionError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        if context in ("lstm", "gru") and width % 2:
            raise OptionError(f"width must be even for context {context!r} (half per direction), got {width}")
        self.context, self.pool = context, pool
        self.input = nn.Conv1d(width_in, width, kernel, padding="same")
        self.drop = nn.Dropout(dropout)
        if context in ("lstm", "gru"):
            between = dropout if layers > 1 else 0.0
            self.rnn = BiRecurrent(context, width, width // 2, layers=layers, dropout=between)
        elif context == "transformer":
            heads = next(h for h in range(max(1, width // 32), 0, -1) if width % h == 0)
            layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, batch_first=True, norm_first=True)
            self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        if pool == "attention":
            self.attention = AttentionPool(width)

    def forward(self, stream: Stream) -> Tensor:
        """Return one vector per sample, zero where the stream is absent."""
        states, final = self.states(stream)
        return self.read(states, final, stream.mask)

    def states(self, stream: Stream) -> tuple[Tensor, Tensor | None]:
        """Return ``(batch, time, width)`` states, zero at padding, and the recurrent final state (batch, width)."""
        assert stream.lengths is not None
        mask = stream.mask
        x = self.drop(self.latents(stream))
        final = None
        if self.context in ("lstm", "gru"):
            x, final = self.rnn(x, stream.lengths)
        elif self.context == "transformer":
            positions = sinusoid(x.shape[1], x.shape[2], x.device).to(x.dtype)
            # A row without true steps would make softmax NaN: let it look at its first (zero) step instead.
            padding = ~mask
            padding[:, 0] = False
            x = self.transformer(x + positions, src_key_padding_mask=padding) * mask.unsqueeze(-1)
        return x, final

    def latents(self, stream: Stream) -> Tensor:
        """Return the input map's features ``(batch, time, width)``, zero at padding."""
        # Padding is zero in the batch, so a "same" convolution sees zeros beyond the end however long the padding is.
        x = self.input(stream.tensor.transpose(1, 2)).transpose(1, 2)
        return torch.relu(x) * stream.mask.unsqueeze(-1)

    def read(self, states: Tensor, final: Tensor | None, mask: Tensor) -> Tensor:
        """Pool ``states`` to ``(batch, width)``."""
        if self.pool == "attention":
            return self.attention(states, mask)
        if self.pool == "last" and final is not None:
            return final
        return masked_mean(states, mask)


class BiRecurrent(nn.Module):
    """Bidirectional LSTM or GRU over true steps only: ``(batch, time, width)`` -> ``(batch, time, 2 * hidden)``.

    The same function as ``nn.LSTM(bidirectional=True)`` over a packed sequence, but each direction runs on its own over
    the padded batch (padding comes after all true steps of a direction, so it cannot reach them). torch's CPU backend
    fuses an LSTM only then: forward and backward take about a quarter of the packed time.

    Args:
        kind: ``lstm`` or ``gru``.
        width: features per step of the input.
        hidden: features per direction.
        layers: each reads both directions of the one below.
        dropout: between layers.
    """

    def __init__(self, kind: Literal["lstm", "gru"], width: int, hidden: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        rnn = LSTM if kind == "lstm" else nn.GRU
        widths = [width] + [2 * hidden] * (layers - 1)
        self.forth = nn.ModuleList(rnn(w, hidden, batch_first=True) for w in widths)
        self.back = nn.ModuleList(rnn(w, hidden, batch_first=True) for w in widths)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return states (zero at padding) and the final state ``(batch, 2 * hidden)`` (zero at length 0)."""
        step = torch.arange(x.shape[1], device=x.device)
        real = (step < lengths[:, None]).unsqueeze(-1)  # (batch, time, 1)
        # Turns the true steps of each row round and leaves padding where it is: its own inverse.
        turned = torch.where(real[..., 0], lengths[:, None] - 1 - step, step).unsqueeze(-1)
        for layer, (forth, back) in enumerate(zip(self.forth, self.back, strict=True)):
            x = self.drop(x) if layer else x
            ahead = forth(x)[0]
            behind = back(x.gather(1, turned.expand_as(x)))[0]
            x = torch.cat([ahead, behind.gather(1, turned.expand_as(behind))], dim=-1) * real
        last = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, ahead.shape[-1])
        final = torch.cat([ahead.gather(1, last), behind.gather(1, last)], dim=-1).squeeze(1)
        return x, final * (lengths > 0).unsqueeze(1)


def sinusoid(steps: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (Vaswani et al., NeurIPS 2017, section 3.5): ``(steps, width)``, sines then cosines."""
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=device) * (-torch.log(torch.tensor(1e4)).item() / max(half - 1, 1)))
    angle = torch.arange(steps, device=device)[:, None] * frequency
    table = torch.cat([angle.sin(), angle.cos()], dim=1)
    return torch.nn.functional.pad(table, (0, width - table.shape[1]))
