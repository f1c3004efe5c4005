"""What a search has done so far, kept beside its trainings: started again, it goes on from there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from polymodal.best.candidates import Candidate
from polymodal.core import RunError
from polymodal.core.records import read_record
from polymodal.train.checkpoint import write_json

FOLDER = "candidates"
FILE = "search.json"

OTHER = {
    "data": "other data, or they have changed since: delete it,",
    "folds": "other folds; give the --folds of then,",
}
"""What differs, where its hash would tell nobody anything."""

State = Literal["done", "behind", "failed", "slow"]


@dataclass
class Record:
    """What became of a candidate.

    Attributes:
        candidate: it.
        state: ``done`` in all folds; given up after the first, because it was ``behind`` the others; ``failed`` (why
            says why); or too ``slow`` for the time that was left, to be tried again when there is more.
        seconds: that its trainings and answers took, all together.
        asking: of these, its answers in all folds.
        loss: of its answers out of fold.
        together: of the ensemble of all that was done, when it was.
        why: in words, where it is not done.
    """

    candidate: Candidate
    state: State
    seconds: float
    asking: float = 0.0
    loss: float | None = None
    together: float | None = None
    why: str = ""

    @classmethod
    def read(cls, stored: TriedRecord) -> Record:
        """Inverse of ``asdict`` by way of JSON; what is not told is as for a record that does not know it either."""
        about = stored["candidate"]
        candidate = Candidate(about["method"], about["options"], tuple(about["modalities"]))
        told = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}  # type: ignore[literal-required]
        return cls(**{**told, "candidate": candidate})


class CandidateRecord(TypedDict):
    """A ``Candidate`` in a JSON file."""

    method: str
    options: dict[str, Any]
    modalities: list[str]


class TriedRecord(TypedDict):
    """A ``Record`` in a JSON file."""

    candidate: CandidateRecord
    state: State
    seconds: float
    asking: NotRequired[float]
    loss: NotRequired[float | None]
    together: NotRequired[float | None]
    why: NotRequired[str]


class SearchRecord(TypedDict):
    """``search.json``."""

    asked: dict[str, Any]
    spent: float
    encode: dict[str, str] | None
    done: list[TriedRecord]
    complete: NotRequired[int]
    first: NotRequired[dict[str, float]]


@dataclass
class Records:
    """The file ``search.json``.

    Attributes:
        folder: of the run.
        asked: what identifies the search: data, folds, seed, encoders.
        spent: seconds so far.
        encode: modality -> frozen encoder that was chosen; None while it was not.
        done: candidates in the order in which they were tried.
        complete: candidates that were done in all folds when the run was last made of them; 0 while it was not.
        first: folder of a candidate -> seconds of what is done of it, for one that was stopped half way.
    """

    folder: Path
    asked: dict[str, Any]
    spent: float = 0.0
    encode: dict[str, str] | None = None
    done: list[Record] = field(default_factory=list)
    complete: int = 0
    first: dict[str, float] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """Folder of the trainings."""
        return self.folder / FOLDER

    @classmethod
    def open(cls, folder: Path, asked: dict[str, Any]) -> Records:
        """Return the records of ``folder``, or new ones.

        Raises:
            RunError: the folder holds something else, or another search.
        """
        asked = json.loads(json.dumps(asked))
        file = folder / FOLDER / FILE
        if not file.is_file():
            if folder.is_dir() and any(p.name != FOLDER for p in folder.iterdir()):
                raise RunError(f"{folder} is not empty and holds no search for the best; choose another --out")
            return cls(folder, asked)
        stored = read_record(file, SearchRecord, "choose another --out")
        for name, wanted in asked.items():
            if (was := stored["asked"].get(name)) != wanted:
                other = OTHER.get(name, f"{name} {was}, not {wanted}: go back to it,")
                raise RunError(f"{folder} was begun with {other} or choose another --out")
        done = [Record.read(record) for record in stored["done"] if record["state"] != "slow"]
        complete, first = stored.get("complete", 0), stored.get("first", {})
        return cls(folder, asked, stored["spent"], stored["encode"], done, complete, first)

    def save(self, spent: float) -> None:
        """Write the file; RunError where it cannot be written."""
        self.spent = spent
        try:
            self.place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot create {self.place}: {error.strerror}; choose another --out") from None
        about = {name: value for name, value in vars(self).items() if name not in ("folder", "done")}
        write_json(self.place / FILE, about | {"done": [asdict(record) for record in self.done]})

    def of(self, candidate: Candidate) -> Record | None:
        """Return the record of ``candidate``, if it was tried."""
        return next((r for r in self.done if r.candidate == candidate), None)

    @property
    def finished(self) -> list[Record]:
        """Those that are done in all folds."""
        return [r for r in self.done if r.state == "done"]

    def stale(self, gain: float) -> int:
        """Return how many candidates in a row have lowered the ensemble's loss by less than a share ``gain``."""
        losses = [r.together for r in self.done]
        return _stale(losses, gain)


def _stale(losses: Iterable[float | None], gain: float) -> int:
    best, count = float("inf"), 0
    for loss in losses:
        if loss is not None and loss < best - gain * abs(best if best < float("inf") else 0.0):
            best, count = loss, 0
        else:
            count += 1
    return count
