"""Answers that were recorded before: one JSON object a line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from polymodal.cascade.asking import NOTHING, Answer, Reference, Sample
from polymodal.core import DataError, Target, nearest


def read_rows(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the place, the id and the object of every line of a file of recorded answers.

    Raises:
        DataError: it cannot be read, a line is no object with an id, or an id stands twice; names the line.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path} of recorded answers; check the path")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"recorded answers {path} cannot be read ({error}); give a JSON object a line") from None
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or "id" not in row:
            raise DataError(f"{place} is no JSON object with an id; write one answer a line")
        name = str(row["id"])
        if name in seen:
            raise DataError(f"{place}: there is an answer for {name!r} already; keep one")
        seen.add(name)
        yield place, name, row


class Recorded:
    """A file with ``{"id": ..., "score": 1.2, "uncertainty": 0.3, "text": "..."}`` a line.

    ``label`` (the name of a class) takes the place of ``score`` for classes; a null is an answer that could not be
    read; ``text`` may be left out. ``second``, an object of the same form without ``id``, is what was answered when
    both earlier answers were told; where any line has one, second questions are answered, with nothing by the others.

    Args:
        path: the file.
        target: what the answers are about.

    Raises:
        DataError: it cannot be read, or a line that cannot be; names the line.
    """

    costly = False
    reads_text = False

    def __init__(self, path: Path, target: Target) -> None:
        self.path, self.target, self.name = path, target, path.name
        self.notes: list[str] = []
        self.usage: dict[str, int] = {}
        self._first: dict[str, Answer] = {}
        self._second: dict[str, Answer] = {}
        for place, name, row in read_rows(path):
            self._first[name] = self._answer(place, row)
            if "second" in row:
                second = row["second"]
                if not isinstance(second, dict):
                    raise DataError(f"{place}: second must be an object with an answer, got {second!r}")
                self._second[name] = self._answer(f"{place}, second", second)
        self.reads_references = bool(self._second)

    def _answer(self, place: str, row: dict[str, Any]) -> Answer:
        given = row.get("label", row.get("score"))
        if given is None:
            return Answer(NOTHING.score, 1.0, str(row.get("text", "")))
        classes = self.target.classes
        if classes:
            if given not in classes:
                raise DataError(f"{place}: {given!r} is none of {', '.join(classes)}{nearest(str(given), classes)}")
            score = float(classes.index(given))
        else:
            score = _number(place, "score", given)
        unsure = _number(place, "uncertainty", row.get("uncertainty"))
        if not 0 <= unsure <= 1:
            raise DataError(f"{place}: uncertainty must be a number from 0 to 1, got {unsure:g}")
        return Answer(score, unsure, str(row.get("text", "")))

    def predict(self, samples: Sequence[Sample], references: Sequence[Reference] | None = None) -> list[Answer]:
        """Return what was recorded.

        Raises:
            DataError: nothing was, for some of them.
        """
        if references is not None:
            return [self._second.get(sample.id, NOTHING) for sample in samples]
        missing = [sample.id for sample in samples if sample.id not in self._first]
        if missing:
            raise DataError(
                f"{self.path} has no answer for {len(missing)} of {len(samples)} samples, the first {missing[0]!r}; "
                "record one for each"
            )
        return [self._first[sample.id] for sample in samples]


def _number(place: str, what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{place}: {what} must be a finite number, got {value!r}")
    return float(value)
