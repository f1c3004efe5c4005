"""JSON files that runs, stores and boards consist of: read with their types, or refused in one sentence.

A record is a ``TypedDict``; what it does not name is left as it is, so that files of later versions are read too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    NotRequired,
    TypedDict,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from polymodal.core.errors import PolymodalError, RunError
from polymodal.core.files import check_regular
from polymodal.core.options import Count, Natural, convert, describe
from polymodal.core.text import printable

T = TypeVar("T")

BYTES = 2**30
"""Of the largest file that is read."""


SEAL, SEALED = "checksum", "sealed"
"""The field of a file's own checksum, and the one that says that there must be one."""


class _FaultError(ValueError):
    """A field is not what it must be."""


def read_record(file: Path, kind: type[T], remedy: str, error: type[PolymodalError] = RunError) -> T:
    """Return the JSON object in ``file`` as ``kind``.

    Args:
        kind: a TypedDict, or a type such as ``dict[str, list[float]]``.
        remedy: ends the sentence: what to do about a damaged file.
        error: to raise.

    Raises:
        PolymodalError: of type ``error``; names the file, the field, what it must be, and the remedy; an object that
            was ``sealed`` and is not what it was.
    """
    held = checked(file, read_json(file, remedy, error), kind, remedy, error)
    if isinstance(held, dict) and (SEAL in held or SEALED in held) and held.get(SEAL) != seal_of(held):
        raise error(f"{file} is not what was written: its checksum differs; {remedy}")
    return held


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object for a JSON file with its own checksum, which ``read_record`` checks."""
    whole = {SEALED: True, **content}
    return {**whole, SEAL: seal_of(whole)}


def seal_of(content: Mapping[str, Any]) -> str:
    """Return a digest of a JSON object, but for its checksum."""
    plain = json.loads(json.dumps({name: value for name, value in content.items() if name != SEAL}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def read_json(file: Path, remedy: str, error: type[PolymodalError] = RunError) -> Any:
    """Return what a JSON file holds, of whatever type; raises as ``read_record``."""
    try:
        check_regular(file)
        if file.stat().st_size > BYTES:
            raise error(f"{file} is larger than {BYTES >> 20} MiB; {remedy}")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError) as found:
        reason = getattr(found, "strerror", None) or printable(str(found)) or type(found).__name__
        raise error(f"{file} cannot be read ({reason}); {remedy}") from None


def read_lines(file: Path, kind: type[T], remedy: str) -> Iterator[T]:
    """Yield the JSON objects in the lines of ``file`` as ``kind``; RunError names the line."""
    try:
        check_regular(file)
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as found:
        raise RunError(f"{file} cannot be read ({found}); {remedy}") from None
    for number, line in enumerate(lines, 1):
        try:
            held = json.loads(line)
        except (ValueError, RecursionError):
            raise RunError(f"{file} line {number} is no JSON; {remedy}") from None
        yield checked(f"{file} line {number}", held, kind, remedy)


def checked(place: object, held: Any, kind: type[T], remedy: str, error: type[PolymodalError] = RunError) -> T:
    """Return ``held`` if it is a ``kind``; ``place`` begins the sentence otherwise."""
    try:
        _check("", held, kind)
    except _FaultError as fault:
        raise error(f"{place}: {fault}; {remedy}") from None
    return held  # type: ignore[no-any-return]


def _check(field: str, held: Any, hint: Any) -> None:
    """Raise _FaultError unless ``held`` is what ``hint`` says; all inside of it as well."""
    origin, parts = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        _require(field, held, isinstance(held, dict), "an object")
        for name, part in get_type_hints(hint, include_extras=True).items():
            optional = get_origin(part) is NotRequired
            if name in held:
                _check(f"{field}.{name}".lstrip("."), held[name], get_args(part)[0] if optional else part)
            elif not optional:
                raise _FaultError(f"{f'{field}.{name}'.lstrip('.')} is missing")
    elif origin is dict and parts:
        _require(field, held, isinstance(held, dict), "an object")
        for name, value in held.items():
            _check(f"{field}.{printable(name)[:60]}".lstrip("."), value, parts[1])
    elif origin is list and parts:
        _require(field, held, isinstance(held, list), "a list")
        for number, value in enumerate(held):
            _check(f"{field}[{number}]", value, parts[0])
    elif origin in (Union, UnionType) and any(is_typeddict(part) or get_origin(part) in (list, dict) for part in parts):
        if held is None and NoneType in parts:
            return
        _check(field, held, next(part for part in parts if part is not NoneType))
    else:
        _leaf(field, held, hint)


def _leaf(field: str, held: Any, hint: Any) -> None:
    try:
        convert(held, hint, False)
    except (ValueError, TypeError, OverflowError):
        _require(field, held, False, describe(hint))


def _require(field: str, held: Any, fits: bool, words: str) -> None:
    if not fits:
        found = printable(repr(held) if isinstance(held, str | int | float | bool | NoneType) else type(held).__name__)
        raise _FaultError(f"{field or 'its content'} must be {words}, got {found[:80]}")


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class ModalityRecord(TypedDict):
    """A ``core.Modality`` in a JSON file."""

    name: str
    kind: str
    width: NotRequired[Natural]
    normalize: NotRequired[bool]
    shape: NotRequired[list[Count]]
    encoder: NotRequired[str]
    tuning: NotRequired[str]


class TargetRecord(TypedDict):
    """A ``core.Target`` in a JSON file."""

    name: str
    task: str
    range: NotRequired[list[float] | None]
    classes: NotRequired[list[str]]
    modality: NotRequired[str | None]


class SchemaRecord(TypedDict):
    """A ``core.Schema`` in a JSON file."""

    modalities: list[ModalityRecord]
    targets: list[TargetRecord]
    domains: NotRequired[list[str]]
