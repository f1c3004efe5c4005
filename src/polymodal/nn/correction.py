"""Labels that a network may change: as codes, corrupted, and corrected by what is seen of a sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Target

TINY = 1e-6
"""Lowest probability of which a logarithm is taken."""

CLOSED = 4.0
"""Taken off the gate of a class's correction: an untrained corrector leaves 98 percent of the label."""


class LabelCode(nn.Module):
    """The labels of one target as codes ``(batch, width)`` that can lie between labels.

    A number is one value, -1 and 1 at the ends of its scale; one of several classes is a row of probabilities; any of
    several classes are probabilities of their own. Labels that are not known become zeros.

    Args:
        target: whose labels.

    Attributes:
        width: of a code.

    Buffers:
        middle, reach: scalars, centre of the scale and distance to its ends; only training needs them.
    """

    middle: Tensor
    reach: Tensor

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target, self.answer, self.width = target, target.spec.answer, target.spec.width
        low, high = target.range or (-1.0, 1.0)
        self.register_buffer("middle", torch.tensor((low + high) / 2), persistent=False)
        self.register_buffer("reach", torch.tensor((high - low) / 2), persistent=False)

    def fill(self, batches: Iterable[Batch]) -> None:
        """Take the ends of a scale without a range from the labels of ``batches``."""
        if self.answer != "number" or self.target.range is not None:
            return
        labels = torch.cat([b.targets[self.target.name][b.labelled(self.target.name)] for b in batches]).float()
        if len(labels) and labels.amax() > labels.amin():
            self.middle = ((labels.amax() + labels.amin()) / 2).to(self.middle.device)
            self.reach = ((labels.amax() - labels.amin()) / 2).to(self.reach.device)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return codes and which labels are known, ``(batch,)`` bool."""
        labels, known = batch.targets[self.target.name], batch.labelled(self.target.name)
        if self.answer == "number":
            code = ((labels - self.middle) / self.reach).unsqueeze(1)
        else:
            code = F.one_hot(labels.clamp(min=0), self.width).float() if self.answer == "class" else labels
        return code.where(known.unsqueeze(1), code.new_zeros(())), known

    def labels(self, code: Tensor) -> Tensor:
        """Return numbers on the target's scale ``(batch,)``, or probabilities ``(batch, classes)``."""
        return self.middle + self.reach * code[:, 0] if self.answer == "number" else code

    def loss(self, prediction: Tensor, code: Tensor, *, squared: bool = False) -> Tensor:
        """Return the task's loss ``(batch,)`` of a prediction as in ``Output``, where the label is a code.

        Args:
            prediction: as in ``Output.predictions``.
            code: ``(batch, width)``.
            squared: half the square of a number's error in the place of its size, whose slope knows no label.
        """
        prediction = prediction.float()
        if self.answer == "number":
            error = prediction - self.labels(code)
            return error.square() / 2 if squared else error.abs()
        if self.answer == "class":
            return -(code * prediction.log_softmax(-1)).sum(-1)
        return F.binary_cross_entropy_with_logits(prediction, code, reduction="none").mean(-1)

    def distance(self, code: Tensor, label: Tensor) -> Tensor:
        """Return how far codes are from those of labels, ``(batch,)``: on the target's scale, or cross entropy."""
        if self.answer == "number":
            return self.reach * (code - label).abs()[:, 0]
        if self.answer == "class":
            return -(label * code.clamp(min=TINY).log()).sum(-1)
        wrong, right = (1 - code).clamp(min=TINY).log(), code.clamp(min=TINY).log()
        return -(label * right + (1 - label) * wrong).mean(-1)

    def corrupted(self, code: Tensor, known: Tensor, share: float, noise: float) -> Tensor:
        """Return codes of which each is corrupted with probability ``share``.

        Half of those get the label of another sample, the others Gaussian ``noise`` (deviation, of a scale from -3 to
        3) or, where there are classes, any of them.

        Args:
            code: ``(batch, width)``.
            known: ``(batch,)`` bool, samples whose labels can be given to others.
            share: in [0, 1].
            noise: at least 0.
        """
        donors = known.nonzero()[:, 0]
        if not len(donors):
            return code
        chance = torch.rand(len(code), 1, device=code.device)
        others = code[donors[torch.randint(len(donors), (len(code),), device=code.device)]]
        if self.answer == "number":
            noisy = (code + noise / 3 * torch.randn_like(code)).clamp(-1, 1)
        elif self.answer == "class":
            drawn = torch.randint(self.width, (len(code),), device=code.device)
            noisy = F.one_hot(drawn, self.width).to(code.dtype)
        else:
            noisy = torch.randint(2, code.shape, device=code.device).to(code.dtype)
        return torch.where(chance < share / 2, others, torch.where(chance < share, noisy, code))


class LabelCodes(nn.ModuleList):
    """The code of each of ``targets``."""

    def __init__(self, targets: Iterable[Target]) -> None:
        super().__init__(LabelCode(t) for t in targets)

    def __iter__(self) -> Iterator[LabelCode]:
        return cast(Iterator[LabelCode], super().__iter__())


class Corrector(nn.Module):
    """Features ``(batch, width)``, of which only the direction counts, and a label's code -> the code they correct.

    A number moves by ``tanh(residual)`` and stays on its scale; probabilities y become ``(1 - k) y + k q`` with k and q
    of the network. The last layer starts at zero: a number is left exactly as it is, classes nearly.
    """

    def __init__(self, code: LabelCode, width: int) -> None:
        super().__init__()
        self.answer = code.answer
        last = nn.Linear(width, code.width + (code.answer != "number"))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.label = nn.Sequential(nn.Linear(code.width, width), nn.ReLU())
        self.body = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), last)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        """Return the corrected code, ``(batch, code width)`` float32."""
        direction = F.normalize(features, dim=1) * features.shape[1] ** 0.5
        out = self.body(torch.cat([direction, self.label(code.to(features.dtype))], dim=1)).float()
        if self.answer == "number":
            return (code + out.tanh()).clamp(-1, 1)
        gate, logits = torch.sigmoid(out[:, :1] - CLOSED), out[:, 1:]
        guess = logits.softmax(-1) if self.answer == "class" else logits.sigmoid()
        return (1 - gate) * code + gate * guess
