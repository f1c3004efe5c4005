"""A phase at work: its updates, each with an optimiser of its own, on groups of batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from polymodal.methods.base import Method, Now, Phase, Update
from polymodal.train.consistency import Paired, consistent_losses
from polymodal.train.learning import encoders_of, gradient_sizes
from polymodal.train.progress import GRADIENTS, Progressed, Sums
from polymodal.train.recipe import Recipe
from polymodal.train.updates import choose, make_optimizer
from polymodal.train.watch import Watch


@dataclass(frozen=True)
class Portion:
    """What one process gets of a batch.

    Attributes:
        item: what the method takes, on its device.
        count: samples in it that count.
        weight: of its mean loss in the average over processes.
        number: of the batch in its epoch, from 1.
    """

    item: Any
    count: int
    weight: float
    number: int


class Hidden:
    """A batch that Fabric does not look into: for ``bf16-mixed`` it would round features and labels themselves."""

    def __init__(self, item: Any) -> None:
        self.item = item


class Step(nn.Module):
    """Forward pass and losses as one module, so that a distributed wrapper sees every parameter that is used."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, hidden: Hidden) -> dict[str, Tensor]:
        """Return the method's weighted losses."""
        if isinstance(hidden.item, Paired):
            return consistent_losses(self.method, hidden.item)
        return self.method.losses(hidden.item, self.method(hidden.item))


@dataclass(frozen=True)
class Turn:
    """An update with the optimiser that makes its step.

    Attributes:
        update: what the phase asks for.
        optimizer: of the parameters that the update moves, wrapped by Fabric.
        parameters: these.
        others: parameters that only other updates of the phase move.
    """

    update: Update
    optimizer: Any
    parameters: Sequence[nn.Parameter]
    others: Sequence[nn.Parameter]


class Stage:
    """A phase at work.

    Args:
        method: where every parameter that may ever train requires gradients.
        phase: what to train of it.
        epochs: passes over the training data at most.
        recipe: hyper-parameters.
        fabric: devices and precision.

    Attributes:
        steps: planned for all epochs.
    """

    def __init__(self, method: Method, phase: Phase, epochs: int, recipe: Recipe, fabric: Fabric) -> None:
        self.method, self.phase, self.epochs, self.recipe, self.fabric = method, phase, epochs, recipe, fabric
        self.steps = 1
        self._encoders = encoders_of(method)
        chosen = choose(method, phase)
        made = [make_optimizer(method, update, groups, recipe) for update, groups in chosen]
        own = [[p for group in optimizer.param_groups for p in group["params"]] for optimizer in made]
        trained = {p for parameters in own for p in parameters}
        for parameter in method.parameters():
            parameter.grad = None
            # What does not train in this phase still passes gradients on to what does.
            parameter.requires_grad_(parameter in trained)
        self._step, *optimizers = fabric.setup(Step(method), *made)
        self.turns = [
            Turn(update, optimizer, parameters, list(trained.difference(parameters)))
            for (update, _), optimizer, parameters in zip(chosen, optimizers, own, strict=True)
        ]

    @property
    def optimizers(self) -> list[Any]:
        """One per update."""
        return [turn.optimizer for turn in self.turns]

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates of the last step: parameter group, or ``update/group`` -> rate."""
        return {
            f"{turn.update.name}/{group['name']}" if turn.update.name else group["name"]: group["lr"]
            for turn in self.turns
            for group in turn.optimizer.param_groups
        }

    def tell(self, at: Progressed, update: str = "") -> None:
        """Tell the method where training stands."""
        self.method.now = Now(self.phase.name, at.phase_epoch, min(1.0, at.step / self.steps), update)

    def take(self, at: Progressed, group: Sequence[Portion], sums: Sums, watch: Watch) -> None:
        """Make one step: every update whose turn it is goes over the group of batches, then moves its parameters."""
        for turn in self.turns:
            if (at.step + 1) % turn.update.every:
                continue
            name = turn.update.name
            self.tell(at, name)
            for portion in group:
                last = portion is group[-1]
                losses = self._backward(turn, portion, portion.weight / len(group), last=last)
                sums.add(name, losses, portion.count)
                if last:
                    if self._encoders:
                        sums.add(GRADIENTS, gradient_sizes(self._encoders, self.fabric.device), 1)
                    losses |= self._move(turn, at)
                values = {f"{name}/{n}": v for n, v in losses.items()} if name else losses
                watch.note(values, portion.item.ids, at.epoch + 1, portion.number)
        at.step += 1
        self.method.stepped()

    def _backward(self, turn: Turn, portion: Portion, weight: float, *, last: bool) -> dict[str, Tensor]:
        """Add the gradients of a batch to the parameters of ``turn`` and to no other; return the losses."""
        alone = self.fabric.world_size == 1
        with self.fabric.no_backward_sync(self._step, enabled=not last):
            losses: dict[str, Tensor] = self._step(Hidden(portion.item))
            # Several processes wait for the gradient of every parameter that the forward pass has used.
            inputs = turn.parameters if turn.others and alone else None
            self.fabric.backward(torch.stack(list(losses.values())).sum() * weight, inputs=inputs)
        if not alone:
            for parameter in turn.others:
                parameter.grad = None
        return {name: loss.detach() for name, loss in losses.items()}

    def _move(self, turn: Turn, at: Progressed) -> dict[str, Tensor]:
        """Step the optimiser; return the norm of the gradient, by name."""
        factor = self._factor(at.step) * at.plateau
        for group in turn.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        # Without clipping too: a NaN gradient of a finite loss must be seen before the weights it spoils are saved.
        limit = self.recipe.clip or math.inf
        norm = self.fabric.clip_gradients(self._step, turn.optimizer, max_norm=limit, error_if_nonfinite=False)
        turn.optimizer.step()
        turn.optimizer.zero_grad()
        return {} if norm is None else {"gradient norm": norm.detach()}

    def _factor(self, step: int) -> float:
        """Return what the schedule makes of every learning rate at ``step``."""
        warm = self.recipe.warmup * self.steps
        if step < warm:
            return (step + 1) / (warm + 1)
        if self.recipe.schedule != "cosine":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1.0, self.steps - warm)))
