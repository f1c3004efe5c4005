"""A run on clips, features and streams; the pipeline is a fake that reads clips written as JSON."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from polymodal import Run, fit
from polymodal.core import DataError, OptionError, RunError
from polymodal.data.encode import Encoder
from polymodal.media.extraction import Recogniser
from polymodal.predict.predictor import Predictor
from polymodal.predict.timeline import Moment, Timeline
from polymodal.score.calibration import tempered
from polymodal.train.calibration import FILE

MakeRun = Callable[..., Run]
MakeClip = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("pipeline")


def _sums(timeline: Timeline) -> None:
    """Contributions sum to what is said minus the baseline."""
    for moment in timeline.moments:
        for target in timeline.targets:
            e = moment.estimates[target.name]
            if target.task == "multilabel":
                for c in target.classes:
                    total = sum(share[c] for share in e.contributions.values())
                    assert total == pytest.approx(e.probabilities[c] - e.baseline[c], abs=1e-6)  # type: ignore[index]
                continue
            said = e.value if target.task == "regression" else e.probabilities[e.label]  # type: ignore[index]
            assert sum(e.contributions.values()) == pytest.approx(said - e.baseline, abs=1e-6)  # type: ignore[operator]


def test_a_clip_becomes_a_timeline(run: Run, make_clip: MakeClip) -> None:
    timeline = Predictor(run).predict(make_clip())
    assert (timeline.clip, timeline.duration, timeline.method) == ("clip.mp4", 8.0, "linear")
    assert [(m.start, m.end) for m in timeline.moments] == [(0.5, 2.0), (2.5, 4.0), (5.0, 7.0)]
    assert [m.present for m in timeline.moments] == [("text", "audio", "vision"), ("text", "audio"), ("vision",)]
    assert [w.text for w in timeline.moments[0].words] == ["so", "great"]
    assert [tuple(m.estimates["sentiment"].contributions) for m in timeline.moments] == [
        m.present for m in timeline.moments
    ]
    good, bad, _ = (m.estimates["sentiment"] for m in timeline.moments)
    assert good.contributions["text"] > 0 > bad.contributions["text"]
    assert timeline.calibrated
    assert {"decode", "model", "total"} <= set(timeline.seconds)
    assert "transcribed by a fake" in timeline.notes
    _sums(timeline)
    json.dumps(timeline.to_dict(), allow_nan=False)


def test_all_tasks_at_once_sum_up(make_run: MakeRun, make_clip: MakeClip) -> None:
    run = make_run(targets="sentiment,emotion,tags", extraction={}, method="late-fusion", seeds=(1, 2))
    timeline = Predictor(run).predict(make_clip())
    _sums(timeline)
    for moment in timeline.moments:
        emotion, tags = moment.estimates["emotion"], moment.estimates["tags"]
        assert emotion.probabilities is not None
        assert tags.probabilities is not None
        assert sum(emotion.probabilities.values()) == pytest.approx(1)
        assert emotion.label == max(emotion.probabilities, key=lambda c: emotion.probabilities[c])  # type: ignore[index]
        assert tags.labels == tuple(c for c, p in tags.probabilities.items() if p > 0.5)


ROWS: list[dict[str, Any]] = [
    {"text": "so good", "audio": np.linspace(-1, 1, 12).reshape(4, 3), "vision": np.linspace(0, 2, 18).reshape(9, 2)},
    {"text": "awful", "audio": np.linspace(2, -1, 21).reshape(7, 3), "vision": None},
    {"vision": [[0.5, -0.5], [0.1, 0.2]]},
]
THERE = [("text", "audio", "vision"), ("text", "audio"), ("vision",)]


def test_a_run_on_several_domains_says_something_of_samples_from_anywhere(tmp_path: Path) -> None:
    source = "mix:one=(synthetic:talk?n=40),two=(synthetic:talk?n=40&seed=2)"
    predictor = Predictor(fit("linear", source, out=tmp_path / "run"))
    (moment,) = predictor.predict_features([{"text": "the film was good"}]).moments
    assert np.isfinite(moment.estimates["sentiment"].value)


@pytest.mark.parametrize("target", ["sentiment", "emotion"])
def test_features_are_normalised_averaged_over_seeds_and_calibrated(make_run: MakeRun, target: str) -> None:
    """Against the pieces put together by hand: each row alone, each seed alone."""
    run = make_run(targets=target, extraction={}, method="late-fusion", seeds=(1, 2))
    about, calibration, normalizer = run.schema.targets[0], run.calibration, run.normalizer
    assert calibration is not None
    timeline = Predictor(run, level=0.8).predict_features(ROWS)
    assert [m.present for m in timeline.moments] == THERE
    from polymodal.core import Batch, Stream

    for row, moment in zip(ROWS, timeline.moments, strict=True):
        streams = {"text": Stream([row.get("text") or ""], None, torch.tensor(["text" in row]))}
        for name, width in (("audio", 3), ("vision", 2)):
            values = np.asarray(row[name] if row.get(name) is not None else np.zeros((0, width)), np.float32)
            scaled = np.clip((values - normalizer.mean[name]) / normalizer.std[name], -10, 10).astype(np.float32)
            padded = torch.zeros(1, max(1, len(values)), width)
            padded[0, : len(values)] = torch.from_numpy(scaled)
            streams[name] = Stream(padded, torch.tensor([len(values)]), torch.tensor([len(values) > 0]))
        batch = Batch(streams, {}, ["x"])
        with torch.no_grad():
            columns = [about.spec.columns(run.method(s)(batch).predictions[target]) for s in (1, 2)]
            each = [c[about.spec.averaged].double() for c in columns]
        mean, e = torch.stack(each).mean(0).numpy(), moment.estimates[target]
        if target == "sentiment":
            width = calibration.half_width(target, moment.present, 0.8)
            assert e.value == pytest.approx(mean[0], abs=1e-5)
            assert width is not None
            assert (e.low, e.high) == pytest.approx((max(e.value - width, -3), min(e.value + width, 3)))  # type: ignore[operator]
        else:
            wanted = tempered(about, mean, calibration.temperature(target, moment.present))[0]
            assert e.probabilities is not None
            assert list(e.probabilities.values()) == pytest.approx(wanted.tolist(), abs=1e-5)


def test_what_is_in_a_batch_does_not_matter(run: Run) -> None:
    predictor = Predictor(run)
    together = predictor.predict_features(ROWS * 15).moments  # more than one chunk
    assert len(together) == 45
    for i, row in enumerate(ROWS):
        (alone,) = predictor.predict_features([row]).moments
        value = alone.estimates["sentiment"].value
        assert [m.estimates["sentiment"].value for m in together[i::3]] == pytest.approx([value] * 15, abs=1e-5)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"audio": np.zeros((4, 5))}, r"'row 1': audio has shape \(4, 5\), expected \(time, 3\)"),
        ({"audio": [[1, 2, 3], [4]]}, "row 1: audio is no array of real numbers"),
        ({"audio": "loud"}, "row 1: audio is text, the run wants a sequence of width 3"),
        ({"text": np.zeros(3)}, "row 1: text is a ndarray, expected text"),
        ({"adio": np.zeros((4, 3))}, "row 1: no modality 'adio'; did you mean 'audio'"),
    ],
)
def test_a_wrong_row_is_named(run: Run, row: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError, match=named):
        Predictor(run).predict_features([ROWS[0], row])


def test_no_rows_are_refused(run: Run) -> None:
    with pytest.raises(DataError, match="no rows"):
        Predictor(run).predict_features([])


def test_nothing_there_is_the_baseline_without_an_interval(run: Run) -> None:
    timeline = Predictor(run).predict_features([{"text": "  ", "audio": np.full((3, 3), np.nan)}])
    (moment,) = timeline.moments
    e = moment.estimates["sentiment"]
    assert moment.present == ()
    assert e.value == e.baseline
    assert (e.low, e.high, e.contributions) == (None, None, {})
    assert not timeline.calibrated
    assert "text is in no utterance" in timeline.notes


def test_path_bytes_and_stream_are_the_same_clip(run: Run, make_clip: MakeClip) -> None:
    predictor, clip = Predictor(run), make_clip()
    wanted = predictor.predict(clip)
    for source in (str(clip), clip.read_bytes(), io.BytesIO(clip.read_bytes())):
        found = predictor.predict(source, name="clip.mp4")
        assert found.moments == wanted.moments
        assert found.clip == "clip.mp4"


def test_progress_tells_the_seconds_that_are_done(run: Run, make_clip: MakeClip) -> None:
    told: list[float] = []
    Predictor(run).predict(make_clip(), progress=told.append)
    assert told == [2.0, 4.0, 7.0]


def test_a_transcript_gives_utterances_and_words(
    run: Run, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polymodal.media.types import Segment

    module: Any = ModuleType("polymodal.media.words.transcripts")
    module.read_transcript = lambda path: [Segment(1.0, 2.0, f"great {path}"), Segment(3.0, 4.0, "bad")]
    monkeypatch.setitem(sys.modules, "polymodal.media.words.transcripts", module)
    predictor = Predictor(run)
    timeline = predictor.predict(make_clip(), transcript="a.srt")
    assert [(m.start, m.text) for m in timeline.moments] == [(1.0, "great a.srt"), (3.0, "bad")]
    with pytest.raises(OptionError, match="leave out the transcript or 'windows'"):
        predictor.predict(make_clip(), transcript="a.srt", utterances="windows")


def test_what_a_transcript_says_after_the_end_of_the_clip_is_not_judged(
    run: Run, make_clip: MakeClip, tmp_path: Path
) -> None:
    def told(*starts: float) -> Timeline:
        words = [{"start": start, "end": start + 1, "text": "great"} for start in starts]
        (tmp_path / "a.json").write_text(json.dumps(words))
        return Predictor(run).predict(make_clip(), transcript=tmp_path / "a.json")

    timeline = told(1.0, 60.0, 70.0)
    assert [m.start for m in timeline.moments] == [1.0]
    assert "2 of 3 segments of the transcript begin after clip.mp4 ends, at 8.0 s, and are left out" in timeline.notes
    with pytest.raises(DataError, match=r"clip.mp4 lasts 8.0 s and no segment of the transcript lies within it"):
        told(60.0)


def test_utterances_are_speech_unless_the_corpus_was_cut_into_windows(make_run: MakeRun, make_clip: MakeClip) -> None:
    for recorded, used in (("speech", "speech"), ("clip", "speech"), ("transcript", "speech"), ("windows", "windows")):
        predictor = Predictor(make_run(extraction={"utterances": recorded, "window": 3.0}))
        extraction = predictor.clips.pipeline.extraction
        assert (extraction.utterances, extraction.window) == (used, 3.0)
    (moment,) = predictor.predict(make_clip(whole={"audio": 4}), utterances="clip").moments
    assert (moment.start, moment.end) == (0.0, 8.0)
    assert predictor.clips.pipeline.extraction.utterances == "windows"
    with pytest.raises(OptionError, match="utterances must be one of"):
        predictor.predict(make_clip(), utterances="words")


def test_a_clip_without_utterances_is_judged_as_one(run: Run, make_clip: MakeClip) -> None:
    clip = make_clip([], whole={"audio": 9})
    for source in (clip, io.BytesIO(clip.read_bytes())):
        timeline = Predictor(run).predict(source)
        assert [(m.start, m.end, m.present) for m in timeline.moments] == [(0.0, 8.0, ("audio",))]
        assert any("no utterance was found" in note for note in timeline.notes)


def test_a_clip_with_nothing_in_it_is_refused_with_the_reason(run: Run, make_clip: MakeClip) -> None:
    with pytest.raises(DataError, match=r"clip.mp4 has none of text, audio, vision: .*clip.mp4 has no sound") as caught:
        Predictor(run).predict(make_clip([], notes=["clip.mp4 has no sound: audio is absent"]))
    assert "\n" not in str(caught.value)


def test_a_missing_stream_is_absent_and_told(run: Run, make_clip: MakeClip) -> None:
    clip = make_clip([{"start": 0, "end": 1, "audio": 3}], notes=["clip.mp4 has no picture: vision is absent"])
    timeline = Predictor(run).predict(clip)
    assert timeline.moments[0].present == ("audio",)
    assert {"clip.mp4 has no picture: vision is absent", "vision is in no utterance"} <= set(timeline.notes)


def test_an_interval_widens_when_less_is_there_and_stays_on_the_scale(run: Run) -> None:
    calibration = run.calibration
    assert calibration is not None
    widths = [
        calibration.half_width("sentiment", present, 0.9) for present in (("text", "audio", "vision"), ("audio",))
    ]
    assert widths[0] < widths[1]  # type: ignore[operator]
    loud = {"text": "great great great", "audio": np.full((5, 3), 3.0), "vision": np.full((5, 2), 3.0)}
    estimate = Predictor(run, level=0.95).predict_features([loud]).moments[0].estimates["sentiment"]
    assert estimate.value is not None
    assert estimate.high == max(3.0, estimate.value)
    assert estimate.low is not None
    assert estimate.low < estimate.value


def test_a_run_without_calibration_says_so(run: Run, make_clip: MakeClip, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run.path, tmp_path / "copied"))
    (copied / FILE).unlink()
    timeline = Predictor.load(copied).predict(make_clip())
    assert not timeline.calibrated
    assert any(note.startswith("not calibrated") for note in timeline.notes)
    assert all(m.estimates["sentiment"].low is None for m in timeline.moments)


def test_a_level_that_is_not_measured_is_refused(run: Run) -> None:
    with pytest.raises(OptionError, match=r"level must be one of 0.5, 0.8, 0.9, 0.95, got 0.99"):
        Predictor(run, level=0.99)


def test_too_few_samples_for_the_level_are_told(make_run: MakeRun, make_clip: MakeClip) -> None:
    run = make_run(extraction={}, valid=12)
    assert Predictor(run, level=0.9).predict(make_clip()).calibrated
    timeline = Predictor(run, level=0.95).predict(make_clip())
    assert not timeline.calibrated
    assert any("too few validation samples for level 0.95" in note for note in timeline.notes)


def test_a_run_that_no_clip_can_serve_says_what_to_do(make_run: MakeRun, make_clip: MakeClip) -> None:
    for run in (make_run("audio,vision"), make_run("audio,vision", extraction={"audio": "file", "vision": "none"})):
        predictor = Predictor(run)
        with pytest.raises(RunError, match=r"cannot be applied to a clip.* audio \(a sequence of width 3\)") as caught:
            predictor.predict(make_clip())
        assert "polymodal extract" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert predictor.predict_features(ROWS[2:]).moments  # features still are welcome


def test_what_cannot_be_made_is_absent_while_the_rest_goes_on(make_run: MakeRun, make_clip: MakeClip) -> None:
    timeline = Predictor(make_run()).predict(make_clip())  # a corpus of arrays and raw text: words can be had
    assert [m.present for m in timeline.moments] == [("text",), ("text",), ()]
    assert "audio is absent: it cannot be made from a clip here" in timeline.notes
    timeline = Predictor(make_run(extraction={"audio": "file"})).predict(make_clip())
    assert [m.present for m in timeline.moments] == [("text", "vision"), ("text",), ("vision",)]


def test_features_of_another_width_are_not_mistaken_for_the_runs(
    run: Run, make_clip: MakeClip, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = pipeline.__post_init__

    def wider(self: Any) -> None:
        make(self)
        self.modalities = tuple(replace(m, width=88) if m.name == "audio" else m for m in self.modalities)

    monkeypatch.setattr(pipeline, "__post_init__", wider)
    timeline = Predictor(run).predict(make_clip())
    assert not any("audio" in m.present for m in timeline.moments)
    told = "audio is absent: here it is a sequence of width 88, the run was trained on a sequence of width 3"
    assert told in timeline.notes


def test_another_recogniser_stands_in_for_one_that_cannot_be_had(make_run: MakeRun, make_clip: MakeClip) -> None:
    predictor = Predictor(make_run(extraction={"text": "faster-whisper"}))
    assert predictor.clips.pipeline.extraction.text == "auto"
    assert predictor.predict(make_clip()).moments[0].present == ("text", "audio", "vision")


def test_a_recogniser_that_is_asked_for_now_has_no_stand_in(make_run: MakeRun, make_clip: MakeClip) -> None:
    run = make_run(extraction={"text": "pocketsphinx", "asr_model": "small"})
    kept = Predictor(run).clips.pipeline.extraction
    assert (kept.text, kept.asr_model, kept.language) == ("pocketsphinx", "small", "auto")
    with pytest.raises(OptionError, match="faster-whisper has no weights here"):
        Predictor(run, recogniser=Recogniser(language="de")).predict(make_clip())
    silent = make_run("audio,vision", extraction={})
    clips = Predictor(silent, recogniser=Recogniser("small")).clips
    assert clips.pipeline.extraction.text == "none"
    assert any("recogniser that was asked for is not used" in note for note in clips.notes)
    assert not any("recogniser" in note for note in Predictor(silent).clips.notes)


def test_words_of_another_recogniser_than_that_of_the_corpus_are_told(run: Run, make_clip: MakeClip) -> None:
    told = "the run was trained on transcripts of fake small"
    assert told not in Predictor(run).predict(make_clip()).notes
    data = run.config["data"]
    extraction = data["extraction"] | {"versions": {"text": "fake small"}}
    config = run.config | {"data": data | {"extraction": extraction}}
    assert told in Predictor(replace(run, config=config)).predict(make_clip()).notes


def test_a_run_without_text_transcribes_nothing(make_run: MakeRun) -> None:
    assert Predictor(make_run("audio,vision", extraction={})).clips.pipeline.extraction.text == "none"
    aligned = Predictor(make_run("audio,vision", extraction={"align": "words"}))
    assert aligned.clips.pipeline.extraction.text == "auto"  # features are averaged over words


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A module ``made_here`` with encoders of text and of arrays; returns what they are asked."""
    asked: list[Any] = []

    def letters(rows: list[Any]) -> list[Any]:
        asked.append(rows)
        return [np.array([[len(w), ord(w[0])] for w in row.split()], np.float32) for row in rows]

    def means(rows: list[Any]) -> list[Any]:
        asked.append(rows)
        return [np.concatenate([r.mean(0, keepdims=True), r.std(0, keepdims=True)], axis=1) for r in rows]

    module: Any = ModuleType("made_here")
    module.letters, module.means = lambda: Encoder("letters", 2, letters), lambda: Encoder("means", 6, means)
    monkeypatch.setitem(sys.modules, "made_here", module)
    return asked


