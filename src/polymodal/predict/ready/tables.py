"""The corpus of a recipe whose data are tables of what was said, one per split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.split import Split, build_split
from polymodal.data.tabular.table import Table, read_table
from polymodal.predict.ready.recipes import Recipe


def read_tables(recipe: Recipe, folder: Path) -> Corpus:
    """Return the corpus of the tables in ``folder``: its text, one class per row, groups that no two splits share.

    Args:
        recipe: ``tables`` names a file for each split, ``columns`` those of ``text``, ``group`` and the target,
            ``labels`` the class of each label.

    Raises:
        DataError: a table or column is not there, or a label is none of the recipe's.
    """
    classes = tuple(dict.fromkeys(recipe.labels.values()))
    schema = Schema((Modality("text", "text"),), (Target(recipe.target, "classification", classes=classes),))
    splits = {split: _split(recipe, schema, split, folder / file) for split, file in recipe.tables.items()}
    name = recipe.corpus.partition(",")[0]
    return Corpus(name, name, schema, splits).check()


def _split(recipe: Recipe, schema: Schema, split: str, file: Path) -> Split:
    if not file.is_file():
        raise DataError(f"{file.parent} has no {file.name}; give {recipe.data}")
    table = read_table(file)
    text, group, label = (table.column(recipe.columns[role]) for role in ("text", "group", recipe.target))
    classes = schema.target(recipe.target).classes
    numbers = [classes.index(_class(recipe, table, i, row[label])) for i, row in enumerate(table.rows)]
    return build_split(
        schema,
        [f"{split}-{line}" for line in table.lines],
        {"text": [row[text] or None for row in table.rows]},
        {recipe.target: np.array(numbers)},
        [f"{split}-{row[group]}" for row in table.rows],  # each table counts its groups from 0
    )


def _class(recipe: Recipe, table: Table, row: int, label: str) -> str:
    if label not in recipe.labels:
        raise DataError(f"{table.where(row)}: {label!r} is none of {', '.join(recipe.labels)}; give {recipe.data}")
    return recipe.labels[label]
