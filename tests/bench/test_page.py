"""The page of a board is whole, safe, self-contained, and says the same as its tables."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from polymodal.bench.board import Board
from polymodal.bench.page import write_board
from polymodal.bench.verdict import board_verdict
from polymodal.core import RunError

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Tags, headings, image texts and text of a page; fails on a tag that is not closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.alts: list[str] = []
        self.anchors: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag == "img":
            assert found["src"].startswith("data:image/svg+xml;base64,")
            self.alts.append(found["alt"])
        if found.get("href", "").startswith("#"):
            self.anchors.append(found["href"][1:])
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if "style" not in self.open:
            self.words.append(data)


@pytest.fixture(scope="module")
def written(board: Board, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_board(board, tmp_path_factory.mktemp("board"))


def test_everything_is_written_and_returned(written: dict[str, Path]) -> None:
    folder = written["html"].parent
    assert {written[s].name for s in ("html", "md", "tex", "csv")} == {
        f"leaderboard.{s}" for s in ("html", "md", "tex", "csv")
    }
    assert {p for p in folder.rglob("*") if p.is_file()} == set(written.values())
    # Per corpus: two curves, one area, a radar, two costs; and the ranks.
    assert sum(p.suffix == ".png" for p in written.values()) == 3 * 6 + 1


def test_the_page_is_whole_and_needs_nothing_else(written: dict[str, Path], board: Board) -> None:
    source = written["html"].read_text()
    page = Page(source)
    assert not re.search(r"https?://", source)
    assert not {"script", "link", "iframe"} & set(page.tags)
    corpora = [c.name for c in board.corpora]
    assert page.headings == ["All corpora", *corpora, "Entries", "Left out", "How it was made"]
    assert set(page.anchors) == set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("caption") == page.tags.count("table")
    assert all(page.alts)


def test_page_and_markdown_say_what_the_board_says(written: dict[str, Path], board: Board) -> None:
    words = " ".join(" ".join(Page(written["html"].read_text()).words).split())
    markdown = written["md"].read_text()
    for sentence in (*board_verdict(board), *board.notes, *(left.reason for left in board.left)):
        assert sentence in words
        assert sentence in markdown
    assert board.made["command"] in words


def test_pictures_of_the_markdown_exist(written: dict[str, Path]) -> None:
    folder = written["md"].parent
    names = re.findall(r"\]\((plots/[^)]+)\)", written["md"].read_text())
    assert len(names) == 19
    assert all((folder / name).is_file() for name in names)


@pytest.mark.slow
def test_the_same_board_gives_the_same_files(written: dict[str, Path], board: Board, tmp_path: Path) -> None:
    again = write_board(board, tmp_path)
    assert {k: p.read_bytes() for k, p in again.items()} == {k: p.read_bytes() for k, p in written.items()}


def test_names_cannot_become_markup(board: Board, evil: str, tmp_path: Path) -> None:
    few = tuple(f for f in board.figures if f.condition in ("complete", "subset:text"))
    renamed = replace(
        board,
        title=evil,
        notes=(evil,),
        entries=tuple(replace(e, name=evil, paper=evil) if e.name == "cyin" else e for e in board.entries),
        figures=tuple(replace(f, entry=evil) if f.entry == "cyin" else f for f in few),
        costs=(),
        contrasts=(),
    )
    files = write_board(renamed, tmp_path)
    page = Page(files["html"].read_text())
    assert "b" not in page.tags
    assert evil in page.words
    assert "<b>" not in files["md"].read_text()


def test_a_board_without_figures_has_a_page(board: Board, tmp_path: Path) -> None:
    files = write_board(replace(board, figures=(), costs=(), contrasts=()), tmp_path)
    assert set(files) == {"html", "md", "tex", "csv"}
    assert "no entry has a figure" in files["md"].read_text()


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(board: Board, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_board(replace(board, figures=(), costs=(), contrasts=()), tmp_path / "file")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(written: dict[str, Path], scheme: str) -> None:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "no chromium on this machine"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
        page.goto(written["html"].as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        browser.close()
