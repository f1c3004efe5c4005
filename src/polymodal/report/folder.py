"""Reading a run folder: what was asked for, how training went, what the evaluation found."""

from __future__ import annotations

import shlex
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from polymodal.core import RunError, Schema, Target
from polymodal.core.conditions import COMPLETE
from polymodal.core.records import read_lines, read_record
from polymodal.report.rows import Row, score_rows
from polymodal.train.members import members_of
from polymodal.train.records import EpochRecord, ResultRecord, RunRecord, schema_of

Array = np.ndarray[Any, Any]

_ASKED = ("method", "options", "recipe", "data", "seeds", "command")
_NOTED = ("parameters", "handles_absence", "polymodal", "versions", "created")


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: the folder.
        info: content of ``run.json``.
        evaluation: the folder with the evaluation, which need not exist.
        scores: content of its ``scores.json``; None without an evaluation.
        rows: the figures in ``scores``.
    """

    path: Path
    info: dict[str, Any]
    evaluation: Path
    scores: dict[str, Any] | None
    rows: list[Row]

    @property
    def target(self) -> Target:
        """The main target: the first joint one."""
        return Schema.from_dict(self.info["data"]["schema"]).joint_targets[0]

    @property
    def split(self) -> str:
        """The split that figures are drawn from: ``test``, or else the first one that was scored."""
        splits = [r.split for r in self.rows]
        return "test" if "test" in splits else splits[0]

    @property
    def main(self) -> list[Row]:
        """Rows of the main metric of the main target, every split and subset."""
        return [r for r in self.rows if r.target == self.target.name and r.main]

    @property
    def name(self) -> str:
        """The folder as a shell wants it; without the places above it where the path is absolute."""
        return shlex.quote(self.path.name if self.path.is_absolute() else str(self.path))

    @property
    def members(self) -> dict[str, Path]:
        """Name -> folder of every training: ``seed 1``, or ``fold 0 seed 1``."""
        return {str(member): self.path / member.place for member in members_of(self.info)}


def read_run(path: Path, evaluation: str = "evaluation") -> Run:
    """Read ``run.json`` and, where it exists, the evaluation's ``scores.json``.

    Raises:
        RunError: no run folder, or one that is damaged.
    """
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}; polymodal fit makes one")
    if not (path / "run.json").is_file():
        raise RunError(f"{path} is not a run folder: it has no run.json; give the folder that polymodal fit wrote")
    info: Any = read_record(path / "run.json", RunRecord, "restore it or make the run again")
    schema_of(info, path / "run.json")
    missing = [key for key in _ASKED + _NOTED if key not in info]
    if missing:
        raise RunError(f"{path / 'run.json'} has no {missing[0]!r}; it was not written by polymodal fit")
    scores_file = path / evaluation / "scores.json"
    scores = _read_json(scores_file) if scores_file.is_file() else None
    return Run(path, info, scores_file.parent, scores, score_rows(scores) if scores else [])


def _read_json(file: Path) -> dict[str, Any]:
    return read_record(file, dict[str, Any], "restore it or make the run again")


def read_epochs(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return name of a training -> one dict per epoch, in order; trainings without any are left out.

    A resumed run may write an epoch twice; the later line counts.
    """
    found = {}
    for name, folder in run.members.items():
        file = folder / "metrics.jsonl"
        if not file.is_file():
            continue
        epochs: dict[int, dict[str, Any]] = {}
        for epoch in read_lines(file, EpochRecord, "remove the line or resume the run"):
            epochs[epoch["epoch"]] = dict(epoch)
        if epochs:
            found[name] = [epochs[e] for e in sorted(epochs)]
    return found


def best_epochs(run: Run, epochs: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """Return training -> epoch whose weights were kept: from ``result.json``, or the last line marked best."""
    best = {}
    for name, lines in epochs.items():
        file = run.members[name] / "result.json"
        marked = [line["epoch"] for line in lines if line.get("best")]
        remedy = "restore it or make the run again"
        kept = read_record(file, ResultRecord, remedy)["best_epoch"] if file.is_file() else None
        if kept is None and marked:
            kept = marked[-1]
        if kept is not None:
            best[name] = int(kept)
    return best


def read_predictions(run: Run) -> dict[str, Array] | None:
    """Return the columns ``id``, ``seed``, ``true`` and ``predicted`` of the main target, complete input.

    Only samples with a known label, and only the first seed, so that each counts once; None where nothing was saved.
    """
    file = run.evaluation / "predictions.parquet"
    complete = next((r for r in run.main if r.complete and r.split == run.split), None)
    if complete is None or not file.is_file():
        return None
    from polymodal.train.predictions import column, read_table

    name = run.target.name
    wanted = {"id": "id", "seed": "seed", f"{name}/true": "true", f"{name}/predicted": "predicted"}
    table = read_table(file, split=run.split, condition=COMPLETE)
    columns = {new: column(table, old) for old, new in wanted.items()}
    seeds = columns["seed"]
    if not len(seeds):
        return None
    rows = (seeds == seeds[0]) & run.target.spec.known(columns["true"])
    return {key: values[rows] for key, values in columns.items()}


def read_fused(run: Run) -> tuple[Array, list[str]] | None:
    """Return the fused representations (samples, width) and the samples' ids; None where none were saved."""
    file = run.evaluation / "representations.npz"
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            return content["fused"], [str(i) for i in content["id"]]
    except KeyError:
        return None  # the method has no fused representation
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise RunError(f"{file} cannot be read ({error}); run polymodal evaluate again") from error
