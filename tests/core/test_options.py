"""Text and plain values become what a hint asks for; what does not fit is named in a user's words."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from polymodal.core import OptionError
from polymodal.core.options import (
    Bounds,
    Count,
    Natural,
    NotNegative,
    Positive,
    Seeds,
    Share,
    describe,
    options_of,
    pairs,
    read_options,
    read_value,
    settle,
    split_source,
)

Choice = Literal["lstm", "none"]


def reader(place: str, rows: int, /, loud: bool = False, *, choice: Choice | None = None, **more: int) -> None: ...


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        ("Yes", bool, True),
        ("false", bool, False),
        ("3", str, "3"),
        ("a/b", Path, Path("a/b")),
        ("none", int | None, None),
        ("lstm", Choice, "lstm"),
        ("2", Literal[1, 2], 2),
        ("-3, 3", Bounds, (-3.0, 3.0)),
        ("7", tuple[int, ...], (7,)),
        ("", tuple[str, ...], ()),
        ("a,b", list[str], ["a", "b"]),
        ("0", Natural, 0),
        ("7,8", Seeds, (7, 8)),
        ("true", Any, True),
        ("2.5", Any, 2.5),
        ("word", Any, "word"),
    ],
)
def test_text_becomes_what_the_hint_asks_for(text: str, hint: Any, value: object) -> None:
    found = read_value("x", text, hint, text=True)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("plain", "hint", "value"),
    [
        (2, float, 2.0),
        (2, float | int, 2),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([0, "a"], tuple[float, str], (0.0, "a")),
        ({"audio": 1}, float | dict[str, float], {"audio": 1.0}),
        (32, Literal["32", "bf16"], "32"),  # YAML reads 32 as a number
        (None, int | None, None),
        (None, Any, None),
        ("1", str | int, "1"),
    ],
)
def test_a_plain_value_is_converted_where_that_is_safe(plain: object, hint: Any, value: object) -> None:
    found = read_value("x", plain, hint)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        (True, int, "a whole number"),
        (1, bool, "true or false"),
        ("3", int, "a whole number"),
        (1.0, int, "a whole number"),
        (10**400, float, "a number"),
        (0, Count, "a whole number above 0"),
        (-1, Natural, "a whole number, 0 or more"),
        (0.0, Positive, "a number above 0"),
        (-0.1, NotNegative, "a number, 0 or more"),
        (1.5, Share, "a share from 0 to 1"),
        ((3, -3), Bounds, "lowest,highest (such as -3,3)"),
        ((1, 1), Seeds, "different whole numbers, 0 or more and below 2^63 (such as 1111,1112)"),
        ((), Seeds, "different whole numbers, 0 or more and below 2^63 (such as 1111,1112)"),
        ("gru", Choice | None, "one of lstm, none or none"),
        ([1], tuple[int, str], "a list of 2: a whole number, text"),
        ([None], list[str], "a list in brackets, each text"),
        ({"a": "b"}, dict[str, int], "a mapping, each value a whole number"),
        (1, int.__class__ | str, "type or text"),
    ],
)
def test_what_does_not_fit_is_told_in_words(value: object, hint: Any, words: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_value("plan.yaml: x", value, hint)
    assert str(caught.value) == f"plan.yaml: x must be {words}, got {value!r}"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("hint", [float, Share, Positive, NotNegative])
def test_no_option_is_nan_or_infinite(value: str, hint: Any) -> None:
    for given_value, text in ((value, True), (float(value), False)):
        with pytest.raises(OptionError, match=r"x must be a (number|share)"):
            read_value("x", given_value, hint, text=text)


@pytest.mark.parametrize("number", [0.0, -0.1, 1e-300, 1e300, 2**0.5, 5e-324])
def test_what_is_written_as_text_is_read_back(number: float) -> None:
    numbers = [number, -number, number / 3]
    assert read_value("x", str(number), float, text=True) == number
    assert read_value("x", ",".join(map(str, numbers)), list[float], text=True) == numbers


def test_options_are_the_named_parameters_of_a_function_or_an_inherited_constructor() -> None:
    known = options_of(reader)
    assert {n: p.annotation for n, p in known.items()} == {"loud": bool, "choice": Choice | None}
    assert list(options_of(reader, skip=3)) == ["choice"]
    assert list(options_of(type("Child", (Record,), {}))) == ["width", "rate"]


def test_unknown_and_lacking_options_are_named() -> None:
    known = options_of(Record)
    with pytest.raises(OptionError, match="here: there is no option 'widht'; did you mean 'width'"):
        read_options("here", {"widht": 3}, known)
    with pytest.raises(OptionError, match="here needs width: a whole number above 0"):
        read_options("here", {"rate": 1}, known)
    assert read_options("here", {"rate": 1}, known, partly=True) == {"rate": 1.0}


@dataclass(frozen=True)
class Record:
    width: Count
    rate: float = 0.5

    def __post_init__(self) -> None:
        settle("record", self)


def test_a_frozen_record_checks_and_converts_its_fields() -> None:
    assert type(Record(3, rate=1).rate) is float
    with pytest.raises(OptionError, match="record: width must be a whole number above 0, got 0"):
        Record(0)


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    assert pairs("--set", ["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    for word in ("a", "=b", ""):
        with pytest.raises(OptionError, match="--set wants name=value"):
            pairs("--set", [word])
    with pytest.raises(OptionError, match="--set: a is given twice"):
        pairs("--set", ["a=1", "a=2"])


def test_a_source_is_split_unless_a_file_has_that_name(tmp_path: Path) -> None:
    assert split_source("a.pkl?text=raw&limit=3") == ("a.pkl", {"text": "raw", "limit": "3"})
    assert split_source("a.pkl") == ("a.pkl", {})
    file = tmp_path / "what?.pkl"
    file.write_text("")
    assert split_source(str(file)) == (str(file), {})


def test_a_hint_without_words_keeps_its_name() -> None:
    assert describe(Record) == "Record"
    assert describe(list[Any]) == "a list in brackets, each any value"


def test_importing_costs_no_torch() -> None:
    code = "import sys; import polymodal.core.options; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
