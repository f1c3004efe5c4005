"""Options by type hints: text and plain values become what a signature asks for, or one sentence says what is wrong.

Used by all that reads options: sources, stresses, methods, training, benchmarks, services, the command line. A hint may
carry a condition and the words for it: ``Annotated[float, Rule("a share from 0 to 1", lambda x: 0 <= x <= 1)]``.
Importing this costs no torch.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from polymodal.core.errors import OptionError, nearest


@dataclass(frozen=True)
class Rule:
    """What a value must be beyond its type, as metadata of ``Annotated``.

    Attributes:
        words: the type and the condition as a user reads them, after "must be".
        holds: the condition, asked of a value of the right type.
    """

    words: str
    holds: Callable[[Any], bool] = lambda value: True


Count = Annotated[int, Rule("a whole number above 0", lambda n: n > 0)]
Natural = Annotated[int, Rule("a whole number, 0 or more", lambda n: n >= 0)]
Positive = Annotated[float, Rule("a number above 0", lambda x: x > 0)]
NotNegative = Annotated[float, Rule("a number, 0 or more", lambda x: x >= 0)]
Share = Annotated[float, Rule("a share from 0 to 1", lambda x: 0 <= x <= 1)]
Bounds = Annotated[tuple[float, float], Rule("lowest,highest (such as -3,3)", lambda b: b[0] < b[1])]
Seeds = Annotated[
    tuple[int, ...],
    Rule(
        "different whole numbers, 0 or more and below 2^63 (such as 1111,1112)",
        lambda seeds: 0 < len(seeds) == len(set(seeds)) and all(0 <= seed < 2**63 for seed in seeds),
    ),
]
LEAVE_ONE_GROUP_OUT = "leave-one-group-out"
FoldScheme = Annotated[
    int | Literal["leave-one-group-out"],
    Rule(
        f"a whole number, 3 or more (a part each to test on, to validate on and to train on), or {LEAVE_ONE_GROUP_OUT}",
        lambda folds: folds == LEAVE_ONE_GROUP_OUT or folds >= 3,
    ),
]

Options = dict[str, inspect.Parameter]
"""Options that there are: name -> parameter, its annotation resolved."""

_WORDS = {"true": True, "yes": True, "false": False, "no": False}
_NAMES = {
    Any: "any value",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    dict: "a mapping",
}


def options_of(function: Callable[..., Any], skip: int = 0) -> Options:
    """Return the options of a function or class: all its parameters but the first ``skip``."""
    try:
        typed = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
        hints = get_type_hints(typed, include_extras=True)
    except (NameError, TypeError):  # hints of a user's function that only a type checker can resolve
        hints = {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    return {p.name: p.replace(annotation=hints.get(p.name, Any)) for p in parameters if p.kind in named}


def read_options(
    place: str, given: Mapping[str, Any], known: Options, *, text: bool = False, partly: bool = False
) -> dict[str, Any]:
    """Return the values of ``given`` as ``known`` wants them.

    Args:
        place: begins the message.
        text: the values are text, lists separated by commas. Otherwise they are plain (of YAML, or a program's): an int
            serves as a float and a list as a tuple; nothing else is converted.
        partly: options without a default may be left out.

    Raises:
        OptionError: an unknown option (names the nearest), one that is lacking, a value that does not fit.
    """
    for name in given:
        if name not in known:
            raise OptionError(f"{place}: there is no option {name!r}{nearest(str(name), known)}")
    for name, option in known.items():
        if option.default is option.empty and name not in given and not partly:
            raise OptionError(f"{place} needs {name}: {describe(option.annotation)}")
    return {n: read_value(f"{place}: {n}", v, known[n].annotation, text=text) for n, v in given.items()}


def read_value(place: str, value: Any, hint: Any, *, text: bool = False) -> Any:
    """Return ``value`` as ``hint`` wants it; OptionError that begins with ``place`` and says what was expected."""
    try:
        return convert(value, hint, text)
    except (ValueError, OverflowError):
        raise OptionError(f"{place} must be {describe(hint)}, got {value!r}") from None


def settle(place: str, record: Any) -> None:
    """Check and convert the fields of a dataclass, frozen or not, from its ``__post_init__``; OptionError."""
    for name, option in options_of(type(record)).items():
        value = read_value(f"{place}: {name}", getattr(record, name), option.annotation)
        object.__setattr__(record, name, value)


def convert(value: Any, hint: Any, text: bool) -> Any:
    """Return ``value``, plain or text, as ``hint`` wants it; ValueError if it does not fit."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = convert(value, parts[0], text)
        return _require(found, all(rule.holds(found) for rule in parts[1:] if isinstance(rule, Rule)))
    if hint is Any:
        return _first(value, (bool, int, float, str), text) if text else value
    if origin in (Union, UnionType):
        # An exact type first: in ``float | int`` an int stays one.
        return _first(value, parts if text else sorted(parts, key=lambda part: type(value) is not part), text)
    if origin is Literal:
        chosen = [c for c in parts if str(c) == str(value)]  # YAML reads the choice "32" as a number
        return _require(chosen, bool(chosen))[0]
    if origin in (tuple, list):
        return _several(value, origin, parts, text)
    if origin is dict:
        items = _require(value, isinstance(value, dict)).items()
        return {convert(k, parts[0], text): convert(v, parts[1], text) for k, v in items}
    return _single(_parsed(value, hint) if text else value, origin or hint)


def _first(value: Any, hints: Iterable[Any], text: bool) -> Any:
    for hint in hints:
        try:
            return convert(value, hint, text)
        except (ValueError, OverflowError):
            continue
    raise ValueError


def _several(value: Any, kind: type, parts: tuple[Any, ...], text: bool) -> Any:
    items = ([part.strip() for part in value.split(",")] if value else []) if text else value
    _require(items, isinstance(items, (list, tuple)))
    if kind is list or Ellipsis in parts:
        parts = parts[:1] * len(items)
    _require(items, len(items) == len(parts))
    return kind(convert(item, part, text) for item, part in zip(items, parts, strict=True))


def _parsed(text: str, hint: Any) -> Any:
    if hint is bool:
        return _WORDS.get(text.lower())
    if hint is NoneType:
        return None if text.lower() == "none" else text
    return hint(text) if hint in (int, float, Path) else text


def _single(value: Any, kind: type) -> Any:
    if isinstance(value, bool) and kind not in (bool, object):  # bool is an int to Python, not to a user
        raise ValueError
    if kind is float:  # neither NaN nor infinite: no option means that
        return float(_require(value, isinstance(value, int | float) and math.isfinite(value)))
    return _require(value, isinstance(value, kind))


def _require(value: Any, fits: bool) -> Any:
    if not fits:
        raise ValueError
    return value


def describe(hint: Any) -> str:
    """Return a type as a user reads it."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next((rule.words for rule in parts[1:] if isinstance(rule, Rule)), describe(parts[0]))
    if origin is Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin in (Union, UnionType):
        return " or ".join("none" if part is NoneType else describe(part) for part in parts)
    if origin is list or Ellipsis in parts:
        return f"a list in brackets, each {describe(parts[0])}"
    if origin is tuple:
        return f"a list of {len(parts)}: {', '.join(map(describe, parts))}"
    if origin is dict:
        return f"a mapping, each value {describe(parts[1])}"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


_PLACE = re.compile(r"((?:\([^()]*\)|[^?])*)(\??)(.*)", re.DOTALL)


def split_source(source: str) -> tuple[str, dict[str, str]]:
    """Return the place and the options of ``PLACE?name=value&name=value``; OptionError as ``pairs``.

    A question mark in parentheses belongs to the place.
    """
    place, mark, query = _PLACE.fullmatch(source).groups()  # type: ignore[union-attr]  # it matches anything
    if not mark or os.path.exists(source):
        return source, {}
    return place, pairs(source, filter(None, query.split("&")))


def pairs(place: str, words: Iterable[str]) -> dict[str, str]:
    """Return ``name=value`` words as a dictionary; OptionError names the word that is none, and a name given twice."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise OptionError(f"{place} wants name=value, got {word!r}")
        if name in found:
            raise OptionError(f"{place}: {name} is given twice; keep one")
        found[name] = value
    return found
