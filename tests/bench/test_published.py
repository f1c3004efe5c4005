"""A published board tells a run its place, and takes further entries, without training its own again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polymodal import evaluate, fit
from polymodal.bench import Board, bench, read_plan
from polymodal.bench.against import standings
from polymodal.bench.page import write_board
from polymodal.bench.published import Published, joined
from polymodal.bench.run import added
from polymodal.cli.main import main
from polymodal.core import DataError, OptionError, RunError
from polymodal.data.progress import console

DATA = "synthetic:xor?n=130"
WIDE = {"width": 8, "epochs": 2}
ASKED = {
    "methods": [{"method": "late-fusion", "set": {"width": 8}}, {"method": "early-fusion", "set": {"width": 8}}],
    "corpora": {"xor": DATA},
    "training": {"epochs": 2},
    "preset": "",
    "protocol": "missmac",
    "seeds": [1, 2],
}


@pytest.fixture(autouse=True)
def _loud():
    yield
    console.quiet = False


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Board, Path]:
    folder = tmp_path_factory.mktemp("board")
    board = bench(read_plan(None, ASKED), folder / "runs", workers=1, device="cpu", publish=folder / "board")
    assert not board.left
    return board, folder / "board"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("runs") / "mine"
    found = fit("late-fusion", DATA, options=WIDE, seeds=(1, 2), device="cpu", out=out)
    evaluate(found, stress=["missing-share:rate=0.1/0.2/0.3/0.4/0.5"])
    return found


def figure(board: Board, entry: str, condition: str) -> float:
    return next(f.mean for f in board.figures if f.main and (f.entry, f.condition) == (entry, condition))


@pytest.mark.slow
def test_published_predictions_give_the_boards_figures_to_the_last_digit(made: tuple[Board, Path]) -> None:
    board, folder = made
    published = Published.load(folder)
    found = {r.name: r for r in published.results("xor")}
    assert set(found) == {"linear", "late-fusion", "early-fusion"}
    for name, results in found.items():
        again = {f.condition: f for f in results.figures("xor", published.tests) if f.main}
        assert set(again) == {"complete", "area", *(f"missing-share:rate={r}" for r in (0.1, 0.2, 0.3, 0.4, 0.5))}
        for condition, f in again.items():
            assert f.mean == figure(board, name, condition)
            assert math.isfinite(f.low)


def test_a_run_finds_its_own_row_and_its_place(made: tuple[Board, Path], run) -> None:
    board, folder = made
    complete, area = standings(run, Published.load(folder))
    assert (complete.key, area.key) == ("complete", "area of missing-share:rate")
    for found, condition in ((complete, "complete"), (area, "area")):
        rows = {row.name: row for row in found.rows}
        assert rows["mine"].own
        assert rows["mine"].mean == figure(board, "late-fusion", condition)  # the same training, to the last digit
        assert rows["late-fusion"].difference == 0
        assert not rows["late-fusion"].told
        assert [row.place for row in found.rows] == [1, 2, 3, 4]
        means = [row.mean for row in found.rows]
        assert means == sorted(means, reverse=found.higher_is_better)
    assert complete.warnings == ()


def test_a_run_that_is_better_is_told_so(made: tuple[Board, Path], run, tmp_path: Path) -> None:
    published = Published.load(made[1])
    results = published.results("xor")
    truth = results[0].whole["true"]
    for result in results:  # as if the entries had guessed, and the run known
        for by_condition in result.said.values():
            for columns in by_condition.values():
                columns["predicted"][:] = np.random.default_rng(0).permutation(truth)
    again = [type(r).of(r.name, r.schema, r.said) for r in results]

    class Guessing(Published):
        def results(self, corpus, rows=None):
            return again

    known = fit("linear", DATA, seeds=(1,), device="cpu", out=tmp_path / "known")
    evaluate(known, subsets=False)
    file = known.path / "evaluation/predictions.parquet"
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(file)
    name = known.schema.targets[0].name
    place = table.column_names.index(f"{name}/predicted")
    parquet.write_table(table.set_column(place, f"{name}/predicted", pa.array(table[f"{name}/true"].to_pylist())), file)
    (found,) = standings(known, Guessing(**published.__dict__))
    assert found.rows[0].own
    assert all(row.told for row in found.rows[1:])


def test_the_command_prints_the_place_and_json(made: tuple[Board, Path], run, capsys) -> None:
    assert main(["compare", str(run.path), "--against", str(made[1])]) == 0
    out = capsys.readouterr().out
    assert "mine on xor" in " ".join(out.split())
    assert "cannot be told" in " ".join(out.split())
    assert main(["compare", str(run.path), "--against", str(made[1]), "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert [one["key"] for one in held[str(run.path)]] == ["complete", "area of missing-share:rate"]


def test_what_cannot_be_compared_is_said(made: tuple[Board, Path], run, tmp_path: Path) -> None:
    published = Published.load(made[1])
    other = fit("linear", "synthetic:pair?n=400", device="cpu", out=tmp_path / "other")
    with pytest.raises(DataError, match="was not evaluated yet; run: polymodal evaluate"):
        standings(other, published)
    evaluate(other, subsets=False)
    with pytest.raises(DataError, match=r"is no corpus of the board .* \(xor\)"):
        standings(other, published)
    with pytest.raises(RunError, match="holds no published board"):
        Published.load(tmp_path)
    elsewhere = fit("linear", DATA + "&modalities=audio", device="cpu", out=tmp_path / "elsewhere")
    evaluate(elsewhere, subsets=False)
    (found,) = standings(elsewhere, published)
    assert "trained on other data than the entries" in found.warnings[0]


@pytest.mark.slow
def test_an_entry_is_added_with_what_the_others_had(made: tuple[Board, Path], tmp_path: Path) -> None:
    board, folder = made
    published = Published.load(folder)
    plan = added(published, ["lf-dnn"])
    assert [e.name for e in plan.entries] == ["lf-dnn"]
    assert plan.entries[0].options == {"epochs": 2}
    assert (plan.seeds, plan.tests) == ((1, 2), published.tests)
    whole = bench(plan, tmp_path / "runs", workers=1, device="cpu", beside=published)
    assert [e.name for e in whole.entries] == ["linear", "late-fusion", "early-fusion", "lf-dnn"]
    assert {f.entry for f in whole.figures} == {e.name for e in whole.entries}
    assert len(whole.contrasts) == len(board.contrasts) + 1
    assert figure(whole, "late-fusion", "area") == figure(board, "late-fusion", "area")
    assert Board.load(tmp_path / "runs" / "board.json").entries == whole.entries
    with pytest.raises(OptionError, match="late-fusion is on the board already"):
        added(published, ["late-fusion"])
    moved = replace(whole, corpora=tuple(replace(c, hashes=("other",)) for c in whole.corpora))
    with pytest.raises(RunError, match="xor is not the corpus"):
        joined(published, moved, [], {})


@pytest.mark.slow
def test_a_published_board_grows(made: tuple[Board, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, folder = made
    grown = tmp_path / "grown"
    for name in ("lf-dnn", "ef-lstm"):
        published = Published.load(grown if grown.exists() else folder)
        plan = added(published, [name])
        whole = bench(plan, tmp_path / "runs", workers=1, device="cpu", beside=published, publish=grown)
    published = Published.load(grown)
    names = [e.name for e in board.entries] + ["lf-dnn", "ef-lstm"]
    assert [r.name for r in published.results("xor")] == [e.name for e in published.board.entries] == names
    assert [m if isinstance(m, str) else m["method"] for m in published.asked["methods"]][-2:] == ["lf-dnn", "ef-lstm"]
    added_lines = [s for s in write_board(published.board, tmp_path)["md"].read_text().splitlines() if "added: " in s]
    assert [line.startswith("- added: date 20") for line in added_lines] == [True, True]
    for results in published.results("xor"):
        complete = next(f for f in results.figures("xor", published.tests) if f.main and f.condition == "complete")
        assert complete.mean == figure(whole, results.name, "complete")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polymodal.bench.published.write_table", full)
    with pytest.raises(RunError, match=r"cannot publish into .*No space left"):
        bench(added(published, ["mfn"]), tmp_path / "runs", workers=1, device="cpu", beside=published, publish=grown)
    with pytest.raises(RunError, match="holds no published board"):
        Published.load(grown)


def test_a_board_without_its_figures_is_none(made: tuple[Board, Path], tmp_path: Path) -> None:
    again = shutil.copytree(made[1], tmp_path / "board")
    assert repr(Published.load(again).board) == repr(made[0])
    (again / "figures.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"figures.parquet cannot be read \(.*publish the board again$"):
        Published.load(again)


def test_pairs_that_a_plan_declares_are_not_asked_of_an_added_entry(made: tuple[Board, Path]) -> None:
    published = Published.load(made[1])
    published.asked["contrasts"] = [["late-fusion", "early-fusion"]]
    assert added(published, ["lf-dnn"]).contrasts == (("lf-dnn", "linear"),)
    assert added(published, ["mcr"]).contrasts == (("mcr", "late-fusion"), ("mcr", "linear"))


def test_adding_takes_nothing_else(capsys) -> None:
    assert main(["bench", "--add", "lf-dnn", "--trials", "3"]) != 0
    assert "leave out the plan and its options" in " ".join(capsys.readouterr().err.split())
