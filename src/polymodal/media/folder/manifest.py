"""Which clips there are, what is known of them and what is to be learned: a table, or folders named after classes."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from polymodal.core import DataError, Target
from polymodal.core.files import check_regular
from polymodal.core.text import printable
from polymodal.data.columns import corpus_name, split_name, text_of
from polymodal.data.tabular.labels import find_target, read_target, usual_target
from polymodal.data.tabular.splits import find_groups, find_splits
from polymodal.data.tabular.table import Table, find_columns, read_table
from polymodal.media.folder import databases, hub
from polymodal.media.folder.label_studio import read_export
from polymodal.media.folder.locate import SUFFIXES, closest, find_clips, find_files

TABLES = ("labels", "label", "manifest", "clips")
"""Names of the table in a folder, without .csv or .tsv, in the order in which they are looked for."""


FETCH = {"hf": hub.fetched, "audb": databases.fetched}
"""What may stand before a colon: where clips are fetched from."""


@dataclass(frozen=True)
class Row:
    """One labelled clip, or one labelled stretch of a clip.

    Attributes:
        id: unique.
        clip: path relative to the manifest, for messages and tables.
        path: where the clip is.
        start, end: seconds; None for the clip's own.
        text: what is said; empty if not known.
        transcript: file with what is said and when.
        speaker, group: empty if not known. Rows of one group should not be in different splits.
        split: train, valid, test or another test split.
        features: modality name -> file with its features, read instead of extracted.
        labels: per target of the manifest, a number or a class number; NaN where raters have no majority.
        ratings: target -> rater -> the same, of one rater, NaN where this one said nothing; only targets with raters.
    """

    id: str
    clip: str
    path: Path
    start: float | None
    end: float | None
    text: str
    transcript: Path | None
    speaker: str
    group: str
    split: str
    features: dict[str, Path]
    labels: tuple[float, ...]
    ratings: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """Rows in the order of the table, and what to learn from them.

    Attributes:
        name: short name of the corpus.
        source: file or folder as the user gave it.
        notes: what had to be decided, one sentence each.
    """

    name: str
    source: str
    rows: tuple[Row, ...]
    targets: tuple[Target, ...]
    notes: tuple[str, ...]

    @cached_property
    def clips(self) -> dict[str, tuple[Row, ...]]:
        """Clip -> its rows, clips in the order of their first row."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row.clip].append(row)
        return {clip: tuple(rows) for clip, rows in found.items()}

    @property
    def suggested(self) -> dict[str, str]:
        """Options of ``Extraction`` that fit what is in the manifest: labels of whole clips ask for whole clips."""
        timed = any(r.start is not None or r.end is not None for r in self.rows)
        told = any(r.transcript for r in self.rows)
        files = {name: "file" for name in ("audio", "vision") if any(name in r.features for r in self.rows)}
        return {"utterances": "speech" if timed else "transcript" if told else "clip", **files}


def read_manifest(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    targets: Sequence[str] = (),
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
) -> Manifest:
    """Read a table (CSV, TSV, or what Label Studio exports as JSON), a folder with one, a folder of class folders (with
    split folders above, if wanted), or a data set of a hub (``hf:owner/name@revision``, see ``folder.hub``;
    ``audb:NAME@VERSION``, see ``folder.databases``).

    Args:
        source: the table, folder or data set; paths are relative to the folder.
        columns: role (see ``table.ROLES``) -> column, where names are not the usual ones; ``none`` for no column.
        targets: columns to predict; by default the first of the usual names.
        bounds: range of labels that are numbers.
        seed: decides the splits where no column does.

    Raises:
        DataError: nothing of the kind, a clip that does not exist, a row that makes no sense; names file and line.
        OptionError: an unknown role.
    """
    place, declared = Path(source), frozenset[str]()
    kind = str(source).partition(":")[0]
    if kind in FETCH:
        source, place, declared = FETCH[kind](str(source))
    table, folder = _find_table(place)
    table = replace(table, declared=declared)
    roles = find_columns(table, columns or {})
    wanted = [find_target(table, name) for name in targets or [usual_target(table, roles.values())]]
    found = [read_target(table, name, bounds) for name in wanted]
    clips = find_clips(table, roles, folder)
    times = _times(table, roles, clips)
    groups, kind = find_groups(table, roles, clips)
    splits, notes = find_splits(table, roles, groups, kind, seed)
    ids = _ids(table, roles, clips)
    files = {role: find_files(table, roles, role, folder.absolute()) for role in ("transcript", "audio", "vision")}
    rows = [
        Row(
            id=printable(ids[i]),
            clip=printable(clips[i]),  # names need not be UTF-8, what is written has to be
            path=folder.absolute() / clips[i],
            start=times[i][0],
            end=times[i][1],
            text=text_of(cells.get(roles.get("text", "")), "text") or "",
            transcript=files["transcript"].get(i),
            speaker=cells.get(roles.get("speaker", ""), ""),
            group=printable(groups[i]) if kind else "",
            split=splits[i],
            features={name: files[name][i] for name in ("audio", "vision") if i in files[name]},
            labels=tuple(of.values[i] for of in found),
            ratings={of.target.name: {r: said[i] for r, said in of.ratings.items()} for of in found if of.ratings},
        )
        for i, cells in enumerate(table.rows)
    ]
    used = [f"{role} {column!r}" for role, column in roles.items()]
    for of in found:
        used.append(f"target {of.target.name!r}" + (f" ({len(of.ratings)} raters)" if of.ratings else ""))
    notes = [f"columns: {', '.join(used)}", *notes, *filter(None, (of.note for of in found))]
    return Manifest(corpus_name(place), str(source), tuple(rows), tuple(of.target for of in found), tuple(notes))


