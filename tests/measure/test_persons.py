"""A clip as a whole, its rows and its persons, from signals made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import OptionError
from polymodal.measure.clip import Measurer
from polymodal.measure.face import CHANNELS as SEEN
from polymodal.measure.face import describe_face
from polymodal.measure.signals import Signals
from polymodal.measure.voice import CHANNELS as HEARD


class Prepared:
    """Stands for a Reader: twenty seconds in which Ann (200 Hz) speaks before Bob (100 Hz), who is not seen."""

    def read(self, clip: Any, *, gap: float, progress: Any = None) -> Signals:
        heard = np.full((2000, len(HEARD)), 0.02, np.float32)
        heard[:, HEARD.index("f0")] = np.where(np.arange(2000) < 1000, 200.0, 100.0)
        times = np.arange(250) / 25
        face = describe_face(times, np.full((250, len(SEEN) - 1), 0.5), 20.0)
        spoken = ((1.0, 3.0), (4.0, 9.0), (12.0, 18.0))
        return Signals(
            "talk.mp4", 20.0, heard, face, spoken, spoken, ((3.0, 4.0),), (), ("a note",), {"audio": "made"}, {}
        )


@pytest.fixture
def transcript(tmp_path: Path) -> Path:
    path = tmp_path / "talk.json"
    told = [
        {"start": 1, "end": 3, "text": "one two three", "speaker": "Ann"},
        {"start": 4, "end": 9, "text": "four five", "speaker": "Ann"},
        {"start": 11, "end": 19, "text": "six", "speaker": "Bob"},
    ]
    path.write_text(json.dumps({"segments": told}))
    return path


def measurer(**options: Any) -> Measurer:
    return Measurer(Prepared(), **options)  # type: ignore[arg-type]


def test_rows_persons_and_the_whole_each_have_their_own(transcript: Path) -> None:
    found = measurer().measure("talk.mp4", transcript=transcript)
    assert found.by == "transcript"
    assert [v["f0_median"] for v in found.values] == [200.0, 200.0, 100.0]
    assert [v["speaking_share"] for v in found.values] == pytest.approx([1.0, 1.0, 0.75])
    assert set(found.persons) == {"Ann", "Bob"}
    # Of a person the share is of the whole clip.
    assert found.persons["Ann"]["speaking_share"] == pytest.approx(7 / 20)
    assert found.persons["Bob"]["speaking_share"] == pytest.approx(6 / 20)
    assert found.whole["speaking_share"] == pytest.approx(13 / 20)
    assert found.persons["Ann"]["speech_rate"] == pytest.approx(5 / 7, abs=1e-4)
    assert found.whole["pauses"] == 1
    assert found.persons["Bob"]["smile"] is None
    assert found.persons["Bob"]["face_share"] == 0.0
    assert found.whole["face_share"] == pytest.approx(0.5, abs=0.01)
    assert found.whole["smile"] == pytest.approx(0.5)


def test_columns_are_those_that_were_asked_for(transcript: Path) -> None:
    found = measurer(chosen=["smile", "pauses"], synchrony=["f0", "smile"], by="windows", window=10.0).measure(
        "talk.mp4"
    )
    assert list(found.values[0]) == ["smile", "pauses", "sync_f0_smile", "sync_f0_smile_lag"]
    assert len(found.rows) == 2
    assert found.values[1]["smile"] is None
    assert found.persons == {}
    assert any("without words there is no speech rate" in note for note in found.notes)
    with pytest.raises(OptionError, match="two different streams"):
        measurer(synchrony=["f0"]).measure("talk.mp4")
