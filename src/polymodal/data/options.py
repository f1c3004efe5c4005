"""Options in a source string: text becomes what the signature of the reader asks for."""

from __future__ import annotations

import inspect
import os
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from polymodal.core import OptionError

_PLACE = re.compile(r"((?:\([^()]*\)|[^?])*)(\??)(.*)", re.DOTALL)
_WORDS = {"true": True, "yes": True, "false": False, "no": False}


def split_source(source: str) -> tuple[str, dict[str, str]]:
    """Return the place and the options of ``PLACE?key=value&key=value``; a question mark in parentheses is the place's.

    Raises:
        OptionError: an option without a value, or given twice.
    """
    place, mark, query = _PLACE.fullmatch(source).groups()  # type: ignore[union-attr]  # it matches anything
    if not mark or os.path.exists(source):
        return source, {}
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise OptionError(f"{source}: {pair!r} is not an option; write key=value, joined with &")
        if key in options:
            raise OptionError(f"{source}: option {key!r} is given twice; keep one")
        options[key] = value
    return place, options


def options_of(function: Callable[..., Any], skip: int) -> dict[str, Any]:
    """Return the options of ``function``, all its parameters but the first ``skip``: name -> type (Any if unknown)."""
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):  # hints of a user's function that only a type checker can resolve
        hints = {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in named]
    return {p.name: hints.get(p.name, Any) for p in parameters[skip:]}


def convert(source: str, name: str, text: str, hint: Any) -> Any:
    """Return the value of option ``name``; OptionError that says what was expected."""
    try:
        return _convert(text, hint)
    except ValueError:
        raise OptionError(f"{source}: option {name!r} must be {_describe(hint)}, got {text!r}") from None


def _convert(text: str, hint: Any) -> Any:
    """Return ``text`` as ``hint`` wants it; ValueError if it does not fit."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return _first_fitting(text, (bool, int, float, str))
    if origin in (Union, types.UnionType):
        return _first_fitting(text, arguments)
    if origin is Literal:
        return _chosen(text, {str(a): a for a in arguments})
    if origin in (tuple, list):
        return _convert_parts([p.strip() for p in text.split(",") if p.strip()], origin, arguments)
    if hint is bool:
        return _chosen(text.lower(), _WORDS)
    if hint is type(None):
        return _chosen(text.lower(), {"none": None})
    if hint in (int, float, str, Path):
        return hint(text)
    raise ValueError


def _first_fitting(text: str, hints: tuple[Any, ...]) -> Any:
    for hint in hints:
        try:
            return _convert(text, hint)
        except ValueError:
            continue
    raise ValueError


def _chosen(text: str, choices: dict[str, Any]) -> Any:
    if text not in choices:
        raise ValueError
    return choices[text]


def _convert_parts(parts: list[str], kind: type, arguments: tuple[Any, ...]) -> Any:
    if kind is list or Ellipsis in arguments:
        return kind(_convert(part, arguments[0]) for part in parts)
    if len(parts) != len(arguments):
        raise ValueError
    return tuple(_convert(part, argument) for part, argument in zip(parts, arguments, strict=True))


def _describe(hint: Any) -> str:
    """Return a type as a user reads it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join("none" if a is type(None) else _describe(a) for a in arguments)
    if origin in (tuple, list):
        several = origin is list or Ellipsis in arguments
        return f"{_describe(arguments[0])},..." if several else ",".join(map(_describe, arguments))
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(hint, str(hint))
