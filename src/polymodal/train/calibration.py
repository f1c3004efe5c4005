"""``calibration.json``: how sure a run is, for every set of modalities that a sample may have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.core.errors import OptionError
from polymodal.core.records import read_record
from polymodal.score.selective import Step
from polymodal.train.records import CalibrationRecord

FILE = "calibration.json"
LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Levels of the intervals of a regression."""


@dataclass(frozen=True)
class Calibration:
    """What ``calibration.json`` holds.

    Attributes:
        seeds: whose mean was measured.
        figures: modalities that are there -> target -> ``{"count": n, "temperature": T or None}`` or ``{"count": n,
            "half_widths": one per level, or None where n is too small}``, both with ``"selective": {"expected": three
            coefficients of a number's error, "steps": [[share, threshold, error, bound], ...]}``, which files of older
            versions lack.
    """

    seeds: tuple[int, ...]
    figures: dict[frozenset[str], dict[str, dict[str, Any]]]

    @classmethod
    def read(cls, folder: Path, seeds: Sequence[int]) -> Calibration | None:
        """Return what was measured for the mean of ``seeds``; None where nothing was, or nothing could be.

        Raises:
            RunError: the file is damaged.
        """
        file = folder / FILE
        if not file.is_file():
            return None
        data = read_record(file, CalibrationRecord, "delete it, or make it again with fit --resume")
        figures: Any = {frozenset(s["present"]): s["targets"] for s in data["subsets"]}
        found = cls(tuple(data["seeds"]), figures)
        known = any(_measured(f) for targets in found.figures.values() for f in targets.values())
        return found if known and found.seeds == tuple(seeds) else None

    def temperature(self, target: str, present: Collection[str]) -> float | None:
        """Return the temperature of a target with classes where exactly ``present`` is there; None if not known."""
        value = self._figure(target, present).get("temperature")
        return None if value is None else float(value)

    def half_width(self, target: str, present: Collection[str], level: float) -> float | None:
        """Return half the width of a regression's interval where exactly ``present`` is there; None if not known."""
        check_level(level)
        widths = self._figure(target, present).get("half_widths")
        value = widths[LEVELS.index(level)] if widths else None
        return None if value is None else float(value)

    def steps(self, target: str, present: Collection[str]) -> list[Step]:
        """Return what is promised where only the surest answers are given and exactly ``present`` is there."""
        return [Step(*step) for step in self._figure(target, present).get("selective", {}).get("steps", ())]

    def silence_measured(self, target: str, present: Collection[str]) -> bool:
        """Return whether ``steps`` were looked for, though there may be none; older versions did not."""
        return "selective" in self._figure(target, present)

    def expected(self, target: str, present: Collection[str]) -> Sequence[float]:
        """Return the coefficients of a number's error (see ``score.selective.confidence``); empty for classes."""
        found: Sequence[float] = self._figure(target, present).get("selective", {}).get("expected", ())
        return found

    def _figure(self, target: str, present: Collection[str]) -> dict[str, Any]:
        return self.figures.get(frozenset(present), {}).get(target, {})


def check_level(level: float) -> None:
    """Raise OptionError for a level that is not measured."""
    if level not in LEVELS:
        raise OptionError(f"level must be one of {', '.join(map(str, LEVELS))}, got {level}")


def _measured(figure: dict[str, Any]) -> bool:
    return figure.get("temperature") is not None or any(w is not None for w in figure.get("half_widths", ()))
