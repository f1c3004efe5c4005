"""The trainings of a run: one per seed, or one per seed and fold. Importing this costs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Member:
    """One training of a run.

    Attributes:
        seed: of its weights, order and dropout.
        fold: that it is tested on; None in a run without folds.
    """

    seed: int
    fold: int | None = None

    @property
    def home(self) -> str:
        """Folder, within the run's, of the statistics and the calibration of its training data."""
        return home_of(self.fold)

    @property
    def place(self) -> str:
        """Folder, within the run's, of its weights."""
        return f"{self.home}/seed-{self.seed}"

    def __str__(self) -> str:
        return f"seed {self.seed}" if self.fold is None else f"fold {self.fold} seed {self.seed}"


def home_of(fold: int | None) -> str:
    """Return the folder of a fold within that of the run, which is the run's own where there are no folds."""
    return "." if fold is None else f"fold-{fold}"


def folds_of(config: dict[str, Any]) -> list[int] | list[None]:
    """Return the numbers of the folds of a run by its ``run.json``; one None where it has none."""
    return list(range(config["folds"]["count"])) if "folds" in config else [None]


def members_of(config: dict[str, Any]) -> list[Member]:
    """Return all trainings that a run is to have, by its ``run.json``: all folds of a seed, then the next seed."""
    return [Member(seed, fold) for seed in config["seeds"] for fold in folds_of(config)]
