"""Whether the modalities of an utterance say the same, contradict each other, or say something only together.

With v(S) what the run says when only the modalities in S are there, each one alone moves it by
a_m = v({m}) - v(nothing), and all of them by v(all) - v(nothing). What the sum of a_m leaves over comes about only
together: ``joint``. What the a_m take from each other, because they pull to both sides, is ``cancelled``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LEAST = 0.05
"""Share of the scale (of probabilities: 1) that must be at stake before there is a word for it."""


@dataclass(frozen=True)
class Together:
    """How modalities go together, in units of the prediction, or of the probability that contributions explain.

    Attributes:
        alone: modality that is there -> a_m.
        joint: v(all) - v(nothing) - the sum of a_m.
        cancelled: what of the a_m cancels out: half of (sum of |a_m| - |sum of a_m|), 0 or more.
        word: ``conflict`` where most is cancelled; ``synergy`` where together they move the prediction further than
            their sum does; ``overlap`` where they move it less far, as what says the same twice does; ``""`` where too
            little is at stake.
    """

    alone: dict[str, float]
    joint: float
    cancelled: float
    word: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def together(alone: Mapping[str, float], moved: float, scale: float) -> Together | None:
    """Return how modalities go together; None for fewer than two.

    Args:
        alone: a_m of those that are there.
        moved: v(all) - v(nothing).
        scale: width of the scale.
    """
    if len(alone) < 2:
        return None
    added = sum(alone.values())
    joint, cancelled = moved - added, (sum(map(abs, alone.values())) - abs(added)) / 2
    return Together(dict(alone), joint, cancelled, _word(added, joint, cancelled, LEAST * scale))


def _word(added: float, joint: float, cancelled: float, least: float) -> str:
    if max(abs(joint), cancelled) < least:
        return ""
    if cancelled >= abs(joint):
        return "conflict"
    return "synergy" if abs(added + joint) > abs(added) else "overlap"
