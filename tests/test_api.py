"""The public names: none may vanish, and none may appear, without api.json saying so."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

NAMES: dict[str, list[str]] = json.loads(Path(__file__).with_name("api.json").read_text())


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_those_of_the_inventory(module: str) -> None:
    assert sorted(import_module(module).__all__) == NAMES[module]


@pytest.mark.parametrize("module", NAMES)
def test_every_public_name_exists(module: str) -> None:
    for name in NAMES[module]:
        assert getattr(import_module(module), name) is not None
