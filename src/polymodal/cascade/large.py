"""Large models by name: ``run:FOLDER``, ``file:answers.jsonl``, ``http``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cascade.asking import Answer, LargeModel, Reference, Sample
from polymodal.cascade.folder import digest
from polymodal.cascade.models import large_run
from polymodal.cascade.routing import Answers
from polymodal.cascade.speaker import Speaker, prepared
from polymodal.cascade.voice import Sureness
from polymodal.core import OptionError, Target
from polymodal.core.options import options_of, read_options, split_source
from polymodal.data.corpus import Corpus

if TYPE_CHECKING:
    from polymodal.cascade.remote import Remote

FORMS = "run:FOLDER, file:answers.jsonl or http"


class LargeRun:
    """A run in the place of a large model. It cannot be told what was said before."""

    reads_references = False
    costly = False
    reads_text = False

    def __init__(self, speaker: Speaker) -> None:
        self.speaker, self.name = speaker, f"run {speaker.run.path.resolve().name}"
        self.notes: list[str] = []
        self.usage: dict[str, int] = {}
        self._where = {s: (name, row) for name, part in speaker.corpus.splits.items() for row, s in enumerate(part.ids)}

    def predict(self, samples: Sequence[Sample], references: Sequence[Reference] | None = None) -> list[Answer]:
        """Return the run's answers."""
        found: dict[str, Answer] = {}
        places = [self._where[sample.id] for sample in samples]
        for name in dict.fromkeys(split for split, _ in places):
            part = self.speaker.corpus[name].view([row for split, row in places if split == name])
            said = self.speaker.answers(part)
            found |= {i: Answer(float(y), float(u)) for i, y, u in zip(part.ids, said.y, said.u, strict=True)}
        return [found[sample.id] for sample in samples]


class Heard:
    """Answers that were given already, by the number of the sample."""

    reads_references = costly = reads_text = False

    def __init__(self, answers: Answers) -> None:
        self.name, self.notes, self.usage, self._answers = "run", list[str](), dict[str, int](), answers

    def predict(self, samples: Sequence[Sample], references: Sequence[Reference] | None = None) -> list[Answer]:
        """Return them."""
        rows = [int(sample.id) for sample in samples]
        return [Answer(float(self._answers.y[row]), float(self._answers.u[row])) for row in rows]


def open_large(
    spec: str,
    target: Target,
    raw: Corpus,
    home: Path | None = None,
    sureness: Sureness | None = None,
    known: str | None = None,
) -> LargeModel:
    """Return the large model behind ``spec``.

    Args:
        spec: see ``FORMS``; ``http`` may have options, as in ``http?samples=3&timeout=10``.
        target: what it is asked about.
        raw: the corpus that it is asked about, with raw text if it reads words.
        home: folder that paths in ``spec`` start from; default the current one.
        sureness: of a run, learned before.
        known: digest of a run, if it must be that one.

    Raises:
        OptionError: another spec, options that it does not have.
        RunError, DataError: a run or file that cannot be read, or that is about something else.
    """
    kind, _, place = spec.partition(":")
    if kind == "run" and place:
        run = large_run(place, target, home, known)
        return LargeRun(Speaker(run, target, prepared(run, raw), sureness))
    if kind == "file" and place:
        from polymodal.cascade.recorded import Recorded

        return Recorded(_at(home, place), target)
    return open_service(spec, target)


def open_service(spec: str, target: Target) -> Remote:
    """Return the service behind ``spec``, for the target it is asked about.

    Raises:
        OptionError: another spec, options that it does not have, an environment that does not name it.
    """
    from polymodal.cascade.remote import Remote

    name, options = split_source(spec)
    if name != "http":
        raise OptionError(f"unknown large model {spec!r}; use {FORMS}")
    return Remote(target, **read_options("http", options, options_of(Remote, skip=1), text=True))


def fitted_with(name: str, large: LargeModel) -> list[str]:
    """Return a sentence where thresholds were fitted with another model than ``large``."""
    return [] if large.name == name else [f"thresholds were fitted with {name}, asked is {large.name}"]


def samples_of(raw: Corpus, split: str, large: LargeModel) -> list[Sample]:
    """Return the samples of ``split`` as the large model may see them.

    Raises:
        OptionError: it reads words, and the corpus has none.
    """
    part = raw[split]
    text = next(iter(raw.schema.texts), None)
    if not large.reads_text:
        return [Sample(name) for name in part.ids]
    if text is None:
        raise OptionError(
            f"{raw.source} has no raw text for the large model to read (only {', '.join(raw.schema.names)}); load it "
            "raw (a pickle: ?text=raw)"
        )
    column = part.columns[text]
    return [Sample(name, str(column[row])) for row, name in enumerate(part.ids)]


def unsure_of(large: LargeModel) -> Sureness | None:
    """Return what was learned of how sure a run is; None of any other large model."""
    return large.speaker.sureness if isinstance(large, LargeRun) else None


def digest_of_run(large: LargeModel) -> str | None:
    """Return what tells a run from any other in its place; None of any other large model."""
    return digest(large.speaker.run.path) if isinstance(large, LargeRun) else None


def _at(home: Path | None, place: str) -> Path:
    return Path(place) if home is None else home / place
