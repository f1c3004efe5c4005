"""A board with its predictions, small enough to be kept beside the code: whoever has a model can be compared with it.

``board.json`` but for its figures, which are ``figures.parquet``, a row each; ``published.json`` (the plan as it was
asked for, schemas); and for each corpus ``samples/<corpus>.parquet`` (``id``, ``group``, ``true``) and
``predictions/<corpus>.parquet`` (``entry``, ``seed``, ``condition``, ``predicted``, a row per sample in the order of
the samples). Complete input and the points of the first curve are kept, which entries are ordered by; probabilities are
not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.bench.board import Board
from polymodal.bench.contrasts import corrected
from polymodal.bench.figures import area_key
from polymodal.bench.plan import Conditions
from polymodal.bench.results import Columns, Results, headlines
from polymodal.core import RunError, Schema
from polymodal.core.records import read_json
from polymodal.report.page import write_whole
from polymodal.stress import COMPLETE
from polymodal.train.checkpoint import write_json
from polymodal.train.predictions import column, read_table, write_table

AGAIN = "publish the board again"


@dataclass(frozen=True)
class Published:
    """A board that others are compared with.

    Attributes:
        folder: it lies in.
        board: its figures.
        asked: the plan as it was asked for, see ``bench.read``.
        tests: conditions of its entries.
        schemas: corpus -> schema.
    """

    folder: Path
    board: Board
    asked: dict[str, Any]
    tests: Conditions
    schemas: dict[str, Schema]

    @classmethod
    def load(cls, folder: str | Path) -> Published:
        """Read a board from ``folder``; RunError where there is none."""
        place = Path(folder)
        try:
            held = json.loads((place / "published.json").read_text())
            schemas = {name: Schema.from_dict(schema) for name, schema in held["schemas"].items()}
            tests = Conditions(**held["tests"] | {"stress": tuple(held["tests"]["stress"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else repr(error)
            raise RunError(
                f"{place} holds no published board ({why}); polymodal bench PLAN --publish {place} makes one"
            ) from None
        stored = read_json(place / "board.json", AGAIN)
        if isinstance(stored, dict):
            stored["figures"] = read_table(place / "figures.parquet", AGAIN).to_pylist()
        return cls(place, Board.read(stored, place / "board.json"), held["asked"], tests, schemas)

    def samples(self, corpus: str) -> Columns:
        """Return ``id``, ``true`` and, where groups are known, ``group`` of the test samples."""
        table = self._table("samples", corpus)
        return {name: column(table, name) for name in table.column_names}

    def results(self, corpus: str, rows: np.ndarray[Any, Any] | None = None) -> list[Results]:
        """Return what every entry predicted on ``corpus``, for all test samples or ``rows`` of them."""
        shared = self.samples(corpus)
        size = len(shared["id"])
        chosen = np.arange(size) if rows is None else rows
        shared = {name: values[chosen] for name, values in shared.items()}
        table = self._table("predictions", corpus)
        entries, conditions = column(table, "entry"), column(table, "condition")
        seeds, predicted = column(table, "seed"), column(table, "predicted")
        said: dict[str, dict[int, dict[str, Columns]]] = {}
        for first in range(0, len(entries), size):
            one = shared | {"predicted": predicted[first : first + size][chosen]}
            by_seed = said.setdefault(str(entries[first]), {})
            by_seed.setdefault(int(seeds[first]), {})[str(conditions[first])] = one
        return [Results.of(name, self.schemas[corpus], by_seed) for name, by_seed in said.items()]

    @property
    def floor(self) -> str:
        """Name of the linear entry; empty where there is none."""
        return next((e.name for e in self.board.entries if e.floor), "")

    def _table(self, kind: str, corpus: str) -> Any:
        return read_table(self.folder / kind / f"{corpus}.parquet", AGAIN)


def publish(
    board: Board, asked: Mapping[str, Any], tests: Conditions, found: Mapping[str, Sequence[Results]], folder: Path
) -> None:
    """Write ``board`` with the predictions of its entries into ``folder``, in the place of one that was there.

    A board whose writing was cut short is none: ``published.json`` goes first and comes last.

    Args:
        asked: the plan as it was written.
        tests: conditions of its entries.
        found: corpus -> what each entry predicted.

    Raises:
        RunError: the folder cannot be written.
    """
    import pyarrow as pa

    stored = board.plain()
    try:
        for kind in ("samples", "predictions"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / "published.json").unlink(missing_ok=True)
        for corpus, results in found.items():
            _write(corpus, results, tests, folder)
        write_table([pa.Table.from_pylist(stored.pop("figures"))], folder / "figures.parquet")
    except OSError as error:
        raise RunError(f"cannot publish into {folder}: {error.strerror or error}; choose another folder") from None
    write_whole(folder / "board.json", json.dumps(stored, separators=(",", ":")).encode())
    schemas = {corpus: results[0].schema.to_dict() for corpus, results in found.items()}
    said = {"stress": tests.stress, "subsets": tests.subsets, "protocol": tests.protocol}
    write_json(folder / "published.json", {"asked": asked, "tests": said, "schemas": schemas})


def _write(corpus: str, results: Sequence[Results], tests: Conditions, folder: Path) -> None:
    import pyarrow as pa

    whole, kept = results[0].whole, _kept(results, tests)
    samples = {"id": whole["id"].tolist(), "true": _plain(whole["true"])}
    if "group" in whole:
        samples["group"] = whole["group"].tolist()
    size, blocks = len(whole["id"]), []
    for result in results:
        for seed, by_condition in result.said.items():
            for condition in kept:
                named = {"entry": result.name, "condition": condition}
                block: dict[str, Any] = {n: pa.array([v] * size).dictionary_encode() for n, v in named.items()}
                block["seed"] = pa.array([seed] * size, pa.int64())
                block["predicted"] = _plain(by_condition[condition]["predicted"])
                blocks.append(pa.table(block))
    write_table([pa.table(samples)], folder / "samples" / f"{corpus}.parquet")
    write_table(blocks, folder / "predictions" / f"{corpus}.parquet")


def _kept(results: Sequence[Results], tests: Conditions) -> list[str]:
    """Return the conditions that entries are ordered by, complete input first."""
    key, _ = headlines(results, tests)
    points = [p.text for p in tests.of(results[0].schema) if area_key(p.series) == key]
    return [COMPLETE, *points]


def _plain(values: np.ndarray[Any, Any]) -> Any:
    """Return values as Arrow stores them small: whole numbers in two bytes."""
    import pyarrow as pa

    if values.ndim > 1:
        return pa.array(list(values))
    small = values.astype(np.int16) if np.issubdtype(values.dtype, np.integer) else values
    return pa.array(small)


def joined(
    published: Published, added: Board, methods: Sequence[Any], found: Mapping[str, Sequence[Results]]
) -> tuple[Board, dict[str, Any], dict[str, list[Results]]]:
    """Return a published board with the entries of ``added``, comparisons corrected for the number of all; its plan
    with their lines; and what all of them predicted.

    Args:
        methods: lines of the new entries in a plan.
        found: corpus -> what the new entries predicted.

    Raises:
        RunError: a corpus is not the one that the board was made of.
    """
    old = published.board
    hashes = {c.name: c.hashes for c in old.corpora}
    for corpus in added.corpora:
        if corpus.hashes != hashes[corpus.name]:
            raise RunError(
                f"{corpus.name} is not the corpus that {published.folder} was made of: its content has another hash; "
                "take the data as they were, or make the board anew"
            )
    lists = ("entries", "figures", "costs", "left", "searches", "robustness")
    both: dict[str, Any] = {name: (*getattr(old, name), *getattr(added, name)) for name in lists}
    made = old.made | {"added": [*old.made.get("added", []), added.made]}
    board = replace(old, **both, contrasts=tuple(corrected([*old.contrasts, *added.contrasts])), made=made)
    before = published.asked["methods"]
    asked = published.asked | {"methods": [*([before] if isinstance(before, str) else before), *methods]}
    return board, asked, {c.name: [*published.results(c.name), *found.get(c.name, [])] for c in old.corpora}
