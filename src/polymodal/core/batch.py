"""What travels from the loader to a method: named streams, named targets, ids."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polymodal.core.errors import DataError, nearest


@dataclass(frozen=True)
class Stream:
    """One modality of a batch.

    Attributes:
        values: float ``(batch, time, width)`` for a sequence, ``(batch, width)`` for a vector, ``(batch, channels,
            height, width)`` for an image, ``(batch, time, channels, height, width)`` for frames; a list of strings for
            text. Padding and absent samples are zeros (empty strings).
        lengths: ``(batch,)`` long, true steps; None for vectors, images and text. An absent sample has length 0.
        present: ``(batch,)`` bool.
    """

    values: Tensor | list[str]
    lengths: Tensor | None
    present: Tensor

    @property
    def tensor(self) -> Tensor:
        """``values`` of anything but text, for which it is a TypeError."""
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
        """``(batch, time)`` bool, True at real steps of present samples; ``(batch, 1)`` where there are no steps."""
        if self.lengths is None:
            return self.present[:, None]
        return torch.arange(self.tensor.shape[1], device=self.lengths.device) < self.lengths[:, None]

    def map(self, change: Callable[[Tensor], Tensor]) -> Stream:
        """Return the stream with ``change`` made to each of its tensors."""
        values = change(self.values) if isinstance(self.values, Tensor) else self.values
        lengths = None if self.lengths is None else change(self.lengths)
        return Stream(values, lengths, change(self.present))

    def select(self, rows: Tensor) -> Stream:
        """Return the samples ``rows`` (numbers), cut to the longest of them: an absent modality then costs one step."""
        values: Tensor | list[str]
        if isinstance(self.values, Tensor):
            values = self.values[rows]
        else:
            values = [self.values[i] for i in rows.tolist()]
        lengths = None if self.lengths is None else self.lengths[rows]
        if lengths is not None and isinstance(values, Tensor):
            values = values[:, : max(1, int(lengths.max())) if len(rows) else 1]
        return Stream(values, lengths, self.present[rows])

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
            A label that is not known is NaN, or -1 in a classification; see ``labelled``.
        ids: the samples' names.
        domain: ``(batch,)`` long, number of each sample's domain in ``Schema.domains``; None without domains.
        group: ``(batch,)`` long, the same for samples of one speaker, video or dialogue; None where that is not known.
    """

    streams: dict[str, Stream]
    targets: dict[str, Tensor]
    ids: list[str]
    domain: Tensor | None = None
    group: Tensor | None = None

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

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with ``change`` made to each of its tensors."""
        return Batch(
            {n: s.map(change) for n, s in self.streams.items()},
            {n: change(t) for n, t in self.targets.items()},
            self.ids,
            None if self.domain is None else change(self.domain),
            None if self.group is None else change(self.group),
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch on ``device``; ``non_blocking`` copies from pinned memory without waiting."""
        return self.map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, from which a GPU copies while others work."""
        return self.map(Tensor.pin_memory)

    def select(self, rows: Tensor) -> Batch:
        """Return the samples ``rows``, cut to the longest of them.

        Args:
            rows: ``(batch,)`` bool, or numbers of samples in the order wanted.
        """
        chosen = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        return Batch(
            {n: s.select(chosen) for n, s in self.streams.items()},
            {n: t[chosen] for n, t in self.targets.items()},
            [self.ids[i] for i in chosen.tolist()],
            None if self.domain is None else self.domain[chosen],
            None if self.group is None else self.group[chosen],
        )

    def only(self, names: Collection[str]) -> Batch:
        """Return the batch with the streams of the modalities ``names`` alone, in the same order."""
        return replace(self, streams={n: s for n, s in self.streams.items() if n in names})

    def labelled(self, target: str) -> Tensor:
        """Return ``(batch,)`` bool, the samples whose label ``target`` is known."""
        return known_labels(self.targets[target])

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


def known_labels(labels: Tensor) -> Tensor:
    """Return which ``labels`` (batch, ...) are known, ``(batch,)`` bool: not NaN, or 0 and more in whole numbers."""
    known = torch.isfinite(labels) if labels.is_floating_point() else labels >= 0
    return known if known.dim() == 1 else known.all(dim=1)
