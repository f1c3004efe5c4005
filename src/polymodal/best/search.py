"""``fit_best``: candidates one after another, as long as there is time, then their ensemble as a run."""

from __future__ import annotations

import math
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

from polymodal.best.assemble import Choice, assemble, planned
from polymodal.best.budget import Budget, OutOfTime
from polymodal.best.candidates import COSTS, Candidate, candidates
from polymodal.best.curve import Curve, cheapest, curve, expected
from polymodal.best.ground import Check, Ground
from polymodal.best.records import Record, Records
from polymodal.best.report import line_of, write_best
from polymodal.best.setting import Setting, settle
from polymodal.best.student import FOLDER as STUDENT
from polymodal.best.student import check_teachable, pupil, teach
from polymodal.core import OptionError, PolymodalError
from polymodal.core.locks import one_writer
from polymodal.core.options import FoldScheme
from polymodal.data.corpus import Corpus
from polymodal.data.progress import console
from polymodal.train.calibrate import calibrate
from polymodal.train.calibration import FILE
from polymodal.train.run import Run

PATIENCE = 15
"""Candidates in a row that may gain nothing before the search is over."""

GAIN = 1e-3
"""Share of the loss that counts as a gain."""

BEHIND = 1.1
"""A candidate whose loss in its first fold is that many times the median of those before it is given up."""

TELLING = 50
"""Samples that the first fold must test to tell; on fewer, luck is larger than that, and trainings are short."""

SAFE = 1.5
"""Factor on what the ensemble and its calibration are thought to take."""

LEAST = 3.0
"""Seconds kept for it at least."""

SKIPPED = 20
"""Candidates in a row for which there was no time, after which nothing will fit any more."""


