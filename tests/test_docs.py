"""The pages in docs/ agree with the code: help texts, excerpts, tables, snippets, links."""

from __future__ import annotations

import re
import runpy
from dataclasses import asdict
from pathlib import Path

import pytest

from polymodal.cli.main import COMMANDS, main
from polymodal.core import Target
from polymodal.train.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(p.name for p in DOCS.glob("*.md"))
FENCE = re.compile(r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```', re.MULTILINE | re.DOTALL)
FENCES = [
    (page, m["language"], m["title"], m["text"]) for page in PAGES for m in FENCE.finditer((DOCS / page).read_text())
]


def test_what_is_generated_is_current() -> None:
    text = (DOCS / "commands.md").read_text()
    assert runpy.run_path(str(DOCS / "make_commands.py"))["updated"](text) == text, "run: python docs/make_commands.py"
    page = runpy.run_path(str(DOCS / "make_which.py"))["page"]()
    assert (DOCS / "which-method.md").read_text() == page, "run: python docs/make_which.py"
    for name in COMMANDS:
        assert f"$ polymodal {name} --help\nusage: polymodal {name} " in text


@pytest.mark.parametrize(
    ("title", "text"), [(title, text) for _, _, title, text in FENCES if title and "/" in title], ids=lambda x: x[:40]
)
def test_excerpts_are_lines_of_their_files(title: str, text: str) -> None:
    lines = iter((ROOT / title).read_text().splitlines())
    wanted = [line for line in text.splitlines() if line.strip() not in ("", "...")]
    assert [line for line in wanted if line not in lines] == []  # ``in`` moves the iterator on: the order counts


@pytest.mark.parametrize("page", sorted({page for page, language, *_ in FENCES if language == "python"}))
def test_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for _, language, title, text in (f for f in FENCES if f[0] == page):
        if language == "python" and title is None:
            exec(compile(text, page, "exec"), names)
        elif language == "python" and "/" not in title:
            (tmp_path / title).write_text(text)
            assert main(["data", "info", f"{title}:corpus"]) == 0
            assert main(["fit", "linear", "--data", f"{title}:corpus?size=40"]) == 0


def test_the_recipe_is_documented_whole_with_its_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| ", (DOCS / "training.md").read_text(), flags=re.MULTILINE)
    defaults = {n: (str(v).lower() if isinstance(v, bool) else str(v)) or "none" for n, v in asdict(Recipe()).items()}
    assert dict(rows) == defaults


def test_every_metric_is_defined() -> None:
    text = (DOCS / "protocols.md").read_text()
    targets = [
        Target("y", "regression", (-3, 3)),
        Target("y", "regression", (-1, 1)),
        Target("y", "regression", (0, 9)),
        Target("y", "classification", classes=("a", "b")),
        Target("y", "multilabel", classes=("a",)),
        Target("y", "retrieval"),
    ]
    sections = dict(zip(targets, text.split("\n### ")[1:], strict=True))
    for target, section in sections.items():
        for name in target.spec.metrics:
            assert f"`{re.sub('/.*', '/<class>', name)}`" in section, (target.task, name)


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page: str) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", (DOCS / page).read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)", prose)
    assert [x for x in links if not (DOCS / x).exists()] == []


def test_every_page_is_in_the_menu() -> None:
    menu = re.findall(r"^  - .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert sorted(menu) == PAGES


def test_what_a_model_can_explain_of_the_demos_corpus_is_what_its_plan_says() -> None:
    from polymodal.data.plans import PLANS

    limits = PLANS["sarcasm"].limits["sentiment"]
    text = " ".join((DOCS / "index.md").read_text().split())
    assert f"can explain {100 * limits['linear']:.0f} % of the sentiment's variance" in text
    assert f"the best possible function {100 * limits['bayes']:.0f} %" in text
