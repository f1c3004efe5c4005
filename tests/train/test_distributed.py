"""Two processes compute what one computes, and write each file once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polymodal import fit
from polymodal.train.checkpoint import load_checkpoint

# In batches of 5: shares of 3 and 2, and a last batch of a single sample, of which one process has none. Two classes,
# because the slopes of an absolute error can cancel to rounding noise, which Adam enlarges to a whole step.
DATA = "synthetic:xor?n=21"
OPTIONS: dict[str, Any] = {"width": 4, "dropout": 0.0, "drop_last": False, "accumulate": 2}


ALTERNATING = f"{Path(__file__).with_name('alternating.py')}:Alternating"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("late-fusion", id="late-fusion"),
        pytest.param(ALTERNATING, id="alternating", marks=pytest.mark.slow),
    ],
)
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same training by one process and by two: of a plain method, and of one with alternating updates."""
    place = tmp_path_factory.mktemp("distributed")
    fit(request.param, DATA, options=OPTIONS, epochs=3, batch_size=5, lr=0.01, out=place / "one")
    words = ["fit", request.param, "--data", DATA, "--epochs", "3", "--batch-size", "5", "--lr", "0.01", "--json"]
    words += ["--set", *(f"{n}={json.dumps(v)}" for n, v in OPTIONS.items()), "--out", str(place / "two")]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    done = subprocess.run(
        [*launch, "--standalone", "-m", "polymodal", *words, "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (place / "stdout").write_text(done.stdout)
    return place / "one", place / "two"


@pytest.mark.slow
def test_weights_of_two_processes_are_those_of_one(folders: tuple[Path, Path]) -> None:
    for file in ("best.safetensors", "last.safetensors"):
        one, two = (load_checkpoint(f / "seed-1111" / file)[0] for f in folders)
        names = [n for n in one if n.startswith("model.")]
        assert names
        for name in names:
            # Half a batch rounds otherwise than a whole one, and Adam makes a step of any gradient above rounding.
            assert float((one[name] - two[name]).abs().max()) < 1e-5, name


def test_progress_of_two_processes_is_that_of_one(folders: tuple[Path, Path]) -> None:
    one, two = (
        [json.loads(line) for line in (f / "seed-1111/metrics.jsonl").read_text().splitlines()] for f in folders
    )
    assert [line["epoch"] for line in two] == [1, 2, 3]
    for a, b in zip(one, two, strict=True):
        assert a["step"] == b["step"]
        assert a["valid"]["loss"] == pytest.approx(b["valid"]["loss"], abs=1e-5)


def test_one_process_writes_and_speaks(folders: tuple[Path, Path]) -> None:
    one, two = ({str(p.relative_to(f)).split("events")[0] for p in f.rglob("*") if p.is_file()} for f in folders)
    assert one == two
    assert len(list((folders[1] / "seed-1111/tensorboard").iterdir())) == 1
    printed = json.loads((folders[1].parent / "stdout").read_text())  # a single document
    assert printed["results"]["1111"]["epochs"] == 3
