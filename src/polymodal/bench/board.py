"""What a benchmark found: typed records, stored as one JSON file, from which every table and plot is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.core import Estimate, RunError
from polymodal.core.estimate import plain
from polymodal.core.records import read_json
from polymodal.score import Robustness, told_apart
from polymodal.stress import Prior


@dataclass(frozen=True)
class CorpusInfo:
    """One corpus of the board.

    Attributes:
        name: what the board calls it.
        sources: what was loaded; several are folds, whose test samples are pooled.
        hashes: of their content, in the same order.
        modalities, target: names.
        task: of the target.
        metric: its main metric; all figures of rankings and curves are of this metric.
        higher_is_better: of that metric.
        sizes: samples per split, summed over folds.
    """

    name: str
    sources: tuple[str, ...]
    hashes: tuple[str, ...]
    modalities: tuple[str, ...]
    target: str
    task: str
    metric: str
    higher_is_better: bool
    sizes: dict[str, int]


@dataclass(frozen=True)
class Entry:
    """One line of the board: a method with its settings.

    Attributes:
        name: what the board calls it.
        method: its id.
        paper: its reference.
        preset: what its settings came from; empty for defaults.
        settings: what was changed beyond that.
        prior: what its training knew of absence: ``none``, ``own`` (its method drops modalities by itself) or ``told``
            (it was trained on samples with something taken away).
        floor: the linear model that is always there.
        handles_absence: False: absent modalities are fed to it as zeros.
    """

    name: str
    method: str
    paper: str
    preset: str
    settings: dict[str, Any]
    prior: Prior
    floor: bool
    handles_absence: bool

    @property
    def aware(self) -> bool:
        """Whether its training knew of absence."""
        return self.prior != "none"


@dataclass(frozen=True, kw_only=True)
class Figure(Estimate):
    """One metric of one entry on one corpus in one condition, test split.

    Attributes:
        condition: ``complete``, ``subset:text,audio``, any stress (``missing:rate=0.3``), or ``area``.
        series: for points of a curve and areas: the stress without its number, for example ``missing:rate``; else
            empty.
        value: place of the point on its curve's axis (NaN where there is none). ``complete`` itself belongs to no
            series: curves over a share of damage start with it at 0.
        main: the corpus's main metric.
    """

    entry: str
    corpus: str
    condition: str
    series: str
    value: float
    metric: str
    higher_is_better: bool
    main: bool


@dataclass(frozen=True)
class Stood:
    """What incomplete and noisy input costs an entry on a corpus."""

    entry: str
    corpus: str
    found: Robustness


@dataclass(frozen=True)
class Cost:
    """What an entry cost on a corpus, means over seeds (and sums over folds for the training time).

    Attributes:
        parameters: trainable ones.
        train_seconds: wall clock of one seed.
        latency_ms: of one sample alone, median, one thread.
        memory_mib: highest memory of the training process over where it stood before, the lowest over seeds.
        epochs: that were run.
        escalated: share of the complete test samples that a cascade asked its large member about; NaN of a method.
    """

    entry: str
    corpus: str
    parameters: int
    train_seconds: float
    latency_ms: float
    memory_mib: float
    epochs: float
    escalated: float = math.nan


@dataclass(frozen=True)
class Contrast:
    """A declared comparison of two entries on one corpus, test split.

    Attributes:
        key: what is compared: ``complete``, or the area under a curve (``area of missing:rate``).
        first, second: names of the entries.
        difference, low, high, p: first minus second in the main metric, over groups and seeds; NaN but for the
            difference where groups are too few.
        p_holm: adjusted for the number of all contrasts of the board.
        groups: groups of test samples.
        above_chance: whether the floor is better than a blind guess there; where it is not, nothing is concluded.
    """

    corpus: str
    key: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    groups: int
    above_chance: bool

    @property
    def told(self) -> bool:
        """Whether the two can be told apart: the corrected test and the interval both say so."""
        return self.above_chance and told_apart(self.p_holm, self.low, self.high)


@dataclass(frozen=True)
class Searched:
    """What a search of hyper-parameters found for an entry on a source, and what it cost.

    Attributes:
        options: the best by validation loss; empty where there is nothing to search.
        trials: trainings that were begun.
        epochs: that they took, all together.
    """

    entry: str
    corpus: str
    source: str
    options: dict[str, Any]
    trials: int
    epochs: int


@dataclass(frozen=True)
class Left:
    """A pair that has no figures, and why; ``failed``: it should have had some."""

    entry: str
    corpus: str
    reason: str
    failed: bool


@dataclass(frozen=True)
class Board:
    """A whole benchmark.

    Attributes:
        title: of tables and page.
        seeds: of every training.
        notes: sentences on protocol, selection, search budget, seeds and intervals, for captions.
        protocol: name of the protocol that entries are tested under; empty for none.
        made: date, machine, versions, wall-clock seconds, command.
    """

    title: str
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    made: dict[str, Any]
    corpora: tuple[CorpusInfo, ...]
    entries: tuple[Entry, ...]
    figures: tuple[Figure, ...]
    costs: tuple[Cost, ...] = ()
    contrasts: tuple[Contrast, ...] = ()
    left: tuple[Left, ...] = field(default=())
    searches: tuple[Searched, ...] = ()
    robustness: tuple[Stood, ...] = ()
    protocol: str = ""

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        from polymodal.train.checkpoint import write_json

        write_json(file, self.plain())

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it, NaN as None."""
        found: dict[str, Any] = plain(self)
        return found

    @classmethod
    def load(cls, file: Path) -> Board:
        """Read it; RunError where it is missing or damaged."""
        return cls.read(read_json(file, "run polymodal bench again"), file)

    @classmethod
    def read(cls, stored: Any, file: Path) -> Board:
        """Return what ``plain`` gave; RunError where it is something else, naming ``file`` that it came from."""
        kinds = {
            "corpora": CorpusInfo,
            "entries": Entry,
            "figures": Figure,
            "costs": Cost,
            "contrasts": Contrast,
            "left": Left,
            "searches": Searched,
        }
        try:
            lists: dict[str, Any] = {name: _typed(kind, stored[name]) for name, kind in kinds.items()}
            stood = [(r["entry"], r["corpus"], Robustness.read(r["found"])) for r in stored["robustness"]]
            lists["robustness"] = tuple(Stood(*row) for row in stood)
            lists |= {name: stored[name] for name in ("title", "protocol", "made")}
            lists |= {name: tuple(stored[name]) for name in ("seeds", "notes")}
            return cls(**lists)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{file} cannot be read ({error!r}); run polymodal bench again") from None


def _typed(kind: Any, rows: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    def value(name: str, stored: Any) -> Any:
        if stored is None:
            return float("nan")
        return tuple(stored) if isinstance(stored, list) else stored

    return tuple(kind(**{n: value(n, v) for n, v in row.items()}) for row in rows)
