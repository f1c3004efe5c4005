"""A search tries an entry's own settings first, stays within its budget, and goes on where it was stopped."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="the extra 'search' is not installed")

from polymodal.bench import Search, search
from polymodal.bench.job import Cell
from polymodal.bench.plan import Conditions, EntryPlan
from polymodal.data.progress import console
from polymodal.train.space import default_space


@pytest.fixture(autouse=True)
def _loud():
    yield
    console.quiet = False


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What was trained with; its loss is the distance of the rate from 2e-3."""
    seen: list[dict] = []

    def loss(plan, cell, trial, place):
        seen.append({"lr": plan.recipe.lr, "width": plan.config["options"]["width"]})
        return abs(plan.recipe.lr - 2e-3)

    monkeypatch.setattr(search, "trained_loss", loss)
    return seen


def cell(folder: Path, **changes) -> Cell:
    entry = EntryPlan("late-fusion", "late-fusion", options={"width": 8, "lr": 5e-4, "epochs": 1})
    return replace(Cell(entry, "xor", "synthetic:xor?n=24", 3, Conditions((), False), folder, "cpu"), **changes)


SPACE = {"lr": [1e-4, 3e-3], "width": {"choices": [8, 16]}}


def test_own_settings_come_first_and_the_best_is_returned(tmp_path: Path, tried: list[dict]) -> None:
    best = search.run_search((cell(tmp_path), Search(5, SPACE))).options
    assert tried[0] == {"lr": 5e-4, "width": 8}
    assert len(tried) == 5
    assert best == min(tried, key=lambda t: abs(t["lr"] - 2e-3))


def test_a_search_is_not_repeated_and_can_be_continued(tmp_path: Path, tried: list[dict]) -> None:
    first = search.run_search((cell(tmp_path), Search(3, SPACE)))
    assert search.run_search((cell(tmp_path), Search(3, SPACE))) == first
    assert len(tried) == 3
    search.run_search((cell(tmp_path), Search(4, SPACE)))
    assert len(tried) == 4


def test_a_search_that_is_killed_ends_where_another_does(
    tmp_path: Path, tried: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, whole = search.run_search((cell(tmp_path / "whole"), Search(5, SPACE))), list(tried)
    tried.clear()
    loss, kills = search.trained_loss, [0, 0, 2, 4]  # how many trials have ended when it is killed

    def killed(plan, cell, trial, place):
        if kills and kills[0] == len(tried):
            kills.pop(0)
            raise SystemExit  # Optuna lets it pass, as it would a kill: the trial is said to be running
        assert not list(place.iterdir())
        return loss(plan, cell, trial, place)

    monkeypatch.setattr(search, "trained_loss", killed)
    for _ in range(4):
        with pytest.raises(SystemExit):
            search.run_search((cell(tmp_path), Search(5, SPACE)))
        (log,) = (tmp_path / "search").glob("*.log")
        log.with_name(f"{log.name}.lock").symlink_to(log)  # as if Optuna had been writing
        (trial := log.with_suffix(".trial")).mkdir()
        (trial / "best.safetensors").write_text("of the trial that was killed")
    began = time.monotonic()
    assert search.run_search((cell(tmp_path), Search(5, SPACE))) == wanted
    assert time.monotonic() - began < 15
    assert tried == whole
    assert not [p.name for p in (tmp_path / "search").iterdir() if p.suffix not in (".log", ".lock")]


def test_settings_that_do_not_go_together_are_a_lost_trial(tmp_path: Path, tried: list[dict]) -> None:
    best = search.run_search((cell(tmp_path), Search(4, {"width": {"choices": [-1, 8]}})))
    assert best.options == {"width": 8}
    assert len(tried) < 4 or all(t["width"] == 8 for t in tried)


def test_an_option_of_other_methods_is_not_searched(tmp_path: Path, tried: list[dict]) -> None:
    best = search.run_search((cell(tmp_path), Search(2, {"lr": [1e-4, 3e-3], "memory": [1, 3]})))
    assert set(best.options) == {"lr"}


def test_a_closed_form_has_nothing_to_search(tmp_path: Path, tried: list[dict]) -> None:
    assert search.run_search((cell(tmp_path, entry=EntryPlan("linear", "linear")), Search(3))) == search.Found()
    assert tried == []


def test_the_space_of_every_method_has_its_dropouts_that_are_numbers(tmp_path: Path) -> None:
    found = default_space({"dropout": 0.1, "text_dropout": 0, "dropouts": {"text": 0.1}, "width": 8})
    assert set(found) == {"lr", "weight_decay", "dropout", "text_dropout"}


@pytest.mark.parametrize("method", ["mult", "cyin", "mib"])
def test_every_method_can_be_searched_with_its_own_space(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "trained_loss", lambda plan, cell, trial, place: plan.recipe.lr)
    entry = EntryPlan(method, method, preset="cpu", options={"epochs": 1}, encode={"text": "none"})
    found = search.run_search((cell(tmp_path, entry=entry), Search(trials=3)))
    assert found.options["lr"] > 0


def test_a_trial_trains(tmp_path: Path) -> None:
    best = search.run_search((cell(tmp_path), Search(1, {"lr": [1e-4, 3e-3]})))
    assert best == search.Found({"lr": 5e-4}, trials=1, epochs=1)
    assert [p.name for p in tmp_path.iterdir()] == ["search"]  # nothing of the training is kept


def test_a_trial_worse_than_the_median_before_it_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 2.0, 3.0, 0.5])

    def member(plan, member, place, fabric, say, seconds, watched):
        loss = next(losses)
        for epoch in range(1, 7):
            watched(epoch, loss)
        return {"valid_loss": loss}

    monkeypatch.setattr(search, "train_member", member)
    found = search.run_search((cell(tmp_path), Search(4, SPACE)))
    assert (found.trials, found.epochs) == (4, 6 + 6 + search.WARM + 6)
