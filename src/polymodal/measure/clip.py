"""From a clip to its measures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from polymodal.core import OptionError
from polymodal.measure.grid import Span, joined, overlap, seconds
from polymodal.measure.measures import columns, measured
from polymodal.measure.pairs import Pair, find_pairs
from polymodal.measure.result import Measured, Values
from polymodal.measure.rows import all_words, cut, within
from polymodal.measure.signals import Reader, Signals
from polymodal.media.types import Segment, Word
from polymodal.media.words.transcripts import read_transcript

GAP = 2.0
"""Seconds of silence that end a turn, where nobody says how many."""


def check_asked(*, window: float, gap: float, chosen: Sequence[str]) -> None:
    """Raise OptionError for what no ``Measurer`` takes, before anything is loaded for one."""
    for name, value, low, high in (("window", window, 0.5, 3600.0), ("gap", gap, 0.25, 600.0)):
        if not low <= value <= high:
            raise OptionError(f"--{name} must be from {low:g} to {high:g} seconds, got {value:g}")
    columns((), chosen)


def rows_by(asked: str | None, transcript: str | Path | None) -> str:
    """Return what a row is, where ``asked`` for or not; OptionError for rows of a transcript without one."""
    by = asked or ("speech" if transcript is None else "transcript")
    if by == "transcript" and transcript is None:
        raise OptionError("--utterances transcript needs --transcript FILE; or choose speech, windows or clip")
    return by


class Measurer:
    """Measures clips, one at a time.

    Args:
        reader: of clips.
        by: what a row is: ``speech``, ``transcript``, ``windows`` or ``clip``; None: segments of the transcript where
            there is one, else turns.
        window: seconds of a window.
        gap: seconds of silence that end a turn.
        chosen: names of measures; empty: all.
        synchrony: names of streams, see ``pairs.find_pairs``; empty: the usual ones.

    Raises:
        OptionError: a measure that does not exist; a window or gap out of range.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        by: str | None = None,
        window: float = 5.0,
        gap: float = GAP,
        chosen: Sequence[str] = (),
        synchrony: Sequence[str] = (),
    ) -> None:
        check_asked(window=window, gap=gap, chosen=chosen)
        self._reader, self._by, self._window, self._gap = reader, by, window, gap
        self._chosen, self._synchrony = tuple(chosen), tuple(synchrony)

    def measure(
        self,
        clip: str | Path,
        *,
        transcript: str | Path | None = None,
        partner: str | Path | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Measured:
        """Return the measures of ``clip``.

        Args:
            transcript: what is said when.
            partner: recording of the other person that began at the same moment.
            progress: called with the seconds that are done.

        Raises:
            DataError: a file cannot be read, or a clip has neither sound nor a face.
            OptionError: rows of a transcript without one; streams that do not exist.
        """
        by = rows_by(self._by, transcript)
        told = None if transcript is None else read_transcript(transcript)
        signals = self._reader.read(clip, gap=self._gap, progress=progress)
        other = None if partner is None else self._reader.read(partner, gap=self._gap, progress=progress)
        began = time.perf_counter()
        segments = None if told is None else within(told, signals)
        rows = cut(signals, segments, by, window=self._window, gap=self._gap)
        pairs, words = find_pairs(signals, other, self._synchrony), all_words(signals, segments)
        found = columns(pairs, self._chosen)

        def values(spans: Sequence[Span]) -> Values:
            every = measured(signals, words, pairs, spans)
            return {m.name: every[m.name] for m in found}

        result = Measured(
            clip=signals.name,
            duration=signals.duration,
            by=by,
            measures=found,
            rows=tuple(rows),
            values=tuple(values([(s.start, s.end)]) for s in rows),
            whole=values([(0.0, signals.duration)]),
            persons=_persons(signals, segments, values),
            synchrony={p.name: _over_clip(p, signals.duration) for p in pairs},
            partner="" if other is None else other.name,
            notes=_notes(signals, other, words, by),
            versions=signals.versions,
        )
        spent = {"measure": round(time.perf_counter() - began, 3)}
        return replace(result, seconds=signals.seconds | spent)


def _persons(
    signals: Signals, segments: Sequence[Segment] | None, values: Callable[[Sequence[Span]], Values]
) -> dict[str, Values]:
    """Return the measures of all that each speaker says; his share is of the whole clip."""
    out: dict[str, Values] = {}
    for name in sorted({s.speaker for s in segments or () if s.speaker}):
        spans = joined([(s.start, s.end) for s in segments or () if s.speaker == name], 0.0)
        out[name] = values(spans)
        if "speaking_share" in out[name] and signals.voice is not None:
            out[name]["speaking_share"] = round(seconds(overlap(signals.spoken, spans)) / signals.duration, 6)
    return out


def _over_clip(pair: Pair, duration: float) -> dict[str, float | None]:
    found = pair.measure([(0.0, duration)], chance=True)
    told = {"correlation": found.correlation, "lag": found.lag, "chance": found.chance}
    known: dict[str, float | None] = {n: round(v, 4) if math.isfinite(v) else None for n, v in told.items()}
    return known | {"windows": found.windows}


def _notes(signals: Signals, other: Signals | None, words: Sequence[Word], by: str) -> tuple[str, ...]:
    notes = [*signals.notes, *(other.notes if other is not None else ())]
    if signals.voice is not None and not signals.spoken:
        notes.append(f"{signals.name}: no speech was found; the voice has no measures")
        if by == "speech":
            notes.append(f"{signals.name}: without turns, the clip is measured as one")
    elif signals.voice is not None and not words:
        notes.append(
            f"{signals.name}: without words there is no speech rate; give --transcript FILE, or --asr-model for one"
        )
    if signals.face is not None and (signals.face.blinks is None or signals.face.nods is None):
        notes.append(f"{signals.name}: there are too few frames per second to see blinks (12) or nods (6)")
    return tuple(dict.fromkeys(notes))
