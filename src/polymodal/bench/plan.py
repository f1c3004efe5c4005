"""What a benchmark is to run: read from YAML or flags, checked before the first training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Union

from polymodal.core import OptionError, nearest
from polymodal.core.options import Natural, Rule, Seeds, describe, options_of, read_options, read_value
from polymodal.methods import find_method, method_id
from polymodal.stress import sweeps
from polymodal.train.recipe import Recipe, load_preset, preset_names, sort_options

FLOOR = "linear"
"""Always in the table: what every method must beat."""

DEFAULT_STRESS = ("missing:rate=0.1/0.2/0.3/0.4/0.5/0.6/0.7", "noise:snr=20/10/0")


Texts = Annotated[str | tuple[str, ...], Rule("a list of words")]


def _is_span(what: list[float] | dict[str, list[Any]]) -> bool:
    if isinstance(what, dict):
        return list(what) == ["choices"] and bool(what["choices"])
    return len(what) == 2 and what[0] < what[1]


Span = Annotated[list[float] | dict[str, list[Any]], Rule("[low, high] or {choices: [...]}", _is_span)]


@dataclass(frozen=True)
class EntryPlan:
    """A method with its settings.

    Attributes:
        name: what the board calls it.
        method: id, ``package.module:Class`` or ``file.py:Class``.
        preset: name or YAML file; empty for defaults.
        options: of the method or of ``Recipe``, over the preset.
        encoder: modality -> encoder that trains with the method.
        encode: modality -> frozen encoder.
        aware: made or trained for absent or broken input.
        only: names of the corpora it runs on; empty for all.
    """

    name: str
    method: str
    preset: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, str] = field(default_factory=dict)
    encode: dict[str, str] = field(default_factory=dict)
    aware: bool = False
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Search:
    """Search of hyper-parameters, the same budget for every entry.

    Attributes:
        trials: trainings per entry and source, the entry's own settings first; 0 for no search.
        space: option -> ``[low, high]`` (numbers; drawn on a logarithmic scale where high is 10 times low or more) or
            ``{choices: [...]}``; empty for the learning rate, weight decay and every dropout of the method.
    """

    trials: int = 0
    space: dict[str, Any] = field(default_factory=dict)

    def check(self, entries: Sequence[EntryPlan]) -> None:
        """Raise OptionError for a name that no entry has an option for, or values that do not fit it."""
        known = [options_of(Recipe), *(options_of(find_method(e.method), skip=1) for e in entries)]
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
        stress: conditions beyond complete input and subsets.
        subsets: also test every proper subset of the modalities.
        seeds: of every training.
        search: of hyper-parameters.
        contrasts: pairs of entries that are compared, declared before anything is tested.
    """

    title: str
    entries: tuple[EntryPlan, ...]
    corpora: dict[str, tuple[str, ...]]
    stress: tuple[str, ...] = DEFAULT_STRESS
    subsets: bool = True
    seeds: Seeds = (1111, 1112, 1113)
    search: Search = Search()
    contrasts: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        sweeps(self.stress)
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
        self.search.check(self.entries)


def read_plan(file: Path | None, flags: Mapping[str, Any]) -> BenchPlan:
    """Return the plan of a YAML file with ``flags`` (the same keys) over it; the floor is added where it is missing.

    Raises:
        OptionError: the file cannot be read, an unknown key, method, option or preset, a value that does not fit.
    """
    place = str(file or "the command line")
    return _plan(place, **read_options(place, {**(_yaml(file) if file else {}), **flags}, options_of(_plan, skip=1)))


