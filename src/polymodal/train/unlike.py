"""What is said of a sample that is unlike the training data. Importing this costs no torch."""

from __future__ import annotations

from typing import NamedTuple

ALARM = 0.05
"""A sample with a p value up to this is called unlike the training data."""


class Unlike(NamedTuple):
    """How unlike training a sample is: ``p`` value and the ``modality`` that is furthest off."""

    p: float
    modality: str

    @property
    def alarm(self) -> bool:
        """Whether it is to be called unlike the training data."""
        return self.p <= ALARM
