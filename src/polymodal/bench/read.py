"""A benchmark's plan from YAML or flags, checked before the first training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

from polymodal.bench.plan import CASCADE, DEFAULT_STRESS, FLOOR, BenchPlan, Conditions, EntryPlan, Search
from polymodal.cascade.folder import Agreed
from polymodal.core import OptionError, nearest
from polymodal.core.files import check_regular
from polymodal.core.options import (
    FoldScheme,
    Natural,
    Rule,
    Seeds,
    Share,
    describe,
    options_of,
    read_options,
    split_source,
)
from polymodal.core.written import read_yaml
from polymodal.methods import find_method, method_id
from polymodal.train.recipe import Recipe, load_preset, preset_names, sort_options

Texts = Annotated[str | tuple[str, ...], Rule("a list of words")]
Line = Annotated[str | dict[str, Any], Rule("a method, or its keys and values")]


def read_plan(file: Path | None, flags: Mapping[str, Any]) -> BenchPlan:
    """Return the plan of a YAML file with ``flags`` (the same keys) over it; the floor is added where it is missing.

    Raises:
        OptionError: the file cannot be read, an unknown key, method, option or preset, a value that does not fit.
    """
    place = str(file or "the command line")
    asked = {**(_yaml(file) if file else {}), **flags}
    return replace(_plan(place, **read_options(place, asked, options_of(_plan, skip=1))), asked=asked)


def _plan(
    place: str,
    *,
    methods: Annotated[str | list[str | dict[str, Any]], Rule("a list of methods")] = [],  # noqa: B006 (never changed)
    corpora: Annotated[dict[str | int, Texts] | Texts, Rule("a list of sources or lines 'name: source'")] = (),
    preset: str = "cpu",
    training: dict[str, Any] = {},  # noqa: B006
    encoder: dict[str, str] = {},  # noqa: B006
    encode: dict[str, str] = {},  # noqa: B006
    trials: Natural = 0,
    space: dict[str, Any] = {},  # noqa: B006
    title: str = "Leaderboard",
    stress: Texts | None = None,
    subsets: bool | None = None,
    protocol: str = "",
    folds: FoldScheme | None = None,
    seeds: Annotated[int | Seeds, Rule(describe(Seeds))] = BenchPlan.seeds,
    corpus_seeds: dict[str, Seeds] = {},  # noqa: B006
    contrasts: Annotated[list[list[str]], Rule("a list of pairs of entries")] | None = None,
) -> BenchPlan:
    """Return the plan of a file, whose keys these parameters are."""
    rows = [methods] if isinstance(methods, str) else methods
    if rows and FLOOR not in [_line(row)[0].get("method") for row in rows]:
        rows = [FLOOR, *rows]
    Recipe().with_options(training)
    common = _Common(place, preset, training, encoder, encode)
    entries = [_entry(common, row) for row in rows]
    trained = [own for entry in entries for own in entry.trained]
    if entries and preset and not any(_has_preset(e.method, preset) for e in trained):
        known = {own for e in trained for own in preset_names(method_id(find_method(e.method)))}
        raise OptionError(f"{place}: no method has a preset {preset!r}{nearest(preset, known)}")
    return BenchPlan(
        title=title,
        entries=tuple(entries),
        corpora=_corpora(corpora, place),
        tests=_tests(place, stress, subsets, protocol),
        folds=folds,
        seeds=(seeds,) if isinstance(seeds, int) else seeds,
        corpus_seeds=corpus_seeds,
        search=Search(trials, space),
        contrasts=_declared(place, entries) if contrasts is None else _checked(place, contrasts, entries),
    )


@dataclass(frozen=True)
class _Common:
    """What is asked of all entries of the plan in ``place``."""

    place: str
    preset: str
    training: dict[str, Any]
    encoder: dict[str, str]
    encode: dict[str, str]


def _line(asked: str | Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a line of ``methods`` as keys and values, and whether the values are text: a method's name may be followed
    by some, as in ``u-acs?small=ubm&large=mult``."""
    if not isinstance(asked, str):
        return dict(asked), False
    name, options = split_source(asked)
    return {"method": name, **options}, True


def _entry(common: _Common, asked: str | Mapping[str, Any]) -> EntryPlan:
    """Return the entry of a line of ``methods``."""
    row, text = _line(asked)
    make = _cascade if row.get("method") == CASCADE else _method
    place = f"{common.place}: entry {row.get('method', row)}"
    return make(common, **read_options(place, row, options_of(make, skip=1), text=text))


