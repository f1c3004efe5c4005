"""A cell is run again where what made it has changed, and only there; as installed, outside the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import polymodal
from polymodal.bench.keys import PACKAGE, closure
from polymodal.core.locks import locked

MINE = """
from helper import WIDTH
from polymodal.methods.late_fusion import LateFusion

class Mine(LateFusion):
    'A method in a file of its own, beside a helper.'
    width = WIDTH
"""

SCRIPT = """
import json, sys
from pathlib import Path
import polymodal
from polymodal.bench import keys
from polymodal.bench.job import Cell, prepared
from polymodal.bench.plan import EntryPlan, Conditions
root = Path(sys.argv[1])
assert Path(polymodal.__file__).is_relative_to(root / "site-packages"), polymodal.__file__
cells = {}
for name in ("linear", "mult", "mfn", f"{root}/mine.py:Mine"):
    entry = EntryPlan(name, name, options={"epochs": 1} if name != "linear" else {})
    cell = Cell(entry, "xor", "synthetic:xor?n=20", 1, Conditions((), False), root, "cpu")
    cells[name.rpartition(":")[2]] = prepared(cell)
told = {}
for step, (file, old, new) in {"start": ("", "", ""), **json.loads(sys.argv[2])}.items():
    if step == "torch":
        keys._version = lambda library: "99"
    elif file:
        place = root / file
        text = place.read_text()
        assert old in text, file
        place.write_text(text.replace(old, new, 1))
    told[step] = {name: keys.content_key(*made, "auto") for name, made in cells.items()}
print(json.dumps(told))
"""

PACKED, FUTURE = "site-packages/polymodal", "from __future__ import annotations"
CODE, REMARK = (FUTURE, f"{FUTURE}\nNEW = 1"), (FUTURE, f"# a remark\n{FUTURE}")
STEPS = {
    "comment": (f"{PACKED}/nn/attention.py", *REMARK),
    "docstring": (f"{PACKED}/methods/mult.py", '"""', '"""Another word. '),
    "reader": (f"{PACKED}/data/csd.py", *CODE),
    "another method": (f"{PACKED}/methods/tfn.py", *CODE),
    "helper of mult": (f"{PACKED}/nn/attention.py", *CODE),
    "helper of mine": ("helper.py", "WIDTH = 1", "WIDTH = 2"),
    "prediction": (f"{PACKED}/train/infer.py", *CODE),
    "torch": ("", "", ""),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Keys of four methods of an installed copy, after each change."""
    root = tmp_path_factory.mktemp("installed")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(polymodal.__file__).parent, root / "site-packages" / "polymodal", ignore=ignored)
    (root / "mine.py").write_text(MINE)
    (root / "helper.py").write_text("WIDTH = 1\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, str(root), json.dumps(STEPS)],
        capture_output=True, text=True, check=False, cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'site-packages'}{os.pathsep}{root}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def changed(told: dict[str, Any], step: str) -> set[str]:
    """Return the methods whose key ``step`` changed."""
    before = list(told)[list(told).index(step) - 1]
    return {name for name, key in told[step].items() if key != told[before][name]}


@pytest.mark.slow
@pytest.mark.parametrize("step", ["comment", "docstring", "reader", "another method"])
def test_what_makes_no_difference_runs_nothing_again(told: dict[str, Any], step: str) -> None:
    assert changed(told, step) == set()


def test_a_helper_runs_again_what_imports_it(told: dict[str, Any]) -> None:
    assert "mult" in changed(told, "helper of mult")
    assert "linear" not in changed(told, "helper of mult")
    assert changed(told, "helper of mine") == {"Mine"}


@pytest.mark.parametrize("step", ["prediction", "torch"])
def test_what_everything_rests_on_runs_all_again(told: dict[str, Any], step: str) -> None:
    assert changed(told, step) == {"linear", "mult", "mfn", "Mine"}


def test_the_closure_of_a_method_is_small() -> None:
    found = {file.relative_to(PACKAGE).as_posix() for file in closure([PACKAGE / "methods" / "mult.py"])}
    assert {"methods/mult.py", "methods/base.py", "nn/attention.py", "core/schema.py"} <= found
    assert not {f for f in found if f.startswith(("data/", "train/", "cli/", "serve/"))}


def test_a_cell_waits_for_another_process(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path / "cell.lock"):
            order.append("second")

    with locked(tmp_path / "cell.lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
