"""What the loop learns: batches in a plan, and a judgement of how well they are learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from polymodal.core import Batch, TrainingError
from polymodal.core.errors import nearest
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.ragged import Array
from polymodal.methods.base import Method, Phase, View
from polymodal.score import evaluate
from polymodal.stress import Stress, parse_stress
from polymodal.train.consistency import Paired, split_off
from polymodal.train.infer import infer
from polymodal.train.recipe import Recipe
from polymodal.train.stressed import stressed


class Item(Protocol):
    """What a method takes; ``core.Batch`` is one."""

    @property
    def ids(self) -> Sequence[str]:
        """Names of the samples, for messages."""

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Any:
        """Return it on ``device``."""

    def pin_memory(self) -> Any:
        """Return it in memory from which a GPU copies without being waited for."""


@dataclass(frozen=True)
class Validation:
    """How well a method does on samples that it does not learn from.

    Attributes:
        losses: mean over samples of every named loss; ``Phase.select`` says which of them choose the epoch.
        figures: target -> metric -> value, for the record.
    """

    losses: dict[str, float]
    figures: dict[str, dict[str, float]]

    def total(self, phase: Phase) -> float:
        """Return the sum of the losses that choose the best epoch of ``phase``; TrainingError where one is missing."""
        total = 0.0
        for wanted in phase.select:
            found = [value for name, value in self.losses.items() if name == wanted or name.startswith(f"{wanted}/")]
            if not found:
                raise TrainingError(
                    f"phase {phase.name!r} chooses its best epoch by the loss {wanted!r}, which validation does not "
                    f"return{nearest(wanted, self.losses)}; name one of them in its select"
                )
            total += sum(found)
        return total


class Problem(Protocol):
    """What can be trained on: a corpus, or anything else that comes in batches.

    ``plan`` and ``batch`` are pure functions of their arguments: a resumed training repeats them.
    """

    def plan(self, epoch: int) -> Sequence[Array]:
        """Return the sample numbers of every training batch of ``epoch``, over all processes."""

    def batch(self, rows: Array, epoch: int) -> Item:
        """Return training samples ``rows`` as the method takes them, on the CPU."""

    def validate(self, method: Method) -> Validation:
        """Judge ``method``, on the device it is on and without changing it."""

    def view(self) -> View:
        """Return what ``Method.prepare`` and ``Method.begin`` may see of the data."""


def _paired(text: str) -> tuple[Stress, dict[str, Any]] | None:
    """Return the stress before ``interference`` and the options of it; None where training has none of it."""
    before, options = split_off(parse_stress(text)) if text else (None, None)
    return None if before is None or options is None else (before, options)


class CorpusProblem:
    """The splits ``train`` and ``valid`` of a corpus, under the recipe's ``train_stress`` if there is one.

    Args:
        corpus: encoded; its normaliser is applied.
        recipe: how batches are made.
        seed: decides their order and the masks of a stress.
    """

    def __init__(self, corpus: Corpus, recipe: Recipe, seed: int) -> None:
        self.corpus, self.recipe, self.seed = corpus, recipe, seed
        self.train = self._loader("train", shuffle=True)
        self.valid = self._loader("valid", shuffle=False)
        self._paired = _paired(recipe.train_stress)
        self._change_train, self._change_valid = self._stressed(self.train), self._stressed(self.valid)

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

    def _stressed(self, loader: Loader) -> Callable[..., Batch]:
        """Return what the recipe's stress does to a batch of ``loader``: nothing where there is none."""
        if not self.recipe.train_stress:
            return lambda batch, epoch=None: batch
        return stressed(loader, parse_stress(self.recipe.train_stress), seed=self.seed)

    def plan(self, epoch: int) -> list[Array]:
        """Return the rows of every training batch."""
        return self.train.plan(epoch)

    def batch(self, rows: Array, epoch: int) -> Batch | Paired:
        """Return training samples, stressed with the masks of ``epoch`` or with those of all epochs."""
        masks, plain = epoch if self.recipe.fresh_masks else None, self.train.batch(rows)
        changed = self._change_train(plain, masks)
        if self._paired is None:
            return changed
        before, options = self._paired
        names = options.get("modalities") or self.corpus.schema.names
        clean = stressed(self.train, before, seed=self.seed)(plain, masks)
        return Paired(clean, changed, tuple(names), options["consistency"], options["eps"])

    def validate(self, method: Method) -> Validation:
        """Return the losses and every metric on ``valid``, stressed with the same masks in every epoch."""
        columns, losses, _ = infer(method, map(self._change_valid, self.valid.epoch()))
        figures = {}
        for target in self.corpus.schema.joint_targets:
            true, predicted, share = (columns.get(f"{target.name}/{n}") for n in ("true", "predicted", "probability"))
            figures[target.name] = {n: value for n, (value, _) in evaluate(target, true, predicted, share).items()}
        return Validation(losses, figures)

    def view(self) -> View:
        """Return passes over both splits, unstressed and in a fixed order."""
        return View(train=self._loader("train", shuffle=False).epoch, valid=self.valid.epoch)
