"""The loop trains on whatever comes in batches; a corpus is one such thing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polymodal import load_corpus
from polymodal.core import Modality, Output, Schema, Target, TrainingError
from polymodal.methods.base import Method, Phase, View
from polymodal.train.checkpoint import load_checkpoint
from polymodal.train.problem import CorpusProblem, Validation
from polymodal.train.recipe import Recipe

SCHEMA = Schema((Modality("x", "vector", 1),), (Target("y", "regression", (-3.0, 3.0)),))


class Slope(Method):
    """A line of its own, with dropout so that it draws random numbers."""

    def __init__(self) -> None:
        super().__init__(SCHEMA)
        self.line, self.drop = nn.Linear(1, 1).double(), nn.Dropout(0.1)
        self.register_buffer("first", torch.zeros(1, dtype=torch.float64))

    def forward(self, batch: Any) -> Output:
        return Output({"y": self.line(batch.x)[:, 0]})

    def losses(self, batch: Any, output: Output) -> dict[str, Tensor]:
        return {"task": self.drop(output.predictions["y"] - batch.y).square().mean()}

    def prepare(self, view: View) -> None:
        self.first.copy_(torch.cat([batch.y for batch in view.train()])[:1])  # type: ignore[attr-defined]


def test_a_line_is_learned_from_points(train: Callable[..., Any], line: Any) -> None:
    method = Slope()
    done = train(method, line, epochs=60, lr=0.05, batch_size=4, weight_decay=0.0)
    assert done.records[-1]["valid"]["loss"] < 0.02
    assert method.line.weight.item() == pytest.approx(2, abs=0.2)
    assert method.first == line.y[0]
    assert done.records[-1]["figures"] == {}


def test_training_on_points_is_resumed_to_the_last_bit(
    train: Callable[..., Any], line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: str) -> Any:
        torch.manual_seed(0)
        return train(Slope(), line, tmp_path / folder, checkpoint_seconds=0, epochs=4, lr=0.05, batch_size=4)

    whole, made = run("whole"), line.batch
    for kill in (3, 8, 6):  # of 6 batches an epoch
        left = iter(range(kill))

        def batch(rows: Any, epoch: int, left: Any = left) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return made(rows, epoch)

        with monkeypatch.context() as patched:
            patched.setattr(line, "batch", batch)
            with pytest.raises(KeyboardInterrupt):
                run("killed")
    resumed = run("killed")
    for file in ("best.safetensors", "last.safetensors"):
        assert (resumed.folder / file).read_bytes() == (whole.folder / file).read_bytes()
    for part in ("train", "valid", "step", "lr"):
        assert [r[part] for r in resumed.records] == [r[part] for r in whole.records]


def test_the_losses_that_choose_are_those_named_and_their_parts() -> None:
    found = Validation({"task/a": 1.0, "task/b": 2.0, "task_forget": 4.0, "contrast": 8.0}, {})
    assert found.total(Phase()) == 3
    assert found.total(Phase(select=("contrast", "task_forget"))) == 12
    assert found.total(Phase(select=("task/a",))) == 1


def test_a_loss_that_chooses_but_is_not_there_is_named(train: Callable[..., Any], line: Any) -> None:
    class Misnamed(Slope):
        def phases(self) -> list[Phase]:
            return [Phase("only", select=("tasks",))]

    with pytest.raises(TrainingError, match=r"phase 'only' .* 'tasks', .* did you mean 'task'"):
        train(Misnamed(), line, epochs=1, batch_size=4)


def test_the_epoch_is_chosen_by_the_selected_loss(train: Callable[..., Any], line: Any) -> None:
    class Judged(Slope):
        """Its loss ``distance`` falls, its loss ``task`` rises with every validation."""

        def losses(self, batch: Any, output: Output) -> dict[str, Tensor]:
            losses = super().losses(batch, output)
            rising = torch.tensor(float(self.now.epoch))
            return losses if self.training else {"distance": losses["task"], "task": rising}

        def phases(self) -> list[Phase]:
            return [Phase(select=("distance",))]

    done = train(Judged(), line, epochs=6, lr=0.05, batch_size=4)
    assert done.result["best_epoch"] == 6
    assert done.result["valid_loss"] == done.records[-1]["valid"]["distance"]
    assert done.records[-1]["valid"]["task"] == 6


def test_a_corpus_is_a_problem_whose_batches_depend_on_rows_and_epoch_alone() -> None:
    problem = CorpusProblem(load_corpus("synthetic:xor?n=43"), Recipe(batch_size=8, train_stress="noise:snr=1"), 3)
    plan = problem.plan(1)
    assert len({int(row) for rows in plan for row in rows}) == 40  # the last batch would be a small one
    once, again, later = (problem.batch(plan[0], epoch) for epoch in (1, 1, 2))
    name = next(iter(once.streams))
    assert torch.equal(once[name].tensor, again[name].tensor)
    assert not torch.equal(once[name].tensor, later[name].tensor)
    assert sum(len(batch) for batch in problem.view().train()) == 43


def test_a_checkpoint_in_the_middle_of_an_epoch_holds_its_sums(
    train: Callable[..., Any], line: Any, tmp_path: Path
) -> None:
    class Stopping(Slope):
        def stepped(self) -> None:
            if math.isclose(self.now.share, 3 / 6):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Stopping(), line, tmp_path / "run", checkpoint_seconds=0, epochs=1, batch_size=4)
    _, state = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert (state["batch"], state["counts"]) == (3, {"": 12})
    assert set(state["sums"][""]) == {"task"}
