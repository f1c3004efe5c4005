"""The loop: it knows no method, and a method knows none of what is here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.progress import Progress
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, RunError, TrainingError, derive_seed, seed_torch
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.methods.base import Method, Now, Phase, View
from polymodal.score import evaluate
from polymodal.stress import Stress, parse_stress
from polymodal.train.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    restore_buffers,
    restore_optimizer,
    save_checkpoint,
    training_buffers,
)
from polymodal.train.infer import infer, task_total
from polymodal.train.recipe import Recipe
from polymodal.train.stressed import stressed
from polymodal.train.tracker import Tracker

IMPROVEMENT = 1e-6
"""Smallest fall of the validation loss that counts, as in the field's trainers."""


@dataclass
class Progressed:
    """How far training of one seed has come: all that a checkpoint holds beside tensors."""

    phase: int = 0
    phase_epoch: int = 0
    epoch: int = 0
    step: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    best: float = math.inf
    best_epoch: int = 0
    stale: int = 0
    plateau: float = 1.0


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
        """Train to the end and return ``best_epoch``, ``epochs``, ``best`` (validation loss) and ``stopped``."""
        started, phases = time.monotonic(), self.method.phases()
        checkpoint = self.folder / "last.safetensors"
        resumed = load_checkpoint(checkpoint) if checkpoint.is_file() else None
        if resumed:
            try:
                self.at = Progressed(**resumed[1])
            except TypeError:
                raise RunError(f"{checkpoint} is not the checkpoint of a training; train the run again") from None
            self.tracker.rewind(self.at.epoch)
            restore_buffers(self.method, resumed[0])
        else:
            self.tracker.rewind(0)
            self.method.prepare(self._view())
            # A rank of its own stream of random numbers; rank 0 of one process is the reference.
            seed_torch(derive_seed("train", self.seed, self.fabric.global_rank))
        stopped = "closed form"
        with deterministic(self.fabric.device.type == "cpu"):
            for number in range(self.at.phase, len(phases)):
                stopped = self._phase(phases, number, resumed[0] if resumed else None)
                resumed = None
        if not phases:
            self.fabric.to_device(self.method)
            self._validate({})
            self._save_best()
        self.tracker.close()
        return {
            "best_epoch": self.at.best_epoch,
            "epochs": self.at.epoch,
            "valid_loss": self.at.best,
            "stopped": stopped,
            "seconds": round(time.monotonic() - started, 2),
        }

    def _view(self) -> View:
        plain = self._loader("train", shuffle=False)
        return View(train=lambda: plain.epoch(), valid=lambda: self.valid.epoch())

    def _phase(self, phases: list[Phase], number: int, tensors: dict[str, Tensor] | None) -> str:
        """Run one phase from where ``self.at`` stands; return why it ended."""
        phase = phases[number]
        self.method.now = Now(phase.name)
        if number != self.at.phase:
            # The best epoch is the best of the last phase: earlier ones minimise another loss.
            self.at = Progressed(phase=number, epoch=self.at.epoch)
        # Rounded where phases meet, so that all of them together get the epochs asked for.
        until, after = (round(self.recipe.epochs * sum(p.share for p in phases[:n])) for n in (number, number + 1))
        epochs = max(1, after - until)
        step, optimizer = self._optimizer(phase)
        if tensors is not None:
            self._restore(optimizer, tensors)
        while self.at.phase_epoch < epochs:
            if self.at.stale >= self.recipe.patience:
                return f"no better validation loss for {self.recipe.patience} epochs"
            self._epoch(step, optimizer, epochs)
        return "all epochs done"

    def _optimizer(self, phase: Phase) -> tuple[Any, Any]:
        # The phase before may have switched off what this one trains.
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        parameters = dict(self.method.named_parameters())
        rates = {"pretrained": self.recipe.lr_pretrained, "new": self.recipe.lr}
        groups = []
        for group in self.method.parameter_groups():
            if group.name not in rates:
                raise OptionError(f"parameter group {group.name!r} is neither 'pretrained' nor 'new'")
            chosen = [n for n in group.parameters if phase.parameters is None or phase.parameters(n)]
            if chosen:
                decay = self.recipe.weight_decay if group.decay else 0.0
                values = [parameters[n] for n in chosen]
                groups.append({"params": values, "lr": rates[group.name], "weight_decay": decay, "name": group.name})
        trained = {id(p) for g in groups for p in g["params"]}  # type: ignore[attr-defined]
        for parameter in parameters.values():
            parameter.grad = None
            # What does not train in this phase still passes gradients on to what does.
            parameter.requires_grad_(id(parameter) in trained)
        self._rates = [float(g["lr"]) for g in groups]  # type: ignore[arg-type]
        return self.fabric.setup(Step(self.method), torch.optim.AdamW(groups, fused=True))

    def _epoch(self, step: Any, optimizer: Any, epochs: int) -> None:
        started, plan, at = time.monotonic(), self.train.plan(self.at.epoch), self.at
        rank, world, every = self.fabric.global_rank, self.fabric.world_size, self.recipe.accumulate
        steps = -(-len(plan) // every)
        self.method.train()
        change = _change(self.train, self.stress, self.seed, at.epoch if self.recipe.fresh_masks else None)
        totals = {n: torch.tensor(v, device=self.fabric.device) for n, v in at.sums.items()}
        task = self.bar.add_task(f"seed {self.seed} epoch {at.epoch + 1}", total=len(plan), completed=at.batch)
        for i in range(at.batch, len(plan)):
            rows = plan[i]
            share = len(rows[rank::world])
            # A process beyond the last samples of a small batch still takes part in the averaging, with weight 0.
            batch = change(self.train.batch(rows[rank::world] if share else rows[:1])).to(self.fabric.device)
            last = (i + 1) % every == 0 or i + 1 == len(plan)
            group = min(every, len(plan) - i // every * every)
            with self.fabric.no_backward_sync(step, enabled=not last):
                losses = step(Hidden(batch))
                # Ranks may hold unequal shares of a batch: weigh so that the averaged gradient is the batch's.
                weight = share * world / len(rows) / group
                self.fabric.backward(torch.stack(list(losses.values())).sum() * weight)
            self._check_finite()
            self._pending = {n: loss.detach() for n, loss in losses.items()}, batch.ids
            for name, loss in self._pending[0].items():
                totals[name] = totals.get(name, torch.zeros((), device=self.fabric.device)) + loss * share
            at.seen, at.batch = at.seen + share, i + 1
            if last:
                self._update(step, optimizer, steps * epochs)
                if time.monotonic() - self._saved > self.checkpoint_seconds and at.batch < len(plan):
                    self._check_finite()
                    at.sums = {n: float(t) for n, t in totals.items()}
                    self._save_last(optimizer)
            self.bar.advance(task)
        self._check_finite()
        self.bar.remove_task(task)
        means = {n: float(t) / max(1, at.seen) for n, t in totals.items()}
        at.epoch, at.phase_epoch, at.batch, at.sums, at.seen = at.epoch + 1, at.phase_epoch + 1, 0, {}, 0
        self._finish_epoch(optimizer, means, time.monotonic() - started)

    def _update(self, step: Any, optimizer: Any, total_steps: int) -> None:
        factor = self._factor(self.at.step, total_steps) * self.at.plateau
        for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        # Without clipping too: a NaN gradient of a finite loss must be seen before the weights it spoils are saved.
        limit = self.recipe.clip or math.inf
        norm = self.fabric.clip_gradients(step, optimizer, max_norm=limit, error_if_nonfinite=False)
        if self._pending is not None and isinstance(norm, Tensor):
            self._pending[0]["gradient norm"] = norm.detach()
        optimizer.step()
        optimizer.zero_grad()
        self.at.step += 1

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

    def _finish_epoch(self, optimizer: Any, means: dict[str, float], seconds: float) -> None:
        line = self._validate(means)
        line |= {"lr": {g["name"]: g["lr"] for g in optimizer.param_groups}, "seconds": round(seconds, 3)}
        at = self.at
        if line["best"]:
            self._save_best()
        elif self.recipe.schedule == "plateau" and at.stale % max(1, self.recipe.patience // 2) == 0:
            at.plateau *= 0.5
        self.tracker.write(line)
        self._save_last(optimizer)
        figures = "  ".join(f"{n} {v:.3f}" for n, v in list(next(iter(line["figures"].values())).items())[:3])
        self.say(
            f"seed {self.seed}  epoch {at.epoch}/{self.recipe.epochs}  train {sum(means.values()):.4f}  "
            f"valid {task_total(line['valid']):.4f}  {figures}  {seconds:.1f}s{'  best' if line['best'] else ''}"
        )

    def _validate(self, means: dict[str, float]) -> dict[str, Any]:
        """Score the validation split, note whether it is the best so far, and return the epoch's record."""
        batches = map(_change(self.valid, self.stress, self.seed, None), self.valid.epoch())
        columns, losses, _ = infer(self.method, batches, autocast=self.fabric.autocast())
        # Every process scores all of it; rank 0 decides, so that rounding cannot make them disagree.
        loss = self.fabric.broadcast(task_total(losses))
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
            "phase": self.method.now.phase,
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

    def _save_last(self, optimizer: Any) -> None:
        self._saved = time.monotonic()
        if self.fabric.global_rank == 0:
            tensors = self._weights() | training_buffers(self.method) | optimizer_tensors(optimizer)
            tensors["rng.cpu"] = torch.get_rng_state()
            if self.fabric.device.type == "cuda":
                tensors["rng.cuda"] = torch.cuda.get_rng_state()
            save_checkpoint(self.folder / "last.safetensors", tensors, asdict(self.at))

    def _restore(self, optimizer: Any, tensors: dict[str, Tensor]) -> None:
        weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        self.method.load_state_dict(weights)
        restore_optimizer(optimizer, tensors)
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
