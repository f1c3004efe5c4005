"""How fast somebody speaks, from the times of words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from polymodal.measure.grid import Span, overlap, seconds
from polymodal.media.types import Word

VOWELS = frozenset("aeiouyæœø")


def syllables(word: str) -> int | None:
    """Return how many groups of vowels ``word`` has, at least 1; None where its script is not Latin.

    A final e is not counted after a consonant ("make", "whole"), but after another one and l ("table").
    """
    plain = [c for c in unicodedata.normalize("NFD", word.lower()) if c.isalpha()]
    if not plain or any("LATIN" not in unicodedata.name(c, "") for c in plain):
        return None
    count = sum(c in VOWELS and (i == 0 or plain[i - 1] not in VOWELS) for i, c in enumerate(plain))
    consonant = [c not in VOWELS for c in plain[-3:-1]]  # of the two letters before the last
    silent = len(plain) > 2 and plain[-1] == "e" and consonant[1] and not (plain[-2] == "l" and consonant[0])
    return max(1, count - silent)


def rate_measures(
    words: Sequence[Word], spoken: Sequence[Span], silent: Sequence[Span], spans: Sequence[Span]
) -> dict[str, float]:
    """Return words per second of speaking and pausing, and syllables per second of speaking; NaN without words.

    Args:
        words: with times; those whose middle lies in ``spans`` count.
        spoken, silent: what ``speaking`` and ``pauses`` return.
    """
    nothing = {"speech_rate": float("nan"), "articulation_rate": float("nan")}
    said = [w for w in words if any(a <= (w.start + w.end) / 2 < b for a, b in spans)]
    talking, pausing = seconds(overlap(spoken, spans)), seconds(overlap(silent, spans))
    if not said or talking < SHORTEST:
        return nothing
    counts = [syllables(w.text) for w in said]
    told = [c for c in counts if c is not None]
    rates = {"speech_rate": len(said) / (talking + pausing)}
    return nothing | rates | ({"articulation_rate": sum(told) / talking} if len(told) == len(counts) else {})


SHORTEST = 0.5
"""Seconds of speaking without which no rate is told."""
