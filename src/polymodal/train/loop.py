"""The loop: it knows no method, and a method knows none of what is here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.progress import Progress
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, RunError, TrainingError, derive_seed, seed_torch
from polymodal.core.errors import nearest
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.methods.base import Method, Now, Phase, View
from polymodal.score import evaluate
from polymodal.stress import Stress, parse_stress
from polymodal.train.checkpoint import (
    load_checkpoint,
    load_weights,
    optimizer_tensors,
    restore_buffers,
    restore_optimizers,
    save_checkpoint,
    training_buffers,
)
from polymodal.train.infer import infer
from polymodal.train.recipe import Recipe
from polymodal.train.stressed import stressed
from polymodal.train.tracker import Tracker
from polymodal.train.updates import Turn, choose, make_optimizer

IMPROVEMENT = 1e-6
"""Smallest fall of the validation loss that counts, as in the field's trainers."""


@dataclass
class Progressed:
    """How far training of one seed has come: all that a checkpoint holds beside tensors.

    ``phase_epoch``, ``step``, ``best`` and what follows are those of the phase; ``batch``, ``sums`` (update -> loss ->
    sum over samples) and ``counts`` (update -> samples) those of the epoch.
    """

    phase: int = 0
    phase_epoch: int = 0
    epoch: int = 0
    step: int = 0
    batch: int = 0
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    best: float = math.inf
    best_epoch: int = 0
    stale: int = 0
    plateau: float = 1.0


@dataclass
class Stage:
    """A phase at work.

    Attributes:
        phase: what the method asks for.
        epochs: passes over the training split at most.
        step: forward pass and losses, wrapped by Fabric.
        turns: its updates in order.
        steps: planned for all epochs.
    """

    phase: Phase
    epochs: int
    step: Any
    turns: list[Turn]
    steps: int = 1


class Hidden:
    """A batch that Fabric does not look into: for ``bf16-mixed`` it would round features and labels themselves."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class Step(nn.Module):
    """Forward pass and losses as one module, so that a distributed wrapper sees every parameter that is used."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, hidden: Hidden) -> dict[str, Tensor]:
        """Return the method's weighted losses."""
        return self.method.losses(hidden.batch, self.method(hidden.batch))


