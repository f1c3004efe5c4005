"""Numbers that are none, noticed a step late, so that a GPU is not waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polymodal.core import TrainingError

SHOWN = 8
"""Samples of a bad batch that the message names."""


@dataclass(frozen=True)
class _Noted:
    """Losses under way from the device: ``finite`` may be read once ``ready`` has happened."""

    names: list[str]
    values: Tensor
    finite: Tensor
    ready: Any
    ids: Sequence[str]
    place: tuple[int, int]


class Watch:
    """Stops training on a NaN or infinite loss or gradient norm of the batch before.

    One batch late: the device has its next work by then. What has happened since is never saved, because whoever saves
    calls ``settle`` first.
    """

    def __init__(self) -> None:
        self._last: _Noted | None = None

    def note(self, values: dict[str, Tensor], ids: Sequence[str], epoch: int, batch: int) -> None:
        """Have ``values`` (scalars of a batch with samples ``ids``) looked at; raise for those noted before.

        Raises:
            TrainingError: as ``settle``.
        """
        stacked = torch.stack([value.detach().float() for value in values.values()])
        finite, ready = torch.isfinite(stacked).all(), None
        if stacked.is_cuda:
            finite, ready = finite.to("cpu", non_blocking=True), torch.cuda.Event()  # into pinned memory
            ready.record()
        before, self._last = self._last, _Noted([*values], stacked, finite, ready, ids, (epoch, batch))
        _check(before)

    def settle(self) -> None:
        """Wait for what was noted last.

        Raises:
            TrainingError: it was not finite.
        """
        last, self._last = self._last, None
        _check(last)


def _check(noted: _Noted | None) -> None:
    if noted is None:
        return
    if noted.ready is not None:
        noted.ready.synchronize()
    if bool(noted.finite):
        return
    finite = torch.isfinite(noted.values).tolist()
    bad = [name for name, fine in zip(noted.names, finite, strict=True) if not fine]
    value = float(noted.values[finite.index(False)])
    shown = ", ".join(noted.ids[:SHOWN])
    more = f" and {len(noted.ids) - SHOWN} more" if len(noted.ids) > SHOWN else ""
    epoch, batch = noted.place
    raise TrainingError(
        f"{', '.join(bad)} became {value} in epoch {epoch}, batch {batch}, samples {shown}{more}; lower --lr, look at "
        "these samples with 'polymodal data info', or train in --precision 32"
    )
