"""Training for a few steps, and checks of what a method trains by."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor

from polymodal.core import Batch
from polymodal.methods.base import Method, Now, Phase, View
from polymodal.nn.heads import task_losses
from polymodal.testing.subject import NotApplicable, Subject, expect, finite, same_tensors, step
from polymodal.train.progress import Progressed, Sums
from polymodal.train.recipe import Recipe
from polymodal.train.stage import Portion, Stage
from polymodal.train.watch import Watch


def train_briefly(method: Method, batch: Batch, steps: int, *, lr: float = 1e-3) -> list[dict[str, float]]:
    """Prepare the method and train it as ``fit`` would, each of its phases for ``steps`` steps on the same batch.

    Args:
        method: changed in place, and left in training mode.
        batch: all there is of data, for training and validation.
        steps: per phase; an update with ``every=n`` is taken at each n-th.
        lr: learning rate.

    Returns:
        The losses of every step, those of a named update as ``update/loss``; empty for a closed form.

    Raises:
        TrainingError: a loss or a gradient is no finite number.
        OptionError: a phase of the method contradicts itself.
    """
    view = View(train=lambda: [batch], valid=lambda: [batch])
    fabric, recipe, watch = Fabric(accelerator="cpu", devices=1), Recipe(lr=lr), Watch()
    trainable, taken = [p for p in method.parameters() if p.requires_grad], []
    method.prepare(view)
    for phase in method.phases():
        stage, at = Stage(method, phase, 1, recipe, fabric), Progressed()
        stage.steps = steps
        stage.tell(at)
        method.begin(view)
        method.train()
        for number in range(1, steps + 1):
            sums = Sums(Progressed(), torch.device("cpu"))
            stage.take(at, [Portion(batch, len(batch), 1.0, number)], sums, watch)
            taken.append(sums.means())
        for parameter in trainable:
            parameter.requires_grad_(True)  # the next phase may train what this one did not
    watch.settle()
    return taken


def every_parameter_gets_a_finite_gradient(subject: Subject) -> None:
    """Each phase and each update moves something, all of them together everything; what selects is among the losses."""
    method, batch = subject.method(), subject.batch()
    trainable = {n: p for n, p in method.named_parameters() if p.requires_grad}
    phases = method.phases()
    expect(bool(phases) or not trainable, "fits in prepare() and has parameters that nothing will train")
    used: set[str] = set()
    for phase in phases:
        for update in phase.updates or (None,):
            chooses = update.parameters if update else phase.parameters
            reached = _reached(method, batch, Now(phase.name, update=update.name if update else ""))
            chosen = {n for n in trainable if n in reached and (chooses is None or chooses(n))}
            expect(bool(chosen), f"{method.now} moves nothing")
            used |= chosen
        _selects_among_its_losses(method, batch, phase)
    idle = sorted(set(trainable) - used)
    expect(
        not idle, f"{len(idle)} of {len(trainable)} parameters never move, among them {idle[:3]}: no phase reaches them"
    )


def _reached(method: Method, batch: Batch, now: Now) -> set[str]:
    """Return the parameters that losses reach, and expect their gradients to be finite."""
    method.now = now
    method.train().zero_grad()
    losses = method.losses(batch, method(batch))
    for name, loss in losses.items():
        expect(loss.dim() == 0, f"loss {name} has shape {tuple(loss.shape)}; return a scalar")
    finite(losses, f"phase {now.phase}")
    sum(losses.values(), torch.zeros(())).backward()
    gradients = {n: p.grad for n, p in method.named_parameters() if p.requires_grad and p.grad is not None}
    finite(gradients, f"gradient in phase {now.phase}")
    return set(gradients)


def _selects_among_its_losses(method: Method, batch: Batch, phase: Phase) -> None:
    method.now = Now(phase.name)
    losses = method.eval().losses(batch, method(batch))
    for name in phase.select:
        found = any(n == name or n.startswith(f"{name}/") for n in losses)
        expect(found, f"phase {phase.name} selects by {name!r}, which is not among the losses {[*losses]}")


def one_sample_can_be_trained_on(subject: Subject) -> None:
    """The last batch of an epoch may hold a single sample."""
    method, batch = subject.method().train(), subject.batch()
    for row in (0, 1):
        step(method, batch.select(torch.tensor([row])), f"sample {row}")


def training_survives_unknown_labels(subject: Subject) -> None:
    """Losses and gradients are finite in every phase and update where half of the samples have no label."""
    method, batch = subject.method(), _half_unknown(subject.batch())
    for phase in method.phases() or [Phase()]:
        for update in phase.updates or (None,):
            method.now = Now(phase.name, update=update.name if update else "")
            step(method.train(), batch, f"unknown labels, {method.now}")


def unknown_labels_do_not_count(subject: Subject) -> None:
    """Where the task's loss is the plain one, it is that of the samples with a label."""
    method, batch = subject.method(), subject.batch()
    with torch.no_grad():
        full, half = method(batch), _half_unknown(batch)
        losses, plain = method.losses(batch, full), task_losses(subject.schema, batch, full)
        if any(n not in losses or not torch.allclose(losses[n], x, rtol=1e-4) for n, x in plain.items()):
            raise NotApplicable("its task loss is not the plain one")
        known = batch.select(half.labelled(subject.schema.joint_targets[0].name))
        got, wanted = method.losses(half, method(half)), method.losses(known, method(known))
    same_tensors({n: got[n] for n in plain}, {n: wanted[n] for n in plain}, "without unlabelled samples: loss")


def _half_unknown(batch: Batch) -> Batch:
    """Return the batch without the labels of every second sample."""
    rows = torch.arange(len(batch)) % 2 == 1
    return Batch(
        batch.streams, {n: _unknown(t, rows) for n, t in batch.targets.items()}, batch.ids, batch.domain, batch.group
    )


def _unknown(labels: Tensor, rows: Tensor) -> Tensor:
    nothing = torch.nan if labels.is_floating_point() else -1
    return labels.masked_fill(rows.view(-1, *[1] * (labels.dim() - 1)), nothing)