class Trainer:
    """Trains one method with one seed into one folder; resumes from ``last.safetensors`` where it is there.

    Args:
        method: built with this seed.
        corpus: with splits ``train`` and ``valid``.
        recipe: hyper-parameters.
        seed: decides order, dropout and augmentation.
        folder: receives ``best.safetensors``, ``last.safetensors``, ``metrics.jsonl``, ``tensorboard/``.
        fabric: devices and precision.
        bar: shows steps on a terminal.
        say: receives one line per epoch.
        checkpoint_seconds: longest time between checkpoints within an epoch.
    """

    def __init__(
        self,
        method: Method,
        corpus: Corpus,
        recipe: Recipe,
        seed: int,
        folder: Path,
        fabric: Fabric,
        bar: Progress,
        say: Callable[[str], None],
        checkpoint_seconds: float,
    ) -> None:
        self.method, self.corpus, self.recipe, self.seed, self.folder = method, corpus, recipe, seed, folder
        self.fabric, self.bar, self.say, self.checkpoint_seconds = fabric, bar, say, checkpoint_seconds
        if recipe.batch_size < fabric.world_size:
            raise OptionError(f"batch_size {recipe.batch_size} is below the number of processes {fabric.world_size}")
        self.train = self._loader("train", shuffle=True)
        self.valid = self._loader("valid", shuffle=False)
        self.stress = parse_stress(recipe.train_stress) if recipe.train_stress else None
        self.at = Progressed()
        self.tracker = Tracker(folder, enabled=fabric.global_rank == 0)
        self._trainable = [p for p in method.parameters() if p.requires_grad]
        self._pending: tuple[dict[str, Tensor], list[str]] | None = None
        self._saved = time.monotonic()

    def _loader(self, split: str, *, shuffle: bool) -> Loader:
        return Loader(
            self.corpus[split],
            self.corpus.schema,
            self.recipe.batch_size,
            normalizer=self.corpus.normalizer,
            shuffle=shuffle,
            seed=self.seed,
            bucket=self.recipe.bucket,
            drop_last=shuffle and self.recipe.drop_last,
            balance=self.recipe.balance if shuffle else "",
        )

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
        tensors = self._start()
        stopped = "closed form"
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
            self.method.prepare(self._view(torch.device("cpu")))
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

    def _view(self, device: torch.device) -> View:
        plain = self._loader("train", shuffle=False)
        return View(
            train=lambda: (batch.to(device) for batch in plain.epoch()),
            valid=lambda: (batch.to(device) for batch in self.valid.epoch()),
        )

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
        # Rounded where phases meet, so that all of them together get the epochs asked for.
        until, after = (round(self.recipe.epochs * sum(p.share for p in phases[:n])) for n in (number, number + 1))
        stage = self._stage(phases[number], max(1, after - until))
        if tensors is not None:
            self._restore(stage, tensors)
        if begins:
            # Before the phase has a best epoch of its own: resumed, it must not begin with that one.
            self._save_last(stage)
        while self.at.phase_epoch < stage.epochs:
            if self.at.stale >= self.recipe.patience:
                return f"no better validation loss for {self.recipe.patience} epochs"
            self._epoch(stage)
        return "all epochs done"

    def _stage(self, phase: Phase, epochs: int) -> Stage:
        # The phase before may have switched off what this one trains.
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        chosen = choose(self.method, phase)
        optimizers = [make_optimizer(self.method, update, groups, self.recipe) for update, groups in chosen]
        trained = [{p for g in o.param_groups for p in g["params"]} for o in optimizers]
        moved = set().union(*trained)
        for parameter in self.method.parameters():
            parameter.grad = None
            # What does not train in this phase still passes gradients on to what does.
            parameter.requires_grad_(parameter in moved)
        step, *wrapped = self.fabric.setup(Step(self.method), *optimizers)
        turns = [
            Turn(update, optimizer, list(moved - own))
            for (update, _), optimizer, own in zip(chosen, wrapped, trained, strict=True)
        ]
        return Stage(phase, epochs, step, turns)

    def _now(self, stage: Stage, update: str = "") -> None:
        share = min(1.0, self.at.step / stage.steps)
        self.method.now = Now(stage.phase.name, self.at.phase_epoch, share, update)

    def _epoch(self, stage: Stage) -> None:
        started, plan, at = time.monotonic(), self.train.plan(self.at.epoch), self.at
        every = self.recipe.accumulate
        stage.steps = -(-len(plan) // every) * stage.epochs
        self._now(stage)
        if not at.batch:
            self.method.begin(self._view(self.fabric.device))
        self.method.train()
        totals = {u: {n: torch.tensor(v, device=self.fabric.device) for n, v in x.items()} for u, x in at.sums.items()}
        task = self.bar.add_task(f"seed {self.seed} epoch {at.epoch + 1}", total=len(plan), completed=at.batch)
        batches = self._batches(plan[at.batch :])
        while at.batch < len(plan):
            group = list(islice(batches, every))
            at.batch += len(group)
            self._step(stage, group, totals)
            if time.monotonic() - self._saved > self.checkpoint_seconds and at.batch < len(plan):
                self._check_finite()
                at.sums = {u: {n: float(t) for n, t in x.items()} for u, x in totals.items()}
                self._save_last(stage)
            self.bar.advance(task, len(group))
        self._check_finite()
        self.bar.remove_task(task)
        means = {
            f"{u}/{n}" if u else n: float(t) / max(1, at.counts[u]) for u, x in totals.items() for n, t in x.items()
        }
        at.epoch, at.phase_epoch, at.batch, at.sums, at.counts = at.epoch + 1, at.phase_epoch + 1, 0, {}, {}
        self._finish_epoch(stage, means, time.monotonic() - started)

    def _batches(self, plan: list[Any]) -> Iterator[tuple[Batch, int, float]]:
        """Yield this process's part of every batch, the number of its samples and its weight in the average."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        change = _change(self.train, self.stress, self.seed, self.at.epoch if self.recipe.fresh_masks else None)
        for rows in plan:
            own = rows[rank::world]
            # A process beyond the last samples of a small batch still takes part in the averaging, with weight 0.
            batch = change(self.train.batch(own if len(own) else rows[:1])).to(self.fabric.device)
            # Ranks may hold unequal shares of a batch: weigh so that the averaged gradient is the batch's.
            yield batch, len(own), len(own) * world / len(rows)

    def _step(self, stage: Stage, group: list[tuple[Batch, int, float]], totals: dict[str, dict[str, Tensor]]) -> None:
        """Take all updates whose turn it is on a group of batches; add their losses to ``totals``."""
        for turn in stage.turns:
            update = turn.update.name
            if (self.at.step + 1) % turn.update.every:
                continue
            self._now(stage, update)
            sums = totals.setdefault(update, {})
            for number, (batch, count, weight) in enumerate(group, 1):
                losses = self._backward(stage, turn, batch, weight / len(group), last=number == len(group))
                self._check_finite()
                self._pending = {n: loss.detach() for n, loss in losses.items()}, batch.ids
                for name, loss in self._pending[0].items():
                    sums[name] = sums.get(name, torch.zeros((), device=self.fabric.device)) + loss * count
                self.at.counts[update] = self.at.counts.get(update, 0) + count
            self._move(stage, turn)
        self.at.step += 1
        self.method.stepped()

    def _backward(self, stage: Stage, turn: Turn, batch: Batch, weight: float, *, last: bool) -> dict[str, Tensor]:
        """Add the gradients of a batch to the parameters that ``turn`` moves, to no other; return the losses."""
        alone = self.fabric.world_size == 1
        with self.fabric.no_backward_sync(stage.step, enabled=not last):
            losses: dict[str, Tensor] = stage.step(Hidden(batch))
            # Several processes wait for the gradient of every parameter that the forward pass has used.
            inputs = turn.parameters if turn.others and alone else None
            self.fabric.backward(torch.stack(list(losses.values())).sum() * weight, inputs=inputs)
        if not alone:
            for parameter in turn.others:
                parameter.grad = None
        return losses

    def _move(self, stage: Stage, turn: Turn) -> None:
        factor = self._factor(self.at.step, stage.steps) * self.at.plateau
        for group in turn.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        # Without clipping too: a NaN gradient of a finite loss must be seen before the weights it spoils are saved.
        limit = self.recipe.clip or math.inf
        norm = self.fabric.clip_gradients(stage.step, turn.optimizer, max_norm=limit, error_if_nonfinite=False)
        if self._pending is not None and isinstance(norm, Tensor):
            self._pending[0]["gradient norm"] = norm.detach()
        turn.optimizer.step()
        turn.optimizer.zero_grad()

    def _factor(self, step: int, total: int) -> float:
        warm = self.recipe.warmup * total
        if step < warm:
            return (step + 1) / (warm + 1)
        if self.recipe.schedule != "cosine":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1.0, total - warm)))

    def _check_finite(self) -> None:
        """Stop on a NaN or infinite loss of the previous step.

        One step late, so that a GPU is asked about work it has finished; the step since then is never saved.
        """
        if self._pending is None:
            return
        (losses, ids), self._pending = self._pending, None
        values = torch.stack([v.float() for v in losses.values()])
        if bool(torch.isfinite(values).all()):
            return
        bad = [n for n, v in losses.items() if not bool(torch.isfinite(v))]
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        raise TrainingError(
            f"{', '.join(bad)} became {float(losses[bad[0]])} in epoch {self.at.epoch + 1}, batch {self.at.batch}, "
            f"samples {shown}; lower --lr, look at these samples with 'polymodal data info', or train in --precision 32"
        )

    def _finish_epoch(self, stage: Stage, means: dict[str, float], seconds: float) -> None:
        self._now(stage)
        line = self._validate(stage.phase, means)
        rates = {
            f"{t.update.name}/{g['name']}" if t.update.name else g["name"]: g["lr"]
            for t in stage.turns
            for g in t.optimizer.param_groups
        }
        line |= {"lr": rates, "seconds": round(seconds, 3)}
        at = self.at
        if line["best"]:
            self._save_best()
        elif self.recipe.schedule == "plateau" and at.stale % max(1, self.recipe.patience // 2) == 0:
            at.plateau *= 0.5
        self.tracker.write(line)
        self._save_last(stage)
        figures = "  ".join(f"{n} {v:.3f}" for n, v in list(next(iter(line["figures"].values())).items())[:3])
        self.say(
            f"seed {self.seed}  epoch {at.epoch}/{self.recipe.epochs}  train {sum(means.values()):.4f}  "
            f"valid {line['valid']['loss']:.4f}  {figures}  {seconds:.1f}s{'  best' if line['best'] else ''}"
        )

    def _validate(self, phase: Phase, means: dict[str, float]) -> dict[str, Any]:
        """Score the validation split, note whether it is the best so far, and return the epoch's record."""
        batches = map(_change(self.valid, self.stress, self.seed, None), self.valid.epoch())
        columns, losses, _ = infer(self.method, batches, autocast=self.fabric.autocast())
        # Every process scores all of it; rank 0 decides, so that rounding cannot make them disagree.
        loss = self.fabric.broadcast(selected(phase, losses))
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
        figures = {
            target.name: {
                name: value
                for name, (value, _) in evaluate(
                    target,
                    columns[f"{target.name}/true"],
                    columns[f"{target.name}/predicted"],
                    columns.get(f"{target.name}/probability"),
                ).items()
            }
            for target in self.corpus.schema.joint_targets
        }
        train = {"loss": sum(means.values()), **means} if means else {}
        return {
            "epoch": at.epoch,
            "step": at.step,
            "phase": phase.name,
            "train": train,
            "valid": {"loss": loss, **losses},
            "figures": figures,
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
            tensors = self._weights() | training_buffers(self.method)
            tensors |= optimizer_tensors([turn.optimizer for turn in stage.turns])
            tensors["rng.cpu"] = torch.get_rng_state()
            if self.fabric.device.type == "cuda":
                tensors["rng.cuda"] = torch.cuda.get_rng_state()
            save_checkpoint(self.folder / "last.safetensors", tensors, asdict(self.at))

    def _restore(self, stage: Stage, tensors: dict[str, Tensor]) -> None:
        weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        self.method.load_state_dict(weights)
        restore_optimizers([turn.optimizer for turn in stage.turns], tensors)
        if self.fabric.global_rank:
            # The stored random numbers are those of rank 0; the other ranks draw their own, not the same ones.
            seed_torch(derive_seed("train", self.seed, self.fabric.global_rank, self.at.epoch, self.at.batch))
            return
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"])


def _change(loader: Loader, stress: Stress | None, seed: int, epoch: int | None) -> Callable[[Batch], Batch]:
    """Return what ``stress`` does to the batches of ``loader``; nothing where there is none."""
    return stressed(loader, stress, seed=seed, epoch=epoch) if stress else lambda batch: batch


def selected(phase: Phase, losses: dict[str, float]) -> float:
    """Return the sum of the losses that choose the best epoch of ``phase``; TrainingError where one is not there."""
    total = 0.0
    for wanted in phase.select:
        found = [value for name, value in losses.items() if name == wanted or name.startswith(f"{wanted}/")]
        if not found:
            raise TrainingError(
                f"phase {phase.name!r} chooses its best epoch by the loss {wanted!r}, which validation does not return"
                f"{nearest(wanted, losses)}; name one of them in its select"
            )
        total += sum(found)
    return total


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
