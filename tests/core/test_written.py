"""YAML as people write it."""

from __future__ import annotations

import pytest

from polymodal.core.written import read_yaml


def test_numbers_may_be_written_in_short() -> None:
    assert read_yaml("a: 1e-3\nb: 2E5\nc: e-3\nd: 1.5") == {"a": 1e-3, "b": 2e5, "c": "e-3", "d": 1.5}


@pytest.mark.parametrize("text", ["lr: 1\nwidth: 2\nlr: 3", "a: {b: 1, b: 2}", "- x: 1\n  x: 2"])
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"the key '[lbx]r?' stands twice in one mapping; keep one of them") as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)


def test_what_is_merged_in_may_be_overridden() -> None:
    found = read_yaml("base: &base {a: 1, b: 2}\nown:\n  <<: *base\n  b: 3\nagain: *base")
    assert found == {"base": {"a": 1, "b": 2}, "own": {"a": 1, "b": 3}, "again": {"a": 1, "b": 2}}
