"""From the signature of a command to its parser; ``name=value`` words."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from polymodal.cli.main import COMMANDS
from polymodal.cli.parser import build_parser
from polymodal.cli.text import typed
from polymodal.core import OptionError


def command(
    place: str,
    extra: str | None = None,
    *,
    count: int = 3,
    rate: float | None = None,
    kind: Literal["a", "b"] = "a",
    many: list[str] = [],  # noqa: B006
    flag: bool = False,
) -> int:
    """Do something.

    Args:
        place: where
        extra: what else
        count: how often,
            on two lines
        rate: how fast
        kind: of what
        many: things
        flag: whether
    """
    return 0


def _parse(*words: str) -> dict[str, Any]:
    return vars(build_parser("command", command, "  polymodal command here").parse_args(list(words)))


def test_defaults_are_those_of_the_signature() -> None:
    assert _parse("here") == {
        "place": "here",
        "extra": None,
        "count": 3,
        "rate": None,
        "kind": "a",
        "many": [],
        "flag": False,
    }


def test_values_have_the_types_of_the_signature() -> None:
    options = ("--count", "4", "--rate", "1e-3", "--kind", "b", "--many", "x=1", "y", "--many", "z", "--flag")
    found = _parse("here", "there", *options)
    assert found["extra"] == "there"
    assert (found["count"], found["rate"], found["kind"]) == (4, 1e-3, "b")
    assert (found["many"], found["flag"]) == (["x=1", "y", "z"], True)


def test_a_second_parse_does_not_remember_the_first() -> None:
    parser = build_parser("command", command, "")
    parser.parse_args(["here", "--many", "x"])
    assert vars(parser.parse_args(["here"]))["many"] == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["here", "--cuont", "3"], "unknown option --cuont; did you mean '--count'"),
        (["here", "--cuont=3"], "unknown option --cuont; did you mean '--count'"),
        (["here", "there", "everywhere"], "unknown argument everywhere"),
        (["here", "--count", "many"], "--count must be a whole number, got 'many'"),
        (["here", "--rate", "fast"], "--rate must be a number, got 'fast'"),
        (["here", "--kind", "c"], "--kind must be one of a, b, got 'c'"),
        (["here", "--many"], "--many"),
        ([], "place"),
    ],
)
def test_a_wrong_word_is_one_sentence(capsys: pytest.CaptureFixture[str], words: list[str], named: str) -> None:
    import re

    with pytest.raises(SystemExit) as left:
        _parse(*words)
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert re.search(named, printed)
    assert printed.startswith("error: ")
    assert printed.endswith("try: polymodal command --help\n")
    assert printed.count("\n") == 1


def test_every_parameter_of_every_command_is_documented() -> None:
    from importlib import import_module

    for name, (home, _) in COMMANDS.items():
        module = import_module(f"polymodal.cli.{home}")
        function = getattr(module, name.split()[-1].replace("-", "_"))
        text = build_parser(name, function, module.EXAMPLES[name]).format_help()
        assert "examples:" in text


def test_values_are_read_as_people_mean_them() -> None:
    words = ["a=1", "b=1e-3", "c=true", "d=null", "e=[x, 2]", "f=word", "g=-2", "h=0.5", "i=1.0"]
    found = typed("--set", words)
    assert found == {"a": 1, "b": 1e-3, "c": True, "d": None, "e": ["x", 2], "f": "word", "g": -2, "h": 0.5, "i": 1}
    assert [type(found[n]) for n in "abgi"] == [int, float, int, float]
    with pytest.raises(OptionError, match="cannot be read"):
        typed("--set", ["a=[1"])
