"""One vector per modality the way the tensor-fusion family makes it: pooled perceptrons, and an LSTM for text."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Modality, OptionError, Stream, nearest
from polymodal.nn.fast import LSTM
from polymodal.nn.inputs import as_sequence
from polymodal.nn.masking import masked_mean


class PresentNorm(nn.BatchNorm1d):
    """Batch normalisation over present samples only: ``(batch, width)``, ``present`` (batch,) -> the same shape.

    Absent rows are returned as zeros and leave no trace in the statistics. With fewer than two present samples the
    running statistics are used, where plain batch normalisation fails.
    """

    def forward(self, x: Tensor, present: Tensor) -> Tensor:  # type: ignore[override]
        """Return the normalised rows."""
        if not self.training:
            return super().forward(x).where(present[:, None], x.new_zeros(()))
        rows = present.nonzero()[:, 0]
        if not len(rows):
            return torch.zeros_like(x)
        learn = len(rows) > 1
        y = F.batch_norm(
            x[rows], self.running_mean, self.running_var, self.weight, self.bias, learn, self.momentum or 0.0, self.eps
        )
        return torch.zeros_like(y[:1]).repeat(len(x), 1).index_copy(0, rows, y)


class SubNet(nn.Module):
    """Masked mean over time, normalisation, dropout, three layers of Linear and ReLU (TFN, EMNLP 2017, section 4.1).

    A stream of ``width_in`` features -> ``(batch, width)``; zeros where absent.
    """

    def __init__(self, width_in: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = PresentNorm(width_in)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            nn.Linear(width_in, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )

    def forward(self, stream: Stream) -> Tensor:
        """Return one vector per sample."""
        pooled = stream.tensor if stream.lengths is None else masked_mean(stream.tensor, stream.mask)
        return self.layers(self.drop(self.norm(pooled, stream.present))) * stream.present[:, None]


class FinalState(nn.Module):
    """Unidirectional LSTM, its state after the last true step, dropout, a linear map: -> ``(batch, width)``."""

    def __init__(self, width_in: int, hidden: int, width: int, dropout: float) -> None:
        super().__init__()
        self.rnn = LSTM(width_in, hidden, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, width)

    def forward(self, stream: Stream) -> Tensor:
        """Return one vector per sample, zero where absent."""
        stream = as_sequence(stream)
        assert stream.lengths is not None
        last = final_state(self.rnn(stream.tensor)[0], stream.lengths)
        return self.linear(self.drop(last)) * stream.present[:, None]


def final_state(states: Tensor, lengths: Tensor) -> Tensor:
    """Return ``states`` (batch, time, width) at the last true step; zeros at length 0. Padding comes after it, so the
    recurrent network need not be packed (torch fuses it on a CPU only then)."""
    last = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, states.shape[2])
    return states.gather(1, last)[:, 0] * (lengths > 0)[:, None]


class Subnets(nn.ModuleDict):
    """One encoder per modality: FinalState for sequences named in ``recurrent``, SubNet for all others.

    Args:
        modalities: name -> what the encoder reads.
        width: features of each vector, unless ``widths`` says otherwise.
        widths: modality -> features of its vector.
        recurrent: names.
        hidden: units of the LSTM.
        dropout: inside the encoders.

    Raises:
        OptionError: ``widths`` names a modality that is not there.
    """

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        *,
        width: int,
        widths: Mapping[str, int],
        recurrent: Collection[str],
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        for name in widths:
            if name not in modalities:
                raise OptionError(f"widths names {name!r}{nearest(name, modalities)}")
        self.sizes = [widths.get(name, width) for name in modalities]
        for size, (name, modality) in zip(self.sizes, modalities.items(), strict=True):
            ordered = name in recurrent and modality.kind == "sequence"
            self[name] = (
                FinalState(modality.width, hidden, size, dropout) if ordered else SubNet(modality.width, size, dropout)
            )

    def forward(self, streams: Mapping[str, Stream]) -> dict[str, Tensor]:
        """Return modality -> ``(batch, width)``, zero where absent."""
        return {name: self[name](stream) for name, stream in streams.items()}


def augmented(vector: Tensor) -> Tensor:
    """Return ``[1; vector]``: ``(batch, width)`` -> ``(batch, 1 + width)``."""
    return torch.cat([torch.ones_like(vector[:, :1]), vector], dim=1)
