"""A trained run, made once; small trainings, and a problem that is no corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from polymodal import evaluate, fit
from polymodal.data.corpus import Corpus
from polymodal.data.progress import progress_bar
from polymodal.methods.base import Method, View
from polymodal.train.loop import Trainer
from polymodal.train.problem import CorpusProblem, Problem, Validation
from polymodal.train.recipe import Recipe

PLAIN = {"schedule": "constant", "warmup": 0.0, "bucket": False}


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    options = {"width": 4, "patience": 9}
    run = fit(
        "late-fusion", "synthetic:xor?n=24", options=options, epochs=2, batch_size=8, lr=0.01, seeds=(1, 2), out=folder
    )
    evaluate(run)
    return folder


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """Folder of an evaluated run of two seeds (late-fusion on ``synthetic:xor?n=24``); the test's own copy."""
    return Path(shutil.copytree(_trained, tmp_path / "trained"))


@dataclass
class Trained:
    """What a training left behind, with the weights after every epoch."""

    result: dict[str, Any]
    folder: Path
    weights: list[dict[str, Tensor]]
    records: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def _fabric(precision: str = "32") -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true" if precision == "32" else "bf16-mixed")
    fabric.launch()
    return fabric


def _copy(method: Method) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in method.named_parameters()}


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Trained]:
    """Train a method on a corpus or another problem with seed 1; what is not given of the recipe is plain."""

    def run(
        method: Method,
        problem: Corpus | Problem,
        folder: Path | None = None,
        checkpoint_seconds: float = 1e9,
        **options: Any,
    ) -> Trained:
        place = folder or tmp_path / f"seed-{len(list(tmp_path.iterdir()))}"
        place.mkdir(exist_ok=True)
        weights, recipe = [_copy(method)], Recipe(**(PLAIN | options))
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            weights.append(_copy(method))

        if isinstance(problem, Corpus):
            problem = CorpusProblem(problem, recipe, seed=1)
        with progress_bar() as bar:
            result = Trainer(
                method,
                problem,
                recipe,
                seed=1,
                folder=place,
                fabric=_fabric(recipe.precision),
                bar=bar,
                say=say,
                checkpoint_seconds=checkpoint_seconds,
            ).fit()
        records = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
        return Trained(result, place, weights, records, said)

    return run


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[int], Callable[[bool], object]], None]:
    """Call ``start(resume)`` once per number of ``stops``; each training is interrupted right after that checkpoint.

    Checkpoints are numbered from 1 over all of these trainings, ``stops`` rise, and all but the first resume.
    """

    def run(stops: Sequence[int], start: Callable[[bool], object]) -> None:
        save, saved = Trainer._save_last, 0

        def stopping(self: Trainer, *arguments: Any) -> None:
            nonlocal saved
            saved += 1
            save(self, *arguments)
            if saved in stops:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "_save_last", stopping)
            for number in range(len(stops)):
                with pytest.raises(KeyboardInterrupt):
                    start(number > 0)
        assert saved == stops[-1]

    return run


@pytest.fixture
def steps() -> Iterator[list[dict[int, dict[str, Any]]]]:
    """Per optimiser step: id of a parameter -> its gradient, rate and weight decay at that moment."""
    seen: list[dict[int, dict[str, Any]]] = []

    def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        seen.append(
            {
                id(p): {"gradient": p.grad.clone(), "lr": group["lr"], "decay": group["weight_decay"]}
                for group in optimizer.param_groups
                for p in group["params"]
                if p.grad is not None
            }
        )

    handle = register_optimizer_step_pre_hook(note)
    yield seen
    handle.remove()


@dataclass(frozen=True)
class Points:
    """Points of a plane, in double precision."""

    x: Tensor
    y: Tensor
    ids: list[str]

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Points:
        return Points(
            self.x.to(device, non_blocking=non_blocking), self.y.to(device, non_blocking=non_blocking), self.ids
        )

    def pin_memory(self) -> Points:
        return Points(self.x.pin_memory(), self.y.pin_memory(), self.ids)


class Line:
    """A problem that is no corpus: points near ``y = 2 x + 1``, which a method finds as ``x`` and ``y`` of its batch.

    Validation is on points of the line itself.
    """

    def __init__(self, points: int = 24, size: int = 4) -> None:
        rng = np.random.default_rng(0)
        self.x = torch.from_numpy(rng.uniform(-1, 1, (points, 1)))
        self.y = 2 * self.x[:, 0] + 1 + torch.from_numpy(rng.normal(0, 0.1, points))
        self.batches = points // size

    def plan(self, epoch: int) -> list[np.ndarray[Any, Any]]:
        return np.array_split(np.random.default_rng(epoch).permutation(len(self.x)), self.batches)

    def batch(self, rows: np.ndarray[Any, Any], epoch: int) -> Points:
        return Points(self.x[rows], self.y[rows], [f"point {row}" for row in rows])

    @torch.no_grad()
    def validate(self, method: Method) -> Validation:
        x = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
        points: Any = Points(x, 2 * x[:, 0] + 1, [str(i) for i in range(9)])
        method.eval()
        losses = method.losses(points, method(points))
        method.train()
        return Validation({n: float(loss) for n, loss in losses.items()}, {})

    def view(self) -> View:
        whole: Any = self.batch(np.arange(len(self.x)), 0)
        return View(train=lambda: iter([whole]), valid=lambda: iter([whole]))


@pytest.fixture
def line() -> Line:
    """24 points near a line, in batches of 4."""
    return Line()
