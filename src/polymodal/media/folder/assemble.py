"""From parts to a store: rows in the order of the manifest, whatever the order in which they were made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from polymodal.core import DataError, Modality, Schema
from polymodal.data.corpus import Corpus
from polymodal.data.pixels import at_rest
from polymodal.data.ragged import Ragged
from polymodal.data.ratings import Ratings, joined
from polymodal.data.split import Column, Split, build_split
from polymodal.media.folder.manifest import Manifest, Row
from polymodal.media.folder.parts import read_about, read_features
from polymodal.media.folder.work import Facts, Task

ORDER = ("text", "audio", "vision")
SHOWN = 5
"""Notes about single clips that a corpus repeats; the rest is counted."""


UTTERANCES = {
    "id": str,
    "clip": str,
    "start": float,
    "end": float,
    "speaker": str,
    "text": str,
    "split": str,
    "face_share": float,
    "speech_share": float,
}
WORDS = {"id": str, "word": str, "start": float, "end": float}


@dataclass(frozen=True)
class Made:
    """A clip with its part."""

    task: Task
    about: dict[str, Any]


@dataclass
class _Side:
    """One split as it grows; features go to disk, not to memory."""

    folder: Path
    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lengths: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    present: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    labels: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    ratings: list[tuple[Ratings, int]] = field(default_factory=list)
    files: dict[str, BinaryIO] = field(default_factory=dict)

    def add(self, schema: Schema, split: Split) -> None:
        self.ids += split.ids
        self.groups += split.groups
        for modality in schema.modalities:
            column = split.columns[modality.name]
            self.present[modality.name].append(split.present[modality.name])
            if not isinstance(column, Ragged):
                self.texts[modality.name] += [column[i] for i in range(len(column))]
                continue
            if modality.name not in self.files:
                self.files[modality.name] = (self.folder / f"{modality.name}.raw").open("wb")
            self.files[modality.name].write(np.ascontiguousarray(column.chunks[0][0]).data)
            self.lengths[modality.name].append(column.lengths)
        for name, labels in split.targets.items():
            self.labels[name].append(labels)
        self.ratings.append((split.ratings, len(split)))

    def finish(self, schema: Schema) -> Split:
        for file in self.files.values():
            file.close()
        columns: dict[str, Column] = dict(self.texts)
        for modality in schema.modalities:
            if modality.kind != "text":
                columns[modality.name] = self._mapped(modality)
        groups = self.groups if any(self.groups) else ()
        present = {name: np.concatenate(parts) for name, parts in self.present.items()}
        targets = {name: np.concatenate(parts) for name, parts in self.labels.items()}
        return Split(self.ids, columns, present, targets, groups, ratings=joined(self.ratings))

    def _mapped(self, modality: Modality) -> Ragged:
        step, dtype = at_rest(modality)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(self.lengths[modality.name]))])
        if not offsets[-1]:  # an empty file cannot be mapped
            return Ragged([(np.zeros((0, *step), dtype), offsets)])
        path = self.folder / f"{modality.name}.raw"
        return Ragged([(np.memmap(path, dtype, "r", shape=(int(offsets[-1]), *step)), offsets)])


def collect(tasks: Sequence[Task]) -> list[Made]:
    """Return the clips that have a part, in the order of ``tasks``."""
    found = ((task, read_about(task.part)) for task in tasks)
    return [Made(task, about) for task, about in found if about is not None and about["key"] == task.key]


def find_schema(manifest: Manifest, found: Facts, made: Sequence[Made]) -> tuple[Schema, list[str]]:
    """Return the schema of what was found, and a note for each modality that was looked for in vain.

    Raises:
        DataError: clips whose feature files have different widths; names both.
    """
    wanted = {m.name: m for m in found.modalities}
    used: dict[str, tuple[Modality, str]] = {}
    for clip in made:
        for utterance in clip.about["utterances"]:
            if utterance["text"] and "text" in wanted:
                used.setdefault("text", (wanted["text"], clip.task.clip))
            for name, shape in utterance["shapes"].items():
                from_file = Modality(name, "sequence", shape[-1])
                modality, first = used.setdefault(name, (wanted.get(name, from_file), clip.task.clip))
                if modality.width and shape[-1] != modality.width:
                    raise DataError(
                        f"{name} of {clip.task.clip} has {shape[-1]} features and {name} of {first} {modality.width}; "
                        "make both files with the same settings, or leave one out"
                    )
    absent = [f"no clip has {name}: it is left out" for name in wanted if name not in used]
    # A file's features have no place in ``wanted``.
    names = sorted(dict.fromkeys([*wanted, *used]), key=lambda n: ORDER.index(n.partition("_")[0]))
    found_in = [used[name][0] for name in names if name in used]
    return Schema(tuple(found_in), manifest.targets), absent


def assemble(manifest: Manifest, found: Facts, made: Sequence[Made], failed: int, folder: Path) -> Corpus:
    """Return the corpus made of ``made``, its features memory-mapped from files in ``folder``.

    Raises:
        DataError: damaged parts, or clips that do not go together.
    """
    schema, absent = find_schema(manifest, found, made)
    sides: dict[str, _Side] = {}
    for split in dict.fromkeys(row.split for row in manifest.rows):
        sides[split] = _Side(folder / f"{len(sides)}")
        sides[split].folder.mkdir(parents=True)
    for clip in made:
        for split, part in _splits(schema, clip, found.extraction.utterances).items():
            sides[split].add(schema, part)
    empty = [split for split, side in sides.items() if not side.ids]
    lost = [f"split {split!r} is left out: none of its clips could be extracted" for split in empty]
    modalities = list(schema.names)
    return Corpus(
        name=manifest.name,
        source=manifest.source,
        schema=schema,
        splits={split: side.finish(schema) for split, side in sides.items() if side.ids},
        notes=(*manifest.notes, *found.notes, *absent, *lost, *_clip_notes(made, failed)),
        extraction={
            "options": found.extraction.to_dict(),
            "versions": found.versions,
            "modalities": modalities,
            "trained_on": {name: list(found.trained_on[name]) for name in modalities if name in found.trained_on},
        },
    ).check()


def _clip_notes(made: Sequence[Made], failed: int) -> list[str]:
    single = [f"{m.task.clip}: {r}" for m in made for r in m.about["rejected"]]
    single += [note for m in made for note in m.about["notes"]]
    more = [f"{len(single) - SHOWN} more such notes on single clips"] if len(single) > SHOWN else []
    return [*([f"{failed} clips could not be read, see failed.csv"] if failed else []), *single[:SHOWN], *more]


def _ids(made: Made, rule: str) -> list[str]:
    """Return the id of each utterance: the row's, with a number where a row may be cut into several."""
    ids = []
    for utterance in made.about["utterances"]:
        row = made.task.rows[utterance["row"]]
        whole = rule == "clip" or row.start is not None or row.end is not None
        ids.append(row.id if whole else f"{row.id}[{utterance['number']}]")
    return ids


