"""Suggestions as files for people who label: a table to fill in, tasks for Label Studio."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from polymodal.core import OptionError
from polymodal.core.text import cell
from polymodal.media.folder.label_studio import interface, task
from polymodal.media.folder.locate import SOUND
from polymodal.predict.files import write_whole
from polymodal.predict.suggest import Suggestions

TABLE, TASKS, INTERFACE = "suggested.csv", "tasks.json", "interface.xml"


def refuse_taken(folder: str | Path) -> None:
    """Raise OptionError where ``folder`` has a table already: somebody may have filled it in."""
    table = Path(folder) / TABLE
    if table.exists():
        raise OptionError(f"{table} exists already and may hold labels; choose another --out, or move it away")


def write_suggestions(found: Suggestions, folder: str | Path) -> Path:
    """Write the table, the tasks and the interface of Label Studio into ``folder``, and return it.

    Raises:
        DataError: it cannot be written.
    """
    place = Path(folder)
    write_whole(place / TABLE, to_csv(found, place).encode())
    write_whole(place / TASKS, json.dumps(tasks(found), indent=1, ensure_ascii=False).encode())
    write_whole(place / INTERFACE, interface(found.targets, _tag(found)).encode())
    return place


def to_csv(found: Suggestions, folder: Path) -> str:
    """Return the table: what to label, why, what the run says, and an empty column per target.

    Args:
        folder: where the table will lie; clips are named as seen from there, as ``polymodal extract`` wants it.
    """
    from_here = os.path.relpath(found.source, folder) if found.clips else ""
    timed = any(c.start is not None for c in found.chosen)
    rows = []
    for i, one in enumerate(found.chosen):
        row: dict[str, Any] = (
            {"clip": _relative(PurePosixPath(Path(from_here).as_posix()) / one.name)}
            if found.clips
            else {"id": one.name}
        )
        row |= {"start": one.start, "end": one.end} if timed else {}
        row |= {"text": one.text, "reason": found.reasons[i]}
        row |= {name: values[i] for name, values in found.scores.items()}
        row |= {f"{t}/predicted": ";".join(v) if isinstance(v, list) else v for t, v in found.said[i].items()}
        rows.append(row | {t.name: "" for t in found.targets})
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _relative(path: PurePosixPath) -> str:
    """Return a path that no spreadsheet takes for a formula, and that still leads to the clip."""
    return str(path) if cell(str(path)) == str(path) else f"./{path}"


def tasks(found: Suggestions) -> list[dict[str, Any]]:
    """Return the tasks of Label Studio; its document root is to be the folder of the clips."""
    out = []
    for i, one in enumerate(found.chosen):
        times = {} if one.start is None else {"start": one.start, "end": one.end}
        about = {**times, "text": one.text, "reason": found.reasons[i]}
        if not found.clips:
            about["id"] = one.name
        out.append(task(one.name if found.clips else "", about, found.said[i], found.targets, found.run))
    return out


def _tag(found: Suggestions) -> str:
    if not found.clips:
        return "Text"
    return "Audio" if all(PurePosixPath(c.name).suffix.lower() in SOUND for c in found.chosen) else "Video"