def _plan(
    place: str,
    *,
    methods: Annotated[str | list[str | dict[str, Any]], Rule("a list of methods")] = [],  # noqa: B006 (never changed)
    corpora: Annotated[dict[str | int, Texts] | Texts, Rule("a list of sources or lines 'name: source'")] = (),
    preset: str = "cpu",
    aware: Texts = (),
    trials: Natural = 0,
    space: dict[str, Any] = {},  # noqa: B006
    title: str = "Leaderboard",
    stress: Texts = DEFAULT_STRESS,
    subsets: bool = True,
    seeds: Annotated[int | Seeds, Rule(describe(Seeds))] = BenchPlan.seeds,
    contrasts: Annotated[list[list[str]], Rule("a list of pairs of entries")] | None = None,
) -> BenchPlan:
    """Return the plan of a file, whose keys these parameters are."""
    rows = [{"method": r} if isinstance(r, str) else r for r in ([methods] if isinstance(methods, str) else methods)]
    if rows and FLOOR not in [row.get("method") for row in rows]:
        rows.insert(0, {"method": FLOOR})
    keys = [read_options(f"{place}: entry {r.get('method', r)}", r, options_of(_entry, skip=2)) for r in rows]
    entries = [_entry(preset, _tuple(aware), **row) for row in keys]
    for name in _tuple(aware):
        if name not in [e.name for e in entries]:
            raise OptionError(
                f"{place}: aware names {name!r}, which is no entry{nearest(name, [e.name for e in entries])}"
            )
    if entries and preset and not any(_has_preset(e.method, preset) for e in entries):
        known = {own for e in entries for own in preset_names(method_id(find_method(e.method)))}
        raise OptionError(f"{place}: no method has a preset {preset!r}{nearest(preset, known)}")
    return BenchPlan(
        title=title,
        entries=tuple(entries),
        corpora=_corpora(corpora, place),
        stress=_tuple(stress),
        subsets=subsets,
        seeds=(seeds,) if isinstance(seeds, int) else seeds,
        search=Search(trials, space),
        contrasts=_declared(place, entries) if contrasts is None else _checked(place, contrasts, entries),
    )


def _declared(place: str, entries: Sequence[EntryPlan]) -> tuple[tuple[str, str], ...]:
    """Return the pairs that are compared where the plan names none: what differs in a stress on the training data
    alone, and every entry against the floor."""
    pairs = []
    for one in entries:
        plain = {n: v for n, v in one.options.items() if n != "train_stress"}
        same = [replace(one, name=o.name, options=plain, aware=o.aware) == o for o in entries]
        pairs += [(one.name, o.name) for o, alike in zip(entries, same, strict=True) if alike and o is not one]
    floors = [e.name for e in entries if e.method == FLOOR]
    return (*pairs, *((e.name, floors[0]) for e in entries if floors and e.method != FLOOR))


def _checked(place: str, pairs: list[list[str]], entries: Sequence[EntryPlan]) -> tuple[tuple[str, str], ...]:
    names = [e.name for e in entries]
    for pair in pairs:
        if len(pair) != 2:
            raise OptionError(f"{place}: contrasts are pairs of entries, [first, second]; got {pair}")
        for name in pair:
            if name not in names:
                raise OptionError(f"{place}: contrasts names {name!r}, which is no entry{nearest(name, names)}")
    return tuple((first, second) for first, second in pairs)


def _entry(
    common: str,
    aware_names: Sequence[str],
    *,
    method: Annotated[str, Rule("an id, package.module:Class or file.py:Class")],
    name: str = "",
    preset: str | None = None,
    set: dict[str, Any] = {},  # noqa: B006 (the key is called set; never changed)
    encoder: dict[str, str] = {},  # noqa: B006
    encode: dict[str, str] = {},  # noqa: B006
    train_stress: str = "",
    aware: bool | None = None,
    only: Texts = (),
) -> EntryPlan:
    """Return the entry of a line of ``methods``, whose keys these parameters are."""
    if preset is None:  # the common one is for those that have it
        preset = common if _has_preset(method, common) else ""
    elif preset:
        load_preset(method_id(find_method(method)), preset)
    options = set | ({"train_stress": train_stress} if train_stress else {})
    Recipe().with_options(sort_options(find_method(method), options)[1])
    name = name or (f"{method} + {train_stress}" if train_stress else method)
    aware = name in aware_names or bool(train_stress) if aware is None else aware
    return EntryPlan(name, method, preset, options, encoder, encode, aware, _tuple(only))


def _has_preset(method: str, preset: str) -> bool:
    return preset in preset_names(method_id(find_method(method))) or Path(preset).is_file()


def _tuple(words: str | tuple[str, ...]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else words


def _yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        held = yaml.safe_load(file.read_text()) or {}
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{file} is not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(held, dict):
        raise OptionError(f"{file} must hold 'key: value' lines ({', '.join(options_of(_plan, skip=1))})")
    return held


def _corpora(asked: dict[str | int, Texts] | Texts, place: str) -> dict[str, tuple[str, ...]]:
    if isinstance(asked, dict):
        return {str(name): _tuple(sources) for name, sources in asked.items()}
    named: dict[str, tuple[str, ...]] = {}
    for source in _tuple(asked):
        name = source.partition("?")[0].rsplit(":", 1)[-1].rsplit("/", 1)[-1].removesuffix(".pkl")
        if name in named:
            raise OptionError(f"{place}: two corpora are called {name!r}; name them: {{name: source}}, folds: [a, b]")
        named[name] = (source,)
    return named
