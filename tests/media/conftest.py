"""Clips for the tests of media."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def clips() -> ModuleType:
    """The module ``clips.py`` beside this file; tests are no package, so it cannot be imported by name."""
    specification = importlib.util.spec_from_file_location("media_clips", Path(__file__).with_name("clips.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def make_clip(clips: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """``make_clip("a.mp4", seconds=2)`` writes a clip into the test's own folder; options as ``clips.write_clip``."""

    def make(name: str = "clip.mp4", **options: object) -> Path:
        path: Path = clips.write_clip(tmp_path / name, **options)
        return path

    return make
