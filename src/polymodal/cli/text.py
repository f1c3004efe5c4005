"""Small things that several commands need: values of ``--set``, JSON on standard output."""

from __future__ import annotations

import json
from typing import Any

from polymodal.core.errors import OptionError
from polymodal.core.options import pairs
from polymodal.core.written import read_yaml


def typed(option: str, words: list[str]) -> dict[str, Any]:
    """Like ``pairs``, with values read as YAML: numbers, true, false, null, [a, b], text."""
    out: dict[str, Any] = {}
    for name, value in pairs(option, words).items():
        try:
            out[name] = read_yaml(value)
        except ValueError:
            raise OptionError(f"{option} {name}={value}: the value cannot be read") from None
    return out


def print_json(data: Any) -> None:
    """Print ``data`` as JSON on standard output."""
    print(json.dumps(data, indent=1, allow_nan=False))
