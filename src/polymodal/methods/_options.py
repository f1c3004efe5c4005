"""From plain values (YAML, command line) to a method: names and types of constructor options are checked here."""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from polymodal.core import Schema
    from polymodal.methods.base import Method


def build(method_cls: type[Method], schema: Schema, options: dict[str, Any]) -> Method:
    """Return ``method_cls(schema, **options)``.

    Args:
        options: values by option name. An int serves as a float and a list as a tuple; nothing else is converted.

    Raises:
        OptionError: an unknown option (names the nearest), a missing one, a value of the wrong type or not among the
            choices; and whatever the constructor itself raises about values.
    """
    from polymodal.core import OptionError, nearest

    name = method_cls.__name__
    check_moved(options)
    parameters = inspect.signature(method_cls).parameters
    known = {n: p for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    for option in options:
        if option not in known:
            raise OptionError(f"{name} has no option {option!r}{nearest(option, known)}")
    missing = [n for n, p in known.items() if p.default is p.empty and n not in options]
    if missing:
        raise OptionError(f"{name} needs a value for {', '.join(missing)}")
    hints = get_type_hints(method_cls.__init__)
    checked = {}
    for option, value in options.items():
        try:
            checked[option] = _convert(value, hints.get(option, Any))
        except TypeError:
            wanted = _text(hints[option])
            raise OptionError(f"{name} option {option!r} must be {wanted}, got {value!r}") from None
    method = method_cls(schema, **checked)
    _check_encoders(method, schema)
    return method


def check_moved(options: dict[str, Any]) -> None:
    """Raise OptionError where ``options`` name the encoder of the text, which is the modality's and no option."""
    from polymodal.core import OptionError

    if "text_encoder" in options or "text_tuning" in options:
        tuning = options.get("text_tuning", "full")
        spec = f"{options.get('text_encoder', 'minilm')}{'' if tuning == 'full' else f'?tuning={tuning}'}"
        raise OptionError(
            "text_encoder and text_tuning are no options of a method any more, a modality has its encoder: "
            f'use --encoder text={spec}, in a preset: encoder: {{text: "{spec}"}}'
        )


def _check_encoders(method: Method, schema: Schema) -> None:
    """Raise OptionError where the method does not use an encoder that was asked for."""
    from polymodal.core import OptionError
    from polymodal.nn.inputs import Inputs

    used = {name for module in method.modules() if isinstance(module, Inputs) for name in module.encoders}
    for modality in schema.modalities:
        if modality.encoder and modality.name not in used:
            raise OptionError(
                f"{type(method).__name__} reads {modality.name} in its own way: the encoder {modality.encoder!r} would "
                f"not be used; leave it out (--encoder {modality.name}=none), or freeze it with --encode"
            )


def _convert(value: Any, hint: Any) -> Any:
    """Return ``value`` as ``hint`` wants it; TypeError if it does not fit."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_any(value, arguments)
    if origin is Literal:
        return _require(value, any(value == a and type(value) is type(a) for a in arguments))
    if origin is tuple:
        _require(value, isinstance(value, (list, tuple)))
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(v, arguments[0]) for v in value)
        _require(value, len(value) == len(arguments))
        return tuple(_convert(v, a) for v, a in zip(value, arguments, strict=True))
    if origin is list:
        return [_convert(v, arguments[0]) for v in _require(value, isinstance(value, (list, tuple)))]
    if origin is dict:
        _require(value, isinstance(value, dict))
        return {_convert(k, arguments[0]): _convert(v, arguments[1]) for k, v in value.items()}
    # bool is an int to Python, not to a user.
    if isinstance(value, bool) and hint is not bool:
        raise TypeError
    if hint is float:
        return float(_require(value, isinstance(value, (int, float))))
    return _require(value, isinstance(value, hint))


def _convert_any(value: Any, hints: tuple[Any, ...]) -> Any:
    # An exact type first: in ``float | int`` an int stays one.
    for hint in sorted(hints, key=lambda h: type(value) is not h):
        try:
            return _convert(value, hint)
        except TypeError:
            continue
    raise TypeError


def _require(value: Any, fits: bool) -> Any:
    if not fits:
        raise TypeError
    return value


def _text(hint: Any) -> str:
    """Return a type as a user reads it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _text(a) for a in arguments)
    return hint.__name__ if isinstance(hint, type) and not arguments else str(hint)
