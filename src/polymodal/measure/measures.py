"""What is measured: names, units, meanings; ``docs/measure.md`` has formulas and sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from polymodal.core import OptionError, nearest
from polymodal.measure.face import face_measures
from polymodal.measure.grid import Span
from polymodal.measure.pairs import Pair
from polymodal.measure.signals import Signals
from polymodal.measure.speaking import pause_measures
from polymodal.measure.voice import voice_measures
from polymodal.measure.words import rate_measures
from polymodal.media.types import Word


@dataclass(frozen=True)
class Measure:
    """One column of the table.

    Attributes:
        name: of the column.
        unit: empty for a share or a number without one.
        meaning: one phrase.
        digits: behind the point, for people.
        range: lowest and highest value where the measure has them.
    """

    name: str
    unit: str
    meaning: str
    digits: int = 2
    range: tuple[float, float] | None = None


SHARE, BOTH = (0.0, 1.0), (-1.0, 1.0)

MEASURES = (
    Measure("speaking_share", "", "share of the time in which somebody speaks", range=SHARE),
    Measure("pauses", "", "number of pauses", 0),
    Measure("pause_mean", "s", "mean length of a pause"),
    Measure("speech_rate", "words/s", "words per second of speaking and pausing", 1),
    Measure("articulation_rate", "syllables/s", "syllables per second of speaking", 1),
    Measure("f0_median", "Hz", "pitch of the voice", 0),
    Measure("f0_range", "semitones", "range of the pitch, 10th to 90th percentile", 1),
    Measure("loudness_median", "", "loudness of the voice, as eGeMAPS has it"),
    Measure("loudness_range", "", "range of the loudness, 10th to 90th percentile"),
    Measure("level_median", "dB", "level of the voice below full scale", 1),
    Measure("level_range", "dB", "range of the level, 10th to 90th percentile", 1),
    Measure("jitter", "%", "difference of successive periods of the voice"),
    Measure("shimmer", "dB", "difference of successive amplitudes of the voice"),
    Measure("face_share", "", "share of the time in which the face is seen", range=SHARE),
    Measure("smile", "", "mean smile, 0 to 1", range=SHARE),
    Measure("smile_share", "", "share of the time with a smile", range=SHARE),
    Measure("brow_raise", "", "mean raising of the brows, 0 to 1", range=SHARE),
    Measure("brow_lower", "", "mean lowering of the brows, 0 to 1", range=SHARE),
    Measure("gaze_left", "", "eyes to the person's left (1) or right (-1)", range=BOTH),
    Measure("gaze_up", "", "eyes up (1) or down (-1)", range=BOTH),
    Measure("head_yaw", "degrees", "head turned to the picture's right (positive) or left", 1),
    Measure("head_pitch", "degrees", "head up (positive) or down", 1),
    Measure("head_roll", "degrees", "head tilted counter-clockwise (positive) as seen", 1),
    Measure("head_speed", "degrees/s", "mean speed of the head's rotation", 1),
    Measure("nod_rate", "1/min", "nods per minute", 1),
    Measure("blink_rate", "1/min", "blinks per minute", 1),
)


def columns(pairs: Sequence[Pair], chosen: Sequence[str] = ()) -> tuple[Measure, ...]:
    """Return the columns of a table.

    Args:
        pairs: of streams whose synchrony is measured.
        chosen: names of measures, all if empty; synchrony is always there.

    Raises:
        OptionError: there is no such measure.
    """
    known = {m.name: m for m in MEASURES}
    for name in chosen:
        if name not in known:
            raise OptionError(f"there is no measure {name!r}{nearest(name, known)}; one of {', '.join(known)}")
    found = [known[name] for name in chosen] if chosen else list(MEASURES)
    for pair in pairs:
        found.append(Measure(pair.name, "", f"highest correlation of {pair.words}", range=BOTH))
        found.append(Measure(f"{pair.name}_lag", "s", "lag of the second behind the first at that correlation"))
    return tuple(found)


def measured(
    signals: Signals, words: Sequence[Word], pairs: Sequence[Pair], spans: Sequence[Span]
) -> dict[str, float | None]:
    """Return name -> value of all measures in ``spans``; None for what is not known.

    Args:
        words: with times, as far as known.
        spans: seconds; a turn, a window, or all turns of a person.
    """
    found: dict[str, float] = {}
    if signals.voice is not None:
        spoken, silent = signals.spoken, signals.silent
        found |= pause_measures(spoken, silent, spans) | voice_measures(signals.voice, spoken, spans)
        found |= rate_measures(words, spoken, silent, spans)
    if signals.face is not None:
        found |= face_measures(signals.face, spans)
    for pair in pairs:
        one = pair.measure(spans)
        found |= {pair.name: one.correlation, f"{pair.name}_lag": one.lag}
    names = [m.name for m in columns(pairs)]
    return {n: round(v, 6) if (v := found.get(n)) is not None and math.isfinite(v) else None for n in names}
