"""What a check looks at: a method on a schema; and the words in which checks speak."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from polymodal.core import Batch, Modality, Output, Schema, Target, find_task
from polymodal.methods import build
from polymodal.methods.base import Method, View
from polymodal.testing.batches import random_batch

CLOSE = 1e-5
"""Relative and absolute difference that rounding may make."""

_TEXT, _WORDS = Modality("text", "text"), Modality("text", "sequence", 6)
_AUDIO, _VISION, _PULSE = (
    Modality("audio", "sequence", 5),
    Modality("vision", "sequence", 4),
    Modality("pulse", "sequence", 1),
)
_FACE = Modality("face", "vector", 3)
_SCENE, _FACES = Modality("scene", "image", shape=(3, 16, 16)), Modality("faces", "frames", shape=(3, 16, 16))
_SCORE = Target("sentiment", "regression", (-3.0, 3.0))
_EMOTION = Target("emotion", "classification", classes=("joy", "anger", "fear"))
_TAGS = Target("tags", "multilabel", classes=("humour", "sarcasm"))
_SINGLE = tuple(Target(f"sentiment_{m}", "regression", (-1.0, 1.0), modality=m) for m in ("text", "audio", "vision"))

SCHEMAS: dict[str, Schema] = {
    "3-mixed-many-targets": Schema((_TEXT, _AUDIO, _VISION), (replace(_SCORE, range=(-1.0, 1.0)), _EMOTION, *_SINGLE)),
    "2-sequence-vector-classification": Schema((_AUDIO, _FACE), (_EMOTION,)),
    "3-sequences-regression": Schema((_WORDS, _AUDIO, _VISION), (_SCORE,)),
    "3-pixels-regression": Schema((_AUDIO, _SCENE, _FACES), (_SCORE,)),
    "5-mixed-multilabel": Schema((_TEXT, _AUDIO, _VISION, _FACE, _PULSE), (_TAGS,)),
    "1-sequence-regression": Schema((_AUDIO,), (_SCORE,)),
    "1-text-classification": Schema((_TEXT,), (_EMOTION,)),
    "2-domains-classification": Schema((_AUDIO, _FACE), (_EMOTION,), ("north", "south")),
}
"""Schemas that differ in what methods trip over; the first that fit a method show most."""


class NotApplicable(Exception):
    """A check has nothing to say about this method on this schema; the message says why."""


def fits(cls: type[Method], schema: Schema) -> bool:
    """Return whether the method declares that it takes what ``schema`` holds; domains are for those that need them."""
    low, high = cls.modality_counts
    learned = {find_task(task).answer for task in cls.tasks}
    return (
        low <= len(schema.modalities) <= high
        and {m.kind for m in schema.modalities} <= cls.kinds
        and {t.spec.answer for t in schema.joint_targets} <= learned
        and cls.needs_domains == bool(schema.domains)
    )


@dataclass(frozen=True)
class Subject:
    """A method on a schema, with its default options.

    Args:
        cls: the method.
        schema: one that it fits.
    """

    cls: type[Method]
    schema: Schema
    _prepared: list[Method] = field(default_factory=list, repr=False, compare=False)

    def fresh(self, seed: int = 3) -> Method:
        """Return the method as its constructor leaves it, the same one for the same ``seed``."""
        torch.manual_seed(seed)
        return build(self.cls, self.schema, {})

    def method(self) -> Method:
        """Return the method prepared and in evaluation mode, a copy that a check may change; torch is seeded."""
        if not self._prepared:
            method = self.fresh()
            method.prepare(self.view())
            self._prepared.append(method)
        torch.manual_seed(0)
        return deepcopy(self._prepared[0]).eval()

    def batch(self, size: int = 8, *, seed: int = 0, longest: int = 7) -> Batch:
        """Return a random batch of the schema."""
        return random_batch(self.schema, size, seed=seed, longest=longest)

    def view(self) -> View:
        """Return three batches of training data and one of validation data."""
        return View(train=lambda: (self.batch(seed=s) for s in (1, 2, 3)), valid=lambda: iter([self.batch(seed=4)]))


def expect(fact: bool, otherwise: str) -> None:
    """Raise AssertionError with the sentence ``otherwise`` unless ``fact`` holds, under ``python -O`` too."""
    if not fact:
        raise AssertionError(otherwise)


def run(method: Method, batch: Batch) -> Output:
    """Return the output without gradients."""
    with torch.no_grad():
        output: Output = method(batch)
    return output


def rows_of(output: Output, rows: list[int] | Tensor) -> Output:
    """Return what an output says about the samples ``rows``."""
    return Output(
        {n: t[rows] for n, t in output.predictions.items()}, {n: t[rows] for n, t in output.representations.items()}
    )


def state(method: Method) -> dict[str, Tensor]:
    """Return copies of all that training changes: parameters and buffers, also those not among the weights."""
    return {n: t.detach().clone() for n, t in (*method.named_parameters(), *method.named_buffers())}


def same(got: Output, wanted: Output, what: str) -> None:
    """Expect equal predictions and representations, but for rounding, and for zeros behind the last step."""
    same_tensors(got.predictions, wanted.predictions, f"{what}: prediction")
    left, right = got.representations, wanted.representations
    for name in left.keys() & right.keys():
        longer = [max(pair) for pair in zip(left[name].shape[1:2], right[name].shape[1:2], strict=True)]
        left, right = ({**of, name: _long(of[name], *longer)} for of in (left, right))
    same_tensors(left, right, f"{what}: representation")


def _long(x: Tensor, *steps: int) -> Tensor:
    """Return ``x`` (batch, time, ...) with zeros behind it up to ``steps``, where it has a second dimension."""
    return torch.cat([x, x.new_zeros(len(x), steps[0] - x.shape[1], *x.shape[2:])], dim=1) if steps else x


def same_tensors(got: dict[str, Tensor], wanted: dict[str, Tensor], what: str) -> None:
    """Expect the same names and, but for rounding, the same values; what is unknown (NaN) in both is the same."""
    expect(got.keys() == wanted.keys(), f"{what}: the names are {[*got]} here and {[*wanted]} there")
    for name in got:
        try:
            torch.testing.assert_close(got[name], wanted[name], rtol=CLOSE, atol=CLOSE, equal_nan=True)
        except AssertionError as error:
            raise AssertionError(f"{what} {name} differs: {error}") from None


def finite(tensors: dict[str, Tensor], what: str) -> None:
    """Expect finite values."""
    for name, tensor in tensors.items():
        expect(bool(torch.isfinite(tensor).all()), f"{what}: {name} is not finite")


def step(method: Method, batch: Batch, what: str) -> None:
    """Expect finite losses and gradients of one batch."""
    method.zero_grad()
    losses = method.losses(batch, method(batch))
    finite(losses, what)
    total = sum(losses.values(), torch.zeros(()))
    if total.requires_grad:
        total.backward()
    finite({n: p.grad for n, p in method.named_parameters() if p.grad is not None}, f"gradient, {what}")
