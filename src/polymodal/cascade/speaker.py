"""A run as one who answers about a corpus, with how unsure it is of each answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from polymodal.audit.panels import panel_of
from polymodal.cascade.routing import Answers, Array
from polymodal.cascade.uncertainty import soft_temperature
from polymodal.cascade.voice import Said, Sureness, Voice, read
from polymodal.core import DataError, OptionError, Target
from polymodal.data.corpus import Corpus
from polymodal.data.split import Split
from polymodal.nn.bins import OrderedBins
from polymodal.score.calibration import temperature
from polymodal.stress import Stress
from polymodal.train.run import Run
from polymodal.train.stressed import stressed


class Speaker:
    """A run that is asked about one target of the samples of a corpus.

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
        self.voice = Voice(run, target, panel_of(run))
        self.sureness = sureness or self._learned()

    def answers(self, split: Split) -> Answers:
        """Return the answers to ``split``, which has the corpus's columns, in its order."""
        return read(self.said(split), self.sureness)

    def said(self, split: Split, stress: Stress | None = None) -> Said:
        """Return what the members say of ``split``, in its order, under ``stress``."""
        loader = self.run.loader(self.corpus, split)
        batches = map(stressed(loader, stress), loader.epoch()) if stress else loader.epoch()
        return self.voice.said(batches).of(split.ids)

    def _learned(self) -> Sureness:
        if "valid" not in self.corpus.splits or not len(self.corpus["valid"]):
            raise DataError(f"{self.corpus.source} has no validation samples to fit thresholds on; name a split valid")
        split, target, basis = self.corpus["valid"], self.target, self.voice.basis
        true = split.targets[target.name]
        known = target.spec.known(true)
        if basis == "members":
            low, high = target.range or (0.0, 4 * float(true[known].std()) or 1.0)
            return Sureness("members", scale=(high - low) / 2)
        shares = self.said(split).shares
        assert shares is not None
        if basis == "classes":
            found = temperature(target, true, shares)
        else:
            found = soft_temperature(shares[known], _soft(self.voice.bins, true[known]))
        return Sureness(basis, temperature=found or 1.0)


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
