"""How the conditions of a test are spelled: complete input, a subset of modalities, the area under a curve."""

from __future__ import annotations

from collections.abc import Sequence

COMPLETE = "complete"
"""Input as it is."""

AREA = "area"
"""The area under the curve of a series of stresses."""

_SUBSET = "subset:"


def subset(names: Sequence[str]) -> str:
    """Return the condition in which only ``names`` are present: ``subset:text,audio``."""
    return _SUBSET + ",".join(names)


def present_in(condition: str, modalities: Sequence[str]) -> tuple[str, ...]:
    """Return which of all ``modalities`` a condition leaves, in its own order; () where it is no matter of that."""
    if condition == COMPLETE:
        return tuple(modalities)
    names = tuple(condition.removeprefix(_SUBSET).split(","))
    return names if condition.startswith(_SUBSET) and set(names) <= set(modalities) else ()
