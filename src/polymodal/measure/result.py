"""What was measured in a clip, as data."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from polymodal.core.text import cell
from polymodal.measure.measures import Measure
from polymodal.media.types import Segment

Values = dict[str, float | None]
"""Name of a measure -> its value; None is what is not known."""


@dataclass(frozen=True)
class Measured:
    """The measures of a clip.

    Attributes:
        clip: name of the clip.
        duration: seconds.
        by: what a row is: ``speech`` (a turn), ``transcript`` (a segment), ``windows`` or ``clip``.
        measures: the columns.
        rows: in the order of time.
        values: of each row.
        whole: of the whole clip.
        persons: speaker -> values of all that he says; empty where the transcript names nobody.
        synchrony: column -> correlation over the clip, its lag, what chance gives, how many windows.
        partner: name of the other person's clip; empty without one.
        notes: what was missing, chosen or found wrong, one sentence each.
        versions: name of an extractor -> its version.
        seconds: stage -> seconds of work.
    """

    clip: str
    duration: float
    by: str
    measures: tuple[Measure, ...]
    rows: tuple[Segment, ...]
    values: tuple[Values, ...]
    whole: Values
    persons: dict[str, Values] = field(default_factory=dict)
    synchrony: dict[str, dict[str, float | None]] = field(default_factory=dict)
    partner: str = ""
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        told = zip(self.rows, self.values, strict=True)
        return {
            "clip": self.clip,
            "duration": self.duration,
            "rows_are": self.by,
            "partner": self.partner,
            "measures": [asdict(m) for m in self.measures],
            "rows": [_when(s) | {"measures": v} for s, v in told],
            "whole": self.whole,
            "persons": self.persons,
            "synchrony": self.synchrony,
            "notes": list(self.notes),
            "versions": self.versions,
            "seconds": self.seconds,
        }

    def table(self) -> list[dict[str, Any]]:
        """Return a dictionary per row: clip, start, end, speaker, text and the measures."""
        return [{"clip": self.clip} | _when(s) | v for s, v in zip(self.rows, self.values, strict=True)]

    def view(self) -> dict[str, Any]:
        """Return what ``predict.page`` shows and ``timeline.js`` draws: each measure a number over time."""
        return {
            "clip": self.clip,
            "duration": self.duration,
            "run": "",
            "method": "measured with " + ", ".join(self.versions.values()),
            "modalities": [],
            "targets": [
                {"name": m.name, "task": "measure", "answer": "number", "range": self.reach(m), "classes": []}
                | {"unit": m.unit, "meaning": m.meaning, "digits": m.digits}
                for m in self.measures
            ],
            "whole": self.whole,
            "level": 0.0,
            "calibrated": False,
            "notes": list(self.notes),
            "seconds": self.seconds,
            "utterances": [self._moment(s, v) for s, v in zip(self.rows, self.values, strict=True)],
        }

    def reach(self, measure: Measure) -> tuple[float, float]:
        """Return from where to where a measure is drawn; never so little that nothing looks like much."""
        if measure.range is not None:
            return measure.range
        known = [v for values in self.values if (v := values[measure.name]) is not None] or [0.0]
        low, high = min(known), max(known)
        spare = max(0.1 * (high - low), 0.1 * max(abs(low), abs(high)), 0.1)
        return (max(0.0, low - spare) if low >= 0 else low - spare), high + spare

    def _moment(self, row: Segment, values: Values) -> dict[str, Any]:
        words = [{"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in row.words]
        number: dict[str, Any] = {"low": None, "high": None, "baseline": None, "contributions": {}}
        estimates = {n: {"value": v, **number} for n, v in values.items() if v is not None}
        return _when(row) | {"words": words, "present": [], "absent": {}, "estimates": estimates}


def _when(row: Segment) -> dict[str, Any]:
    return {"start": round(row.start, 3), "end": round(row.end, 3), "speaker": row.speaker, "text": row.text}


def to_csv(tables: Sequence[Measured]) -> str:
    """Return one table with a line per row of each clip; what is not known is an empty cell."""
    lines = [line for one in tables for line in one.table()]
    names = ["clip", "start", "end", "speaker", "text", *dict.fromkeys(m.name for t in tables for m in t.measures)]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval=None, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in line.items()} for line in lines)
    return out.getvalue()


def to_parquet(tables: Sequence[Measured]) -> bytes:
    """Return the table of ``to_csv`` as Parquet; what is not known is null."""
    import pyarrow as pa
    from pyarrow import parquet

    lines = [line for one in tables for line in one.table()]
    text = ("clip", "speaker", "text")
    names = ["clip", "start", "end", "speaker", "text", *dict.fromkeys(m.name for t in tables for m in t.measures)]
    schema = pa.schema([(n, pa.string() if n in text else pa.float64()) for n in names])
    rows = [{n: line.get(n) for n in names} for line in lines]
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()
