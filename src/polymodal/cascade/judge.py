"""A cascade, or recorded answers of a large model, as a judge that audits may ask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polymodal.audit._worded import Worded
from polymodal.audit.base import Said, Unanswerable
from polymodal.audit.subject import Subject, columns_of, place_of
from polymodal.cascade.asking import LargeModel, Questions, Sample
from polymodal.cascade.evaluate import open_cascade
from polymodal.cascade.large import Heard, LargeRun
from polymodal.cascade.recorded import Recorded
from polymodal.cascade.records import run as routed
from polymodal.cascade.routing import Answers, Rule
from polymodal.cascade.speaker import Speaker
from polymodal.cascade.voice import read
from polymodal.core import Batch, OptionError, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.encode import encoder_of
from polymodal.data.loader import Loader
from polymodal.data.sources import load_corpus
from polymodal.data.standardise import Normalizer, standardise

BATCH = 32


def subject_of_cascade(folder: str | Path, data: str | Corpus | None = None, split: str = "test") -> Subject:
    """Return the cascade in ``folder``, to be audited on ``split``.

    Where its large model is a run, both models are asked about whatever an audit makes of a sample, and who answers is
    decided anew; recorded answers are to the samples as they are, and an audit that changes them is refused.

    Args:
        data: another corpus; default the one that the cascade was fitted on.

    Raises:
        RunError, DataError: as ``evaluate_cascade``.
        OptionError: the large model is a service: every changed sample would be sent there.
    """
    home = Path(folder)
    opened = open_cascade(home, data)
    if opened.large.costly:
        raise OptionError(
            f"{home} asks a service, to which every changed sample of an audit would be sent; fit a cascade with run: "
            "or file: in its place, or audit its small run"
        )
    names = set(opened.speaker.run.schema.names)
    if isinstance(opened.large, LargeRun):
        names |= set(opened.large.speaker.run.schema.names)
    raw = opened.raw.only([n for n in opened.raw.schema.names if n in names]).asking([opened.target.name])
    loader = Loader(raw[split], raw.schema, BATCH)
    judge = CascadeJudge(raw.schema, opened.target, opened.rule, opened.speaker, opened.large, loader.epoch)
    return _subject(home.resolve().name, judge, raw, split, loader)


def subject_of_answers(file: str | Path, data: str | Corpus, split: str = "test") -> Subject:
    """Return recorded answers to the first target of ``data``, to be audited on ``split``; audits that change samples
    are refused.

    Raises:
        DataError: they cannot be read, or are about something else; see ``Recorded``.
        OptionError: the target is neither a number nor one of several classes.
    """
    corpus = load_corpus(data)
    target = corpus.schema.joint_targets[0]
    if target.spec.answer not in ("number", "class"):
        raise OptionError(f"recorded answers are numbers or one of several classes; {target.name!r} is {target.task}")
    corpus = corpus.asking([target.name])
    loader = Loader(corpus[split], corpus.schema, BATCH)
    judge = AnswersJudge(corpus.schema, target, Recorded(Path(file), target), loader.epoch)
    return _subject(Path(file).name, judge, corpus, split, loader)


def _subject(name: str, judge: CascadeJudge | AnswersJudge, corpus: Corpus, split: str, loader: Loader) -> Subject:
    place, columns = place_of(corpus, split), columns_of(corpus, split)
    return Subject(name, judge, loader.epoch, place, lambda: (judge, loader.epoch), columns)


class Unchanged:
    """Knows samples as they are, and refuses others.

    Args:
        large: whose answers are to those.
        batches: all of them.
    """

    def __init__(self, large: LargeModel, batches: Callable[[], Iterable[Batch]]) -> None:
        self.name = large.name
        self._known = {i: found for b in batches() for i, found in zip(b.ids, _digests(b), strict=True)}

    def check(self, batch: Batch) -> None:
        """Raise Unanswerable where a sample is not as it was."""
        for name, found in zip(batch.ids, _digests(batch), strict=True):
            if self._known.get(name) != found:
                raise Unanswerable(
                    f"{self.name} holds answers to the samples as they were, and this audit changes what is in them; "
                    "audit a run, or a cascade of two runs"
                )


def _digests(batch: Batch) -> list[str]:
    parts = [hashlib.sha256() for _ in batch.ids]
    for stream in batch.streams.values():
        for row, (digest, there) in enumerate(zip(parts, stream.present.tolist(), strict=True)):
            if isinstance(stream.values, Tensor):
                length = slice(None) if stream.lengths is None else slice(int(stream.lengths[row]))
                content = np.ascontiguousarray(stream.values[row][length].numpy()).tobytes()
            else:
                content = stream.values[row].encode()
            digest.update(bytes([there]) + len(content).to_bytes(8, "little") + content)
    return [digest.hexdigest() for digest in parts]


class _Side:
    """A run's answers to batches that are neither encoded nor standardised: ``y`` and ``u`` of each sample."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker, self.schema = speaker, speaker.run.schema
        # The members of a run of folds standardise, each by its own statistics.
        self._normalizer = Normalizer({}, {}) if speaker.run.crossed else speaker.run.normalizer
        encode = speaker.run.config["data"]["encode"]
        self._asked = Worded(self, {n: encoder_of(s) for n, s in encode.items()}) if encode else self

    def answers(self, batch: Batch) -> Answers:
        """Return the run's answers."""
        said = self._asked(batch.only(self.schema.names))
        return Answers(said["y"].numpy(), said["u"].numpy())

    def __call__(self, batch: Batch) -> Said:
        """Return the answers to an encoded batch."""
        own = standardise(batch, self._normalizer)
        found = read(self.speaker.voice.said([own]), self.speaker.sureness)
        return {"y": torch.from_numpy(found.y), "u": torch.from_numpy(found.u)}


