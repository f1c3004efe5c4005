"""What a trained model looks at, and what that is worth: one file of this folder is one audit, found by its name."""

from __future__ import annotations

from pathlib import Path

from polymodal.core.errors import OptionError, nearest
from polymodal.core.plugins import import_place

_PARTS = ("base", "judges", "panels", "run", "subject")


def audit_names() -> tuple[str, ...]:
    """Return the names of the audits, sorted."""
    stems = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return tuple(sorted(s for s in stems if not s.startswith("_") and s not in _PARTS))


def find_audit(name: str) -> type:
    """Return the class behind ``name``; OptionError names the nearest one where there is none."""
    if name not in audit_names():
        raise OptionError(f"there is no audit {name!r}{nearest(name, audit_names())}")
    module = import_place("audit", name, f"{__name__}.{name}")
    found: type = module.AUDIT
    return found