def _find_table(place: Path) -> tuple[Table, Path]:
    """Return the table and the folder that its paths start from."""
    if not place.exists():
        close = closest(place.name, [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else [])
        raise DataError(f"{place} does not exist; {f'did you mean {close!r}?' if close else 'check the path'}")
    check_regular(place)
    if place.suffix.lower() == ".json":
        return read_export(place), place.parent
    if place.is_file():
        return read_table(place), place.parent
    tables = sorted(p for p in place.iterdir() if p.suffix.lower() in (".csv", ".tsv") and p.is_file())
    known = [p for name in TABLES for p in tables if p.stem.lower() == name]
    if known or len(tables) == 1:
        return read_table((known or tables)[0]), place
    folders = _class_folders(place)
    if folders is None:
        several = f"several tables ({', '.join(t.name for t in tables)})" if tables else "no table"
        raise DataError(
            f"{place} has {several} and no class folders; give a table (labels.csv with columns clip and label), or "
            "clips as CLASS/clip.mp4 or SPLIT/CLASS/clip.mp4"
        )
    return folders, place


def _class_folders(place: Path) -> Table | None:
    """Return clips in folders as a table with columns clip, label and perhaps split; None where there are none."""
    paths = [p.relative_to(place) for p in sorted(place.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    depths = {len(p.parts) for p in paths}
    if depths == {2}:
        rows = [{"clip": p.as_posix(), "label": printable(p.parts[0])} for p in paths]
    elif depths == {3} and {split_name(p.parts[0]) for p in paths} <= {"train", "valid", "test"}:
        rows = [{"clip": p.as_posix(), "split": p.parts[0], "label": printable(p.parts[1])} for p in paths]
    else:
        return None
    return Table(place, tuple(rows[0]), tuple(rows), tuple(range(1, len(rows) + 1)))


def _times(table: Table, roles: Mapping[str, str], clips: Sequence[str]) -> list[tuple[float | None, float | None]]:
    """Return start and end of each row.

    Raises:
        DataError: not a number of seconds, start not before end, several rows of a clip and one of them without times.
    """
    times = []
    counts = Counter(clips)
    for i, clip in enumerate(clips):
        start, end = (_seconds(table, roles, i, role) for role in ("start", "end"))
        if end is not None and (start or 0.0) >= end:
            raise DataError(f"{table.where(i)}: start {start or 0:g} is not before end {end:g}; mend them")
        if counts[clip] > 1 and start is None and end is None:
            other = next(j for j in range(len(clips)) if clips[j] == clip and j != i)
            raise DataError(
                f"{table.where(i)}: {clip} is in line {table.lines[other]} too; give each start and end, or remove one"
            )
        times.append((start, end))
    return times


def _seconds(table: Table, roles: Mapping[str, str], i: int, role: str) -> float | None:
    text = table.rows[i].get(roles.get(role, ""), "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value >= 0:
        return value
    raise DataError(
        f"{table.where(i)}: {role} is {text[:60]!r}, not a number of seconds from 0; mend it, or ignore the column "
        f"with --columns {role}=none"
    )


def _ids(table: Table, roles: Mapping[str, str], clips: Sequence[str]) -> list[str]:
    """Return a unique id per row: the column's, else the clip's name and, where it has several rows, their number."""
    if "id" in roles:
        return _given_ids(table, roles["id"])
    different = dict.fromkeys(clips)
    short = {clip: PurePosixPath(clip).stem for clip in different}
    if len(set(short.values())) < len(different):
        short = {clip: clip for clip in different}
    counts, number = Counter(clips), Counter[str]()
    ids = []
    for clip in clips:
        ids.append(f"{short[clip]}[{number[clip]}]" if counts[clip] > 1 else short[clip])
        number[clip] += 1
    return ids


def _given_ids(table: Table, column: str) -> list[str]:
    seen: dict[str, int] = {}
    for i, row in enumerate(table.rows):
        name = row[column]
        if not name or name in seen:
            fault = f"id {name!r} is in line {table.lines[seen[name]]} too" if name else "there is no id"
            raise DataError(f"{table.where(i)}: {fault}; mend the ids, or have them made with --columns id=none")
        seen[name] = i
    return list(seen)
