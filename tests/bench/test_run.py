"""Cells are run once, shared, resumed, and their figures are those of the predictions."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from polymodal.bench import Board, bench, read_plan
from polymodal.bench.job import Cell, Outcome, broken, prepared, run_cell
from polymodal.bench.keys import content_key
from polymodal.bench.plan import BenchPlan, Conditions, EntryPlan
from polymodal.core import OptionError, RunError
from polymodal.core.locks import locked
from polymodal.data.progress import console
from polymodal.data.sources import load_corpus
from polymodal.stress import conditions

STRESS = ("missing:rate=0.2/0.6", "noise:snr=0")
TINY = EntryPlan("late-fusion", "late-fusion", options={"width": 8, "epochs": 2})


@pytest.fixture(autouse=True)
def _loud():
    yield
    console.quiet = False


def cell(folder: Path, entry: EntryPlan = TINY, source: str = "synthetic:xor?n=24", seed: int = 1) -> Cell:
    return Cell(entry, "xor", source, seed, Conditions(STRESS), folder, "cpu")


def one_run(outcome: Outcome) -> Path:
    assert outcome.run is not None, outcome.reason
    return outcome.run


def test_a_cell_is_tested_in_every_condition_on_the_test_split(tmp_path: Path) -> None:
    folder = one_run(run_cell(cell(tmp_path)))
    table = parquet.read_table(folder / "predictions.parquet").to_pandas()
    names = ["complete", "subset:audio", "subset:vision", "missing:rate=0.2", "missing:rate=0.6", "noise:snr=0"]
    assert set(table["condition"]) == set(names)
    assert set(table["id"]) == set(load_corpus("synthetic:xor?n=24")["test"].ids)
    facts = json.loads((folder / "cell.json").read_text())
    assert facts["parameters"] > 0
    assert facts["latency_ms"] > 0
    assert facts["epochs"] == 2
    assert not list(folder.rglob("last.safetensors"))


def test_a_finished_cell_is_not_run_again_and_a_new_condition_costs_no_training(tmp_path: Path) -> None:
    first = cell(tmp_path)
    folder = one_run(run_cell(first))
    weights, predictions = folder / "seed-1/best.safetensors", folder / "predictions.parquet"
    before = weights.stat().st_mtime_ns, predictions.stat().st_mtime_ns
    again = run_cell(first)
    assert (again.run, again.reused) == (folder, True)
    assert (weights.stat().st_mtime_ns, predictions.stat().st_mtime_ns) == before
    more = run_cell(replace(first, tests=Conditions((*STRESS, "swap:p=0.5"))))
    assert (more.run, more.reused) == (folder, False)
    assert weights.stat().st_mtime_ns == before[0]
    assert "swap:p=0.5" in parquet.read_table(predictions)["condition"].to_pylist()
    # A benchmark with fewer conditions finds its own among them, and the others stay.
    assert run_cell(first).reused
    assert "swap:p=0.5" in parquet.read_table(predictions)["condition"].to_pylist()


def test_a_cell_without_a_known_peak_of_memory_takes_further_conditions(tmp_path: Path) -> None:
    first = cell(tmp_path)
    folder = one_run(run_cell(first))
    facts = json.loads((folder / "cell.json").read_text()) | {"memory_mib": None}
    (folder / "cell.json").write_text(json.dumps(facts))
    assert one_run(run_cell(replace(first, tests=Conditions(("swap:p=0.5",))))) == folder
    kept = set(parquet.read_table(folder / "predictions.parquet")["condition"].to_pylist())
    assert {"missing:rate=0.2", "swap:p=0.5"} <= kept


def test_settings_seed_and_data_make_another_cell(tmp_path: Path) -> None:
    base = cell(tmp_path)
    others = [
        replace(base, seed=2),
        replace(base, source="synthetic:xor?n=26"),
        replace(base, tuned={"width": 4}),
        replace(base, entry=replace(TINY, options={"width": 8, "epochs": 2, "train_stress": "missing:rate=0.3"})),
    ]
    folders = {one_run(run_cell(c)) for c in (base, *others)}
    assert len(folders) == 5
    # The name of the entry and of the corpus are words, not content.
    assert one_run(run_cell(replace(base, entry=replace(TINY, name="other")))) in folders


def test_a_method_that_does_not_fit_is_left_out_and_a_wrong_option_is_a_failure(tmp_path: Path) -> None:
    left = run_cell(cell(tmp_path, EntryPlan("self-mm", "self-mm")))
    assert (left.run, left.failed) == (None, False)
    assert "cannot learn classification" in left.reason
    wrong = run_cell(cell(tmp_path, EntryPlan("x", "late-fusion", options={"widht": 8})))
    assert (wrong.run, wrong.failed) == (None, True)
    assert "did you mean 'width'" in wrong.reason
    absent = run_cell(cell(tmp_path, source="synthetic:none"))
    assert absent.failed
    assert broken(ValueError("x")).failed
    assert "memory" in broken(None).reason


def test_another_encoder_is_another_cell_and_one_of_an_absent_modality_is_no_mistake(tmp_path: Path) -> None:
    entries = [replace(TINY, encoder=asked) for asked in ({}, {"text": "bow"}, {"voice": "minilm"})]
    plain, named, absent = (prepared(cell(tmp_path, entry, "synthetic:talk?n=20")) for entry in entries)
    keys = [content_key(*found, "cpu") for found in (plain, named, absent)]
    assert keys[0] == keys[2] != keys[1]


def test_a_killed_cell_goes_on(tmp_path: Path) -> None:
    first = cell(tmp_path)
    folder = one_run(run_cell(first))
    expected = parquet.read_table(folder / "predictions.parquet")
    (folder / "cell.json").unlink()  # killed while it was tested
    assert one_run(run_cell(first)) == folder
    assert parquet.read_table(folder / "predictions.parquet").equals(expected)


@pytest.fixture(scope="module")
def plan() -> BenchPlan:
    tiny = {"width": 8, "epochs": 2}
    return read_plan(
        None,
        {
            "methods": [
                {"method": "late-fusion", "set": tiny},
                {"method": "late-fusion", "set": tiny, "train_stress": "missing:rate=0.5", "name": "augmented"},
                "self-mm",
            ],
            "corpora": {"xor": ["synthetic:xor?n=24", "synthetic:xor?n=24&seed=1"]},
            "preset": "",
            "seeds": [1, 2],
            "stress": list(STRESS),
        },
    )


@pytest.fixture(scope="module")
def done(plan: BenchPlan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Board, Path]:
    folder = tmp_path_factory.mktemp("bench")
    os.environ["POLYMODAL_CACHE"] = str(folder / "cache")
    return bench(plan, folder, workers=2, device="cpu"), folder


def test_the_board_holds_every_entry_condition_and_area(done: tuple[Board, Path], plan: BenchPlan) -> None:
    board, folder = done
    assert [e.name for e in board.entries] == ["linear", "late-fusion", "augmented", "self-mm"]
    assert [(x.entry, x.failed) for x in board.left] == [("self-mm", False)]
    main = {(f.entry, f.condition, f.series): f for f in board.figures if f.main}
    assert len(main) == 3 * (1 + 2 + 3 + 1)
    complete, low, high = (
        main["augmented", c, s]
        for c, s in (("complete", ""), ("missing:rate=0.2", "missing:rate"), ("missing:rate=0.6", "missing:rate"))
    )
    # Two modalities: a rate of 0.6 is one of 0.5, where one of them is left.
    wanted = ((complete.mean + low.mean) / 2 * 0.2 + (low.mean + high.mean) / 2 * 0.3) / 0.5
    assert main["augmented", "area", "missing:rate"].mean == pytest.approx(wanted)
    assert complete.count == 2 * 20  # both folds
    assert len(complete.seeds) == 2
    assert complete.groups == 4
    assert complete.least <= complete.mean <= complete.most
    assert np.isnan(complete.low)
    pairs = [(c.first, c.second) for c in board.contrasts]
    assert ("augmented", "late-fusion") in pairs
    assert {second for _, second in pairs} == {"linear", "late-fusion"}
    by_hand = main["augmented", "area", "missing:rate"].mean - main["late-fusion", "area", "missing:rate"].mean
    assert board.contrasts[pairs.index(("augmented", "late-fusion"))].difference == pytest.approx(by_hand)
    assert {c.groups for c in board.contrasts} == {4}
    assert board.made["trainings"] == 2 * 4 * 2
    assert repr(Board.load(folder / "board.json")) == repr(board)


def test_figures_follow_from_the_predictions_of_the_cells(done: tuple[Board, Path]) -> None:
    board, folder = done
    entries = {e.name: e for e in board.entries}
    assert entries["augmented"].settings["train_stress"] == "missing:rate=0.5"
    right = []
    for run in folder.glob("runs/linear-*"):
        table = parquet.read_table(run / "predictions.parquet").to_pandas()
        part = table[table["condition"] == "noise:snr=0"]
        right.append((part["agreement/true"] == part["agreement/predicted"]).mean())
    found = next(f for f in board.figures if (f.entry, f.condition, f.metric) == ("linear", "noise:snr=0", "accuracy"))
    assert len(right) == 4
    assert found.mean == pytest.approx(np.mean(right))


def test_a_second_time_nothing_is_run(done: tuple[Board, Path], plan: BenchPlan) -> None:
    board, folder = done
    again = bench(plan, folder, workers=2, device="cpu")
    assert again.made["reused"] == again.made["trainings"] - 4  # those that cannot be run leave nothing to reuse
    assert repr(again.figures) == repr(board.figures)


@pytest.mark.slow
def test_a_board_shows_its_own_conditions_of_shared_cells(done: tuple[Board, Path], plan: BenchPlan) -> None:
    less = bench(replace(plan, tests=Conditions((), False)), done[1], workers=2, device="cpu")
    assert {f.condition for f in less.figures} == {"complete"}
    assert less.made["reused"] == less.made["trainings"] - 4


def test_two_benchmarks_do_not_share_a_folder_at_the_same_time(plan: BenchPlan, tmp_path: Path) -> None:
    with locked(tmp_path / ".lock"), pytest.raises(RunError, match="another polymodal bench works in"):
        bench(plan, tmp_path, workers=1, device="cpu")


def test_nothing_to_run_is_an_error(tmp_path: Path) -> None:
    plan = read_plan(None, {"methods": ["self-mm"], "corpora": ["synthetic:none"], "seeds": [1]})
    with pytest.raises(RunError, match="nothing could be run; the first reason"):
        bench(plan, tmp_path, workers=1, device="cpu")
    with pytest.raises(OptionError, match="workers must be at least 1"):
        bench(plan, tmp_path, workers=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot create"):
        bench(plan, tmp_path / "file")


def test_conditions_are_named_as_stresses() -> None:
    schema = load_corpus("synthetic:talk?n=20").schema
    names = [point.text for point in conditions(schema)]
    assert names[:4] == ["complete", "subset:text,audio", "subset:text,vision", "subset:audio,vision"]
    assert len(names) == 7


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_board(done: tuple[Board, Path], plan: BenchPlan, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    found = bench(replace(plan, entries=plan.entries[:2]), tmp_path, workers=2, ray="local", device="cpu")
    ours = {(f.entry, f.condition, f.series, f.metric): f.mean for f in done[0].figures}
    for figure in found.figures:
        assert figure.mean == pytest.approx(
            ours[figure.entry, figure.condition, figure.series, figure.metric], nan_ok=True
        )


def test_the_command_of_a_board_names_no_folders_of_this_machine(
    plan: BenchPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    words = ["bench", "plans/b.yaml", "--out", str(mine), f"--board={mine}", "--corpora", f"hf:{mine}?text=a/b"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/polymodal", *words])
    board = bench(replace(plan, entries=plan.entries[:1]), tmp_path, workers=1, device="cpu")
    assert board.made["command"] == "polymodal bench plans/b.yaml --out mine --board=mine --corpora hf:mine?text=a/b"
