"""Ensemble selection: weights for candidates, chosen on answers to samples that none of them learned from.

Caruana, Niculescu-Mizil, Crew & Ksikes, Ensemble Selection from Libraries of Models, ICML 2004: begin with the best
candidate, then add, again and again and with replacement, the one with which the mean becomes best. A candidate's
weight is how often it was added. What is kept is the best mean on the way, so that an ensemble is never worse than its
best member on the samples it was chosen on.

Weights are chosen by the loss. Between classes the main metric then decides: logits lose a share of the log frequency
of their class (Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021), as a mean of models that learned
cross entropy from few samples hardly ever names a rare class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Target
from polymodal.methods.ensemble import mixed
from polymodal.nn.heads import task_loss

ROUNDS = 25
"""Candidates that are added at most."""

MOST = 6
"""Different members at most: each is one more model to keep and to ask."""

GAIN = 1e-6
"""Smallest fall of the loss for which a candidate is added; less is rounding."""

SHARES = torch.arange(11) / 10
"""Of the log frequency that a class may lose."""


@dataclass(frozen=True)
class Answers:
    """What one candidate says of all samples.

    Attributes:
        said: target -> ``(samples, ...)`` as of ``methods.ensemble.averaged``.
        sees: ``(samples,)`` bool, whether any modality that it reads is there.
    """

    said: dict[str, Tensor]
    sees: Tensor


class Jury:
    """Candidates that answer about the same samples.

    Args:
        targets: joint ones.
        labels: target -> ``(samples, ...)`` as in a batch.
        answers: of each candidate.
    """

    def __init__(self, targets: Sequence[Target], labels: dict[str, Tensor], answers: Sequence[Answers]) -> None:
        self.targets, self.labels, self.answers = targets, labels, answers

    def loss(self, weights: Sequence[float], rows: Tensor | None = None) -> float:
        """Return the mean of the targets' losses of the weighted mean, over ``rows`` (numbers) or all samples."""
        kept = slice(None) if rows is None else rows
        return self._judged(self._tally(weights, kept).mean(), kept)

    def mean(self, weights: Sequence[float]) -> dict[str, Tensor]:
        """Return target -> prediction of the weighted mean, as a method predicts.

        Args:
            weights: of each candidate, not negative, one above 0.
        """
        return self._tally(weights, slice(None)).mean()

    def decided(self, weights: Sequence[float], rows: Tensor | None = None) -> dict[str, Tensor]:
        """Return what ``mean`` does, with the ``offsets`` of ``rows`` added."""
        offsets = self.offsets(weights, rows)
        return {name: said + offsets.get(name, 0.0) for name, said in self.mean(weights).items()}

    def offsets(self, weights: Sequence[float], rows: Tensor | None = None) -> dict[str, Tensor]:
        """Return target with classes -> what is added to its logits, ``(classes,)``; zeros where nothing is better.

        It is a share of log(frequency of the most frequent class / of this one): the share with which the main metric
        is best on ``rows`` (numbers) or all samples, in the mean with its neighbours, so that one lucky sample does not
        decide.
        """
        kept = slice(None) if rows is None else rows
        said = self._tally(weights, kept).mean()
        return {
            t.name: _offset(t, said[t.name], self.labels[t.name][kept])
            for t in self.targets
            if t.spec.answer == "class"
        }

    def _tally(self, weights: Sequence[float], rows: Tensor | slice) -> _Tally:
        tally = _Tally(self, rows)
        for number, weight in enumerate(weights):
            if weight:
                tally.add(number, weight)
        return tally

    def choose(self, rows: Tensor | None = None) -> list[float]:
        """Return the weight of each candidate, ``(candidates,)``, summing to 1, chosen on ``rows`` (numbers) or all."""
        kept = slice(None) if rows is None else rows
        counts, best = [0] * len(self.answers), (float("inf"), [0] * len(self.answers))
        tally = _Tally(self, kept)
        for _ in range(ROUNDS):
            full = sum(map(bool, counts)) >= MOST
            open_to = [n for n in range(len(counts)) if counts[n] or not full]
            losses = [self._judged(tally.with_one(n), kept) for n in open_to]
            at = min(range(len(losses)), key=losses.__getitem__)
            tally.add(open_to[at], 1)
            counts[open_to[at]] += 1
            if losses[at] < best[0] - GAIN:
                best = (losses[at], list(counts))
        total = sum(best[1])
        return [count / total for count in best[1]]

    def _judged(self, said: dict[str, Tensor], rows: Tensor | slice) -> float:
        losses = [task_loss(t, said[t.name], self.labels[t.name][rows]) for t in self.targets]
        return float(torch.stack(losses).double().mean())


