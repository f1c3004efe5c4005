"""A corpus from a data set of a hub: text, stored features and labels from its columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from polymodal.core import DataError, Modality, Schema
from polymodal.core.errors import listed
from polymodal.core.options import Bounds, Natural
from polymodal.data.columns import Tally, choose, infer_modality
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Array
from polymodal.data.split import build_split
from polymodal.data.tabular.hub import Hub, Kind, open_hub
from polymodal.data.tabular.labels import Labels, find_target, read_target, usual_target
from polymodal.data.tabular.splits import find_groups, find_splits
from polymodal.data.tabular.table import ROLES, Table, find_columns

USED = ("text", "group", "speaker", "split", "id")
"""Roles of plain columns here; the others are about files."""


def read(
    place: str,
    *,
    config: str | None = None,
    split: tuple[str, ...] | None = None,
    text: str | None = None,
    audio: str | None = None,
    vision: str | None = None,
    label: tuple[str, ...] | None = None,
    group: str | None = None,
    id: str | None = None,
    range: Bounds | None = None,
    modalities: tuple[str, ...] | None = None,
    seed: Natural = 0,
) -> Corpus:
    """Return the corpus of a data set.

    Args:
        place: ``owner/name``, ``owner/name@revision`` or a folder.
        config: configuration, where it has several.
        split: splits to read, ``NAME`` or ``NAME:OURS``; default all. One alone is divided by groups into train, valid
            and test; where only valid is lacking, it comes from train.
        text, group, id: columns of plain values; default those with the usual names, ``none`` for no column.
        audio, vision: columns of numbers that become these modalities; other columns of numbers keep their names.
        label: columns to predict; default the first with a usual name. Classes are names or few whole numbers.
        range: lowest and highest label of a scale.
        modalities: names to read; None for all.
        seed: decides splits that are not there.

    Raises:
        DataError: no such data set or column, or nothing in it that can be read or learned.
    """
    hub = open_hub(place, config, split)
    table = hub.table
    named = {"text": text, "group": group, "id": id, "split": "split"}
    unused = {role: "none" for role in ROLES if role not in USED}
    roles = find_columns(table, unused | {role: column for role, column in named.items() if column})
    wanted = [find_target(table, name) for name in label or [usual_target(table, roles.values())]]
    hub, table, notes = _labelled(hub, table, wanted)
    sources = _sources(hub, roles.get("text"), audio, vision)
    columns: dict[str, list[Array | str | None]] = {}
    for name in choose(modalities, list(sources)):
        spoken = sources[name] in table.columns
        columns[name] = [row[sources[name]] for row in table.rows] if spoken else [*hub.numbers(sources[name])]
    targets = [read_target(table, name, range, unlabelled=True) for name in wanted]
    ids = _ids(table, roles, chosen=id is not None)
    groups, kind = find_groups(table, roles, ids)
    if len(hub.splits) == 1:
        roles.pop("split")
    splits, why = find_splits(table, roles, groups, kind, seed)
    schema = Schema(tuple(_modality(n, rows) for n, rows in columns.items()), tuple(of.target for of in targets))
    tally, made = Tally(), {}
    for modality in schema.modalities:
        if modality.kind != "text":
            tally.non_finite(modality.name, columns[modality.name])
    for name in sorted(set(splits), key=lambda n: {"train": "0", "valid": "1"}.get(n, n)):
        rows = [i for i, where in enumerate(splits) if where == name]
        made[name] = build_split(
            schema,
            [ids[i] for i in rows],
            {n: [values[i] for i in rows] for n, values in columns.items()},
            {of.target.name: np.array(of.values)[rows] for of in targets},
            [groups[i] for i in rows] if kind else (),
            ratings={of.target.name: _ratings(of, rows) for of in targets if of.ratings},
        )
    media = [c for c, held in hub.kinds.items() if held == "media"]
    notes += [f"{' and '.join(media)} left out: polymodal extract '{hub.source}' makes features of it"] if media else []
    return Corpus(hub.name, hub.source, schema, made, (*notes, *why, *tally.notes()))


def _labelled(hub: Hub, table: Table, wanted: list[str]) -> tuple[Hub, Table, list[str]]:
    """Return what is left without the splits that have no labels at all, which hubs hide for contests, and notes."""
    told = {r["split"] for r in table.rows if any(n in r and table.given(r, n) for n in wanted)}
    hidden = [name for name in hub.splits if name not in told]
    if len(hidden) in (0, len(hub.splits)):
        return hub, table, []
    rows = tuple(row for row in table.rows if row["split"] in told)
    kept = replace(hub, splits={n: d for n, d in hub.splits.items() if n in told})
    note = f"{' and '.join(hidden)} left out: no labels there"
    return kept, replace(table, rows=rows, lines=tuple(np.arange(1, len(rows) + 1).tolist())), [note]


def _sources(hub: Hub, text: str | None, audio: str | None, vision: str | None) -> dict[str, str]:
    """Return modality -> its column.

    Args:
        text: column of words.
        audio, vision: columns of numbers.

    Raises:
        DataError: two columns for one modality, or nothing to learn from.
    """
    kinds: tuple[Kind, Kind] = ("vector", "sequence")
    named = [(n, hub.column(c, *kinds)) for n, c in (("audio", audio), ("vision", vision)) if c]
    taken = [column for _, column in named]
    found = {"text": text} if text else {}
    for name, column in (*named, *((c, c) for c, kind in hub.kinds.items() if kind in kinds and c not in taken)):
        if name in found:
            raise DataError(
                f"{hub.source}: the columns {found[name]!r} and {column!r} are both to be the modality {name!r}; give "
                "numbers another name with audio= or vision=, or rename a column"
            )
        found[name] = column
    if found:
        return found
    if any(kind == "media" for kind in hub.kinds.values()):
        raise DataError(
            f"{hub.source} holds sound or video; make features of it first: "
            f"polymodal extract '{hub.source}' --out stores/{hub.name}"
        )
    raise DataError(
        f"{hub.source} has no text and no numbers to learn from; name a column with text=, audio= or vision= "
        f"(available: {listed(hub.kinds)})"
    )


def _modality(name: str, rows: list[Array | str | None]) -> Modality:
    if name == "text" and isinstance(rows[0], str):
        return Modality("text", "text")
    return infer_modality(name, next((row for row in rows if row is not None), np.zeros(0)))


def _ids(table: Table, roles: dict[str, str], chosen: bool) -> list[str]:
    """Return an id per row: the column's, with the split and the group where these count anew, else split and number.

    Args:
        chosen: the column was named by the user: what is there twice then stays so, and the corpus says it.
    """
    if "id" in roles:
        outer = [role for role in ("split", "group") if role in roles]
        for parts in ([], outer[:1], outer):
            found = ["-".join(row[roles[role]] for role in (*parts, "id")) for row in table.rows]
            if len(set(found)) == len(found):
                return found
        if chosen:
            return found
    return [f"{row['split']}-{line}" for row, line in zip(table.rows, table.lines, strict=True)]


def _ratings(labels: Labels, rows: list[int]) -> dict[str, Array]:
    return {rater: np.array(said)[rows] for rater, said in labels.ratings.items()}
