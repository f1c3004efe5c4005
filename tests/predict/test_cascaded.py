"""A cascade on clips; the pipeline is the fake of this folder. What it says of features is in ``tests/cascade``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polymodal import Run
from polymodal.cascade.folder import digest
from polymodal.cascade.predictor import CascadePredictor
from polymodal.cli.predict import predict
from polymodal.core import RunError
from polymodal.predict.predictor import Predictor
from polymodal.predict.timeline import Timeline

MakeRun = Callable[..., Run]
MakeClip = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("pipeline")


def cascade_of(place: Path, small: Run, large: Run | str, threshold: float = -1.0) -> Path:
    """Write a cascade of two runs, or of a run and a service, which asks about what is less sure than ``threshold``."""
    sureness = {"basis": "bins" if small.config["method"] == "ubm" else "members", "temperature": 1.0, "scale": 3.0}
    other = {"spec": large, "name": "stub", "sureness": None}
    if isinstance(large, Run):
        members = {"basis": "members", "temperature": 1.0, "scale": 3.0}
        name = f"run {large.path.name}"
        other = {"spec": f"run:{large.path}", "name": name, "sureness": members, "digest": digest(large.path)}
    stored = {
        "method": "u-acs",
        "small": {"run": str(small.path), "digest": digest(small.path), "sureness": sureness},
        "large": other,
        "target": "sentiment",
        "rule": {"small": threshold, "large": 1.0, "agreed": "average", "middle": 0.0},
        "data": {"source": "made", "name": "moods", "hash": "x"},
        "fitted": {},
    }
    place.mkdir()
    (place / "cascade.json").write_text(json.dumps(stored))
    return place


@pytest.fixture
def runs(make_run: MakeRun) -> tuple[Run, Run]:
    """A small run on words, and a large one that also hears and sees."""
    return make_run("text", extraction={}, method="ubm"), make_run(extraction={}, seeds=(1, 2))


def test_unsure_utterances_are_read_again_for_the_large_run(
    runs: tuple[Run, Run], make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = CascadePredictor(cascade_of(tmp_path / "all", *runs)).predict(make_clip())
    found = [m.estimates["sentiment"].cascade for m in alone.moments]
    assert [(r.stage, r.by, r.calls) for r in found if r] == [("2a", "large", 1)] * 3
    unsure = sorted(r.small.uncertainty for r in found if r)
    cascade = CascadePredictor(cascade_of(tmp_path / "cascade", *runs, (unsure[-1] + unsure[-2]) / 2))
    assert cascade.large is not None
    cut: list[Any] = []
    read = cascade.large.predict_segments

    def watched(clip: Any, segments: Any, **options: Any) -> Timeline:
        cut.extend(segments)
        return read(clip, segments, **options)

    monkeypatch.setattr(cascade.large, "predict_segments", watched)
    told: list[float] = []
    clip = make_clip()
    timeline = cascade.predict(clip, progress=told.append)
    assert [m.estimates["sentiment"].cascade.stage for m in timeline.moments].count("1") == 2  # type: ignore[union-attr]
    (segment,) = cut
    (asked,) = [m for m in timeline.moments if m.estimates["sentiment"].cascade.calls]  # type: ignore[union-attr]
    assert (asked.start, asked.end, asked.text) == (segment.start, segment.end, segment.text)
    assert "audio" in asked.present
    assert all("audio" not in m.present for m in timeline.moments if m is not asked)
    assert told == [2.0, 4.0, 7.0, segment.end]
    assert (timeline.clip, timeline.duration, timeline.modalities) == ("clip.mp4", 8.0, ("text", "audio", "vision"))
    assert timeline.seconds["total"] >= timeline.seconds["large"] > 0
    for source in (clip.read_bytes(), io.BytesIO(clip.read_bytes())):
        assert cascade.predict(source, name="clip.mp4").moments == timeline.moments


def test_a_clip_without_utterances_is_judged_as_one_by_both(
    runs: tuple[Run, Run], make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = make_clip([], whole={"text": "so fine", "audio": 9})
    timeline = CascadePredictor(cascade_of(tmp_path / "cascade", *runs)).predict(clip)
    (moment,) = timeline.moments
    assert (moment.start, moment.end) == (0.0, 8.0)
    assert moment.estimates["sentiment"].cascade.by == "large"  # type: ignore[union-attr]


def test_a_large_run_that_no_clip_suits_is_refused(
    runs: tuple[Run, Run], make_run: MakeRun, make_clip: MakeClip, tmp_path: Path
) -> None:
    cascade = CascadePredictor(cascade_of(tmp_path / "cascade", runs[0], make_run("audio,vision")))
    with pytest.raises(RunError, match="cannot be applied to a clip"):
        cascade.predict(make_clip())


def test_a_service_reads_the_words_of_a_run_that_only_hears(
    make_run: MakeRun, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def post(url: str, key: str, body: dict[str, Any], **limits: float) -> dict[str, Any]:
        sent.append(body["messages"][1]["content"])
        return {"choices": [{"message": {"content": "2"}}]}

    monkeypatch.setattr("polymodal.cascade.remote.post", post)
    monkeypatch.setenv("POLYMODAL_LLM_URL", "http://localhost/v1")
    monkeypatch.setenv("POLYMODAL_LLM_MODEL", "stub")
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    ear = make_run("audio", extraction={})
    assert Predictor(ear).clips.pipeline.extraction.text == "none"
    cascade = CascadePredictor(cascade_of(tmp_path / "cascade", ear, "http?samples=2"))
    assert cascade.clips.pipeline.extraction.text == "auto"
    timeline = cascade.predict(make_clip())
    assert [m.estimates["sentiment"].cascade.stage for m in timeline.moments] == ["2a", "2a", "failed"]  # type: ignore[union-attr]
    assert len(sent) == 4
    assert "so great" in "".join(sent)
    assert any("1 of 3 utterances have no words" in note for note in timeline.notes)


def test_the_command_prints_writes_and_draws_a_cascade(
    runs: tuple[Run, Run], make_clip: MakeClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, clip = str(cascade_of(tmp_path / "cascade", *runs)), str(make_clip())
    assert predict(place, [clip]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("u-acs of cascade", "stage", "2a", "L ", "how unsure", "went to the"))
    assert predict(place, [clip], json=True) == 0
    timeline = Timeline.from_dict(json.loads(capsys.readouterr().out))
    assert {m.estimates["sentiment"].cascade.by for m in timeline.moments} == {"large"}  # type: ignore[union-attr]
    assert predict(place, [clip, clip], csv=True) == 0
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["sentiment/stage"] for row in table] == ["2a"] * 6
    assert all(float(row["sentiment/large"]) == pytest.approx(float(row["sentiment"]), abs=1e-5) for row in table)
    assert predict(place, [clip], plot=str(tmp_path / "a.svg"), out=str(tmp_path / "out")) == 0
    assert (tmp_path / "a.svg").stat().st_size > 1000
    assert (tmp_path / "out" / "clip.csv").is_file()