def fit_best(
    data: str | Corpus,
    *,
    minutes: float = 20.0,
    target: str | None = None,
    encode: dict[str, str] | None = None,
    folds: FoldScheme | None = None,
    seed: int = 1111,
    device: str = "auto",
    out: str | Path | None = None,
    distill: bool = False,
) -> Run:
    """Try methods, settings and modalities on ``data`` for ``minutes``, and return an ensemble of the best as a run.

    Everything is learned and judged in folds that keep groups (videos, speakers) whole; a split ``test`` is left out of
    them and is what ``evaluate`` scores. Started again with the same folder, a search goes on where it was stopped;
    with more ``minutes`` one that was done goes on too.

    Args:
        data: source as in ``load_corpus``, or a Corpus.
        minutes: all of it together may take.
        target: the only one to learn; default all.
        encode: modality -> frozen encoder, see ``data.encode.encode_corpus``; default: MiniLM for raw text in case the
            linear floor is better with it, and there is time.
        folds: number of folds, 3 or more, or ``leave-one-group-out``; default 8, or 5 for many samples, or as many
            groups as there are.
        seed: of folds' trainings, and of what is drawn.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        out: run folder; default ``runs/best-<corpus>``.
        distill: also make one small run, ``student`` in that folder, of a single candidate that learns from the labels
            and from the ensemble.

    Raises:
        OptionError: an unknown option or device, minutes that do not even suffice for the floor.
        DataError: the corpus cannot be read or used: no labels, no such target, too few groups for folds.
        RunError: ``out`` holds something else, or cannot be written, or another process writes into it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OptionError("fit best works in one process; leave torchrun out")
    if not minutes > 0:
        raise OptionError(f"minutes must be above 0, got {minutes:g}")
    budget = Budget(minutes)
    setting = settle(data, target=target, encode=encode, folds=folds, seed=seed, device=device, out=out, budget=budget)
    if distill:
        check_teachable(setting.corpus)
    with one_writer(setting.records.folder, ", or choose another --out"):
        return Search(setting, budget, distill=distill).run()


class Search:
    """A search at work.

    Args:
        setting: what is searched on, and where.
        budget: its time.
        distill: whether a student is to be taught.
    """

    def __init__(self, setting: Setting, budget: Budget, *, distill: bool = False) -> None:
        self.setting, self.budget, self.distill = setting, budget, distill
        self.records: Records = setting.records
        self.ground: Ground = setting.ground
        self._choice: Choice | None = None
        self._choosing = 0.0

    def run(self) -> Run:
        """Search, assemble, calibrate, report."""
        self._floor()
        self._all()
        taught = not self.distill or (self.records.folder / STUDENT / FILE).is_file()
        if self.records.complete == len(self.records.finished) and taught:  # there is nothing new to be made of
            return Run.load(self.records.folder)
        return self._finish()

    def _floor(self) -> None:
        """Try the floor; OptionError where there is no time even for it."""
        floor = next(candidates(self.ground.schema, self.ground.seed))
        if self.records.of(floor):
            return
        began = self.budget.spent
        # The first fold also pays for loading libraries: where it seems too slow, the second tells.
        for fold in self.ground.folds[:2]:
            enough = self._enough(floor, fold)
            if enough <= self.budget.seconds:
                self._try(floor, lambda: None, spent=self.budget.spent - began)
                return
        self._keep(floor, self.budget.spent - began)
        minutes = math.ceil(enough / 6 * 1.1) / 10
        raise OptionError(
            f"{self.budget.seconds / 60:g} minutes are too few: the linear floor alone needs about {minutes:g} on "
            f"these {len(self.ground.dealt.pooled)} samples in {len(self.ground.folds)} folds; give it --minutes "
            f"{minutes:g} or more"
        )

    def _enough(self, floor: Candidate, fold: int) -> float:
        """Train and ask the floor in ``fold``, and return the seconds of which all of it would be done."""
        began = self.budget.spent
        self.ground.train(floor, fold, lambda: None)
        self.ground.ask(floor, fold)
        # What an earlier start has done takes nothing now.
        one = max(self.budget.spent - began, self.records.first.get(floor.key, 0.0) / 2)
        return self.budget.spent + (len(self.ground.folds) - fold - 1) * one + max(LEAST, one)

    def _all(self) -> None:
        """Try candidates until time or hope is over."""
        skipped = 0
        self._choose()
        for candidate in candidates(self.ground.schema, self.ground.seed):
            if self.records.of(candidate):
                continue
            if self.records.stale(GAIN) >= PATIENCE:
                self._say(f"the last {PATIENCE} candidates gained nothing: the search is over before its time")
                return
            usable = self.budget.left - self.reserve()
            if usable <= 0 or skipped >= SKIPPED:
                return
            if self._expected(candidate) > usable:
                skipped += 1
                continue
            skipped = 0
            self._try(candidate, self.budget.ends_in(usable))

    def _expected(self, candidate: Candidate) -> float:
        """Return the seconds that ``candidate`` is thought to take, by what others took; 0 where none was measured."""
        same = [r.seconds for r in self.records.finished if r.candidate.method == candidate.method]
        if same:
            return statistics.median(same)
        # What is solved in closed form says nothing about what trains.
        known = [r for r in self.records.finished if r.candidate.method in COSTS]
        return statistics.median([r.seconds / r.candidate.cost for r in known]) * candidate.cost if known else 0.0

    def reserve(self) -> float:
        """Return the seconds that weights, the run and its calibration will take."""
        chosen = self._choice
        if chosen is None:
            return LEAST
        asking = {r.candidate.key: r.asking for r in self.records.finished}
        each = sum(asking[chosen.candidates[n].key] for n in chosen.members)
        student = pupil(self.ground, self.records.finished) if self.distill else None
        # It learns from more than a fold, and is calibrated.
        taught = 2 * student.seconds / len(self.ground.folds) if student else 0.0
        return LEAST + SAFE * (taught + each * len(self.ground.schema.subsets()) + self._choosing)

    def _keep(self, candidate: Candidate, seconds: float) -> None:
        """Note that ``candidate`` has taken ``seconds`` and is not done."""
        self.records.first[candidate.key] = self.records.first.get(candidate.key, 0.0) + seconds
        self.records.save(self.budget.spent)

    def _try(self, candidate: Candidate, check: Check, spent: float = 0.0) -> None:
        """Train ``candidate`` in all folds, unless it falls behind, fails or there is no time; note what became of it.

        Args:
            spent: seconds that the first fold has taken already.
        """
        began, asking = self.budget.spent - spent, 0.0
        earlier = self.records.first.pop(candidate.key, 0.0)
        usable = self.budget.left
        record = Record(candidate, "done", 0.0)
        try:
            for fold in self.ground.folds:
                # As long as the first fold may take for all of them to be done.
                limit = self.budget.ends_in(usable / len(self.ground.folds)) if fold == 0 else check
                in_time = _both(check, limit)
                self.ground.train(candidate, fold, in_time)
                in_time()  # what is solved in closed form does not ask by itself
                asked = self.budget.spent
                self.ground.ask(candidate, fold)
                asking += self.budget.spent - asked
                if fold == 0 and self._behind(candidate):
                    record.state, record.why = "behind", "behind the others in its first fold"
                    break
                self.records.first[candidate.key] = earlier + self.budget.spent - began
                self.records.save(self.budget.spent)
        except OutOfTime:
            record.state, record.why = "slow", "too slow for the time that was left"
        except PolymodalError as error:
            record.state, record.why = "failed", str(error)
        self.records.first.pop(candidate.key, None)
        record.seconds, record.asking = earlier + self.budget.spent - began, asking
        self._note(record)

    def _behind(self, candidate: Candidate) -> bool:
        before = [self.ground.first_loss(r.candidate) for r in self.records.finished]
        telling = len(self.ground.rows(0)) >= TELLING and len(before) >= 3
        return telling and self.ground.first_loss(candidate) > BEHIND * statistics.median(before)

    def _note(self, record: Record) -> None:
        """Add ``record`` and say where the search stands."""
        self.records.done.append(record)
        if record.state == "done":
            choice = self._choose()
            record.loss, record.together = choice.jury.loss(choice.alone[-1]), choice.jury.loss(choice.whole)
        self.records.save(self.budget.spent)
        self._say(line_of(record, self.ground, self._choice))

    def _choose(self) -> Choice:
        """Choose among all that are done, and note how long that takes for every fold as well."""
        began = self.budget.spent
        self._choice = Choice.of(self.ground, [r.candidate for r in self.records.finished])
        self._choosing = (len(self.ground.folds) + 1) * (self.budget.spent - began)
        return self._choice

    def _finish(self) -> Run:
        """Make the run, calibrated and with its report."""
        choice = self._choose().in_folds(self.ground)
        members = [choice.candidates[n] for n in choice.members]
        plan = planned(self.ground, self.setting.corpus, members, self.records.encode or {}, self.setting.command)
        assemble(self.ground, plan, choice, self.records.folder)
        run = Run.load(self.records.folder)
        calibrate(run, plan.corpus, self.ground.fabric.device)
        self._teach(choice)
        learned = self._curve()
        self.records.spent = self.budget.spent
        write_best(self.ground, self.records, choice, self.budget, learned)
        self.records.complete = len(self.records.finished)
        self.records.save(self.budget.spent)
        return run

    def _teach(self, choice: Choice) -> None:
        """Make the student, if one is asked for and there is time."""
        record = pupil(self.ground, self.records.finished) if self.distill else None
        if record is None:
            if self.distill:
                self._say("no student: no candidate that learns by gradient was done in time; give it more --minutes")
            return
        place, encode = self.records.folder / STUDENT, self.records.encode or {}
        check = self.budget.ends_in(self.budget.left)
        try:
            teach(self.ground, choice, record.candidate, self.setting.corpus, encode=encode, out=place, check=check)
        except OutOfTime:
            shutil.rmtree(place)
            self._say("no student: there was no time left; give it more --minutes")
            return
        self._say(f"student: {record.candidate}, in {place}")

    def _curve(self) -> Curve | None:
        """Return what more data would gain, if there is time to see."""
        record = cheapest(self.records.finished)
        if expected(record) > self.budget.left:
            return None
        try:
            return curve(self.ground, record.candidate, self.budget.ends_in(self.budget.left))
        except OutOfTime:
            return None

    def _say(self, line: str) -> None:
        console.print(f"[{self.budget}] {line}", soft_wrap=True, markup=False)


def _both(first: Check, second: Check) -> Callable[[], None]:
    def check() -> None:
        first()
        second()

    return check
