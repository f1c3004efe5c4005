"""Several corpora as the domains of one: ``mix:a.pkl,b.pkl,c.pkl?unlabelled=c&test=c``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from polymodal.core import DataError, Modality, OptionError, Schema, nearest
from polymodal.data.corpus import Corpus
from polymodal.data.pixels import at_rest
from polymodal.data.ragged import Array, Ragged
from polymodal.data.split import Column, Split
from polymodal.data.standardise import Normalizer


def members_of(place: str) -> dict[str, str]:
    """Return domain -> source of what stands behind ``mix:``.

    Sources are separated by commas and may be named: ``trial=stores/rlt,lab=b.pkl``. One with options of its own
    stands in parentheses: ``lab=(b.pkl?text=raw)``.

    Raises:
        OptionError: fewer than two sources, or two of one name.
    """
    members: dict[str, str] = {}
    for part in _sources(place):
        name, mark, source = part.strip().partition("=")
        if not mark or not name.replace("_", "").replace("-", "").isalnum():
            name, source = "", part.strip()
        source = source.removeprefix("(").removesuffix(")") if source.startswith("(") else source
        name = name or Path(source.partition("?")[0].rpartition(":")[2]).stem
        if name in members:
            raise OptionError(f"mix:{place}: two sources are called {name!r}; name them: mix:a={source},b=...")
        members[name] = source
    if len(members) < 2:
        raise OptionError(f"mix:{place} has one source; give at least two, separated by commas")
    return members


def _sources(text: str) -> list[str]:
    """Return ``text`` cut at every comma that is not in parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def mix(
    place: str,
    load: Callable[[str], Corpus],
    *,
    unlabelled: tuple[str, ...] = (),
    unseen: tuple[str, ...] = (),
    test: tuple[str, ...] = (),
    unify: bool = False,
) -> Corpus:
    """Return one corpus whose domains are the sources in ``place``.

    Training has the training splits of all of them, validation the validation splits of those with labels: nothing is
    chosen by labels of a domain that counts as unlabelled. A modality that a source lacks is absent there. Ids, groups
    and raters get the domain's name in front.

    Args:
        place: as in ``members_of``.
        load: opens one source.
        unlabelled: domains whose training labels are hidden.
        unseen: domains that are tested only: their training and validation splits are left out.
        test: domains whose test splits are kept, as ``test`` if there is one, else ``test_<domain>``; default all.
        unify: standardise the features of every domain by its own training split, pixels apart.

    Raises:
        OptionError: a domain that is not there, or none with labels.
        DataError: sources that differ in a target, or in the kind or width of a modality.
    """
    members = {name: load(source) for name, source in members_of(place).items()}
    for name in (*unlabelled, *unseen, *test):
        if name not in members:
            raise OptionError(f"mix:{place} has no domain {name!r}{nearest(name, members)}")
    if len({*unlabelled, *unseen}) == len(members):
        raise OptionError(f"mix:{place}: every domain is unlabelled or unseen; leave at least one with labels")
    schema = _schema(members)
    parts: dict[str, list[Split]] = {"train": [], "valid": []}
    kept = test or tuple(members)
    for number, (name, corpus) in enumerate(members.items()):
        for split, part in corpus.splits.items():
            learned = split in ("train", "valid")
            if (learned and name in unseen) or (split == "valid" and name in unlabelled):
                continue
            if not learned and name not in kept:
                continue
            home = split if split in parts or len(kept) == 1 else f"{split}_{name}"
            own = _unified(corpus, part) if unify else part
            own = _joined(schema, name, number, own, hidden=split == "train" and name in unlabelled)
            parts.setdefault(home, []).append(own)
    return Corpus(
        name="-".join(members),
        source=f"mix:{place}",
        schema=schema,
        splits={split: Split.joined(pieces) for split, pieces in parts.items() if pieces},
        notes=tuple(f"{name}: {note}" for name, corpus in members.items() for note in corpus.notes),
        stored_in=tuple(dict.fromkeys(folder for corpus in members.values() for folder in corpus.stored_in)),
    )


def _schema(members: dict[str, Corpus]) -> Schema:
    """Return the schema of the mix; DataError if two sources cannot be one corpus."""
    for name, corpus in members.items():
        if any(t.spec.answer == "match" for t in corpus.schema.targets):
            raise DataError(
                f"{name} asks which sample goes with which, and numbers its own alone; leave match= out of the sources "
                "and put it behind the mix: mix:a.pkl,b.pkl?match=sample"
            )
    for (a, first), (b, second) in combinations(members.items(), 2):
        if first.schema.targets != second.schema.targets:
            raise DataError(
                f"{a} predicts {_targets(first)}, {b} {_targets(second)}; sources of a mix need the same targets"
            )
        for modality in second.schema.modalities:
            if modality.name in first.schema.names and first.schema.modality(modality.name) != modality:
                one = first.schema.modality(modality.name).form
                raise DataError(
                    f"{modality.name} is {one} in {a} and {modality.form} in {b}; extract both with the same "
                    "features, or leave it out with ?modalities=..."
                )
    modalities = {m.name: m for corpus in members.values() for m in corpus.schema.modalities}
    targets = next(iter(members.values())).schema.targets
    return Schema(tuple(modalities.values()), targets, tuple(members))


def _targets(corpus: Corpus) -> str:
    return ", ".join(
        f"{t.name} ({', '.join([t.task, *t.classes, *map(str, t.range or ())])})" for t in corpus.schema.targets
    )


def _joined(schema: Schema, name: str, number: int, split: Split, hidden: bool) -> Split:
    """Return ``split`` as a part of the mix."""
    rows = len(split)
    nobody: Array = np.zeros(rows, bool)
    columns = {m.name: split.columns.get(m.name) or _absent(m, rows) for m in schema.modalities}
    return Split(
        [f"{name}/{i}" for i in split.ids],
        columns,
        {n: split.present.get(n, nobody) for n in schema.names},
        {n: np.full_like(t, np.nan if t.dtype.kind == "f" else -1) if hidden else t for n, t in split.targets.items()},
        [f"{name}/{g}" for g in split.groups] or [name] * rows,
        np.full(rows, number, np.int64),
        {} if hidden else {t: {f"{name}/{r}": v for r, v in said.items()} for t, said in split.ratings.items()},
        split.about,
    )


def _absent(modality: Modality, rows: int) -> Column:
    if modality.kind == "text":
        return [""] * rows
    step, dtype = at_rest(modality)
    return Ragged([(np.zeros((0, *step), dtype), np.zeros(rows + 1, np.int64))])


def _unified(corpus: Corpus, split: Split) -> Split:
    """Return ``split`` with its features standardised as those of the corpus's training split."""
    normalizer: Normalizer = corpus.normalizer
    columns = dict(split.columns)
    for modality in corpus.schema.modalities:
        name = modality.name
        if name not in normalizer.mean or modality.shape:  # a store knows statistics of modalities left out, too
            continue
        column = columns[name]
        assert isinstance(column, Ragged)
        rows = []
        for row in range(len(column)):
            out = np.empty_like(column[row])
            normalizer.apply(name, column[row], out)
            rows.append(out)
        columns[name] = Ragged.from_rows(rows, column.width)
    return replace(split, columns=columns)
