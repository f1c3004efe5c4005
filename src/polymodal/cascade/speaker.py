"""A run as one who answers, with how unsure it is of each answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.cascade.folder import Basis
from polymodal.cascade.routing import Answers, Array
from polymodal.cascade.uncertainty import entropy, sharpened, soft_temperature, spread
from polymodal.core import DataError, OptionError, Target
from polymodal.data.corpus import Corpus, Split
from polymodal.nn.bins import OrderedBins, bins_of
from polymodal.score.calibration import temperature
from polymodal.train.infer import infer
from polymodal.train.run import Run


@dataclass(frozen=True)
class Sureness:
    """How a run's uncertainty is made, learned on a validation split.

    Attributes:
        basis: entropy of its ``classes``, entropy of its ``bins`` (see ``nn.bins``), or, for other numbers, the spread
            over its ``members`` and the interval that was measured for the modalities that are there.
        temperature: of classes or bins.
        scale: half the width of the scale, by which the spread is divided.
    """

    basis: Basis
    temperature: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True)
class _Said:
    values: Array
    """(members, samples) numbers."""
    shares: Array | None
    """(samples, K) mean probabilities of classes or bins."""


class Speaker:
    """A run that is asked about one target.

    Args:
        run: the mean of its members answers.
        target: a number or one of several classes.
        corpus: what it is asked about, as ``prepared`` returns it.
        sureness: learned before; default: learned here, on ``valid``.

    Raises:
        DataError: no validation split to learn from.
        OptionError: a run of folds that would be asked about what its members trained on.
    """

    def __init__(self, run: Run, target: Target, corpus: Corpus, sureness: Sureness | None = None) -> None:
        if run.crossed and corpus.hash == run.config["data"]["hash"]:
            raise OptionError(
                f"{run.path} is a run of folds: its members trained on every sample of {corpus.source}, so that none "
                "is left to fit thresholds on; train it without --folds"
            )
        self.run, self.target, self.corpus = run, target, corpus
        self._members = [(member.fold, run.method(member.seed, member.fold).eval()) for member in run.members]
        self._bins = [b for _, m in self._members if (b := bins_of(m, target.name)) is not None]
        self.sureness = sureness or self._learned()

    def answers(self, split: Split) -> Answers:
        """Return the answers to ``split``, which has the corpus's columns, in its order."""
        said = self._said(split)
        sure = self.sureness
        if said.shares is None:
            return Answers(said.values.mean(0), spread(said.values, self._half_widths(split), sure.scale))
        y = said.shares.argmax(1).astype(float) if sure.basis == "classes" else said.values.mean(0)
        return Answers(y, entropy(sharpened(said.shares, sure.temperature)))

    @property
    def _basis(self) -> Basis:
        if self.target.spec.answer == "class":
            return "classes"
        return "bins" if len(self._bins) == len(self._members) else "members"

    def _learned(self) -> Sureness:
        if "valid" not in self.corpus.splits or not len(self.corpus["valid"]):
            raise DataError(f"{self.corpus.source} has no validation samples to fit thresholds on; name a split valid")
        split, target = self.corpus["valid"], self.target
        true = split.targets[target.name]
        known = target.spec.known(true)
        if self._basis == "members":
            low, high = target.range or (0.0, 4 * float(true[known].std()) or 1.0)
            return Sureness("members", scale=(high - low) / 2)
        shares = self._said(split).shares
        assert shares is not None
        if self._basis == "classes":
            found = temperature(target, true, shares)
        else:
            found = soft_temperature(shares[known], _soft(self._bins, true[known]))
        return Sureness(self._basis, temperature=found or 1.0)

    def _said(self, split: Split) -> _Said:
        name, basis = self.target.name, self._basis
        keep = (f"{name}/bins",) if basis == "bins" else ()
        values, shares = [], []
        for fold, method in self._members:
            columns, _, kept = infer(method, self.run.loader(self.corpus, split, fold).epoch(), keep=keep)
            where = {str(sample): row for row, sample in enumerate(columns["id"].tolist())}
            order = [where[sample] for sample in split.ids]
            values.append(columns[f"{name}/predicted"][order].astype(float))
            if basis == "classes":
                shares.append(columns[f"{name}/probability"][order].astype(float))
            elif basis == "bins":
                shares.append(kept[f"{name}/bins"][order].astype(float))
        return _Said(np.stack(values), np.mean(shares, axis=0) if shares else None)

    def _half_widths(self, split: Split) -> Array:
        """Return half the width of each sample's interval that holds half of all labels; 0 where it is not known."""
        calibration = self.run.calibration
        if calibration is None:
            return np.zeros(len(split))
        present = [[n for n, there in split.present.items() if there[row]] for row in range(len(split))]
        found = [calibration.half_width(self.target.name, names, 0.5) for names in present]
        return np.array([width or 0.0 for width in found])


def _soft(bins: list[OrderedBins], labels: Array) -> Array:
    """Return the labels as shares of the bins, the mean over members, whose centres may differ."""
    import torch

    values = torch.from_numpy(np.asarray(labels, np.float32))
    return np.mean([b.soft(values).numpy() for b in bins], axis=0).astype(float)


def prepared(run: Run, raw: Corpus) -> Corpus:
    """Return ``raw`` as ``run`` reads it: of its modalities those that the run was trained on, encoded and normalised.

    Raises:
        DataError: as ``Run.corpus``.
    """
    wanted = run.schema.names
    known = set(wanted) <= set(raw.schema.names)
    return run.corpus(raw.only(wanted) if known and wanted != raw.schema.names else raw)


def target_of(run: Run, name: str | None) -> Target:
    """Return the target of ``run`` that a cascade is about: ``name``, or its first one.

    Raises:
        OptionError: no such target, or one that is neither a number nor one of several classes.
    """
    from polymodal.core import nearest

    known: dict[str, Any] = {t.name: t for t in run.schema.joint_targets}
    target = known.get(name or next(iter(known)))
    if target is None:
        raise OptionError(f"{run.path} has no target {name!r}{nearest(str(name), known)}")
    if target.spec.answer not in ("number", "class"):
        raise OptionError(
            f"a cascade is about a number or one of several classes; {target.name!r} is a {target.task} target"
        )
    return target
