"""What all candidates of a search share: the corpus in folds, its statistics, and where trainings are kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.best.candidates import Candidate
from polymodal.best.selection import Answers, Jury
from polymodal.core import Batch, Estimate, RunError
from polymodal.data.corpus import Corpus
from polymodal.data.folds import Dealt
from polymodal.data.loader import Loader
from polymodal.methods import build, find_method
from polymodal.methods.base import Method
from polymodal.methods.ensemble import averaged
from polymodal.score import Blocks, summarise_tables, tables_by_seed
from polymodal.score.statistics import Array
from polymodal.train.checkpoint import load_weights, write_json
from polymodal.train.consistency import Paired
from polymodal.train.fit import train_member
from polymodal.train.members import Member
from polymodal.train.plan import Plan
from polymodal.train.problem import CorpusProblem
from polymodal.train.recipe import Recipe

Check = Callable[[], None]
ANSWERS = "answers.npz"


class Timed(CorpusProblem):
    """A corpus that asks ``check`` before every batch whether there is time for it."""

    def __init__(self, corpus: Corpus, recipe: Recipe, seed: int, check: Check) -> None:
        super().__init__(corpus, recipe, seed)
        self._check = check

    def batch(self, rows: Array, epoch: int) -> Batch | Paired:
        """Return training samples; OutOfTime where ``check`` says so."""
        self._check()
        return super().batch(rows, epoch)


class Ground:
    """A corpus in folds on which candidates are trained and asked.

    Args:
        dealt: the corpus, encoded.
        folder: of all trainings.
        seed: of each.
        fabric: devices and precision.
    """

    def __init__(self, dealt: Dealt, folder: Path, seed: int, fabric: Any) -> None:
        self.dealt, self.folder, self.seed, self.fabric = dealt, folder, seed, fabric
        self.corpus = dealt.whole
        self.schema = self.corpus.schema
        self.folds = range(len(dealt.folds))
        self.targets = self.schema.joint_targets
        self.labels = {t.name: torch.from_numpy(dealt.pooled.targets[t.name]) for t in self.targets}

    def part(self, fold: int, modalities: tuple[str, ...]) -> Corpus:
        """Return the splits of ``fold`` with ``modalities`` alone; statistics are those of the whole fold."""
        whole = self.dealt.corpus(fold)
        return replace(whole.only(modalities), stored_normalizer=whole.normalizer)

    def place(self, candidate: Candidate, fold: int) -> Path:
        """Return the folder of a training."""
        return self.folder / candidate.key / f"fold-{fold}"

    def rows(self, fold: int) -> Tensor:
        """Return the numbers of the samples that ``fold`` tests."""
        return torch.from_numpy(np.flatnonzero(self.dealt.numbers == fold))

    def others(self, fold: int) -> Tensor:
        """Return the numbers of all other samples."""
        return torch.from_numpy(np.flatnonzero(self.dealt.numbers != fold))

    def train(self, candidate: Candidate, fold: int, check: Check) -> None:
        """Train ``candidate`` without ``fold`` and its validation part, unless that is done.

        Raises:
            OutOfTime: as ``check``.
            DataError, OptionError, TrainingError: as ``fit``.
        """
        place = self.place(candidate, fold)
        if (place / "result.json").is_file():
            return
        options, recipe = candidate.settled(self.schema)
        found = self.trained(self.part(fold, candidate.modalities), candidate.method, options, recipe, place, check)
        write_json(place / "result.json", found)
        (place / "last.safetensors").unlink(missing_ok=True)

    def trained(
        self, corpus: Corpus, method: str, options: dict[str, Any], recipe: Recipe, place: Path, check: Check
    ) -> dict[str, Any]:
        """Train a method on ``corpus`` into ``place`` and return what ``result.json`` holds; errors as ``train``."""
        place.mkdir(parents=True, exist_ok=True)
        plan = Plan({"method_source": method, "options": options}, corpus, recipe)
        problem = Timed(corpus, recipe, self.seed, check)
        return train_member(plan, Member(self.seed), place, self.fabric, quiet, 60.0, problem=problem)

    def trains(self, candidate: Candidate) -> bool:
        """Whether ``candidate`` learns by gradient, rather than in closed form."""
        options, _ = candidate.settled(self.schema)
        return bool(build(find_method(candidate.method), self.schema.only(candidate.modalities), options).phases())

    def ask(self, candidate: Candidate, fold: int) -> None:
        """Have what was trained without ``fold`` answer about it, unless that is done."""
        place = self.place(candidate, fold)
        if (place / ANSWERS).is_file():
            return
        options, recipe = candidate.settled(self.schema)
        corpus = self.part(fold, candidate.modalities)
        method = build(find_method(candidate.method), corpus.schema, options)
        load_weights(method, place / "best.safetensors")
        said = self.answers_of(method, corpus, recipe)
        partial = place / f".{ANSWERS}.partial"
        try:
            with partial.open("wb") as stream:
                arrays: dict[str, Any] = {name: values.numpy() for name, values in said.items()}
                np.savez(stream, **arrays)
            os.replace(partial, place / ANSWERS)
        except OSError as error:
            raise RunError(f"cannot write {place}: {error.strerror or error}; free space and start again") from None

    @torch.no_grad()
    def answers_of(self, method: Method, corpus: Corpus, recipe: Recipe) -> dict[str, Tensor]:
        """Return what ``method`` says of the tested part of ``corpus`` (one of ``part``), in the order of its rows."""
        method.to(self.fabric.device).eval()
        split = corpus[self.dealt.folds.tested]
        loader = Loader(split, corpus.schema, recipe.batch_size, normalizer=corpus.normalizer)
        order = torch.from_numpy(np.concatenate(loader.plan(0)))
        parts: dict[str, list[Tensor]] = {t.name: [] for t in self.targets}
        for batch in loader.epoch():
            output = method(batch.to(self.fabric.device))
            for target in self.targets:
                parts[target.name].append(averaged(target, output.predictions[target.name]).cpu())
        found = {}
        for name, values in parts.items():
            whole = torch.cat(values)
            found[name] = torch.empty_like(whole)
            found[name][order] = whole
        return found

    def answers(self, candidate: Candidate) -> Answers:
        """Return what ``candidate`` said of every sample, asked out of fold."""
        said: dict[str, Tensor] = {}
        for fold in self.folds:
            with np.load(self.place(candidate, fold) / ANSWERS, allow_pickle=False) as stored:
                for target in self.targets:
                    own = torch.from_numpy(stored[target.name])
                    if target.name not in said:
                        said[target.name] = own.new_zeros(len(self.dealt.pooled), *own.shape[1:])
                    said[target.name][self.rows(fold)] = own
        return Answers(said, self.sees(candidate))

    def sees(self, candidate: Candidate) -> Tensor:
        """Return of which samples ``candidate`` sees anything, ``(samples,)`` bool."""
        there = [self.dealt.pooled.present[name] for name in candidate.modalities]
        return torch.from_numpy(np.any(there, axis=0))

    def first_loss(self, candidate: Candidate) -> float:
        """Return the loss of ``candidate`` on what fold 0 tests."""
        rows = self.rows(0)
        with np.load(self.place(candidate, 0) / ANSWERS, allow_pickle=False) as stored:
            said = {t.name: torch.from_numpy(stored[t.name]) for t in self.targets}
        own = Answers(said, self.sees(candidate)[rows])
        return Jury(self.targets, {n: labels[rows] for n, labels in self.labels.items()}, [own]).loss([1.0])

    def figure(self, predictions: dict[str, Tensor]) -> Estimate:
        """Return the main metric of the main target over all samples, with its interval over groups.

        Args:
            predictions: target -> as a method predicts.
        """
        target = self.targets[0]
        tables = [self.measures(predictions)]
        return summarise_tables(tables, self.blocks)[target.spec.main]

    @property
    def blocks(self) -> Blocks:
        """The samples with a known label by their groups."""
        known, groups = self._known, self.dealt.pooled.groups
        return Blocks.of(int(known.sum()), [groups[i] for i in np.flatnonzero(known).tolist()] if len(groups) else None)

    @property
    def _known(self) -> Array:
        return self.targets[0].spec.known(self.dealt.pooled.targets[self.targets[0].name])

    def measures(self, predictions: dict[str, Tensor]) -> dict[str, Any]:
        """Return every measure of the main target over the samples with a known label."""
        target, known = self.targets[0], self._known
        columns = {n: x.numpy()[known] for n, x in target.spec.columns(predictions[target.name]).items()}
        chances = columns.get("probability")
        true = self.dealt.pooled.targets[target.name][known]
        return tables_by_seed(target, true, columns["predicted"][None], None if chances is None else chances[None])[0]


def quiet(line: str) -> None:
    """Say nothing: a search has lines of its own."""