def _cascade(
    common: _Common,
    *,
    method: str,
    small: Line,
    large: Line,
    name: str = "",
    rho: Share = 0.3,
    by: Literal["budget", "error"] = "budget",
    agreed: Agreed = "average",
    only: Texts = (),
) -> EntryPlan:
    """Return the entry of a cascade, whose keys these parameters are; ``small`` and ``large`` are lines of methods."""
    name = name or method
    members = tuple(
        replace(_entry(common, line), name=f"{name} {which}") for which, line in (("small", small), ("large", large))
    )
    if any(own.members for own in members):
        raise OptionError(f"{common.place}: entry {name} is a cascade of a cascade; name two methods")
    options = {"rho": rho, "by": by, "agreed": agreed}
    return EntryPlan(name, method, options=options, only=_tuple(only), members=members)


def _tests(place: str, stress: str | tuple[str, ...] | None, subsets: bool | None, protocol: str) -> Conditions:
    if protocol and (stress is not None or subsets is not None):
        raise OptionError(f"{place}: the protocol {protocol} says what is tested; leave out stress and subsets")
    return Conditions(
        () if protocol else DEFAULT_STRESS if stress is None else _tuple(stress), subsets is not False, protocol
    )


def _declared(place: str, entries: Sequence[EntryPlan]) -> tuple[tuple[str, str], ...]:
    """Return the pairs that are compared where the plan names none: what differs in a stress on the training data
    alone, what is around a method or made of some against these, and every entry against the floor."""
    pairs = []
    for one in entries:
        plain = {n: v for n, v in one.options.items() if n != "train_stress"}
        same = [replace(one, name=o.name, options=plain) == o for o in entries]
        pairs += [(one.name, o.name) for o, alike in zip(entries, same, strict=True) if alike and o is not one]
        pairs += [(one.name, o.name) for o in entries if o.name == base_of(one)]
        pairs += [(one.name, o.name) for o in entries for own in one.members if replace(own, name=o.name) == o]
    floors = [e.name for e in entries if e.method == FLOOR]
    return (*pairs, *((e.name, floors[0]) for e in entries if floors and e.method != FLOOR))


def base_of(entry: EntryPlan) -> str:
    """Return the method that the one of ``entry`` is around; empty where it stands alone."""
    if entry.members:
        return ""
    kind = find_method(entry.method)
    if "base" not in options_of(kind, skip=1):
        return ""
    preset = load_preset(method_id(kind), entry.preset)["method"] if entry.preset else {}
    return str({"base": signature(kind).parameters["base"].default, **preset, **entry.options}["base"])


def _checked(place: str, pairs: list[list[str]], entries: Sequence[EntryPlan]) -> tuple[tuple[str, str], ...]:
    names = [e.name for e in entries]
    for pair in pairs:
        if len(pair) != 2:
            raise OptionError(f"{place}: contrasts are pairs of entries, [first, second]; got {pair}")
        for name in pair:
            if name not in names:
                raise OptionError(f"{place}: contrasts names {name!r}, which is no entry{nearest(name, names)}")
    return tuple((first, second) for first, second in pairs)


def _method(
    common: _Common,
    *,
    method: Annotated[str, Rule("an id, package.module:Class or file.py:Class")],
    name: str = "",
    preset: str | None = None,
    set: dict[str, Any] = {},  # noqa: B006 (the key is called set; never changed)
    encoder: dict[str, str] = {},  # noqa: B006
    encode: dict[str, str] = {},  # noqa: B006
    train_stress: str = "",
    only: Texts = (),
) -> EntryPlan:
    """Return the entry of a method, whose keys these parameters are."""
    if preset is None:  # the common one is for those that have it
        preset = common.preset if _has_preset(method, common.preset) else ""
    elif preset:
        load_preset(method_id(find_method(method)), preset)
    options = common.training | set | ({"train_stress": train_stress} if train_stress else {})
    Recipe().with_options(sort_options(find_method(method), options)[1])
    name = name or (f"{method} + {train_stress}" if train_stress else method)
    encoder, encode = common.encoder | encoder, common.encode | encode
    return EntryPlan(name, method, preset, options, encoder, encode, _tuple(only))


def _has_preset(method: str, preset: str) -> bool:
    return preset in preset_names(method_id(find_method(method))) or Path(preset).is_file()


def _tuple(words: str | tuple[str, ...]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else words


def _yaml(file: Path) -> dict[str, Any]:
    check_regular(file)
    try:
        held = read_yaml(file.read_text()) or {}
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise OptionError(f"{file} is not valid YAML: {error}; mend it") from None
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
