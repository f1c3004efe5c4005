"""Arrays of real numbers from whatever a file or a program gives, without silent loss."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def real_array(values: Any, dtype: type[np.generic] = np.float32) -> Array:
    """Return ``values`` as an array of ``dtype``, of the same shape; None becomes NaN.

    Raises:
        TypeError: complex numbers, whose imaginary part a cast would drop, dates, or no numbers.
        ValueError: rows of several lengths, text that is no number, or a number beyond every float.
    """
    given = np.asarray(values)
    if given.dtype.kind in "cMm" or (given.dtype.kind == "O" and any(map(np.iscomplexobj, given.flat))):
        raise TypeError("no real numbers")
    try:
        with np.errstate(over="ignore"):  # it becomes infinite, which readers look for
            return given.astype(dtype, copy=False)
    except OverflowError:
        raise ValueError("a number beyond every float") from None
