"""The 32 emotions of EmpatheticDialogues (Rashkin et al., ACL 2019), their eight coarse classes, how answers are read.

Two maps lead to the coarse classes: one for scoring, and one for what a face shows, which is calmer about anticipation
and memories and sharper about fear and contempt.
"""

from __future__ import annotations

import re

COARSE = ("neutral", "happy", "surprised", "angry", "fear", "sad", "disgusted", "contempt")

SCORED: dict[str, str] = {
    **dict.fromkeys(
        ("joyful", "content", "caring", "trusting", "faithful", "confident", "hopeful", "grateful", "proud"), "happy"
    ),
    **dict.fromkeys(("excited", "anticipating", "prepared"), "happy"),
    **dict.fromkeys(("lonely", "guilty", "sentimental", "ashamed", "nostalgic", "anxious"), "sad"),
    **dict.fromkeys(("disappointed", "devastated"), "sad"),
    "embarrassed": "disgusted",
    "impressed": "surprised",
    **dict.fromkeys(("furious", "annoyed"), "angry"),
    **dict.fromkeys(("afraid", "terrified", "apprehensive"), "fear"),
    "jealous": "contempt",
    **{name: name for name in COARSE},
}
"""Label -> coarse class by which hits are counted."""

SHOWN: dict[str, str] = {
    **SCORED,
    "prepared": "neutral",
    "nostalgic": "neutral",
    "anxious": "fear",
    "disappointed": "contempt",
    "devastated": "surprised",
}
"""Label -> coarse class that a face is asked for."""

LABELS = tuple(SCORED)
"""All labels that an answer may have: the fine ones, then the coarse ones."""

FINE = (*(name for name in LABELS if name not in COARSE), "angry", "disgusted", "sad", "surprised")
"""The 32 emotions of EmpatheticDialogues."""

_SAME = {
    "happy": ("happiness", "joy", "amused", "amusement", "positive", "calm"),
    "sad": ("sadness", "grief", "negative"),
    "angry": ("anger", "rage", "frustrated", "frustration"),
    "fear": ("fearful", "scared", "worried"),
    "disgusted": ("disgust",),
    "surprised": ("surprise",),
    "neutral": ("boredom", "bored", "other"),
}
_KNOWN = {**{n: n for n in LABELS}, **{other: name for name, others in _SAME.items() for other in others}}


def label_of(name: str) -> str | None:
    """Return the label that a class of a run or a corpus is called by here, whatever its case; None for another one.

    ``joy`` becomes ``happy``, ``boredom`` becomes ``neutral``.
    """
    return _KNOWN.get(name.strip().lower())


def parsed(answer: str) -> str:
    """Return the label in what a model answered: the first of ``LABELS`` that occurs as a whole word, in any case; else
    ``neutral``."""
    words = set(re.findall(r"[a-z]+", answer.lower()))
    return next((name for name in LABELS if name in words), "neutral")