def test_encoders_of_the_run_are_applied_to_clips_and_rows(
    make_run: MakeRun, make_clip: MakeClip, encoders: list[Any]
) -> None:
    run = make_run(extraction={}, encode={"text": "made_here:letters", "audio": "made_here:means"})
    encoders.clear()
    predictor = Predictor(run)
    timeline = predictor.predict(make_clip())
    assert [m.present for m in timeline.moments] == [("text", "audio", "vision"), ("text", "audio"), ("vision",)]
    assert encoders[0] == ["so great", "bad awful bad"]
    raw = predictor.predict_features([{"text": "so good", "audio": ROWS[0]["audio"]}]).moments[0]
    states = np.array([[2, ord("s")], [4, ord("g")]], np.float32)
    heard = ROWS[0]["audio"].astype(np.float32)
    pooled = np.concatenate([heard.mean(0), heard.std(0)])[None]
    done = predictor.predict_features([{"text": states, "audio": pooled}]).moments[0]
    assert raw.estimates == done.estimates


def test_streams_yield_a_moment_as_soon_as_an_utterance_is_over(run: Run) -> None:
    given: list[int] = []

    def pieces() -> Any:
        for i in range(3):
            given.append(i)
            yield {"start": i, "end": i + 1, "text": "great", "audio": 4}

    found = []
    for moment in Predictor(run).stream(pieces()):
        assert isinstance(moment, Moment)
        assert len(given) == len(found) + 1
        found.append(moment)
    assert [m.start for m in found] == [0, 1, 2]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        Predictor.load(tmp_path)
