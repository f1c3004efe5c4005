"""Small things that several commands need: ``name=value`` words, JSON on standard output."""

from __future__ import annotations

import json
from typing import Any

from polymodal.core.errors import OptionError


def pairs(words: list[str], option: str) -> dict[str, str]:
    """Return ``name=value`` words as a dictionary; OptionError names the word that is none."""
    out = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise OptionError(f"{option} wants name=value, got {word!r}")
        out[name] = value
    return out


def typed(words: list[str], option: str) -> dict[str, Any]:
    """Like ``pairs``, with values read as YAML: numbers, true, false, null, [a, b], text."""
    import yaml

    out: dict[str, Any] = {}
    for name, value in pairs(words, option).items():
        try:
            out[name] = (
                float(value) if _is_number(value) and not value.lstrip("+-").isdigit() else yaml.safe_load(value)
            )
        except yaml.YAMLError:
            raise OptionError(f"{option} {name}={value}: the value cannot be read") from None
    return out


def _is_number(value: str) -> bool:
    """YAML 1.1 reads 1e-3 as text; people mean a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True


def whole_numbers(text: str, option: str) -> list[int]:
    """Return ``1111,1112`` as a list; OptionError where a part is no whole number."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"{option} wants whole numbers separated by commas, got {text!r}") from None


def print_json(data: Any) -> None:
    """Print ``data`` as JSON on standard output."""
    print(json.dumps(data, indent=1, allow_nan=False))
