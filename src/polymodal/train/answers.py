"""Which members of a run predict which sample of a corpus.

- A run without folds: the seed's only member predicts all.
- A run of folds on its own corpus: what was dealt is one split, ``test`` (see ``Folds.tested``), and each of its
  samples is predicted by the member of the fold that tests it, which never saw its group.
- A run of folds on anything else: the mean over the seed's members, as it is predicted with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.core import Target
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.ragged import Array
from polymodal.stress import AS_IS, Stress
from polymodal.train.infer import Columns, infer
from polymodal.train.predictions import EVERY
from polymodal.train.stressed import stressed

if TYPE_CHECKING:
    from polymodal.methods.base import Method
    from polymodal.train.run import Run


class Answers:
    """What a run says about a corpus, seed by seed.

    Attributes:
        corpus: to be predicted; of a run of folds on its own corpus, what was dealt is one test split.
        fused: ``fused`` and ``id`` as the last answer left them that was asked to keep them; of one member.

    Args:
        run: with finished seeds.
        corpus: from ``run.corpus``.
    """

    def __init__(self, run: Run, corpus: Corpus) -> None:
        own = run.crossed and corpus.hash == run.config["data"]["hash"]
        self._run, self._dealt = run, run.dealt(corpus) if own else None
        self.corpus = self._dealt.whole if self._dealt else corpus
        self.fused: dict[str, Any] = {}
        self._methods: dict[tuple[int, int | None], Method] = {}
        self._loaders: dict[tuple[str, int | None], Loader] = {}

    @property
    def method(self) -> Method:
        """The first of those that answer."""
        return self._method(self._run.seeds[0], self._run.folds[0])

    def of(
        self,
        seed: int,
        split: str,
        stress: Stress = AS_IS,
        *,
        keep: Collection[str] = (),
    ) -> Columns:
        """Return the prediction columns of ``seed``, with ``group`` where groups are known, and in a run of folds with
        ``fold``, the one that a sample is of.

        Args:
            split: of ``self.corpus``.
            stress: to put the samples under; its masks are the same for every seed.
            keep: representations to keep in ``fused``.
        """
        parts: list[Columns] = []
        for fold in self._run.folds:
            loader = self._loader(split, fold)
            batches = map(stressed(loader, stress), loader.epoch())
            # Spaces of several members have nothing in common: the first one's is kept.
            kept = () if parts else keep
            columns, _, found = infer(self._method(seed, fold), batches, keep=kept)
            if kept:
                self.fused = {**found, "id": columns["id"]}
            parts.append(columns)
        return self.corpus[split].with_groups(self._merged(split, parts))

    def _merged(self, split: str, parts: Sequence[Columns]) -> Columns:
        """Return what the members of all folds say of ``split`` as columns of one run."""
        if not self._run.crossed:
            return parts[0]
        if self._out_of_fold(split):
            numbers = [np.full(len(part["id"]), fold) for fold, part in enumerate(parts)]
            whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            return whole | {"fold": np.concatenate(numbers)}
        merged = averaged(self.corpus.schema.joint_targets, parts)
        return merged | {"fold": np.full(len(merged["id"]), EVERY)}

    def _out_of_fold(self, split: str) -> bool:
        return self._dealt is not None and split == self._dealt.folds.tested

    def _loader(self, split: str, fold: int | None) -> Loader:
        """Return the samples of ``split`` that the members of ``fold`` predict."""
        if (split, fold) not in self._loaders:
            rows = self.corpus[split]
            if self._dealt is not None and fold is not None and self._out_of_fold(split):
                rows = self._dealt.corpus(fold)[split]
            self._loaders[split, fold] = self._run.loader(self.corpus, rows, fold)
        return self._loaders[split, fold]

    def _method(self, seed: int, fold: int | None) -> Method:
        if (seed, fold) not in self._methods:
            self._methods[seed, fold] = self._run.method(seed, fold)
        return self._methods[seed, fold]


def ensemble(targets: Iterable[Target], parts: Sequence[Columns]) -> Columns:
    """Return columns in which what is ``averaged`` of each target is the mean over ``parts``: values, or probabilities.

    A radius is that within which all of them stay as they are. All others are those of the first part; see
    ``averaged``.
    """
    merged = dict(parts[0])
    for target in targets:
        name = f"{target.name}/{target.spec.averaged}"
        merged[name] = np.stack([columns[name] for columns in parts]).astype(np.float64).mean(axis=0)
        radius, said = f"{target.name}/radius", f"{target.name}/predicted"
        if all(radius in columns for columns in parts):
            merged[radius] = common_radius([c[radius] for c in parts], [c[said] for c in parts])
    return merged


def common_radius(radii: Sequence[Array], said: Sequence[Array]) -> Array:
    """Return within which radius several members together stay with a class: the least of theirs where all say the
    same one, as their mean probability of it is then the highest too; 0 elsewhere. All ``(samples,)``."""
    agree = (np.stack(said) == said[0]).all(axis=0)
    return np.where(agree, np.stack(radii).min(axis=0), 0.0)


def averaged(targets: Sequence[Target], parts: Sequence[Columns]) -> Columns:
    """Return ``ensemble``, in the types of ``parts`` and with the classes that follow from mean probabilities."""
    merged = ensemble(targets, parts)
    for target in targets:
        mean, name = merged[f"{target.name}/{target.spec.averaged}"], f"{target.name}/predicted"
        if target.spec.averaged == "probability":
            merged[name] = mean.argmax(axis=1) if target.spec.answer == "class" else mean > 0.5
    return {name: values.astype(parts[0][name].dtype) for name, values in merged.items()}
