"""What is searched where nobody says otherwise: of the recipe the rate and the decay, of a method its dropouts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

DEFAULT_SPACE: dict[str, Any] = {"lr": [1e-4, 3e-3], "weight_decay": [1e-4, 1e-1]}
DROPOUT = [0.0, 0.6]


def default_space(own: dict[str, Any]) -> dict[str, Any]:
    """Return the space every method has: rate, decay, and each of its dropouts that is one number.

    Args:
        own: its options and those of its training, by name.
    """
    return DEFAULT_SPACE | {n: DROPOUT for n, value in own.items() if "dropout" in n and isinstance(value, int | float)}


def logarithmic(low: float, high: float) -> bool:
    """Whether values from ``low`` to ``high`` are drawn on a logarithmic scale."""
    return low > 0 and high >= 10 * low


def drawn(span: list[float], rng: np.random.Generator) -> float:
    """Return a number from ``[low, high]``, to three digits."""
    low, high = span
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if logarithmic(low, high) else rng.uniform(low, high)
    return float(f"{value:.3g}")