class CascadeJudge:
    """A small run and a large model behind each other; see ``subject_of_cascade``.

    Args:
        schema: of the batches, which are as the corpus has them.
        target: what is answered.
        rule: who answers.
        small, large: both models.
        batches: all samples as they are.
    """

    def __init__(
        self,
        schema: Schema,
        target: Target,
        rule: Rule,
        small: Speaker,
        large: LargeModel,
        batches: Callable[[], Iterable[Batch]],
    ) -> None:
        self.schema, self.target, self.rule, self.large = schema, target, rule, large
        self._small = _Side(small)
        self._other = _Side(large.speaker) if isinstance(large, LargeRun) else None
        self._known = None if self._other else Unchanged(large, batches)

    def __call__(self, batch: Batch) -> Said:
        """Return the cascade's answers: numbers, or 1 for a class and 0 for the others."""
        large = self.large
        if self._known:
            self._known.check(batch)
        elif self._other:
            large = Heard(self._other.answers(batch))
        numbered = large is not self.large
        samples = [Sample(str(row) if numbered else name) for row, name in enumerate(batch.ids)]
        record = routed(self.rule, Questions(large, samples, self._small.answers(batch)))
        return {self.target.name: _said(self.target, record.score)}


class AnswersJudge:
    """Recorded answers; one that could not be read is none."""

    def __init__(
        self, schema: Schema, target: Target, recorded: Recorded, batches: Callable[[], Iterable[Batch]]
    ) -> None:
        self.schema, self.target, self.recorded = schema, target, recorded
        self._known = Unchanged(recorded, batches)

    def __call__(self, batch: Batch) -> Said:
        """Return what was recorded."""
        self._known.check(batch)
        answers = self.recorded.predict([Sample(name) for name in batch.ids])
        return {self.target.name: _said(self.target, np.array([answer.score for answer in answers]))}


def _said(target: Target, score: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    """Return numbers as they are, classes as probabilities of 0 and 1; NaN where there is no answer."""
    if target.spec.answer == "number":
        return torch.from_numpy(np.asarray(score, float))
    found = torch.full((len(score), len(target.classes)), float("nan"), dtype=torch.double)
    for row, value in enumerate(score):
        if not np.isnan(value):
            found[row] = torch.nn.functional.one_hot(torch.tensor(int(value)), len(target.classes)).double()
    return found
