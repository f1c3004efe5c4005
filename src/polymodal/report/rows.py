"""The figures of an evaluation as typed rows: what tables, plots and sentences are made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from polymodal.core import RunError
from polymodal.report.metrics import write_value


@dataclass(frozen=True)
class Row:
    """One figure of an evaluation: a metric of a target on a split with some modalities present.

    Values are as stored (a share is 0.71, not 71); what could not be computed is NaN. ``chance`` is what guessing is
    expected to reach, where that is known.
    """

    method: str
    split: str
    present: tuple[str, ...]
    complete: bool
    target: str
    metric: str
    higher_is_better: bool
    main: bool
    mean: float
    std: float
    low: float
    high: float
    count: int
    seeds: tuple[float, ...]
    absence: str
    chance: float = math.nan
    groups: int = 0
    least: float = math.nan
    most: float = math.nan

    @property
    def subset(self) -> str:
        """The modalities that were present, as ``text + audio``."""
        return " + ".join(self.present)

    @property
    def size(self) -> str:
        """How much was tested: samples, and groups where these are known."""
        grouped = self.groups and self.groups != self.count
        return f"{self.count} {self.split} samples" + (f" of {self.groups} groups" if grouped else "")

    @property
    def value(self) -> str:
        """The mean over seeds, with the standard deviation where there are several seeds."""
        text = write_value(self.metric, self.mean)
        spread = len(self.seeds) > 1 and math.isfinite(self.mean) and math.isfinite(self.std)
        return f"{text} ± {write_value(self.metric, self.std)}" if spread else text

    @property
    def interval(self) -> str:
        """The 95% interval as ``[low, high]``; the range over groups where these are too few; empty where unknown."""
        return write_interval(self)


def write_interval(figure: Any) -> str:
    """Return ``[low, high]``, or ``least to most in 3 groups`` where these are too few; empty where unknown.

    Args:
        figure: a ``Row``, or a figure of a board: ``metric``, ``low``, ``high``, ``groups``, ``least``, ``most``.
    """
    low, high, least, most = (
        write_value(figure.metric, v) for v in (figure.low, figure.high, figure.least, figure.most)
    )
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        return f"[{low}, {high}]"
    return f"{least} to {most} in {figure.groups} groups" if math.isfinite(figure.least) else ""


def score_rows(scores: dict[str, Any], *, name: str | None = None) -> list[Row]:
    """Return the rows of a ``scores.json``.

    Args:
        scores: its content.
        name: what to call the method; None for its own name.

    Raises:
        RunError: something is missing in ``scores``.
    """
    try:
        common = {"method": name or str(scores["method"]), "absence": str(scores["protocol"]["absence"])}
        return [_row(row, common) for row in scores["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        run = scores.get("run", "this run")
        raise RunError(f"the scores of {run} are incomplete ({error!r}); run polymodal evaluate on it again") from error


def rater_row(row: dict[str, Any]) -> Row:
    """Return a figure of raters (``train.agreement.rater_rows``); KeyError, TypeError or ValueError if it is none."""
    common = {"present": (), "complete": True, "higher_is_better": True, **row}
    return _row(common, {"method": str(row["what"]), "absence": ""})


def _row(row: dict[str, Any], common: dict[str, str]) -> Row:
    return Row(
        method=common["method"],
        split=str(row["split"]),
        present=tuple(row["present"]),
        complete=bool(row["complete"]),
        target=str(row["target"]),
        metric=str(row["metric"]),
        higher_is_better=bool(row["higher_is_better"]),
        main=bool(row["main"]),
        mean=_number(row["mean"]),
        std=_number(row["std"]),
        low=_number(row["low"]),
        high=_number(row["high"]),
        count=int(row["count"]),
        seeds=tuple(map(_number, row["seeds"])),
        absence=common["absence"],
        chance=_number(row.get("chance")),
        groups=int(row.get("groups", 0)),
        least=_number(row.get("least")),
        most=_number(row.get("most")),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
