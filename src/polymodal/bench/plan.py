"""What a benchmark is to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Union

from polymodal.core import OptionError, Schema, nearest
from polymodal.core.options import (
    FoldScheme,
    Rule,
    Seeds,
    options_of,
    read_value,
    split_source,
)
from polymodal.methods import find_method
from polymodal.stress import Point, conditions, named, sweeps
from polymodal.train.recipe import Recipe

FLOOR = "linear"
"""Always in the table: what every method must beat."""

CASCADE = "u-acs"
"""What an entry is called that asks a second method where the first one is unsure."""

DEFAULT_STRESS = ("missing:rate=0.1/0.2/0.3/0.4/0.5/0.6/0.7", "noise:snr=20/10/0")


@dataclass(frozen=True)
class Conditions:
    """What entries are tested under beyond complete input.

    Attributes:
        stress: conditions on every corpus.
        subsets: also test every proper subset of the modalities.
        protocol: name of a whole protocol (``stress.NAMED``), in the place of both; empty for none.
    """

    stress: tuple[str, ...] = DEFAULT_STRESS
    subsets: bool = True
    protocol: str = ""

    def __post_init__(self) -> None:
        sweeps(self.stress)
        if self.protocol:
            named(self.protocol)

    def of(self, schema: Schema) -> list[Point]:
        """Return all conditions for a corpus, complete input first."""
        if self.protocol:
            return named(self.protocol).conditions(schema)
        return conditions(schema, self.stress, subsets=self.subsets)


def _is_span(what: list[float] | dict[str, list[Any]]) -> bool:
    if isinstance(what, dict):
        return list(what) == ["choices"] and bool(what["choices"])
    return len(what) == 2 and what[0] < what[1]


Span = Annotated[list[float] | dict[str, list[Any]], Rule("[low, high] or {choices: [...]}", _is_span)]


@dataclass(frozen=True)
class EntryPlan:
    """A method with its settings, or a cascade of two.

    Attributes:
        name: what the board calls it.
        method: id, ``package.module:Class`` or ``file.py:Class``; ``CASCADE``.
        preset: name or YAML file; empty for defaults.
        options: of the method or of ``Recipe``, over the preset; of ``fit_cascade``.
        encoder: modality -> encoder that trains with the method.
        encode: modality -> frozen encoder.
        only: names of the corpora it runs on; empty for all.
        members: of a cascade, the small one and the large one.
    """

    name: str
    method: str
    preset: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, str] = field(default_factory=dict)
    encode: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    members: tuple[EntryPlan, ...] = ()

    @property
    def trained(self) -> tuple[EntryPlan, ...]:
        """What is searched and trained for it."""
        return self.members or (self,)


@dataclass(frozen=True)
class Search:
    """Search of hyper-parameters, the same budget for every entry.

    Attributes:
        trials: trainings per entry and source, the entry's own settings first; 0 for no search. One that is worse than
            the median of those before it, at the same epoch, is given up.
        space: option -> ``[low, high]`` (numbers; drawn on a logarithmic scale where high is 10 times low or more) or
            ``{choices: [...]}``; empty for the learning rate, weight decay and every dropout of the method.
    """

    trials: int = 0
    space: dict[str, Any] = field(default_factory=dict)

    def check(self, entries: Sequence[EntryPlan]) -> None:
        """Raise OptionError for a name that no entry has an option for, or values that do not fit it."""
        methods = [find_method(own.method) for entry in entries for own in entry.trained]
        known = [options_of(Recipe), *(options_of(method, skip=1) for method in methods)]
        for name, what in self.space.items():
            hints = [options[name].annotation for options in known if name in options]
            if not hints:
                raise OptionError(
                    f"space: no entry has an option {name!r}{nearest(name, {n for k in known for n in k})}"
                )
            read_value(f"space: {name}", what, Span)
            for value in what["choices"] if isinstance(what, dict) else what:
                read_value(f"space: {name}", value, Union.__getitem__(tuple(hints)))


@dataclass(frozen=True)
class BenchPlan:
    """A benchmark.

    Attributes:
        title: of the board.
        entries: lines of the board.
        corpora: name -> sources; several are folds, whose test samples are pooled.
        tests: what entries are tested under.
        folds: scheme of cross-validation by groups, of every corpus with one source; None to keep its splits.
        seeds: of every training.
        corpus_seeds: of those on single corpora, in their place: where every group is tested by some fold, one may do.
        search: of hyper-parameters.
        contrasts: pairs of entries that are compared, declared before anything is tested.
        asked: the plan as it was written, from which an entry is added to the published board.
    """

    title: str
    entries: tuple[EntryPlan, ...]
    corpora: dict[str, tuple[str, ...]]
    tests: Conditions = Conditions()
    folds: FoldScheme | None = None
    seeds: Seeds = (1111, 1112, 1113)
    search: Search = Search()
    contrasts: tuple[tuple[str, str], ...] = ()
    corpus_seeds: dict[str, Seeds] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.entries or not self.corpora:
            raise OptionError("a benchmark needs methods and corpora; see polymodal bench --help")
        names = [entry.name for entry in self.entries]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise OptionError(f"two entries are called {twice[0]!r}; give one of them another name: {{name: ...}}")
        for entry in self.entries:
            for name in entry.only:
                if name not in self.corpora:
                    raise OptionError(f"{entry.name} is to run on corpus {name!r}{nearest(name, self.corpora)}")
        for name in self.corpus_seeds:
            if name not in self.corpora:
                raise OptionError(f"corpus_seeds names {name!r}, which is no corpus{nearest(name, self.corpora)}")
        for name in self.corpora:
            if not name or name[0] == "." or set(name) & set("/\\\0\n"):
                raise OptionError(f"corpus {name!r} is to name files; call it by letters, digits, spaces, '-' or '_'")
        self.search.check(self.entries)

    @property
    def floor(self) -> str:
        """Name of the entry that every other must beat; empty where there is none."""
        return next((e.name for e in self.entries if e.method == FLOOR), "")

    def seeds_of(self, corpus: str) -> Seeds:
        """Return the seeds of the trainings on ``corpus``."""
        return self.corpus_seeds.get(corpus, self.seeds)

    def dealt(self, count: Callable[[str], int]) -> BenchPlan:
        """Return the plan with a source for each fold.

        Args:
            count: returns how many folds a source has.
        """
        if self.folds is None:
            return self
        corpora = {name: _folds(*s, self.folds, count(s[0])) if len(s) == 1 else s for name, s in self.corpora.items()}
        return replace(self, corpora=corpora, folds=None)


def _folds(source: str, scheme: FoldScheme, count: int) -> tuple[str, ...]:
    """Return the source of each fold."""
    return tuple(f"{source}{'&' if split_source(source)[1] else '?'}held_out={n}/{scheme}" for n in range(count))
