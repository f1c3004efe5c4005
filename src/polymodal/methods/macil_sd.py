"""MACIL-SD: which steps a label is about, from labels of whole samples."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor

from polymodal.core import Batch, OptionError, Output, Schema, Target, nearest
from polymodal.methods.base import Group, Method, View, fraction, positive
from polymodal.nn.heads import task_loss, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.instances import Semibags, aligned, grid, top_mean
from polymodal.nn.masking import masked_mean
from polymodal.nn.step_scores import StepScores, mix, momentum

TEACHER = "teacher."
TEMPERATURE = 0.1
SLOPE = 0.1
"""By how much the weight of the contrast rises in every epoch."""


class MacilSD(Method):
    """MACIL-SD (Yu et al., ACM Multimedia 2022, arXiv 2207.05500): samples are labelled, steps are found.

    Every modality is mapped to the same width and attends, by one layer whose weights all share, to the steps of the
    others. One linear classifier gives each of its steps a logit per event; those of the modalities are summed step by
    step, and the mean of the k = floor(T / 16) + 1 highest of a sample is what is said of the sample (L_mil).

    Events are the classes of a multilabel target, and all classes but ``normal`` of a classification, whose own logit
    is 0. Of a sample that is taken for one, the mean of its k highest steps in modality a is drawn to that in modality
    b, away from b's steps without the event: the k lowest of all samples, and the k highest of samples that are taken
    for normal (InfoNCE, temperature 0.1). The weight of both is min(contrast, 0.1 epoch). A teacher, the same network
    on the modality ``primary`` alone, learns L_mil beside it at a fifth of the rate; at every epoch the weights that
    both have become m theta + (1 - m) theta_teacher, m from ``distill`` to 1 along a cosine.

    Steps are handed out as ``<target>/steps``, ``(batch, time, classes)`` probabilities on the steps of the longest
    modality, and ``<target>/steps/<modality>`` on its own; zeros behind a sample.

    Departures: any number of modalities and events (for two and one: the paper's), each event with the weight of all;
    a modality with fewer steps is repeated to the longest one's when logits are summed; whether a sample has the event
    is what the network says, as released (the paper: its label). No five crops. The released training names the two
    representations the wrong way round; here each is the one that its own logits choose from.

    Not seen: that the teacher adds to the contrast. On planted events, at other times in sound than in picture, the
    mean area under the curve of steps was 0.85 with neither, 0.91 with the contrast and 0.88 with both (20 epochs,
    three seeds; with both below the contrast alone in each).

    Args:
        schema: what the batches hold.
        width: features of each step.
        heads: attention heads; must divide ``width``.
        dropout: in the layer.
        normal: class of a classification in which nothing happens; the first one if empty.
        primary: modality of the teacher; ``vision`` if empty and there, else the first.
        contrast: largest weight of the contrasts; 0 for none.
        distill: how much of its weights the network keeps at first; 1 for no teacher.
    """

    family = "attention"
    paper = (
        "Yu, Liu, Cheng, Feng & Zhang, Modality-Aware Contrastive Instance Learning with Self-Distillation for "
        "Weakly-Supervised Audio-Visual Violence Detection, ACM Multimedia 2022, arXiv:2207.05500"
    )
    tasks = frozenset({"classification", "multilabel"})
    modality_counts = (2, 99)
    finds_steps = True

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        heads: int = 4,
        dropout: float = 0.1,
        normal: str = "",
        primary: str = "",
        contrast: float = 1.5,
        distill: float = 0.91,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads)
        fraction(dropout=dropout)
        if width % heads:
            raise OptionError(f"heads must divide width, got heads={heads} and width={width}")
        if contrast < 0 or not 0 <= distill <= 1:
            raise OptionError(f"contrast must be 0 or more and distill from 0 to 1, got {contrast} and {distill}")
        if primary and primary not in schema.names:
            raise OptionError(f"primary names {primary!r}, which is no modality{nearest(primary, schema.names)}")
        self.contrast, self.distill = contrast, distill
        self.primary = primary or ("vision" if "vision" in schema.names else schema.names[0])
        self.normal = [_normal(t, normal) for t in schema.joint_targets]
        self.events = [
            len(t.classes) - (at is not None) for t, at in zip(schema.joint_targets, self.normal, strict=True)
        ]
        self.inputs = Inputs(schema)
        sizes = {n: m.width for n, m in self.inputs.modalities.items()}
        self.network = StepScores(sizes, width, heads, dropout, sum(self.events))
        if distill < 1:
            self.teacher = StepScores({self.primary: sizes[self.primary]}, width, heads, dropout, sum(self.events))

    def forward(self, batch: Batch) -> Output:
        """Return predictions and scores of steps, in training also what the losses compare."""
        streams = {n: as_sequence(s) for n, s in self.inputs(batch).items()}
        states, logits = self.network(streams)
        wanted = grid(streams)
        steps = max(s.tensor.shape[1] for s in streams.values())
        lengths = {n: s.mask.sum(1) for n, s in streams.items()}
        total = torch.stack([aligned(logits[n], lengths[n], wanted, steps) for n in streams]).sum(0)
        mask = torch.arange(steps, device=total.device) < wanted[:, None]
        masks = {"steps": (total, mask), **{f"steps/{n}": (logits[n], s.mask) for n, s in streams.items()}}
        shown = {f"{t}/{place}": said for place, of in masks.items() for t, said in self._shown(*of).items()}
        pooled = [masked_mean(states[n], s.mask) for n, s in streams.items()]
        shown["fused"] = torch.cat(pooled, dim=1)
        predictions = self._answers(top_mean(total, mask))
        if self.training:
            shown |= {f"states/{n}": x for n, x in states.items()} | {f"logits/{n}": x for n, x in logits.items()}
            shown |= {f"mask/{n}": s.mask for n, s in streams.items()}
            if self.distill < 1:
                own = streams[self.primary]
                said = self._answers(top_mean(self.teacher({self.primary: own})[1][self.primary], own.mask))
                shown |= {f"teacher/{name}": x for name, x in said.items()}
        return Output(predictions, shown)

    def _answers(self, logits: Tensor) -> dict[str, Tensor]:
        """Return logits of classes, target by target, from those of events ``(..., events)``."""
        found = {}
        parts = logits.split(self.events, dim=-1)
        for target, at, own in zip(self.schema.joint_targets, self.normal, parts, strict=True):
            if at is not None:
                own = torch.cat([own[..., :at], torch.zeros_like(own[..., :1]), own[..., at:]], dim=-1)
            found[target.name] = own
        return found

    def _shown(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return probabilities of classes at every step, zeros behind a sample."""
        targets = self.schema.joint_targets
        found = {t.name: t.spec.columns(self._answers(logits)[t.name].float())["probability"] for t in targets}
        return {name: p.where(mask[..., None], p.new_zeros(())) for name, p in found.items()}

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return L_mil; in training also the contrasts and the teacher's L_mil."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        shown = output.representations
        weight = min(self.contrast, SLOPE * self.now.epoch)
        if weight:
            losses["contrast"] = weight * self._contrast(output)
        if self.distill < 1:
            there = batch[self.primary].present
            parts = [
                task_loss(t, shown[f"teacher/{t.name}"], batch.targets[t.name], there)
                for t in self.schema.joint_targets
            ]
            losses["teacher"] = torch.stack(parts).mean()
        return losses

    def _contrast(self, output: Output) -> Tensor:
        """Return the contrasts of all events and ordered pairs of modalities: their mean over events and partners."""
        shown, names = output.representations, self.schema.names
        bags = self._bags(output.predictions)
        terms = [shown["fused"].sum() * 0]
        for event in range(bags.shape[1]):
            views = {
                n: Semibags.of(shown[f"states/{n}"], shown[f"logits/{n}"][..., event], shown[f"mask/{n}"])
                for n in names
            }
            terms += [views[a].against(views[b], bags[:, event], TEMPERATURE) for a, b in permutations(names, 2)]
        return torch.stack(terms).sum() / (bags.shape[1] * (len(names) - 1))

    def _bags(self, predictions: dict[str, Tensor]) -> Tensor:
        """Return which samples are taken for which event, ``(batch, events)`` bool: likelier than that nothing is."""
        parts = []
        for target, at in zip(self.schema.joint_targets, self.normal, strict=True):
            said = predictions[target.name] > 0
            parts.append(said if at is None else torch.cat([said[:, :at], said[:, at + 1 :]], dim=1))
        return torch.cat(parts, dim=1)

    def begin(self, view: View) -> None:
        """Mix the teacher's weights into the network's, after every epoch but the last."""
        if self.distill < 1 and self.now.epoch:
            mix(self.network, self.teacher, momentum(self.distill, self.now.share))

    def parameter_groups(self) -> list[Group]:
        """Return the usual groups, those of the teacher with a fifth of the rate."""
        found = []
        for group in super().parameter_groups():
            for own, rate in ((False, 1.0), (True, 0.2)):
                names = tuple(n for n in group.parameters if n.startswith(TEACHER) is own)
                found += [replace(group, parameters=names, rate=rate)] if names else []
        return found


def _normal(target: Target, name: str) -> int | None:
    """Return the number of the class in which nothing happens; None where classes do not exclude each other."""
    if target.spec.answer != "class":
        return None
    if name and name not in target.classes:
        raise OptionError(f"normal names {name!r}, which is no class of {target.name}{nearest(name, target.classes)}")
    return target.classes.index(name) if name else 0
