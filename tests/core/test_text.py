"""Text of strangers in files, on terminals, in spreadsheets."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymodal.core.text import cell, clean, printable

ANY = st.text(st.characters(codec=None, exclude_categories=()))


@given(ANY)
def test_whatever_it_is_it_can_be_encoded_and_moves_no_cursor(text: str) -> None:
    for made in (clean(text), printable(text)):
        made.encode()
        assert "\x1b" not in made
        assert "\x9b" not in made


@pytest.mark.parametrize("text", ["so gut, ja!", "日本語 ok", "a\nb\tc", "👍🏽"])
def test_ordinary_text_stays(text: str) -> None:
    assert clean(text) == printable(text) == text


def test_what_is_hidden_is_written_out() -> None:
    assert printable("a\x1b[31mb\u202e") == "a\\x1b[31mb\\u202e"
    assert printable(os.fsdecode(b"caf\xe9.wav")) == "caf\\xe9.wav"
    assert clean("hi \ud800\x1b there") == "hi \ufffd  there"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-2+3", "@sum(a)", "\t=1"])
def test_a_formula_is_text(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.5", "+3", "text", "", 1.5, None, "a=b"])
def test_what_is_no_formula_stays(value: object) -> None:
    assert cell(value) == value
