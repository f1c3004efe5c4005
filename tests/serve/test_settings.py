from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from polymodal.core import OptionError
from polymodal.serve.settings import Settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers must be a whole number above 0"),
        ({"max_upload": -1}, "max_upload must be a number above 0"),
        ({"max_seconds": 0}, "max_seconds must be a number above 0"),
        ({"time_limit": float("nan")}, "time_limit must be a number above 0"),
        ({"queue": -1}, "queue must be a whole number, 0 or more"),
        ({"token": ""}, "not empty"),
        ({"token": "new\nline"}, "printable"),
        ({"host": "0.0.0.0"}, "set a token"),
        ({"host": ""}, "set a token"),
        ({"host": "lab.example"}, "set a token"),
        ({"host": "::"}, "set a token"),
    ],
)
def test_limits_that_allow_nothing_and_open_doors_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Settings("run", **options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_a_loopback_address_needs_no_token(host: str) -> None:
    assert Settings("run", host=host).loopback


def test_another_address_is_open_with_a_token() -> None:
    assert not Settings("run", host="0.0.0.0", token="secret").loopback


NO_LIMITS = ("name", "host", "token", "replies")
"""Settings that say who and what, not how much."""


@pytest.mark.parametrize("name", [f.name for f in fields(Settings) if f.name not in NO_LIMITS])
def test_every_limit_is_stated_with_its_number_and_told_in_the_guide(name: str) -> None:
    usual = Settings("fake")
    other = replace(usual, **{name: 2 * getattr(usual, name)})
    changed = {n for n, value in other.stated.items() if value != usual.stated[n]}
    assert len(changed) == 1
    guide = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    row = next(line for line in guide.splitlines() if line.startswith(f"| `--{name.replace('_', '-')}` |"))
    assert f"`{changed.pop()}`" in row
