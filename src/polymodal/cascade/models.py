"""The runs of a cascade, found again: moved, retrained and foreign ones are refused in a sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from polymodal.cascade.folder import digest
from polymodal.core import DataError, RunError, Target
from polymodal.train.run import Run


def small_run(home: Path, stored: dict[str, Any]) -> Run:
    """Return the small run of the cascade in ``home``.

    Args:
        stored: what ``cascade.json`` says.

    Raises:
        RunError: it is not there, damaged, or another one than the cascade was fitted with.
    """
    return _found(home, stored["small"]["run"], stored["small"]["digest"], "small")


def large_run(place: str, target: Target, home: Path | None = None, known: str | None = None) -> Run:
    """Return a run in the place of a large model.

    Args:
        place: its folder, seen from ``home``.
        target: what it is to be asked about.
        home: folder of a cascade; None while one is fitted.
        known: digest of the run that the cascade was fitted with; None where that is not known.

    Raises:
        RunError: as ``small_run``.
        DataError: it is about something else.
    """
    run = Run.load(place) if home is None else _found(home, place, known, "large")
    if {t.name: t for t in run.schema.joint_targets}.get(target.name) != target:
        raise DataError(f"the run {run.path} does not predict {target.name!r} on the same scale as the small one")
    return run


def _found(home: Path, place: str, known: str | None, which: str) -> Run:
    path = Path(os.path.normpath(home / place))
    if not (path / "run.json").is_file():
        raise RunError(
            f"{home} needs its {which} run {path}, which is not there; put it back, or fit the cascade again"
        )
    run = Run.load(path)
    if known is not None and digest(path) != known:
        raise RunError(f"{path} has been trained anew since {home} was fitted; fit the cascade again")
    return run
