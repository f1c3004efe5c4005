"""Tables that people write: any delimiter, any of the usual column names, mistakes named by line."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from polymodal.core import DataError, OptionError, nearest
from polymodal.core.files import check_regular
from polymodal.core.text import clean

DELIMITERS = ",;\t|"

ROLES: dict[str, tuple[str, ...]] = {
    "clip": ("clip", "file", "path", "filename", "file_name", "clip_path", "file_path", "video", "audio", "wav"),
    "start": ("start", "start_time", "start_s", "begin", "onset"),
    "end": ("end", "end_time", "end_s", "stop"),
    "text": ("text", "transcription", "utterance", "raw_text", "sentence"),
    "transcript": ("transcript", "transcript_file", "transcript_path", "subtitles"),
    "speaker": ("speaker", "speaker_id", "actor", "actor_id", "subject", "participant"),
    "group": ("group", "video_id", "session", "dialogue_id", "dialog_id", "conversation", "case"),
    "split": ("split", "mode", "partition", "subset"),
    "id": ("id", "utterance_id", "sample_id", "uid"),
    "audio": ("audio_features", "acoustic_features", "opensmile"),
    "vision": ("vision_features", "visual_features", "openface"),
}
"""What a column can be for, and the names by which it is recognised, the likeliest first."""

LABELS = ("label", "emotion", "sentiment", "class", "target", "valence", "arousal", "annotation")
"""Names of the column to predict, where none is given; the first that is there."""

MISSING = ("", "nan", "na", "n/a", "null", "none", "?")
"""How people write that they say nothing, in any case."""


@dataclass(frozen=True)
class Words:
    """How messages about a table call its rows, and the options that choose labels and their range."""

    row: str = "line"
    target: str = "--target"
    bounds: str = "--range "


@dataclass(frozen=True)
class Table:
    """Text cells under a header; ``lines[i]`` is where ``rows[i]`` ends in the file.

    ``declared`` are the columns that the source says hold names of classes: ``none`` and ``12`` are such names there.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    words: Words = Words()
    declared: frozenset[str] = frozenset()

    def given(self, cells: Mapping[str, str], column: str) -> bool:
        """Whether a row of these ``cells`` says anything in ``column``."""
        return bool(cells[column]) and (column in self.declared or cells[column].lower() not in MISSING)

    def column(self, name: str) -> str:
        """Return the column called ``name``, if need be in another case or spacing; DataError with the nearest."""
        if name in self.columns:
            return name
        alike = [c for c in self.columns if plain(c) == plain(name)]
        if len(alike) == 1:
            return alike[0]
        raise DataError(f"{self.path} has no column {name!r}{nearest(name, self.columns)}")

    def where(self, row: int) -> str:
        """Return how a message names a row."""
        return f"{self.path} {self.words.row} {self.lines[row]}"


def plain(name: str) -> str:
    """Return a column name without case and punctuation."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def read_table(path: Path) -> Table:
    """Read a CSV or TSV file with a header; the delimiter is the one that the header has most of.

    Raises:
        DataError: the file cannot be read, is not UTF-8, has no rows, a column twice, or a row with too many cells.
    """
    check_regular(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); save it again as CSV UTF-8") from None
    header = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(StringIO(text), delimiter=delimiter, strict=True)
    try:
        found = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} cannot be read as a table ({error}); mend this line") from None
    if len(found) < 2:
        raise DataError(f"{path} has no rows; it must have a header and one row per clip or utterance")
    return _table(path, [clean(name) for name in found[0][1]], found[1:])


def _table(path: Path, columns: list[str], found: list[tuple[int, list[str]]]) -> Table:
    twice = [c for c in columns if columns.count(c) > 1 and c]
    if twice:
        raise DataError(f"{path} has column {twice[0]!r} twice; rename one of them")
    for line, cells in found:
        if len(cells) > len(columns):
            raise DataError(
                f"{path} line {line} has {len(cells)} cells for {len(columns)} columns; put cells that contain the "
                "delimiter in double quotes"
            )
    rows = tuple(dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=True)) for _, cells in found)
    return Table(path, tuple(columns), rows, tuple(line for line, _ in found))


def find_columns(table: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Return role -> column: those in ``given`` (``none``: no column), others by their usual names.

    Raises:
        OptionError: a role that does not exist.
        DataError: a column that does not exist.
    """
    for role in given:
        if role not in ROLES:
            raise OptionError(f"there is no role {role!r} for a column{nearest(role, ROLES)}")
    found = {role: table.column(name) for role, name in given.items() if name != "none"}
    by_name = {plain(c): c for c in reversed(table.columns)}
    for role, names in ROLES.items():
        usual = [by_name[n] for n in names if n in by_name and by_name[n] not in found.values()]
        if role not in given and usual:
            found[role] = usual[0]
    return found
