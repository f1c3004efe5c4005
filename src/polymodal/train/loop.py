"""The loop: it knows no method and no data, and neither knows what is here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.progress import Progress
from torch import Tensor

from polymodal.core import OptionError, RunError, TrainingError, derive_seed, seed_torch
from polymodal.data.ragged import Array
from polymodal.methods.base import Method, Phase, View
from polymodal.train.ahead import ahead
from polymodal.train.checkpoint import (
    load_checkpoint,
    load_weights,
    optimizer_tensors,
    restore_buffers,
    restore_optimizers,
    save_checkpoint,
    training_buffers,
)
from polymodal.train.problem import Problem
from polymodal.train.progress import Progressed, Sums
from polymodal.train.recipe import Recipe
from polymodal.train.stage import Portion, Stage
from polymodal.train.tracker import Tracker
from polymodal.train.updates import choose
from polymodal.train.watch import Watch

AHEAD = 2
"""Batches that wait for a GPU. On a CPU, which spends a twentieth of its time on them, a thread gained nothing."""

IMPROVEMENT = 1e-6
"""Smallest fall of the validation loss that counts, as in the field's trainers."""


class Trainer:
    """Trains one method with one seed into one folder; resumes from ``last.safetensors`` where it is there.

    Args:
        method: built with this seed.
        problem: what it learns.
        recipe: hyper-parameters.
        seed: decides dropout and all else that the method draws.
        folder: receives ``best.safetensors``, ``last.safetensors``, ``metrics.jsonl``, ``tensorboard/``.
        fabric: devices and precision.
        bar: shows steps on a terminal.
        say: receives one line per epoch.
        checkpoint_seconds: longest time between checkpoints within an epoch.
        name: what lines and the bar call this training; default the seed.
        watched: told the number of epochs and the validation loss after each; may raise to end the training.
    """

    def __init__(
        self,
        method: Method,
        problem: Problem,
        recipe: Recipe,
        seed: int,
        folder: Path,
        fabric: Fabric,
        bar: Progress,
        say: Callable[[str], None],
        checkpoint_seconds: float,
        name: str = "",
        watched: Callable[[int, float], None] | None = None,
    ) -> None:
        self.method, self.problem, self.recipe, self.seed, self.folder = method, problem, recipe, seed, folder
        self.fabric, self.bar, self.say, self.name = fabric, bar, say, name or f"seed {seed}"
        self.watched = watched
        if recipe.batch_size < fabric.world_size:
            raise OptionError(f"batch_size {recipe.batch_size} is below the number of processes {fabric.world_size}")
        self.at = Progressed()
        self._last = recipe.epochs
        self.tracker = Tracker(folder, enabled=fabric.global_rank == 0)
        self.watch = Watch()
        self._cuda = fabric.device.type == "cuda"
        self._trainable = [p for p in method.parameters() if p.requires_grad]
        self.checkpoint_seconds, self._saved = checkpoint_seconds, time.monotonic()

    def fit(self) -> dict[str, Any]:
        """Train to the end and return ``best_epoch``, ``epochs``, ``best`` (validation loss) and ``stopped``.

        Raises:
            OptionError: a phase of the method contradicts itself.
            RunError: the folder cannot be written, or its checkpoint not be used.
            TrainingError: a loss is no finite number, or the one that chooses the epoch is not there.
        """
        started, phases = time.monotonic(), self.method.phases()
        for phase in phases:
            choose(self.method, phase)  # mistakes are told before the first step
        tensors, stopped = self._start(), "closed form"
        with deterministic(self.fabric.device.type == "cpu"):
            for number in range(self.at.phase, len(phases)):
                stopped = self._phase(phases, number, tensors)
                tensors = None
        if not phases:
            self.fabric.to_device(self.method)
            self._validate(Phase(), {})
            self._save_best()
        self.tracker.close()
        return {
            "best_epoch": self.at.best_epoch,
            "epochs": self.at.epoch,
            "valid_loss": self.at.best,
            "stopped": stopped,
            "seconds": round(time.monotonic() - started, 2),
        }

    def _start(self) -> dict[str, Tensor] | None:
        """Take up the checkpoint there is and return its tensors; without one, prepare the method."""
        checkpoint = self.folder / "last.safetensors"
        if not checkpoint.is_file():
            self.tracker.rewind(0)
            self.method.prepare(self.problem.view())
            # A rank of its own stream of random numbers; rank 0 of one process is the reference.
            seed_torch(derive_seed("train", self.seed, self.fabric.global_rank))
            return None
        tensors, state = load_checkpoint(checkpoint)
        try:
            self.at = Progressed(**state)
        except TypeError:
            raise RunError(f"{checkpoint} is not the checkpoint of a training; train the run again") from None
        self.tracker.rewind(self.at.epoch)
        restore_buffers(self.method, tensors)
        return tensors

    def _phase(self, phases: list[Phase], number: int, tensors: dict[str, Tensor] | None) -> str:
        """Run one phase from where ``self.at`` stands, or from the best weights of the one before; return why it ended.

        Args:
            tensors: of the checkpoint that training resumes from.
        """
        begins = number != self.at.phase
        if begins:
            self.fabric.barrier()  # rank 0 has written them
            load_weights(self.method, self.folder / "best.safetensors")
            # The best epoch is the best of the last phase: earlier ones minimise another loss.
            self.at = Progressed(phase=number, epoch=self.at.epoch)
        # The phase before may have switched off what this one trains.
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        planned = self._planned(phases)
        stage = Stage(self.method, phases[number], planned[number], self.recipe, self.fabric)
        self._last = sum(planned)
        if tensors is not None:
            self._restore(stage, tensors)
        if begins:
            # Before this phase has a best epoch: resumed, it must not take that one for the one of the phase before.
            self._save_last(stage)
        while self.at.phase_epoch < stage.epochs:
            if self.at.stale >= self.recipe.patience:
                return f"no better validation loss for {self.recipe.patience} epochs"
            self._epoch(stage)
        return "all epochs done"

    def _planned(self, phases: list[Phase]) -> list[int]:
        """Return the epochs of each phase, one at least: rounded where phases meet, so that all of them together get
        the epochs asked for, where these are enough."""
        ends = [round(self.recipe.epochs * sum(p.share for p in phases[:n])) for n in range(len(phases) + 1)]
        return [max(1, after - until) for until, after in pairwise(ends)]

    def _epoch(self, stage: Stage) -> None:
        started, plan, at = time.monotonic(), self.problem.plan(self.at.epoch), self.at
        every = self.recipe.accumulate
        stage.steps = -(-len(plan) // every) * stage.epochs
        stage.tell(at)
        if not at.batch:
            self._begin()
        self.method.train()
        sums = Sums(at, self.fabric.device)
        task = self.bar.add_task(f"{self.name} epoch {at.epoch + 1}", total=len(plan), completed=at.batch)
        orders, depth = list(enumerate(plan, 1))[at.batch :], AHEAD if self._cuda else 0
        with ahead(lambda order: self._portion(*order, at.epoch), orders, depth) as portions:
            while group := [self._moved(portion) for portion in islice(portions, every)]:
                stage.take(at, group, sums, self.watch)
                at.batch = group[-1].number
                if time.monotonic() - self._saved > self.checkpoint_seconds and at.batch < len(plan):
                    self.watch.settle()
                    at.sums, at.counts = sums.read(), sums.counts
                    self._save_last(stage)
                self.bar.advance(task, len(group))
        self.watch.settle()
        self.bar.remove_task(task)
        at.epoch, at.phase_epoch, at.batch, at.sums, at.counts = at.epoch + 1, at.phase_epoch + 1, 0, {}, {}
        self._finish_epoch(stage, sums, time.monotonic() - started)

    def _portion(self, number: int, rows: Array, epoch: int) -> Portion:
        """Return this process's part of a batch, on the CPU."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        own = rows[rank::world]
        # A process beyond the last samples of a small batch still takes part in the averaging, with weight 0.
        item = self.problem.batch(own if len(own) else rows[:1], epoch)
        # Ranks may hold unequal shares of a batch: weigh so that the averaged gradient is the batch's.
        return Portion(item.pin_memory() if self._cuda else item, len(own), len(own) * world / len(rows), number)

    def _moved(self, portion: Portion) -> Portion:
        """Return ``portion`` on the device, without waiting for a GPU."""
        return replace(portion, item=portion.item.to(self.fabric.device, non_blocking=self._cuda))

    def _begin(self) -> None:
        """Let the method begin an epoch: with the data on its device, and the same random numbers in all processes."""
        view, device = self.problem.view(), self.fabric.device

        def moved(passes: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Any]]:
            return lambda: (batch.to(device) for batch in passes())

        with torch.random.fork_rng([device] if self._cuda else []):
            seed_torch(derive_seed("begin", self.seed, self.at.epoch))
            self.method.begin(View(moved(view.train), moved(view.valid)))

    def _finish_epoch(self, stage: Stage, sums: Sums, seconds: float) -> None:
        stage.tell(self.at)
        means, gradients = sums.means(), sums.gradients()
        line = self._validate(stage.phase, means) | ({"gradients": gradients} if gradients else {})
        line |= {"lr": stage.rates, "seconds": round(seconds, 3)}
        at = self.at
        if line["best"]:
            self._save_best()
        elif self.recipe.schedule == "plateau" and at.stale % max(1, self.recipe.patience // 2) == 0:
            at.plateau *= 0.5
        self.tracker.write(line)
        self._save_last(stage)
        if self.watched:
            self.watched(at.epoch, line["valid"]["loss"])
        figures = "".join(f"{n} {v:.3f}  " for n, v in list(next(iter(line["figures"].values()), {}).items())[:3])
        self.say(
            f"{self.name}  epoch {at.epoch}/{self._last}  train {sum(means.values()):.4f}  "
            f"valid {line['valid']['loss']:.4f}  {figures}{seconds:.1f}s{'  best' if line['best'] else ''}"
        )

    def _validate(self, phase: Phase, means: dict[str, float]) -> dict[str, Any]:
        """Validate, note whether this epoch is the best so far, and return its record."""
        with self.fabric.autocast():
            found = self.problem.validate(self.method)
        # Every process validates on all of it; rank 0 decides, so that rounding cannot make them disagree.
        loss = self.fabric.broadcast(found.total(phase))
        at = self.at
        if not math.isfinite(loss):
            raise TrainingError(
                f"the validation loss became {loss} in epoch {at.epoch}; lower --lr or use --precision 32"
            )
        better = loss < at.best - IMPROVEMENT
        if better:
            at.best, at.best_epoch, at.stale = loss, at.epoch, 0
        else:
            at.stale += 1
        return {
            "epoch": at.epoch,
            "step": at.step,
            "phase": phase.name,
            "train": {"loss": sum(means.values()), **means} if means else {},
            "valid": {"loss": loss, **found.losses},
            "figures": found.figures,
            "best": better,
        }

    def _weights(self) -> dict[str, Tensor]:
        return {f"model.{n}": t for n, t in self.method.state_dict().items()}

    def _save_best(self) -> None:
        if self.fabric.global_rank == 0:
            state = {"epoch": self.at.best_epoch, "valid_loss": self.at.best, "seed": self.seed}
            save_checkpoint(self.folder / "best.safetensors", self._weights(), state)

    def _save_last(self, stage: Stage) -> None:
        self._saved = time.monotonic()
        if self.fabric.global_rank == 0:
            tensors = self._weights() | training_buffers(self.method) | optimizer_tensors(stage.optimizers)
            tensors["rng.cpu"] = torch.get_rng_state()
            if self._cuda:
                tensors["rng.cuda"] = torch.cuda.get_rng_state()
            save_checkpoint(self.folder / "last.safetensors", tensors, asdict(self.at))

    def _restore(self, stage: Stage, tensors: dict[str, Tensor]) -> None:
        weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        self.method.load_state_dict(weights)
        restore_optimizers(stage.optimizers, tensors)
        if self.fabric.global_rank:
            # The stored random numbers are those of rank 0; the other ranks draw their own, not the same ones.
            seed_torch(derive_seed("train", self.seed, self.fabric.global_rank, self.at.epoch, self.at.batch))
            return
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"])


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """Ask torch for deterministic algorithms, without paying for the filling of uninitialised memory."""
    if not enabled:
        yield
        return
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        settings.fill_uninitialized_memory = before[1]
