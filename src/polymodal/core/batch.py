"""What travels from the loader to a method: named streams, named targets, ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polymodal.core.errors import DataError, nearest


@dataclass(frozen=True)
class Stream:
    """One modality of a batch.

    Attributes:
        values: ``(batch, time, width)`` float for a sequence, ``(batch, width)`` float for a vector,
            a list of strings for text. Padding and absent samples are zeros (empty strings).
        lengths: ``(batch,)`` long, true steps; None for vectors and text. An absent sample has length 0.
        present: ``(batch,)`` bool.
    """

    values: Tensor | list[str]
    lengths: Tensor | None
    present: Tensor

    @property
    def tensor(self) -> Tensor:
        """``values`` of a sequence or vector; TypeError for text."""
        if not isinstance(self.values, Tensor):
            raise TypeError("a text stream has strings, not a tensor; give it to a text encoder first")
        return self.values

    @property
    def texts(self) -> list[str]:
        """``values`` of a text stream; TypeError otherwise."""
        if isinstance(self.values, Tensor):
            raise TypeError("this stream has a tensor, not strings")
        return self.values

    @property
    def mask(self) -> Tensor:
        """``(batch, time)`` bool, True at real steps of present samples; ``(batch, 1)`` for vectors and text."""
        if self.lengths is None:
            return self.present[:, None]
        return torch.arange(self.tensor.shape[1], device=self.lengths.device) < self.lengths[:, None]

    def to(self, device: torch.device | str) -> Stream:
        """Return the stream on ``device``."""
        values = self.values.to(device) if isinstance(self.values, Tensor) else self.values
        lengths = None if self.lengths is None else self.lengths.to(device)
        return Stream(values, lengths, self.present.to(device))

    def absent(self, rows: Tensor) -> Stream:
        """Return the stream with the samples where ``rows`` (batch,) is True emptied and marked absent."""
        rows = rows.to(self.present.device)
        lengths = None if self.lengths is None else self.lengths.masked_fill(rows, 0)
        values: Tensor | list[str]
        if isinstance(self.values, Tensor):
            # torch.where, not multiplication: NaN * 0 would leak NaN.
            keep = ~rows.view(-1, *[1] * (self.values.dim() - 1))
            values = torch.where(keep, self.values, torch.zeros((), dtype=self.values.dtype, device=rows.device))
        else:
            values = ["" if gone else text for text, gone in zip(self.values, rows.tolist(), strict=True)]
        return Stream(values, lengths, self.present & ~rows)


@dataclass(frozen=True)
class Batch:
    """Samples of a corpus, one stream per modality.

    Attributes:
        streams: modality name -> Stream, in schema order.
        targets: target name -> ``(batch,)`` float (regression), ``(batch,)`` long (classification),
            ``(batch, classes)`` float 0/1 (multilabel).
        ids: the samples' names.
    """

    streams: dict[str, Stream]
    targets: dict[str, Tensor]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, modality: str) -> Stream:
        try:
            return self.streams[modality]
        except KeyError:
            raise DataError(f"the batch has no modality {modality!r}{nearest(modality, self.streams)}") from None

    @property
    def present(self) -> Tensor:
        """``(batch, modalities)`` bool, columns in the order of ``streams``."""
        return torch.stack([s.present for s in self.streams.values()], dim=1)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device``."""
        return Batch(
            {n: s.to(device) for n, s in self.streams.items()},
            {n: t.to(device) for n, t in self.targets.items()},
            self.ids,
        )

    def without(self, *modalities: str, rows: Tensor | None = None) -> Batch:
        """Return the batch with modalities made absent.

        Their values are overwritten with zeros (strings with ""), lengths with 0, ``present`` with False, so that
        no method can see what it must not.

        Args:
            modalities: names of the modalities to remove.
            rows: ``(batch,)`` bool, the samples concerned; None for all.

        Raises:
            DataError: unknown modality.
        """
        streams = dict(self.streams)
        for name in modalities:
            stream = self[name]
            chosen = torch.ones_like(stream.present) if rows is None else rows.to(torch.bool)
            streams[name] = stream.absent(chosen)
        return replace(self, streams=streams)
