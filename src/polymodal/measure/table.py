"""Measures as a person reads them in a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from polymodal.measure.measures import Measure
from polymodal.measure.result import Measured, Values
from polymodal.predict.table import clock

MOST = 4
"""Persons and rows that a terminal shows beside the whole clip; files have all."""


def measures_table(measured: Measured) -> Group:
    """Return a table with a line per measure, a column per row of the clip and one for all of it; notes below it."""
    table = Table(
        box=None, header_style="bold", title=escape(measured.clip), title_justify="left", padding=(0, 1, 0, 0)
    )
    persons = list(measured.persons.items())[:MOST]
    shown = list(zip(measured.rows, measured.values, strict=True))[: MOST - len(persons)]
    table.add_column("", no_wrap=True, min_width=30)
    for title in ["whole\nclip", *(escape(name) for name, _ in persons)]:
        table.add_column(title, justify="right")
    for row, _ in shown:
        who = f"\n{escape(row.speaker)}" if row.speaker else ""
        table.add_column(f"{clock(row.start)}-\n{clock(row.end)}{who}", justify="right")
    for m in measured.measures:
        name = m.name.replace("_", " ") + (f", {m.unit}" if m.unit else "")
        every = [measured.whole, *(v for _, v in persons), *(v for _, v in shown)]
        table.add_row(name, *(_cell(v, m) for v in every))
    below = []
    if len(measured.rows) > len(shown):
        below.append(f"{len(measured.rows) - len(shown)} more rows; --csv, --out and --html have all")
    below += [_together(name, found) for name, found in measured.synchrony.items()]
    below += [f"note: {note}" for note in measured.notes]
    below.append("seconds: " + ", ".join(f"{stage} {s:.2f}" for stage, s in measured.seconds.items()))
    return Group(table, *(Text(text, style="dim") for text in below))


def _cell(values: Values, measure: Measure) -> str:
    value = values[measure.name]
    return "-" if value is None else f"{value:.{measure.digits}f}"


def _together(name: str, found: dict[str, float | None]) -> str:
    if found["correlation"] is None:
        return f"{name}: no window in which both streams are known"
    chance = "" if found["chance"] is None else f", {found['chance']:.2f} for windows that do not belong together"
    return f"{name}: {found['correlation']:.2f} over {found['windows']:.0f} windows{chance}"
