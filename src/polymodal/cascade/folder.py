"""``cascade.json``: which run, which large model, which thresholds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from polymodal.core.errors import RunError

FILE = "cascade.json"
_NEEDED = ("small", "large", "target", "rule", "data", "fitted")


def is_cascade(folder: str | Path) -> bool:
    """Return whether ``folder`` holds a cascade."""
    return (Path(folder) / FILE).is_file()


def read_cascade(folder: Path) -> dict[str, Any]:
    """Return what ``cascade.json`` says; RunError where it is missing or damaged."""
    file = folder / FILE
    try:
        stored = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}); fit the cascade again") from None
    missing = [key for key in _NEEDED if not isinstance(stored, dict) or key not in stored]
    if missing:
        raise RunError(f"{file} is damaged: it lacks {', '.join(missing)}; fit the cascade again")
    return dict(stored)


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
