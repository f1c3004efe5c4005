"""``cascade.json``: which run, which large model, which thresholds."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from polymodal.core.options import Positive
from polymodal.core.records import read_record

FILE = "cascade.json"

Agreed = Literal["average", "large"]
Basis = Literal["classes", "bins", "members"]


class SurenessRecord(TypedDict):
    """A ``Sureness`` in a JSON file."""

    basis: Basis
    temperature: Positive
    scale: Positive


class RuleRecord(TypedDict):
    """A ``routing.Rule`` in a JSON file."""

    small: float
    large: float
    agreed: Agreed
    middle: float | None


class SmallRecord(TypedDict):
    """``small`` of ``cascade.json``: a run."""

    run: str
    digest: str
    sureness: SurenessRecord


class LargeRecord(TypedDict):
    """``large`` of ``cascade.json``: a judge."""

    spec: str
    name: str
    sureness: SurenessRecord | None
    digest: NotRequired[str | None]


class CascadeDataRecord(TypedDict):
    """``data`` of ``cascade.json``: what it was fitted on."""

    source: str
    name: str
    hash: str


class CascadeRecord(TypedDict):
    """``cascade.json``."""

    small: SmallRecord
    large: LargeRecord
    target: str
    rule: RuleRecord
    data: CascadeDataRecord
    fitted: dict[str, Any]


def is_cascade(folder: str | Path) -> bool:
    """Return whether ``folder`` holds a cascade."""
    return (Path(folder) / FILE).is_file()


def read_cascade(folder: Path) -> dict[str, Any]:
    """Return what ``cascade.json`` says; RunError where it is missing or damaged."""
    return dict(read_record(folder / FILE, CascadeRecord, "fit the cascade again"))


def relative(spec: str, home: Path) -> str:
    """Return a place, or the spec of a large model, with its path written from ``home`` on, so that a folder with runs
    and their cascades can be moved."""
    kind, colon, place = spec.partition(":")
    if colon and kind in ("run", "file"):
        return f"{kind}:{os.path.relpath(place, home)}"
    return spec if kind == "http" or spec.startswith("http?") else os.path.relpath(spec, home)


def digest(run: Path) -> str:
    """Return what tells a run from any other in its place: a digest of ``run.json``."""
    return hashlib.sha256((run / "run.json").read_bytes()).hexdigest()[:16]
