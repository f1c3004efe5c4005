"""Audits as parts of a report, and as a page of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.audit.base import Evidence, Findings
from polymodal.audit.run import described, opened, read_audits
from polymodal.audit.subject import Subject
from polymodal.report.audit_plots import audit_figure, drawn, in_words
from polymodal.report.tables import Cell, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READING = (
    "A dot is what was found; the line through it is its 95% interval: with other speakers or videos like these, it "
    "would mostly lie within. Where there is no line, these cannot say: they are too few, or all alike."
)


@dataclass(frozen=True)
class Audited:
    """One audit, ready to be shown.

    Attributes:
        name: anchor on a page.
        title: heading.
        asked: the question.
        found: the answer, a sentence each.
        about: how it was made, with its source and the samples.
        notes: what must be known beside.
        limits: what it does not show.
        refused: why it could not be asked; all else is empty then.
        figure, alt, caption: what to draw, in words, and what more there is.
        table: all figures.
    """

    name: str
    title: str
    asked: str = ""
    found: Sequence[str] = ()
    about: str = ""
    notes: Sequence[str] = ()
    limits: Sequence[str] = ()
    refused: str = ""
    figure: Figure | None = None
    alt: str = ""
    caption: str = ""
    table: Table | None = None


def audits_of(folder: Path) -> list[Audited]:
    """Return each audit that was made of the run or cascade in ``folder``; RunError if one is damaged."""
    return [_audited(f"audit-{i}", about) for i, about in enumerate(read_audits(folder))]


def _audited(name: str, about: dict[str, Any]) -> Audited:
    if about["refused"]:
        return Audited(name, about["title"].capitalize(), refused=about["refused"])
    evidence: list[Evidence] = about["evidence"]
    shown = sum(len(lines) for _, lines in drawn(evidence))
    rest = len(evidence) - shown
    return Audited(
        name,
        about["title"],
        about["asked"],
        about["found"],
        f"{about['about']} On {about['place']}.",
        about["notes"],
        about["limits"],
        figure=audit_figure(evidence) if evidence else None,
        alt=in_words(evidence),
        caption=READING + (f" {rest} more figures are in the table." if rest else ""),
        table=_table(evidence),
    )


def _table(evidence: Sequence[Evidence]) -> Table:
    lines = []
    for line in evidence:
        value, interval = written(line)
        lines.append(
            (
                Cell(line.what, line.part),
                Cell(value),
                Cell(interval),
                Cell(f"{line.count} / {line.groups}"),
            )
        )
    caption = "Every figure of this audit; intervals over whole groups (speakers, videos)."
    return Table(caption, ("", "Mean", "95% interval", "Samples / groups"), tuple(lines))


def written(line: Evidence) -> tuple[str, str]:
    """Return the value, with its unit, and the interval as tables have them; empty where there is none."""
    value, *ends = (None if x is None else f"{round(x, 3) + 0.0:.3f}" for x in (line.value, line.low, line.high))
    return f"{value} {line.unit}".rstrip(), " to ".join(end for end in ends if end)


def write_audit_page(subject: Subject, found: Mapping[str, Findings], page: Path) -> Path:
    """Write findings as one self-contained HTML page, and the same as JSON beside it, ``page`` with ``.json``.

    Raises:
        RunError: it cannot be written.
    """
    import json

    from polymodal.report.page import svg_address, write_whole
    from polymodal.report.templates import read_template

    stored = {name: described(subject, findings) for name, findings in found.items()}
    parts = [_audited(name, opened(about)) for name, about in stored.items()]
    text = read_template("polymodal.report", name="audit_page.html.jinja").render(
        name=subject.name, place=subject.place, parts=parts, svg=svg_address
    )
    write_whole(page, text.encode())
    write_whole(page.with_suffix(".json"), (json.dumps(stored, indent=1) + "\n").encode())
    return page
