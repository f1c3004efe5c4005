"""How far two streams go together, one behind the other: windowed cross-correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.data.ragged import Array
from polymodal.measure.grid import Span

STEP = 0.1
"""Seconds of a bin: both streams are averaged over bins."""

WINDOW = 10.0
"""Seconds of a window, about: stretches are cut into as many equal ones as come nearest to that."""

SHORTEST = 3.0
"""Seconds of the shortest window."""

LAG = 2.0
"""Seconds by which the second stream may be late, or early."""

KNOWN = 0.8
"""Share of a window that both streams must be known for."""

PAIRS = 200
"""Windows of one stream laid beside windows of the other from elsewhere, at most, to see what chance gives."""


@dataclass(frozen=True)
class Together:
    """Synchrony of two streams over a clip.

    Attributes:
        correlation: mean of the windows' highest correlations; NaN without a window.
        lag: median of their lags, seconds; positive where the second stream follows the first.
        chance: the same mean for windows that do not belong together; NaN with fewer than two windows.
        windows: how many.
    """

    correlation: float
    lag: float
    chance: float
    windows: int


def binned(values: Array, step: float, duration: float) -> Array:
    """Return the means of ``values`` (n,), every ``step`` seconds, over bins of ``STEP``; NaN where none is known."""
    count = int(np.ceil(duration / STEP - 1e-6))
    places = np.minimum(((np.arange(len(values)) + 0.5) * step / STEP).astype(int), max(0, count - 1))
    known = np.isfinite(values)
    sums = np.bincount(places[known], weights=values[known], minlength=count)[:count]
    counts = np.bincount(places[known], minlength=count)[:count]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def peak(first: Array, second: Array, start: int, end: int, shift: int = 0) -> tuple[float, float] | None:
    """Return the highest correlation of a window over all lags, and that lag in seconds; None without enough data.

    Args:
        first, second: binned streams of the whole clip.
        start, end: bins of the window in ``first``; in ``second`` it lies ``shift`` bins later, plus the lag.
    """
    reach, size = round(LAG / STEP), end - start
    here = first[start:end]
    padded = np.pad(second, reach, constant_values=np.nan)  # beyond the clip nothing is known
    best: tuple[float, float] | None = None
    for lag in sorted(range(-reach, reach + 1), key=abs):
        begin = start + shift + lag + reach
        there = padded[begin : begin + size]
        if len(there) < size:
            continue
        known = np.isfinite(here) & np.isfinite(there)
        if known.sum() < KNOWN * size:
            continue
        a, b = here[known] - here[known].mean(), there[known] - there[known].mean()
        scale = float(np.sqrt((a @ a) * (b @ b)))
        if scale > 1e-12 and (best is None or a @ b / scale > best[0]):
            best = (float(a @ b) / scale, lag * STEP)
    return best


def windows(spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Return the bins of the windows that ``spans`` are cut into, equally long within a span."""
    found = []
    for start, end in spans:
        if end - start < SHORTEST - 1e-6:
            continue
        count = max(1, round((end - start) / WINDOW))
        size = int((end - start) / count / STEP + 1e-6)
        found += [(round(start / STEP) + i * size, round(start / STEP) + (i + 1) * size) for i in range(count)]
    return found


def together(first: Array, second: Array, spans: Sequence[Span], *, chance: bool = False) -> Together:
    """Return the synchrony of two binned streams in ``spans``.

    Correlations are averaged after Fisher's transformation.

    Args:
        chance: whether to tell what chance gives, which takes longer.
    """
    places = [(a, min(b, len(first))) for a, b in windows(spans)]
    found = [p for a, b in places if b - a >= SHORTEST / STEP and (p := peak(first, second, a, b)) is not None]
    nothing = float("nan")
    if not found:
        return Together(nothing, nothing, nothing, 0)
    lag = float(np.median([lag for _, lag in found]))
    other = _by_chance(first, second, places) if chance and len(places) > 1 else nothing
    return Together(_mean([r for r, _ in found]), lag, other, len(found))


def _by_chance(first: Array, second: Array, places: Sequence[tuple[int, int]]) -> float:
    rng = np.random.default_rng(0)
    pairs = [(i, j) for i in range(len(places)) for j in range(len(places)) if i != j]
    chosen = rng.permutation(len(pairs))[:PAIRS] if len(pairs) > PAIRS else range(len(pairs))
    found = []
    for i, j in (pairs[k] for k in chosen):
        (start, end), (other, _) = places[i], places[j]
        if (one := peak(first, second, start, end, other - start)) is not None:
            found.append(one[0])
    return _mean(found)


def _mean(correlations: Sequence[float]) -> float:
    if not correlations:
        return float("nan")
    return float(np.tanh(np.mean(np.arctanh(np.clip(correlations, -0.999999, 0.999999)))))
