"""Small things that several commands need: values of ``--set``, JSON on standard output."""

from __future__ import annotations

import json
from typing import Any

from polymodal.core.errors import OptionError
from polymodal.core.options import pairs


def typed(option: str, words: list[str]) -> dict[str, Any]:
    """Like ``pairs``, with values read as YAML: numbers, true, false, null, [a, b], text."""
    import yaml

    out: dict[str, Any] = {}
    for name, value in pairs(option, words).items():
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


def print_json(data: Any) -> None:
    """Print ``data`` as JSON on standard output."""
    print(json.dumps(data, indent=1, allow_nan=False))
