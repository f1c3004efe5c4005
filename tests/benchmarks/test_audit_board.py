"""Which methods of a board are audited, with which settings, and the page of what was found."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from polymodal.bench.board import Board
from polymodal.bench.published import Published
from polymodal.core import Batch, Modality, Schema, Stream, Target
from polymodal.data.split import build_split

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module("audit_board")


@pytest.fixture
def board(benchmark: ModuleType) -> Board:
    return Published.load(benchmark.BOARD).board


def test_the_best_are_those_beside_the_floor_by_mean_rank(benchmark: ModuleType, board: Board) -> None:
    found = benchmark.best(board)
    assert len(found) == 5
    assert [rank for _, rank in found] == sorted(rank for _, rank in found)
    assert not any(entry.floor or entry.prior != "none" for entry, _ in found)
    worst = {e.name for e, _ in found}
    others = [r for e, r in benchmark.best(board, 99) if e.name not in worst]
    assert others
    assert min(others) >= found[-1][1]


def test_a_better_entry_of_other_priors_is_not_taken(benchmark: ModuleType, board: Board) -> None:
    first = benchmark.best(board)[0][0].name
    entries = tuple(replace(e, prior="told") if e.name == first else e for e in board.entries)
    assert first not in {e.name for e, _ in benchmark.best(replace(board, entries=entries))}


def test_settings_are_those_of_the_search_on_the_same_split(benchmark: ModuleType, board: Board) -> None:
    entry = benchmark.best(board)[0][0].name
    folds = next(c for c in board.corpora if c.name == "ravdess_av").sources
    wanted = {s.source: s.options for s in board.searches if (s.entry, s.corpus) == (entry, "ravdess_av")}
    assert [benchmark.tuned(board, entry, "ravdess_av", f) for f in folds] == [wanted[f] for f in folds]
    assert benchmark.tuned(board, entry, "ravdess_av", "elsewhere") == {}


SCHEMA = Schema((Modality("x", "vector", 1),), (Target("y", "regression", (0, 9)),))


class Member:
    """A run that says one number of all."""

    schema = SCHEMA
    normalizer = None

    def __init__(self, number: float) -> None:
        self.number = number

    def method(self) -> float:
        return self.number


def test_a_sample_is_judged_by_the_run_of_its_own_fold(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def panel(methods: list[float], _: object) -> Any:
        return lambda batch: {"y": torch.full((len(batch),), methods[0])}

    monkeypatch.setattr(benchmark, "Panel", panel)
    tested = [
        build_split(SCHEMA, ids, {"x": [[0.0]] * len(ids)}, {"y": [0.0] * len(ids)}) for ids in (["a", "b"], ["c"])
    ]
    judge = benchmark.OwnFold([Member(1.0), Member(2.0)], tested)
    batch = Batch({"x": Stream(torch.zeros(3, 1), None, torch.ones(3, dtype=torch.bool))}, {}, ["c", "a", "b"])
    assert judge(batch)["y"].tolist() == [2.0, 1.0, 1.0]


def line(
    what: str, value: float, part: str = "", low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    return {"what": what, "part": part, "value": value, "low": low, "high": high, "count": 40, "groups": 20}


def asked(
    *lines: dict[str, Any], found: tuple[str, ...] = (), refused: str = "", seconds: float = 1.0
) -> dict[str, Any]:
    return {
        "evidence": list(lines), "found": list(found), "notes": [], "refused": refused, "seconds": seconds
    }  # fmt: skip


@pytest.fixture
def stored() -> dict[str, Any]:
    parts = [line(n, 0.1 * i, "a and b, in the labels") for i, n in enumerate(("r", "a", "b", "s", "shuffled"))]
    said = [line(n, 0.5, "a and b, in the answers of the model") for n in "rabs"]
    audits = {
        "importance": asked(line("importance of a", 0.25, low=0.2, high=0.3), line("right with nothing at all", 0.5)),
        "shapley": asked(line("y: moved by a (100 % of all)", 0.75)),
        "pid": asked(*parts, *said, seconds=3.0),
        "interference": asked(line("a misleading one", 0.125, "a is not needed: answers that change with")),
        "bias": asked(line("slice 1", 0.4, "slices"), line("slice 2", 0.1, "slices"), found=("Slice 1, x: +0.4.",)),
        "fairness": asked(
            line("difference, f from m: answer", 0.2, "sex: answer", 0.1, 0.3),
            line("difference, f from m: error", 0.0, "sex: error", -0.1, 0.1),
            line("sex told from its answers", 0.6, "sex: told by a probe", 0.5, 0.7),
            line("sex told by chance", 0.5, "sex: told by a probe"),
        ),
        "dilution": asked(refused="there is no raw text"),
    }
    machine = {"date": "2026-01-01", "cores": 2, "processor": "x", "python": "3", "torch": "2"}
    row = {"method": "misa", "training": 2.0, "audits": audits}
    return {
        "board": {"date": "2026-01-01", "hash": "0f"},
        "entries": [{"name": "misa", "rank": 4.6}],
        "asked": ["talk", "later"],
        "audits": list(audits),
        "corpora": {"talk": {"machine": machine, "folds": 1, "rows": [row]}},
    }


def test_the_page_has_what_was_found_with_intervals_costs_and_refusals(
    benchmark: ModuleType, stored: dict[str, Any]
) -> None:
    text = benchmark.page(stored)
    (found,) = [x for x in text.splitlines() if x.startswith("| talk (40 / 20)")]
    assert [cell.strip() for cell in found.split("|")][2:-1] == [
        "misa",
        "a 0.250 (0.200 to 0.300)",
        "a 0.750",
        "a (of 40) 0.125",
        "1 of 2",
        "sex: told 0.600 (0.500 to 0.700) [0.50]; differences 1 of 2",
    ]
    assert "| talk | a and b | labels | 0.000 | 0.100 | 0.200 | 0.300 |" in text
    assert "| talk | a and b | labels, shuffled | | | | 0.400 |" in text
    assert "| talk | a and b | answers of misa | 0.500 | 0.500 | 0.500 | 0.500 |" in text
    assert "| talk | misa | 2.0 | 0.50 | 0.50 | 1.50 | 0.50 | 0.50 | 0.50 | - | 4.00 |" in text
    assert "- `dilution` (talk): there is no raw text." in text
    assert "Not done yet: later." in text


def test_what_was_not_asked_is_said_in_the_table(benchmark: ModuleType, stored: dict[str, Any]) -> None:
    (row,) = stored["corpora"]["talk"]["rows"]
    for audit in ("bias", "fairness"):
        row["audits"][audit] = asked(refused="it makes no sense")
    (found,) = [x for x in benchmark.page(stored).splitlines() if x.startswith("| talk (40 / 20)")]
    assert found.endswith("| not asked | not asked |")
