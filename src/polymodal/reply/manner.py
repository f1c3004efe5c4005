"""How a class of emotion is spoken and shown: gently, as one does who listens, not as one does who suffers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    """The prior of a coarse class.

    Attributes:
        rate: speed of speech, 1 as the voice has it.
        pitch: height of the voice, 1 as it is.
        energy: amplitude, 1 as it is.
        smile: corners of the mouth, -1 (down) to 1 (up).
        brow_inner, brow_outer: inner and outer ends of the brows, -1 (down) to 1 (up).
        lids: opening of the eyes, 1 as in the portrait.
        blinks: per minute.
        lean: tilt of the head, degrees.
        liveliness: size of movements of the head and mouth, 1 as usual.
    """

    rate: float = 1.0
    pitch: float = 1.0
    energy: float = 1.0
    smile: float = 0.0
    brow_inner: float = 0.0
    brow_outer: float = 0.0
    lids: float = 1.0
    blinks: float = 16.0
    lean: float = 0.0
    liveliness: float = 1.0


MANNERS: dict[str, Manner] = {
    "neutral": Manner(),
    "happy": Manner(1.06, 1.05, 1.12, smile=0.8, brow_outer=0.25, lids=0.94, blinks=18, liveliness=1.2),
    "surprised": Manner(
        1.04, 1.06, 1.12, smile=0.15, brow_inner=0.9, brow_outer=0.9, lids=1.18, blinks=10, liveliness=1.15
    ),
    "angry": Manner(0.97, 0.96, 1.0, smile=-0.2, brow_inner=-0.4, brow_outer=0.1, lids=0.95, blinks=12),
    "fear": Manner(0.96, 0.98, 0.9, smile=-0.2, brow_inner=0.7, brow_outer=0.1, lids=1.08, blinks=22, lean=1.0),
    "sad": Manner(
        0.88, 0.95, 0.8, smile=-0.45, brow_inner=0.8, brow_outer=-0.35, lids=0.86, blinks=14, lean=2.5, liveliness=0.7
    ),
    "disgusted": Manner(0.95, 0.97, 0.95, smile=-0.4, brow_inner=-0.45, brow_outer=-0.1, lids=0.85, blinks=16),
    "contempt": Manner(0.95, 0.98, 0.95, smile=-0.15, brow_inner=0.3, brow_outer=-0.2, lids=0.92, lean=-1.5),
}
"""Coarse class -> its manner."""
