"""Who is trained on and who is tested: by a column, by whole groups, or by chance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from polymodal.core import DataError, derive_seed
from polymodal.data.columns import split_name
from polymodal.data.tabular.table import Table

SHARES = {"train": 0.7, "test": 0.2, "valid": 0.1}
"""Shares of the rows, in the order in which splits are served when they are equally short."""


def find_groups(table: Table, roles: Mapping[str, str], clips: Sequence[str]) -> tuple[list[str], str]:
    """Return the group of each row and what groups are: ``group``, ``speaker``, ``clip``, or nothing if there is none.

    A row without a group is with the other rows of its clip.
    """
    for role in ("group", "speaker"):
        if role in roles and any(row[roles[role]] for row in table.rows):
            return [row[roles[role]] or clip for row, clip in zip(table.rows, clips, strict=True)], role
    return list(clips), "clip" if len(set(clips)) < len(clips) else ""


def find_splits(
    table: Table, roles: Mapping[str, str], groups: Sequence[str], kind: str, seed: int
) -> tuple[list[str], list[str]]:
    """Return the split of each row, and notes: the rule, groups in several splits, splits that are lacking.

    Where a column has splits but none to validate on, that is taken from train.

    Args:
        groups, kind: from ``find_groups``.

    Raises:
        DataError: an empty cell in the column of splits, or too few rows to divide.
    """
    shares = "70 % train, 10 % valid, 20 % test"
    if "split" in roles:
        splits, rule = _column(table, roles["split"]), f"splits are those of column {roles['split']!r}"
        inside = [i for i, split in enumerate(splits) if split == "train"]
        if "valid" not in splits and len({groups[i] for i in inside}) >= 3:
            for i, part in zip(inside, divide([groups[i] for i in inside], seed), strict=True):
                splits[i] = "valid" if part == "valid" else "train"
            rule += f"; valid is 10 % of train, {f'whole groups by {kind}' if kind else 'by chance'}, seed {seed}"
    elif len(set(groups)) >= 3:
        what = f"whole groups by {kind}" if kind else "by chance"
        splits, rule = divide(groups, seed), f"splits are {what}, seed {seed}: {shares}"
    elif len(groups) >= 3:
        splits = divide([str(i) for i in range(len(groups))], seed)
        rule = f"splits are by chance, seed {seed}: {shares} (there are only {len(set(groups))} different {kind}s)"
    else:
        raise DataError(f"{table.path} has {len(groups)} rows, too few for train, valid and test; add a column 'split'")
    return splits, [rule, *_warnings(groups, kind, splits)]


def _column(table: Table, column: str) -> list[str]:
    for i, row in enumerate(table.rows):
        if not row[column]:
            raise DataError(f"{table.where(i)} has no {column}; fill it in, or divide anew with --columns split=none")
    return [split_name(row[column]) for row in table.rows]


def _warnings(groups: Sequence[str], kind: str, splits: Sequence[str]) -> list[str]:
    notes = []
    shared = shared_groups(groups, splits)
    if kind and shared:
        name, where = next(iter(shared.items()))
        notes.append(
            f"{len(shared)} of {len(set(groups))} {kind}s are in several splits ({name!r} is in "
            f"{' and in '.join(where)}): scores say little about a new {kind}"
        )
    lacking = [s for s in ("train", "valid") if s not in splits]
    if lacking:
        notes.append(f"no row is in {' or '.join(lacking)}: no method can be trained on this corpus")
    return notes


def divide(groups: Sequence[str], seed: int) -> list[str]:
    """Return the split of each row; rows of one group stay together.

    Groups are taken in the order of a hash of ``seed`` and their name; each goes to the split that has least of its
    share so far, so that three groups are enough for three splits.

    Args:
        groups: per row, at least three different ones.
    """
    sizes = Counter(groups)
    filled = dict.fromkeys(SHARES, 0)
    chosen: dict[str, str] = {}
    for group in sorted(sizes, key=lambda g: derive_seed(seed, "split", g)):
        split = min(SHARES, key=lambda s: filled[s] / SHARES[s])
        chosen[group] = split
        filled[split] += sizes[group]
    return [chosen[group] for group in groups]


def shared_groups(groups: Sequence[str], splits: Sequence[str]) -> dict[str, list[str]]:
    """Return the groups that are in several splits, each with the names of these."""
    where: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        where[group].add(split)
    return {group: sorted(found) for group, found in where.items() if len(found) > 1}
