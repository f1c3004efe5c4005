from __future__ import annotations

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
