"""The figures of an evaluation as typed rows: what tables, plots and sentences are made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from polymodal.core import RunError
from polymodal.core.conditions import AREA, COMPLETE, present_in
from polymodal.core.estimate import ScoreRow
from polymodal.report.metrics import write_value
from polymodal.score.robustness import Robustness


@dataclass(frozen=True, kw_only=True)
class Row(ScoreRow):
    """One figure of an evaluation, as a reader wants it.

    Attributes:
        method: what to call it.
        absence: how it treats absent modalities.
        modalities: of the corpus.
    """

    method: str
    absence: str
    modalities: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether input was as it is."""
        return self.condition == COMPLETE

    @property
    def present(self) -> tuple[str, ...]:
        """The modalities that were there; () under a stress."""
        return present_in(self.condition, self.modalities)

    @property
    def subset(self) -> str:
        """The modalities that were present, as ``text + audio``."""
        return " + ".join(self.present)

    @property
    def stress(self) -> str:
        """The condition, and of which curve an area is."""
        return f"area under {self.series}" if self.condition == AREA else self.condition

    @property
    def size(self) -> str:
        """How much was tested: samples, and groups where these are known."""
        grouped = self.groups != self.count
        return f"{self.count} {self.split} samples" + (f" of {self.groups} groups" if grouped else "")

    @property
    def written(self) -> str:
        """The mean over seeds, with the standard deviation where there are several seeds."""
        text = write_value(self.metric, self.mean)
        spread = len(self.seeds) > 1 and math.isfinite(self.mean) and math.isfinite(self.std)
        return f"{text} ± {write_value(self.metric, self.std)}" if spread else text

    @property
    def interval(self) -> str:
        """The 95% interval as ``[low, high]``; the range over groups where these are too few; empty where unknown."""
        return write_interval(self)


def write_interval(figure: Any, metric: str = "") -> str:
    """Return ``[low, high]``, or ``least to most in 3 groups`` where these are too few; empty where unknown.

    Args:
        figure: an ``Estimate`` or a figure of a board: ``low``, ``high``, ``groups``, ``least``, ``most``.
        metric: in whose units; default that of the figure.
    """
    ends = (figure.low, figure.high, figure.least, figure.most)
    low, high, least, most = (write_value(metric or figure.metric, v) for v in ends)
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        return f"[{low}, {high}]"
    return f"{least} to {most} in {figure.groups} groups" if math.isfinite(figure.least) else ""


def score_rows(scores: dict[str, Any], *, name: str | None = None) -> list[Row]:
    """Return the rows of a ``scores.json``.

    Args:
        scores: its content.
        name: what to call the method; None for its own name.

    Raises:
        RunError: something is missing in ``scores``, as in one of an earlier version.
    """
    try:
        common = {
            "method": name or str(scores["method"]),
            "absence": str(scores["protocol"]["absence"]),
            "modalities": list(scores["data"]["modalities"]),
        }
        return [Row.read({**row, **common}) for row in scores["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _incomplete(scores, error) from error


def rater_row(row: dict[str, Any]) -> Row:
    """Return a figure of raters (``train.agreement.rater_rows``); KeyError or TypeError if it is none."""
    common = {"condition": COMPLETE, "series": "", "value": None, "higher_is_better": True, "chance": None}
    return Row.read({**common, "method": row["what"], "absence": "", "modalities": [], **row})


def costs(scores: dict[str, Any]) -> dict[tuple[str, str], Robustness]:
    """Return (split, target) -> what the conditions of a ``scores.json`` cost; RunError as ``score_rows``."""
    try:
        return {(row["split"], row["target"]): Robustness.read(row) for row in scores["robustness"]}
    except (KeyError, TypeError, ValueError) as error:
        raise _incomplete(scores, error) from error


def _incomplete(scores: dict[str, Any], error: Exception) -> RunError:
    run = scores.get("run", "this run")
    return RunError(
        f"the scores of {run} are incomplete or of an earlier version ({error!r}); run polymodal evaluate on it again"
    )
