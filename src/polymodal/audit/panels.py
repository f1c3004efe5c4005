"""Who speaks for a run: all its members, or those that never saw a sample."""

from __future__ import annotations

import torch

from polymodal.audit.base import Judge, Panel, Said
from polymodal.core import Batch
from polymodal.data.corpus import Corpus
from polymodal.data.folds import Dealt
from polymodal.train.run import Run


def panel_of(run: Run, fold: int | None = None) -> Panel:
    """Return the mean of the members of ``run``, or of those of one ``fold``.

    A run of folds takes batches that are not standardised, as ``run.loader`` makes them.
    """
    found = members_of(run, fold)
    return Panel([m for one in found for m in one.methods], [n for one in found for n in one.normalizers])


def members_of(run: Run, fold: int | None = None) -> list[Panel]:
    """Return the members of ``run``, or of one ``fold``, each for itself; see ``panel_of``."""
    members = [m for m in run.members if fold is None or m.fold == fold]
    known = {m.fold: run.normalizer_of(m.fold) for m in members} if run.crossed else {}
    return [Panel([run.method(m.seed, m.fold)], [known[m.fold]] if known else ()) for m in members]


def judge_of(run: Run, corpus: Corpus, split: str) -> tuple[Judge, Corpus]:
    """Return who may be asked about ``split`` of ``corpus``, and the corpus that has it.

    A run of folds is asked about its own corpus out of fold; all that was dealt is then one test split.
    """
    if not run.crossed or corpus.hash != run.config["data"]["hash"]:
        return panel_of(run), corpus
    dealt = run.dealt(corpus)
    return (OutOfFold(run, dealt) if split == dealt.folds.tested else panel_of(run)), dealt.whole


class OutOfFold:
    """The members of the fold that tests a sample, sample by sample."""

    def __init__(self, run: Run, dealt: Dealt) -> None:
        self.schema = run.schema
        self._panels = [panel_of(run, fold) for fold in range(len(dealt.folds))]
        self._home = dict(zip(dealt.pooled.ids, dealt.numbers.tolist(), strict=True))

    def __call__(self, batch: Batch) -> Said:
        """Return what each sample's own fold says of it; a batch that is not standardised, of samples in the folds."""
        homes = torch.tensor([self._home[name] for name in batch.ids])
        found: Said = {}
        for fold in homes.unique().tolist():
            rows = (homes == fold).nonzero()[:, 0]
            for name, values in self._panels[fold](batch.select(rows)).items():
                found.setdefault(name, values.new_zeros(len(batch), *values.shape[1:]))[rows] = values
        return found
