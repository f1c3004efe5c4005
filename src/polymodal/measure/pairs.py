"""Which streams are laid beside each other: two of one clip, or the same ones of two persons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.core import OptionError, nearest
from polymodal.data.ragged import Array
from polymodal.measure.grid import Span
from polymodal.measure.signals import STREAMS, Signals
from polymodal.measure.synchrony import Together, binned, together

USUAL = ("loudness", "head_speed")
"""Streams that are laid beside each other where nobody says which."""

SHARED = ("loudness", "smile", "head_speed")
"""Streams of two persons that are laid beside each other where nobody says which."""


@dataclass(frozen=True)
class Pair:
    """Two streams, binned.

    Attributes:
        name: of the column.
        words: what they are, for people.
        first, second: (bins,) float64; empty where a stream is absent.
    """

    name: str
    words: str
    first: Array
    second: Array

    def measure(self, spans: Sequence[Span], *, chance: bool = False) -> Together:
        """Return the synchrony in ``spans``; see ``synchrony.together``."""
        return together(self.first, self.second, spans, chance=chance)


def check_streams(names: Sequence[str], *, alone: bool) -> None:
    """Raise OptionError unless ``names`` are streams, two of them where they are of one person ``alone``."""
    for name in names:
        if name not in STREAMS:
            raise OptionError(f"there is no stream {name!r}{nearest(name, STREAMS)}; one of {', '.join(STREAMS)}")
    if names and alone and (len(names) != 2 or names[0] == names[1]):
        raise OptionError(f"--synchrony takes two different streams, got {', '.join(names)}; or name a --partner")


def find_pairs(signals: Signals, partner: Signals | None, names: Sequence[str]) -> tuple[Pair, ...]:
    """Return the pairs of streams of a clip.

    Without a partner ``names`` are two streams of the clip; with one, each of them is laid beside the partner's.

    Raises:
        OptionError: there is no such stream, or not two of them.
    """
    check_streams(names, alone=partner is None)
    if partner is not None:
        return tuple(
            Pair(f"sync_{n}_partner", f"{n} with the partner's", _bins(signals, n), _bins(partner, n))
            for n in names or SHARED
        )
    first, second = names or USUAL
    return (Pair(f"sync_{first}_{second}", f"{first} with {second}", _bins(signals, first), _bins(signals, second)),)


def _bins(signals: Signals, name: str) -> Array:
    found = signals.stream(name)
    return np.zeros(0) if found is None else binned(*found, signals.duration)
