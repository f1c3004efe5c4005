"""Errors of users have one base and name the nearest right word."""

from __future__ import annotations

import subprocess
import sys

import pytest

import polymodal.core
from polymodal.core import DataError, OptionError, PolymodalError, RunError, TrainingError, nearest


def test_every_error_of_a_user_has_one_base() -> None:
    assert all(issubclass(e, PolymodalError) for e in (DataError, OptionError, RunError, TrainingError))
    assert issubclass(OptionError, ValueError)


def test_a_message_commands_no_terminal_and_has_an_end() -> None:
    said = str(DataError(f"x.json holds '\x1b[2J\ud800' and {'a' * 9000}; mend it"))
    assert said.startswith("x.json holds '\\x1b[2J\\ud800' and aaa")
    assert said.endswith("aaa; mend it")
    assert len(said) < 2100


def test_nearest_suggests_a_close_name_and_lists_all() -> None:
    assert nearest("epoch", ["lr", "epochs"]) == "; did you mean 'epochs'? (available: epochs, lr)"
    assert nearest("zzz", ["lr"]) == " (available: lr)"
    assert nearest("zzz", []) == " (available: none)"


def test_every_listed_name_can_be_imported_and_no_other() -> None:
    assert all(hasattr(polymodal.core, name) for name in polymodal.core.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = polymodal.core.nothing


def test_errors_schemas_and_seeds_cost_no_torch() -> None:
    code = (
        "import sys; from polymodal.core import DataError, Schema, numpy_rng; numpy_rng(1); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
