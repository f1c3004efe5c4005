"""Every option that takes several values takes them in the same three ways."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import pytest

from polymodal.cli.lists import Several
from polymodal.cli.main import COMMANDS
from polymodal.cli.parser import Parser, build_parser

POSITIONAL = {
    "fit": ["mmcl", "--data", "a.pkl"],
    "fit best": ["--data", "a.pkl"],
    "evaluate": ["runs/a"],
    "audit": ["runs/a"],
    "deploy": ["runs/a"],
    "bench": [],
    "extract": ["clips.csv", "--out", "store"],
    "measure": ["clip.mp4"],
    "data convert": ["a.pkl", "store"],
}
OPTIONS: dict[tuple[str, str], tuple[list[str], Any]] = {
    ("fit", "--set"): (["width=64", "beta=0.5"], ["width=64", "beta=0.5"]),
    ("fit", "--encoder"): (["text=minilm?tuning=lora", "face=none"], ["text=minilm?tuning=lora", "face=none"]),
    ("fit", "--encode"): (["text=minilm", "audio=a.b:c"], ["text=minilm", "audio=a.b:c"]),
    ("fit best", "--encode"): (["text=minilm", "audio=a.b:c"], ["text=minilm", "audio=a.b:c"]),
    ("fit", "--seeds"): (["1", "2", "30"], (1, 2, 30)),
    ("evaluate", "--stress"): (
        ["missing:rate=0.1/0.3", "noise:audio,snr=20/0"],
        ["missing:rate=0.1/0.3", "noise:audio,snr=20/0"],
    ),
    ("audit", "--with"): (["shapley", "importance"], ["shapley", "importance"]),
    ("audit", "--by"): (["sex", "age"], ["sex", "age"]),
    ("deploy", "--keep"): (["text", "audio"], ["text", "audio"]),
    ("bench", "--methods"): (["mmcl", "mine.py:Mine"], ["mmcl", "mine.py:Mine"]),
    ("bench", "--add"): (["mmcl", "mine.py:Mine"], ["mmcl", "mine.py:Mine"]),
    ("bench", "--corpora"): (
        ["a.pkl?modalities=text,audio&range=-3,3", "synthetic:talk"],
        ["a.pkl?modalities=text,audio&range=-3,3", "synthetic:talk"],
    ),
    ("bench", "--stress"): (["noise:audio,vision,snr=5", "words:rate=0.5"],) * 2,
    ("bench", "--seeds"): (["1", "2"], (1, 2)),
    ("extract", "--columns"): (["clip=a file", "speaker=who"], ["clip=a file", "speaker=who"]),
    ("extract", "--target"): (["arousal", "valence"], ["arousal", "valence"]),
    ("extract", "--range"): (["-3", "3.5"], (-3.0, 3.5)),
    ("measure", "--measures"): (["smile", "pauses"], ["smile", "pauses"]),
    ("measure", "--synchrony"): (["loudness", "head_speed"], ["loudness", "head_speed"]),
    ("data convert", "--encode"): (["text=minilm", "face=none"], ["text=minilm", "face=none"]),
}
"""(command, option) -> its values, and what the command gets."""


def _parser(name: str) -> Parser:
    module = import_module(f"polymodal.cli.{COMMANDS[name][0]}")
    return build_parser(name, getattr(module, name.rpartition(" ")[2].replace("-", "_")), module.EXAMPLES[name])


def _read(command: str, option: str, *words: str) -> Any:
    found = vars(_parser(command).parse_args([*POSITIONAL[command], *words]))
    name = option.removeprefix("--")
    return found[name if name in found else f"{name}_"]


def _lists() -> list[tuple[str, str]]:
    actions = [(name, action) for name in COMMANDS for action in _parser(name)._actions]
    return [(name, a.option_strings[0]) for name, a in actions if a.option_strings and isinstance(a.type, Several)]


def test_the_table_has_every_list_of_every_command() -> None:
    assert sorted(_lists()) == sorted(OPTIONS)
    left = [
        (name, action.option_strings)
        for name in COMMANDS
        for action in _parser(name)._actions
        if action.option_strings and action.nargs not in (None, 0)
    ]
    assert left == []


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_spaces_commas_and_repetition_mean_the_same(command: str, option: str) -> None:
    values, wanted = OPTIONS[command, option]
    first, *rest = values
    ways: list[list[str]] = [
        [option, *values],
        [option, ",".join(values)],
        [option, ", ".join(values)],
        [f"{option}={','.join(values)}"],
        [word for value in values for word in (option, value)],
        [f"{option}={value}" for value in values],
        [option, f"{first},", *rest],
        [option, first, "--json", option, *rest] if command not in ("data convert", "deploy") else [option, *values],
    ]
    for words in ways:
        assert _read(command, option, *words) == wanted, words


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_a_list_without_values_is_an_error(capsys: pytest.CaptureFixture[str], command: str, option: str) -> None:
    for words in ([option], [option, ""], [option, "--help-me"], [f"{option}=,"]):
        with pytest.raises(SystemExit):
            _read(command, option, *words)
        assert option in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--seeds", "one"], "--seeds must be different whole numbers, .* got 'one'"),
        (["--seeds", "1", "1"], "--seeds must be different whole numbers, .* got '1,1'"),
        (["--seeds", "1,two"], "got '1,two'"),
        (["--seeds", "1,,2"], "got '1,,2'"),
        (["--seeds", "1", "--seeds=x"], "got '1,x'"),
        (["--seed", "1"], "unknown option --seed; did you mean '--seeds'"),
    ],
)
def test_a_wrong_number_is_one_sentence(capsys: pytest.CaptureFixture[str], words: list[str], named: str) -> None:
    with pytest.raises(SystemExit):
        _parser("bench").parse_args(words)
    printed = capsys.readouterr().err
    assert re.search(named, printed)
    assert printed.count("\n") == 1


def test_numbers_leave_other_words_alone() -> None:
    found = vars(_parser("bench").parse_args(["--seeds", "1", "2", "board.yaml", "--trials", "3"]))
    assert (found["seeds"], found["plan"], found["trials"]) == ((1, 2), "board.yaml", 3)
    found = vars(_parser("fit").parse_args(["--data", "a.pkl", "--seeds=1,2", "mmcl"]))
    assert (found["seeds"], found["method"]) == ((1, 2), "mmcl")


@pytest.mark.parametrize(
    ("option", "words", "wanted"),
    [
        ("--set", ["train_stress=noise:audio,snr=5"], ["train_stress=noise:audio,snr=5"]),
        ("--set", ["a=[1,b=2]", "c=1,2,3,d=4"], ["a=[1,b=2]", "c=1,2,3", "d=4"]),
        ("--set", ["order=text,audio,width=8"], ["order=text,audio", "width=8"]),
    ],
)
def test_commas_of_a_value_stay_in_it(option: str, words: list[str], wanted: list[str]) -> None:
    assert _read("fit", option, option, *words) == wanted


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("mix:a.pkl,b.pkl?unlabelled=b", ["mix:a.pkl,b.pkl?unlabelled=b"]),
        ("a.pkl,b.pkl", ["a.pkl", "b.pkl"]),
        ("a.pkl?text=raw,synthetic:talk", ["a.pkl?text=raw", "synthetic:talk"]),
        ("a.pkl?modalities=text,audio,b.pkl?limit=3", ["a.pkl?modalities=text,audio", "b.pkl?limit=3"]),
        ("a.pkl?range=-0.5,0.5,stores/b", ["a.pkl?range=-0.5,0.5", "stores/b"]),
    ],
)
def test_commas_of_a_source_stay_in_it(word: str, wanted: list[str]) -> None:
    assert _read("bench", "--corpora", "--corpora", word) == wanted


def test_words_after_two_dashes_are_no_values() -> None:
    found = vars(_parser("bench").parse_args(["--seeds", "1", "--", "--seeds"]))
    assert (found["seeds"], found["plan"]) == ((1,), "--seeds")


def test_help_says_how_several_values_are_written() -> None:
    for name in COMMANDS:
        several = any(command == name for command, _ in OPTIONS)
        assert ("separated by spaces or commas" in _parser(name).format_help()) == several
