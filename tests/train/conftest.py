"""A trained run, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polymodal import evaluate, fit


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    options = {"width": 4, "patience": 9}
    run = fit(
        "late-fusion", "synthetic:xor?n=24", options=options, epochs=2, batch_size=8, lr=0.01, seeds=(1, 2), out=folder
    )
    evaluate(run, resamples=20)
    return folder


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """Folder of an evaluated run of two seeds (late-fusion on ``synthetic:xor?n=24``); the test's own copy."""
    return Path(shutil.copytree(_trained, tmp_path / "trained"))
