"""Results as ``Measurer`` returns them, and clips."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from polymodal.measure.measures import MEASURES
from polymodal.measure.result import Measured
from polymodal.media.types import Segment, Word


@pytest.fixture(scope="session")
def clips() -> ModuleType:
    """The module that writes clips for the tests of media; tests are no package."""
    place = Path(__file__).parents[1] / "media" / "clips.py"
    specification = importlib.util.spec_from_file_location("measure_clips", place)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def measured() -> Measured:
    """Two rows of two persons; the face is known in the first one only."""
    names = [m.name for m in MEASURES]
    rows = (
        Segment(0.5, 2.5, "so great", (Word("so", 0.5, 1.0), Word("great", 1.0, 1.5)), "Ann"),
        Segment(4.0, 8.0, "no", (), "Bob"),
    )
    seen = {n: float(i) / 2 for i, n in enumerate(names)}
    unseen = {n: v if i < names.index("face_share") else None for i, (n, v) in enumerate(seen.items())}
    return Measured(
        clip="talk.mp4",
        duration=9.0,
        by="transcript",
        measures=MEASURES,
        rows=rows,
        values=(seen, unseen),
        whole=seen,
        persons={"Ann": seen, "Bob": unseen},
        synchrony={"sync_smile_partner": {"correlation": 0.5, "lag": 0.3, "chance": 0.4, "windows": 3}},
        notes=("a note",),
        versions={"audio": "openSMILE"},
        seconds={"total": 1.5},
    )
