"""The part of a report on audits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polymodal.audit.run import read_audits
from polymodal.report.tables import Cell, Table


def audit_tables(folder: Path) -> list[tuple[str, str, Table]]:
    """Return (name, title, table) of each audit that was made of the run in ``folder``; RunError if one is damaged."""
    return [(f"audit-{i}", about["title"], _table(about)) for i, about in enumerate(read_audits(folder))]


def _table(about: dict[str, Any]) -> Table:
    lines = []
    for line in about["evidence"]:
        interval = "" if line.low is None else f"{line.low:.3f} to {line.high:.3f}"
        lines.append(
            (Cell(line.what), Cell(f"{line.value:.3f}"), Cell(interval), Cell(f"{line.count} / {line.groups}"))
        )
    said = (about.get(key, ()) for key in ("found", "notes", "limits"))  # an older file lacks some
    words = [sentence for part in said for sentence in part]
    caption = " ".join([about["about"], f"On {about['place']}; intervals over whole groups.", *words])
    return Table(caption, ("", "Mean", "95% interval", "Samples / groups"), tuple(lines))