def _splits(schema: Schema, made: Made, rule: str) -> dict[str, Split]:
    """Return the utterances of a clip by split."""
    utterances, ids = made.about["utterances"], _ids(made, rule)
    features = read_features(made.task.part, made.about)
    owners = [made.task.rows[u["row"]] for u in utterances]
    splits = {}
    for split in dict.fromkeys(row.split for row in owners):
        rows = [i for i, row in enumerate(owners) if row.split == split]
        columns = {
            m.name: [utterances[i]["text"] if m.kind == "text" else features[i].get(m.name) for i in rows]
            for m in schema.modalities
        }
        targets = {t.name: [owners[i].labels[n] for i in rows] for n, t in enumerate(schema.targets)}
        ratings = {t: {r: [owners[i].ratings[t][r] for i in rows] for r in of} for t, of in owners[0].ratings.items()}
        # Utterances cut from one row belong together even where rows have no groups.
        groups = [owners[i].group or (owners[i].clip if ids[i] != owners[i].id else "") for i in rows]
        splits[split] = build_split(schema, [ids[i] for i in rows], columns, targets, groups, ratings=ratings)
    return splits


def write_tables(folder: Path, made: Sequence[Made], rule: str) -> None:
    """Write ``utterances.parquet`` and ``words.parquet``: what was said, by whom, when. Shares are those of the clip.

    Args:
        rule: by which clips were cut into utterances.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    said: dict[str, list[Any]] = {n: [] for n in UTTERANCES}
    words: dict[str, list[Any]] = {n: [] for n in WORDS}
    for clip in made:
        shares = clip.about["shares"]
        for name, utterance in zip(_ids(clip, rule), clip.about["utterances"], strict=True):
            row: Row = clip.task.rows[utterance["row"]]
            place = (name, row.clip, utterance["start"], utterance["end"])
            what = (utterance["speaker"] or row.speaker, utterance["text"], row.split)
            for column, value in zip(
                said.values(), (*place, *what, shares.get("face"), shares.get("speech")), strict=True
            ):
                column.append(value)
            for word in utterance["words"]:
                for column, value in zip(words.values(), (name, *word), strict=True):
                    column.append(value)
    for file, columns, types in (("utterances", said, UTTERANCES), ("words", words, WORDS)):
        schema = pa.schema([(n, pa.float64() if t is float else pa.string()) for n, t in types.items()])
        pq.write_table(pa.table(columns, schema=schema), folder / f"{file}.parquet")
