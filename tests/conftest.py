"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is loaded

import pytest
import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real data and models; its absence is a failure in CI and a skip elsewhere."""
    place = Path(os.environ.get("POLYMODAL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not place.is_dir():
        message = f"no real data at {place}; set POLYMODAL_SHARED"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return place


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache; one cache for the whole run, so that encoders work once."""
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
