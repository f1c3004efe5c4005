"""Who is audited, about what: a run, or any judge that a higher room or a caller brings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polymodal.audit import find_audit
from polymodal.audit._asked import Known
from polymodal.audit._worded import worded
from polymodal.audit.base import Audit, Findings, Judge
from polymodal.audit.judges import Called, ask
from polymodal.audit.panels import judge_of
from polymodal.core import Batch, DataError, OptionError, PolymodalError
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.progress import progress_bar
from polymodal.data.sources import load_corpus
from polymodal.train.run import Run

Batches = Callable[[], Iterable[Batch]]
Columns = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Subject:
    """Who is audited, about what.

    Attributes:
        name: of who is asked, for pages.
        judge: who is asked.
        batches: what about.
        place: ``source``, ``hash`` and ``split`` of the samples.
        in_words: returns judge and batches with raw text, wherever there is some.
        columns: what is known of the samples beside, column -> id -> value.
        seeds: behind a run.
    """

    name: str
    judge: Judge
    batches: Batches
    place: Mapping[str, str]
    in_words: Callable[[], tuple[Judge, Batches]]
    columns: Columns = field(default_factory=dict)
    seeds: Sequence[int] = field(default_factory=list)


def place_of(corpus: Corpus, split: str) -> dict[str, str]:
    """Return what names the samples of a split."""
    return {"source": corpus.source, "hash": corpus.hash, "split": split}


def columns_of(corpus: Corpus, split: str) -> Columns:
    """Return what is known of the samples of a split beside features and labels, for ``Subject.columns``."""
    part = corpus[split]
    return {name: dict(zip(part.ids, values, strict=True)) for name, values in part.about.items()}


def subject_of_run(run: Run, data: str | Corpus | None = None, split: str = "test") -> Subject:
    """Return the mean of a run's members on ``split``; see ``audit.run.audit_run``."""
    corpus = run.corpus(data)
    if any(t.spec.answer == "match" for t in corpus.schema.joint_targets):
        raise DataError(f"{run.path} retrieves; audits ask for values or classes")
    judge, corpus = judge_of(run, corpus, split)
    loader = run.loader(corpus, split)

    def in_words() -> tuple[Judge, Batches]:
        raw = load_corpus(run.config["data"]["source"] if data is None else data)
        return worded(judge, loader.epoch, raw, run.config["data"]["encode"])

    place, columns = place_of(corpus, split), columns_of(corpus, split)
    return Subject(run.path.resolve().name, judge, loader.epoch, place, in_words, columns, run.seeds)


def subject_of(judge: Callable[[Batch], object], corpus: Corpus, split: str = "test", name: str = "") -> Subject:
    """Return any callable on ``split`` of ``corpus``.

    Args:
        judge: takes batches of the corpus as it is, not standardised; see ``judges.Called``.
        name: what pages call it; default the name of the callable.
    """
    called = Called(corpus.schema, judge)
    loader = Loader(corpus[split], corpus.schema, 32)
    own = name or getattr(judge, "__name__", type(judge).__name__)
    place, columns = place_of(corpus, split), columns_of(corpus, split)
    return Subject(own, called, loader.epoch, place, lambda: (called, loader.epoch), columns)


def audit_subject(
    subject: Subject, audits: Sequence[str] | Mapping[str, Audit], by: Sequence[str] = ()
) -> dict[str, Findings]:
    """Ask every audit; one that makes no sense here is refused in a sentence, and the others go on.

    Args:
        subject: who is asked about what.
        audits: names, see ``audit_names``, or audits of one's own by name.
        by: columns about samples that ``fairness`` compares by.

    Raises:
        OptionError, DataError: no such audit; none named; every one of them was refused, for the reason of the first.
    """
    if not audits:
        raise OptionError("name at least one audit; see polymodal audit --help")
    if by and not any(name == "fairness" for name in audits):
        raise OptionError("only fairness compares by columns; add it to the audits, or leave the columns (--by) out")
    known = Known(subject.columns, tuple(by))
    asked = audits if isinstance(audits, Mapping) else {name: find_audit(name) for name in audits}
    found: dict[str, Findings] = {}
    refusals: list[PolymodalError] = []
    with progress_bar() as bar:
        task = bar.add_task("auditing", total=len(asked))
        for name, given in asked.items():
            try:
                audit = _made(given, known) if isinstance(given, type) else given
                in_words = getattr(audit, "reads_text", False)
                judge, batches = subject.in_words() if in_words else (subject.judge, subject.batches)
                found[name] = ask(audit, judge, batches)
            except (OptionError, DataError) as error:
                refusals.append(error)
                found[name] = Findings(name, "", [], {}, refused=str(error))
            bar.advance(task)
    if len(refusals) == len(asked):
        raise refusals[0]
    return found


def _made(kind: type, known: Known) -> Audit:
    audit: Audit = kind(known) if getattr(kind, "reads_columns", False) else kind()
    return audit


def audit_judge(
    judge: Callable[[Batch], object], corpus: Corpus, audits: Sequence[str] | Mapping[str, Audit], split: str = "test"
) -> dict[str, Findings]:
    """Audit any callable on one split; see ``subject_of`` and ``audit_subject``."""
    return audit_subject(subject_of(judge, corpus, split), audits)


def named_run(run: Run | str | Path) -> Run:
    """Return a Run, opened where it is given as its folder."""
    return run if isinstance(run, Run) else Run.load(run)