class _Tally:
    """A weighted mean to which candidates are added one by one."""

    def __init__(self, jury: Jury, rows: Tensor | slice) -> None:
        self._jury, self._rows = jury, rows
        first = jury.answers[0]
        zeros = {n: torch.zeros_like(x[rows], dtype=torch.float64) for n, x in first.said.items()}
        count = torch.zeros(first.sees[rows].shape, dtype=torch.float64)
        # Of the candidates that see something of a sample, and of all, for samples of which none sees anything.
        self._seen, self._all, self._seeing, self._total = zeros, dict(zeros), count, 0.0

    def _with(self, number: int, weight: float) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, float]:
        answer = self._jury.answers[number]
        share = weight * answer.sees[self._rows].double()
        said = {n: x[self._rows].double() for n, x in answer.said.items()}
        seen = {n: self._seen[n] + x * _wide(share, x) for n, x in said.items()}
        everyone = {n: self._all[n] + weight * x for n, x in said.items()}
        return seen, everyone, self._seeing + share, self._total + weight

    def add(self, number: int, weight: float) -> None:
        """Add candidate ``number``."""
        self._seen, self._all, self._seeing, self._total = self._with(number, weight)

    def with_one(self, number: int) -> dict[str, Tensor]:
        """Return the predictions of the mean if candidate ``number`` were added."""
        return self._mean(*self._with(number, 1.0))

    def mean(self) -> dict[str, Tensor]:
        """Return the predictions of the mean."""
        return self._mean(self._seen, self._all, self._seeing, self._total)

    def _mean(
        self, seen: dict[str, Tensor], everyone: dict[str, Tensor], seeing: Tensor, total: float
    ) -> dict[str, Tensor]:
        found = {}
        for target in self._jury.targets:
            x = seen[target.name]
            mean = torch.where(
                _wide(seeing > 0, x), x / _wide(seeing.clamp(min=1e-12), x), everyone[target.name] / total
            )
            found[target.name] = mixed(target, mean.float()[None], torch.ones(1, len(mean)))
        return found


def _offset(target: Target, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the offset of each class, ``(classes,)``, for ``logits`` (samples, classes) of ``labels`` (samples,)."""
    known = labels >= 0
    logits, labels = logits[known], labels[known].long()
    # One more of each, or a class that nobody has would be without limit.
    frequency = torch.bincount(labels, minlength=logits.shape[1]).float() + 1
    rarity = (frequency.max() / frequency).log()
    metric, once = target.spec.main, np.ones((1, len(labels)))
    figures = []
    for share in SHARES:
        columns = {n: x.numpy() for n, x in target.spec.columns(logits + share * rarity).items()}
        measures = target.spec.measures(labels.numpy(), columns["predicted"], columns["probability"])
        figures.append(float(measures[metric].value(once)[0]))
    signed = np.array(figures) * (1 if target.spec.metrics[metric] else -1)
    smooth = np.convolve(np.pad(signed, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    return SHARES[int(np.argmax(smooth))] * rarity


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """Return ``(samples,)`` with as many axes as ``like``."""
    return values.view(-1, *[1] * (like.dim() - 1))
