"""The command itself: help, versions, unknown words, and what importing costs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import polymodal
from polymodal.cli import main as module
from polymodal.cli.main import COMMANDS
from polymodal.core import DataError

Call = Callable[..., Any]


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_command_and_first_steps(call: Call, words: tuple[str, ...]) -> None:
    called = call(*words)
    assert called.code == 0
    assert all(name in called.out for name in COMMANDS)
    assert "first steps" in called.out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_examples(call: Call, name: str) -> None:
    called = call(*name.split(), "--help")
    assert (called.code, called.err) == (0, "")
    assert f"usage: polymodal {name}" in called.out
    assert f"examples:\n  polymodal {name}" in called.out


def test_data_alone_lists_its_commands(call: Call) -> None:
    for words in (("data",), ("data", "--help")):
        called = call(*words)
        assert called.code == 0
        assert [line.split(":")[0] for line in called.out.splitlines()] == [
            "polymodal data info",
            "polymodal data convert",
            "polymodal data list",
        ]


def test_version(call: Call) -> None:
    assert call("--version").out == f"polymodal {polymodal.__version__}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("fti",), "did you mean 'fit'"),
        (("data", "lst"), "did you mean 'data list'"),
        (("--epochs", "3"), "see polymodal --help"),
    ],
)
def test_an_unknown_command_names_the_nearest(call: Call, words: tuple[str, ...], hint: str) -> None:
    called = call(*words)
    assert called.code == 2
    assert hint in called.sentence


def _raising(error: BaseException) -> Callable[..., int]:
    def run(name: str, words: list[str]) -> int:
        raise error

    return run


def test_mistakes_of_a_user_are_sentences_and_defects_are_not(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_run", _raising(DataError("the file is odd; mend it")))
    assert (call("fit").code, call("fit").sentence) == (1, "error: the file is odd; mend it")
    monkeypatch.setattr(module, "_run", _raising(OSError(28, "No space left on device", "disk")))
    assert call("fit").sentence == "error: No space left on device: disk"
    for defect in (ZeroDivisionError(), RuntimeError("shapes do not fit")):
        monkeypatch.setattr(module, "_run", _raising(defect))
        with pytest.raises(type(defect)):
            call("fit")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:92] data. DefaultCPUAllocator: not enough memory: you tried to"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_is_one_sentence_whoever_says_it(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(module, "_run", _raising(error))
    for command in ("reply", "predict", "fit"):
        assert call(command).sentence.startswith("error: there is not enough memory for this; end other programs")


def test_an_interrupt_says_how_to_go_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_run", _raising(KeyboardInterrupt()))
    called = call("fit")
    assert called.code == 130
    assert "--resume" in called.err


@pytest.mark.parametrize("words", [["--help"], ["methods"], ["methods", "mmcl"], ["data", "list"], ["fit", "--help"]])
def test_looking_around_costs_no_torch(words: list[str]) -> None:
    code = (
        "import sys; from polymodal.cli.main import main; code = main(sys.argv[1:]); "
        "sys.exit(code or ('torch' in sys.modules) * 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "polymodal", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"polymodal {polymodal.__version__}\n")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "polymodal", "methods", "--json"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert "Traceback" not in done.stderr
