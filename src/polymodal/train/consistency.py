"""Training against interference: a batch and its changed version are learned together and answered alike.

Cai et al. (2025, arXiv 2505.19616): with the stress ``interference`` (see ``stress.interfere``) the loss is

    L = (L(clean) + L(changed)) / 2 + L_adv + consistency * L_cons.

L_adv is the task loss under an adversarial change of the modalities that are not needed, L_cons how far the answers to
the changed versions are from those to the clean one, which is not moved by it: Jensen-Shannon divergence of
probabilities; for a number half the squared difference, in units of the scale.

Departures: features are changed, not embeddings of tokens, so raw text has no adversarial version; a step is the sign
of the gradient, for the paper's plain step hardly leaves its random start; ``eps`` is in standard deviations; which
modalities are not needed is said for a whole corpus, not sample by sample; the adversarial version starts from the
clean batch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods.base import Method
from polymodal.nn.heads import task_losses
from polymodal.stress import Stress
from polymodal.stress.interfere import interference

STEPS = 2
"""Of the search for an adversarial change."""


@dataclass(frozen=True)
class Paired:
    """A batch and its changed version, as the loop takes them.

    Attributes:
        clean, changed: the same samples.
        modalities: what was changed.
        consistency: weight of the divergence.
        eps: largest adversarial change of a feature; 0 for none.
    """

    clean: Batch
    changed: Batch
    modalities: tuple[str, ...]
    consistency: float
    eps: float

    @property
    def ids(self) -> Sequence[str]:
        """Names of the samples."""
        return self.clean.ids

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Paired:
        """Return it on ``device``."""
        clean, changed = (b.to(device, non_blocking=non_blocking) for b in (self.clean, self.changed))
        return replace(self, clean=clean, changed=changed)

    def pin_memory(self) -> Paired:
        """Return it in memory from which a GPU copies without being waited for."""
        return replace(self, clean=self.clean.pin_memory(), changed=self.changed.pin_memory())


def split_off(stress: Stress) -> tuple[Stress, dict[str, Any] | None]:
    """Return what comes before ``interference`` in ``stress``, and the options of it; None where it is not there.

    Raises:
        OptionError: something comes after it, or it is there twice.
    """
    places = [number for number, (step, _) in enumerate(stress.steps) if step is interference]
    if not places:
        return stress, None
    if places != [len(stress.steps) - 1]:
        raise OptionError(f"stress {stress.text!r}: interference stands last, and once")
    options = {"consistency": 0.01, "eps": 0.05, **stress.steps[-1][1]}
    return Stress(stress.text, stress.steps[:-1]), options


def consistent_losses(method: Method, pair: Paired) -> dict[str, Tensor]:
    """Return the losses of ``method`` on both versions, by name, with ``adversarial/NAME`` and ``consistency``."""
    outputs = [method(batch) for batch in (pair.clean, pair.changed)]
    both = [method.losses(b, o) for b, o in zip((pair.clean, pair.changed), outputs, strict=True)]
    found = {name: (loss + both[1].get(name, loss)) / 2 for name, loss in both[0].items()}
    versions = [outputs[1]]
    names = [n for n in pair.modalities if isinstance(pair.clean[n].values, Tensor)]
    if pair.eps and names:
        hostile = adversarial(method, pair.clean, names, pair.eps)
        versions.append(method(hostile))
        losses = task_losses(method.schema, hostile, versions[-1])
        found |= {f"adversarial/{name}": loss for name, loss in losses.items()}
    apart = torch.stack([divergence(method.schema, outputs[0], version) for version in versions]).mean()
    return found | {"consistency": pair.consistency * apart}


def divergence(schema: Schema, clean: Output, other: Output) -> Tensor:
    """Return how far two answers to the same samples are apart, the mean over samples and targets, a scalar.

    No gradient goes through ``clean``.
    """
    found = []
    for target in schema.joint_targets:
        first, second = clean.predictions[target.name].float().detach(), other.predictions[target.name].float()
        if target.spec.answer == "class":
            found.append(_between(first.softmax(-1), second.softmax(-1)).sum(-1).mean())
        elif target.spec.answer == "classes":
            p, q = first.sigmoid(), second.sigmoid()
            found.append((_between(p, q) + _between(1 - p, 1 - q)).sum(-1).mean())
        elif target.spec.answer == "number":
            width = target.range[1] - target.range[0] if target.range else 1.0
            moved = target.spec.prediction(second) - target.spec.prediction(first)
            found.append((moved / width).square().mean() / 2)
        else:
            raise OptionError(f"interference is for numbers and classes; {target.name!r} is a {target.task} target")
    return torch.stack(found).mean()


def _between(p: Tensor, q: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence by entry, after the paper's code: of the mean from either side."""
    p, q = p.clamp(min=1e-6), q.clamp(min=1e-6)
    m = (p + q) / 2
    return 0.5 * m * ((m / p).log() + (m / q).log())


def adversarial(method: Method, batch: Batch, modalities: Sequence[str], eps: float, steps: int = STEPS) -> Batch:
    """Return ``batch`` with the features of ``modalities`` moved so that the task losses rise.

    Real steps of present samples move by at most ``eps``; all else stays as it is. Neither parameters nor their
    gradients change.

    Args:
        method: asked as it is, in training or not.
        batch: with float features in ``modalities``.
        modalities: not needed for the label.
        eps: largest change, in standard deviations where the loader standardises.
        steps: of ``eps`` / 2 each, from a random start.
    """
    masks = {n: batch[n].mask if batch[n].lengths is not None else batch[n].present for n in modalities}
    moves = {n: (2 * torch.rand_like(batch[n].tensor) - 1) * eps for n in modalities}
    for _ in range(steps):
        with torch.enable_grad():
            known = {n: move.requires_grad_() for n, move in moves.items()}
            moved = _moved(batch, known, masks)
            loss = torch.stack(list(task_losses(method.schema, moved, method(moved)).values())).sum()
            slopes = torch.autograd.grad(loss, list(known.values()), allow_unused=True)
        moves = {
            n: (m.detach() if g is None else m.detach() + eps / 2 * g.sign()).clamp(-eps, eps)
            for (n, m), g in zip(known.items(), slopes, strict=True)
        }
    return _moved(batch, moves, masks)


def _moved(batch: Batch, moves: dict[str, Tensor], masks: dict[str, Tensor]) -> Batch:
    streams = dict(batch.streams)
    for name, move in moves.items():
        values, mask = streams[name].tensor, masks[name]
        real = mask.view(*mask.shape, *[1] * (values.dim() - mask.dim()))
        streams[name] = replace(streams[name], values=torch.where(real, values + move, values))
    return replace(batch, streams=streams)
