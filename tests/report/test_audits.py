"""Audits on a page: names that do not repeat their heading, headings that are whole, refusals as sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from polymodal.audit.base import Evidence, Findings
from polymodal.audit.subject import subject_of
from polymodal.data.sources import load_corpus
from polymodal.report.audit_plots import audit_figure, named
from polymodal.report.audits import write_audit_page

PART = "gender: chosen where deserved: upper quarter"
LINES = [
    Evidence(f"{who}: chosen where deserved: upper quarter", 0.1, 9, 9, part=PART)
    for who in ("gender g0", "difference, g0 from g1 of those who are known")
]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (LINES[0], "gender g0"),
        (Evidence("redundant", 0.1, 9, 9, part="a and b, in the labels"), "redundant"),
        (Evidence("its own", 0.1, 9, 9, part="a is not needed: how right with"), "its own"),
        (Evidence("importance of a", 0.1, 9, 9), "importance of a"),
    ],
)
def test_a_name_does_not_repeat_its_heading(line: Evidence, name: str) -> None:
    assert named(line) == name


def test_a_long_heading_is_whole_within_the_figure() -> None:
    figure = audit_figure(LINES)
    figure.draw_without_rendering()
    (heading,) = [text for ax in figure.axes for text in ax.texts]
    assert heading.get_text() == PART
    box = heading.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height
    assert box.y0 >= figure.axes[0].get_window_extent().y1


def test_a_refusal_is_a_sentence(tmp_path: Path) -> None:
    subject = subject_of(lambda batch: batch["posture"].tensor[:, 0], load_corpus("synthetic:vectors?n=12"))
    refused = Findings("bias", "", [], {}, refused="it makes no sense here")
    page = write_audit_page(subject, {"bias": refused}, tmp_path / "page.html")
    assert "Not asked: it makes no sense here.</p>" in page.read_text()
