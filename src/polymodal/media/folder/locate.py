"""From what a table says of a file to the file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path, PurePosixPath

from polymodal.core import DataError
from polymodal.core.errors import listed
from polymodal.data.tabular.table import Table, plain

_VIDEO = {".mp4", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".avi", ".m4v", ".wmv", ".flv", ".3gp"}
SOUND = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"})
"""Files without a picture."""
SUFFIXES = frozenset({*_VIDEO, *SOUND})
"""Files that are taken for clips where a table or folder does not name them in full."""


def find_clips(table: Table, roles: Mapping[str, str], folder: Path) -> list[str]:
    """Return the path of each row's clip relative to ``folder``.

    Raises:
        DataError: clips that do not exist; names the first ones and their nearest names.
    """
    search = _Search(folder)
    names = [_clip_name(table, roles, i) for i in range(len(table.rows))]
    found = {name: search.find(name) for name in dict.fromkeys(names)}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        first = ", ".join(search.explain(name) for name in missing[:3])
        raise DataError(
            f"{table.path}: {len(missing)} of {len(found)} clips are not in {folder}: {first}"
            f"{', ...' if len(missing) > 3 else ''}; mend the paths or remove these rows"
        )
    return [str(found[name]) for name in names]


def _clip_name(table: Table, roles: Mapping[str, str], i: int) -> str:
    row = table.rows[i]
    by_name = {plain(c): c for c in table.columns}
    if "clip" in roles:
        name = row[roles["clip"]]
    elif {"video_id", "clip_id"} <= by_name.keys() and not {"start", "end"} & roles.keys():
        name = f"{row[by_name['video_id']]}/{row[by_name['clip_id']]}"  # label.csv of MMSA; the clips are in Raw/
    elif column := by_name.get("video_id") or by_name.get("clip_id"):
        name = row[column]
    else:
        raise DataError(
            f"{table.path}: no column says where the clips are; name it with --columns clip=COLUMN "
            f"(available: {listed(table.columns)})"
        )
    if not name.strip("/"):
        raise DataError(f"{table.where(i)} names no clip; fill it in or remove the row")
    return name


class _Search:
    """Finds clips whose folder or suffix the table leaves out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> str | None:
        """Return the path of the one clip that ``name`` can mean."""
        with suppress(OSError):  # no file can have such a name
            if (self._folder / name).is_file():
                return str(PurePosixPath(name))  # one clip has one name: ./a.mp4 is a.mp4
        fits = self._fitting(name)
        return fits[0] if len(fits) == 1 else None

    def _fitting(self, name: str) -> list[str]:
        asked = PurePosixPath(name.replace("\\", "/"))
        # A dot may be part of the name; if it begins a suffix, the clip may have been converted to another format.
        for stem in (asked.name, asked.stem):
            wanted = (*asked.parts[:-1], stem)
            alike = self._by_stem.get(stem, ())
            if fits := [str(p) for p in alike if (*p.parts[:-1], p.stem)[-len(wanted) :] == wanted]:
                return fits
        return []

    @cached_property
    def _by_stem(self) -> dict[str, list[PurePosixPath]]:
        found: dict[str, list[PurePosixPath]] = defaultdict(list)
        for folder, _, names in sorted(os.walk(self._folder)):
            for name in sorted(names):
                path = PurePosixPath(Path(folder, name).relative_to(self._folder).as_posix())
                if path.suffix.lower() in SUFFIXES:
                    found[path.stem].append(path)
        return found

    def explain(self, name: str) -> str:
        """Return ``name`` with what it may have meant."""
        several, shown = self._fitting(name), name if len(name) <= 255 else f"{name[:60]}..."
        if several:
            return f"{shown} (it may be {several[0]} or {several[1]})"
        close = closest(name, [str(p) for paths in self._by_stem.values() for p in paths])
        return f"{shown} (did you mean {close!r}?)" if close else shown


def closest(name: str, choices: Sequence[str]) -> str:
    """Return the choice most like ``name``, an empty string if none is."""
    return next(iter(get_close_matches(name, choices, n=1, cutoff=0.5)), "")


def find_files(table: Table, roles: Mapping[str, str], role: str, folder: Path) -> dict[int, Path]:
    """Return row number -> existing file, for a column that holds paths.

    Raises:
        DataError: a file that does not exist, with its line.
    """
    if role not in roles:
        return {}
    found = {i: folder / row[roles[role]] for i, row in enumerate(table.rows) if row[roles[role]]}
    for i, path in found.items():
        # A column called transcript may hold the words themselves, too long for a file name.
        if len(path.name) > 255 or not path.is_file():
            words = f"if it holds the words themselves: --columns text={roles[role]} {role}=none"
            raise DataError(
                f"{table.where(i)}: {role} file {table.rows[i][roles[role]][:80]!r} does not exist; "
                f"{words if role == 'transcript' else 'mend the path'}"
            )
    return found
