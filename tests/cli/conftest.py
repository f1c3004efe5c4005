"""The command line, called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polymodal.cli.main import main


@dataclass(frozen=True)
class Called:
    """What a command returned and printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """Standard error, which is one line that says what is wrong."""
        lines = self.err.splitlines()
        assert self.code != 0
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        assert self.out == ""
        return lines[0]


Call = Callable[..., Called]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """``call("fit", "mmcl", ...)``: run a command and return its code and what it printed."""

    def run(*words: str | Path) -> Called:
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return Called(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an evaluated run, not to be changed."""
    from polymodal import evaluate, fit

    folder = tmp_path_factory.mktemp("cli") / "run"
    run = fit("late-fusion", "synthetic:xor?n=24", options={"width": 4}, epochs=1, batch_size=8, out=folder)
    evaluate(run)
    return folder
