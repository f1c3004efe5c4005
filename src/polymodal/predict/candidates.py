"""What may be labelled: clips of a folder, or samples of a corpus, and what a run says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.core import Batch, DataError, Target
from polymodal.core.batch import known_labels
from polymodal.data.corpus import Corpus
from polymodal.data.progress import progress_bar
from polymodal.media.folder.locate import SUFFIXES
from polymodal.predict.asked import Asked, Asker
from polymodal.predict.features import Features
from polymodal.predict.predictor import Predictor

ROWS = 64
"""Utterances that are judged together."""


@dataclass(frozen=True)
class Candidate:
    """Something that may be labelled.

    Attributes:
        name: path of the clip as seen from the folder, or id of the sample.
        start, end: seconds; None for a whole clip or a sample.
        text: what is said, as far as known.
    """

    name: str
    start: float | None = None
    end: float | None = None
    text: str = ""


@dataclass
class Gathered:
    """Candidates and what was said of them, as they come."""

    asker: Asker
    candidates: list[Candidate] = field(default_factory=list)
    parts: list[Asked] = field(default_factory=list)

    def add(self, candidates: Sequence[Candidate], batch: Batch) -> None:
        """Ask about ``batch``, whose rows are ``candidates``."""
        self.candidates += candidates
        self.parts.append(self.asker.ask(batch))

    @property
    def asked(self) -> Asked:
        """All parts as one."""
        return Asked.joined(self.parts)


def folder_of_clips(source: str | Path) -> Path | None:
    """Return the folder, if it is one that holds clips and not a corpus."""
    place = Path(source)
    return place if place.is_dir() and next(_clips_in(place), None) is not None else None


def _clips_in(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file())


def read_clips(predictor: Predictor, folder: Path, utterances: str, into: Gathered, notes: list[str]) -> None:
    """Add what all clips of ``folder`` hold; bad ones are left out, with a note."""
    clips, features = predictor.clips, Features(predictor.run)
    notes += clips.notes
    paths = list(_clips_in(folder))
    with progress_bar() as bar:
        task = bar.add_task("clips", total=len(paths))
        for path in paths:
            name = path.relative_to(folder).as_posix()
            try:
                with clips.pipeline.read(path, utterances=utterances) as reading:
                    rows = [(u, clips.row(u)) for u in reading]
                found = [(u, row) for u, row in rows if any(value is not None for value in row.values())]
            except DataError as error:
                notes.append(f"left out: {error}")
                found = []
            for start in range(0, len(found), ROWS):
                part = found[start : start + ROWS]
                whole = utterances == "clip"
                told = [
                    Candidate(
                        name, None if whole else u.segment.start, None if whole else u.segment.end, u.segment.text
                    )
                    for u, _ in part
                ]
                into.add(told, features.batch([row for _, row in part], [name] * len(part)))
            bar.advance(task)


def read_corpus(source: str | Corpus, into: Gathered, notes: list[str]) -> None:
    """Add the samples of a corpus that lack a label; all, with a note, if none lacks one."""
    run = into.asker.run
    corpus = run.corpus(source)
    batches = [b for split in corpus.splits for b in run.loader(corpus, split).epoch()]
    lacking = [~_labelled(b, run.schema.joint_targets) for b in batches]
    if not any(bool(rows.any()) for rows in lacking):
        notes.append(f"every sample of {corpus.source} has a label: all of them are candidates")
        lacking = [~rows for rows in lacking]
    texts = _texts(corpus)
    for batch, rows in zip(batches, lacking, strict=True):
        if bool(rows.any()):
            part = batch.select(rows)
            into.add([Candidate(i, text=texts.get(i, "")) for i in part.ids], part)


def _labelled(batch: Batch, targets: Sequence[Target]) -> Any:
    found = known_labels(batch.targets[targets[0].name])
    for target in targets[1:]:
        found = found & known_labels(batch.targets[target.name])
    return found


def _texts(corpus: Corpus) -> dict[str, str]:
    """Return id -> what is said, where the corpus has raw text."""
    names = [m.name for m in corpus.schema.modalities if m.kind == "text"]
    if not names:
        return {}
    return {
        str(i): str(split.columns[names[0]][row]) for split in corpus.splits.values() for row, i in enumerate(split.ids)
    }
