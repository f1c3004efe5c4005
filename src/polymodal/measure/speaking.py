"""When somebody speaks, and when he pauses; from the level of the sound within stretches of speech."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from polymodal.data.ragged import Array
from polymodal.measure.grid import Span, joined, overlap, rows_in, runs, seconds

STEP = 0.01
"""Seconds between two levels."""

PAUSE = 0.25
"""Seconds of silence that are a pause; what is shorter belongs to articulation (De Jong and Bosker 2013)."""

QUIET = 25.0
"""Decibels below the loud part of a turn (its 95th percentile) from which sound is silence."""

NOISE = 0.3
"""Share of the way from the noise of the recording (5th percentile) to the loud part: below it is silence as well."""

LEAST = 10.0
"""Decibels below the loud part above which nothing is silence, however loud the noise."""

CLICK = 0.05
"""Seconds that a sound must last to be speech."""


def speaking(level: Array, stretches: Sequence[Span], gap: float) -> list[Span]:
    """Return when somebody speaks: sound within stretches of speech, without pauses.

    Args:
        level: (n,) decibels every ``STEP`` seconds, NaN where there is no sound.
        stretches: where a voice was found, for example by ``SpeechActivity``.
        gap: seconds of silence that end a turn; loudness is judged turn by turn.
    """
    if not len(level) or not np.isfinite(level).any():
        return []
    floor = float(np.nanpercentile(level, 5))
    found: list[Span] = []
    for turn in joined(stretches, gap):
        voiced = rows_in(len(level), STEP, overlap(stretches, [turn])) & np.isfinite(level)
        if not voiced.any():
            continue
        loud = float(np.percentile(level[voiced], 95))
        threshold = min(max(loud - QUIET, floor + NOISE * (loud - floor)), loud - LEAST)
        heard = [
            (int(a) * STEP, int(b) * STEP) for a, b in runs(voiced & (level > threshold)) if (b - a) * STEP >= CLICK
        ]
        found += joined(heard, PAUSE)
    return found


def pauses(spoken: Sequence[Span], gap: float) -> list[Span]:
    """Return the silences of at least ``PAUSE`` and less than ``gap`` seconds between stretches of speaking."""
    between = pairwise(spoken)
    return [(a[1], b[0]) for a, b in between if PAUSE <= b[0] - a[1] + 1e-9 < gap]


def pause_measures(spoken: Sequence[Span], silent: Sequence[Span], spans: Sequence[Span]) -> dict[str, float]:
    """Return the measures of speaking and pauses in ``spans``.

    Args:
        spoken, silent: what ``speaking`` and ``pauses`` return for the whole clip.
        spans: a turn, a window, or all turns of a person. A pause counts where its middle is.
    """
    length = seconds(spans)
    found = {"speaking_share": seconds(overlap(spoken, spans)) / length if length else float("nan")}
    inside = [b - a for a, b in silent if any(start <= (a + b) / 2 < end for start, end in spans)]
    return found | {"pauses": float(len(inside)), "pause_mean": float(np.mean(inside)) if inside else float("nan")}
