"""Encoders of one modality whose result depends on true steps only, never on padding or batch mates."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from polymodal.core import OptionError, Stream

Context = Literal["lstm", "gru", "transformer", "none"]
Pooling = Literal["last", "mean", "attention"]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x`` (batch, time, width) over steps where ``mask`` (batch, time) is True; zeros where none is."""
    weight = mask.to(x.dtype).unsqueeze(-1)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


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
        context: bidirectional ``lstm`` or ``gru`` over packed steps, pre-norm ``transformer``, or ``none``.
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
        context: Context = "gru",
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
            rnn = nn.LSTM if context == "lstm" else nn.GRU
            between = dropout if layers > 1 else 0.0
            self.rnn = rnn(width, width // 2, layers, batch_first=True, bidirectional=True, dropout=between)
        elif context == "transformer":
            heads = next(h for h in range(max(1, width // 32), 0, -1) if width % h == 0)
            layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, batch_first=True, norm_first=True)
            self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        if pool == "attention":
            self.attention = AttentionPool(width)

    def forward(self, stream: Stream) -> Tensor:
        """Return one vector per sample; a learned-bias-free zero vector where the stream is absent."""
        states, final = self.states(stream)
        return self.read(states, final, stream.mask)

    def states(self, stream: Stream) -> tuple[Tensor, Tensor | None]:
        """Return ``(batch, time, width)`` states, zero at padding, and the recurrent final state (batch, width)."""
        assert stream.lengths is not None
        mask = stream.mask
        x = self.drop(self.latents(stream))
        final = None
        if self.context in ("lstm", "gru"):
            x, final = run_packed(self.rnn, x, stream.lengths)
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
            return final * mask.any(1, keepdim=True)
        return masked_mean(states, mask)


def run_packed(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run a batch-first recurrent network over true steps only.

    Returns:
        states ``(batch, time, directions * hidden)`` (zeros at padding) and the last layer's final state
        ``(batch, directions * hidden)``. Rows of length 0 run over one zero step and are zeroed by the caller's mask.
    """
    # The packed sequence wants lengths on the CPU and above 0.
    counts = lengths.clamp(min=1).cpu()
    packed = pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
    states, hidden = rnn(packed)
    last = hidden[0] if isinstance(hidden, tuple) else hidden
    directions = 2 if rnn.bidirectional else 1
    final = last[-directions:].transpose(0, 1).flatten(1)
    unpacked, _ = pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])
    return unpacked * (lengths > 0).view(-1, 1, 1), final


def sinusoid(steps: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (Vaswani et al., NeurIPS 2017, section 3.5): ``(steps, width)``, sines then cosines."""
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=device) * (-torch.log(torch.tensor(1e4)).item() / max(half - 1, 1)))
    angle = torch.arange(steps, device=device)[:, None] * frequency
    table = torch.cat([angle.sin(), angle.cos()], dim=1)
    return torch.nn.functional.pad(table, (0, width - table.shape[1]))
