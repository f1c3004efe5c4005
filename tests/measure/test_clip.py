"""Whole clips: made ones whose measures are known, damaged and empty ones, and a real face in three containers."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from polymodal.cli.main import main
from polymodal.core import DataError, OptionError
from polymodal.measure.clip import Measurer
from polymodal.measure.result import Measured
from polymodal.measure.signals import Reader
from polymodal.media.types import RATE, Frame, Samples


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader without a face model: nothing here shows a face."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("polymodal.media.assets.find_face_model", _nothing)
            return Reader(threads=1)
    except OptionError as error:
        pytest.skip(str(error))


def _nothing(assets: Any) -> None:
    raise DataError("there is no face model here")


def swelling(lag: float = 0.0, seconds: float = 16.0) -> np.ndarray:
    """Return (1, n) noise whose loudness changes at random, later by ``lag`` seconds."""
    rng = np.random.default_rng(1)
    steps = np.convolve(rng.normal(0, 1, 600), np.hanning(9), mode="same")
    at = np.arange(round(seconds * RATE)) / RATE
    envelope = 10 ** (np.interp(at - lag, np.arange(600) * 0.1, steps) / 4)
    return (0.05 * envelope * np.random.default_rng(2).normal(0, 0.3, len(at))).clip(-1, 1)[None].astype(np.float32)


def test_two_persons_are_as_far_apart_as_they_were_planted(reader: Reader, clips: ModuleType, tmp_path: Path) -> None:
    one = clips.write_clip(tmp_path / "a.wav", samples=swelling(), rate=RATE)
    two = clips.write_clip(tmp_path / "b.wav", samples=swelling(0.7), rate=RATE)
    found = Measurer(reader, by="windows", window=8.0, synchrony=["loudness"]).measure(one, partner=two)
    assert found.partner == "b.wav"
    assert [v["sync_loudness_partner_lag"] for v in found.values] == pytest.approx([0.7] * 2, abs=0.11)
    assert min(v["sync_loudness_partner"] for v in found.values) > 0.9  # type: ignore[type-var]
    over = found.synchrony["sync_loudness_partner"]
    assert over["correlation"] > 0.9 > over["chance"] + 0.1  # type: ignore[operator]


def test_a_tone_is_no_speech_and_says_so(reader: Reader, clips: ModuleType, tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "tone.mp4", seconds=3.0)
    found = Measurer(reader).measure(clip)
    assert (found.whole["speaking_share"], found.whole["pauses"]) == (0.0, 0.0)
    assert found.whole["f0_median"] is None
    assert found.whole["face_share"] is None
    assert [(r.start, r.end) for r in found.rows] == [(0.0, pytest.approx(3.0, abs=0.1))]
    assert any("no speech was found" in note for note in found.notes)
    assert any("vision is absent: there is no face model here" in note for note in found.notes)


def test_what_cannot_be_measured_is_one_sentence(
    reader: Reader, clips: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged.mp4").write_bytes(os.urandom(2000))
    mute = clips.write_clip(tmp_path / "mute.mp4", audio=None, seconds=1.0)
    measurer = Measurer(reader)
    for clip, named in ((tmp_path / "gone.mp4", "gone.mp4"), (tmp_path / "damaged.mp4", "damaged.mp4")):
        with pytest.raises(DataError, match=named):
            measurer.measure(clip)
    with pytest.raises(DataError, match=r"mute\.mp4 cannot be measured: .*mute\.mp4 has no sound: audio is absent"):
        measurer.measure(mute)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["a.mp4", "b.mp4", "--transcript", "x.srt"], "--transcript belongs to one clip"),
        (["a.mp4", "b.mp4", "--partner", "c.mp4"], "--partner belongs to one clip"),
        (["a.mp4", "--json", "--csv"], "--json and --csv"),
        (["a.mp4", "--measures", "smiles"], "did you mean 'smile'"),
        (["a.mp4", "--synchrony", "smiles"], "no stream 'smiles'"),
        (["a.mp4", "--window", "0.1"], "--window must be from 0.5"),
        (["a.mp4", "--gap", "0"], "--gap must be from 0.25"),
        (["a.mp4", "--window", "3", "--utterances", "clip"], "--window belongs to windows"),
        (["a.mp4", "--utterances", "transcript"], "needs --transcript FILE"),
        (["a.mp4", "--synchrony", "loudness"], "--synchrony takes two different streams"),
        (["a.mp4", "--plot", "x.docx"], "--plot x.docx must end in .png, .svg, .pdf"),
        (["a.mp4", "--html", "."], "--html . is a folder"),
        (["a.mp4", "--out", "taken.csv"], "--out taken.csv is a folder; name a file in it"),
        (["a.mp4", "--out", "taken"], "--out taken is a file; name a folder, or end it in .csv, .json, .parquet"),
        (["a.mp4", "--plot", "taken/x.png"], "taken is a file; name another folder"),
        (["a.mp4", "--out", "closed/new/x.csv"], "closed takes no files of yours; name another folder"),
    ],
)
def test_what_does_not_go_together_is_one_sentence_before_anything_is_loaded(
    words: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allowed = os.access
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and allowed(path, mode))
    monkeypatch.setattr("polymodal.measure.signals.Reader.__init__", lambda *_, **__: pytest.fail("was loaded"))
    Path("taken").write_text("")
    for name in ("taken.csv", "closed"):
        Path(name).mkdir()
    assert main(["measure", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert named in said
    assert said.count("\n") == 1


def test_several_clips_are_one_table_and_a_bad_one_does_not_stop_the_rest(
    clips: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymodal.media.assets.find_face_model", _nothing)
    for name in ("a", "b"):
        clips.write_clip(tmp_path / f"{name}.wav", samples=swelling(seconds=4.0), rate=RATE)
    (tmp_path / "bad.wav").write_text("text")
    paths = [str(tmp_path / f"{n}.wav") for n in ("a", "bad", "b")]
    out = tmp_path / "all.csv"
    assert main(["measure", *paths, "--utterances", "clip", "--out", str(out), "--measures", "pauses", "--csv"]) == 1
    told = capsys.readouterr()
    assert "error: " in told.err
    assert "bad.wav" in told.err
    assert told.out == out.read_text()
    rows = list(csv.DictReader(io.StringIO(told.out)))
    assert [r["clip"] for r in rows] == ["a.wav", "b.wav"]
    assert list(rows[0])[5:] == ["pauses", "sync_loudness_head_speed", "sync_loudness_head_speed_lag"]
    assert main(["measure", paths[0], "--out", str(tmp_path / "folder")]) == 0
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["a.csv", "a.json"]
    assert json.loads((tmp_path / "folder/a.json").read_text())["clip"] == "a.wav"


def test_a_clip_that_needs_too_much_memory_is_one_sentence_and_the_rest_goes_on(
    clips: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, read = [], Reader.read

    def hungry(self: Reader, clip: Any, **rest: Any) -> Any:
        if Path(clip).name == "a.wav":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return read(self, clip, **rest)

    monkeypatch.setattr("polymodal.media.assets.find_face_model", _nothing)
    monkeypatch.setattr("polymodal.cli.measure.limit_memory", limits.append)
    monkeypatch.setattr(Reader, "read", hungry)
    paths = [str(clips.write_clip(tmp_path / f"{n}.wav", samples=swelling(seconds=2.0), rate=RATE)) for n in "ab"]
    assert main(["measure", *paths, "--csv", "--memory", "700"]) == 1
    told = capsys.readouterr()
    assert f"error: {paths[0]} needs more than the 700 MiB of memory that reading it may take" in told.err
    assert told.err.count("\n") == 1
    assert "b.wav" in told.out
    assert limits == [700]


@pytest.fixture(scope="module")
def real(shared: Path, clips: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    """Twelve seconds of one speaker, four GRID sentences, as MP4, MKV and WAV."""
    from polymodal.media.clip.decode import Media

    sentences = sorted((shared / "data/grid_av_speech/clips_s1").glob("*.mpg"))[:4]
    if len(sentences) < 4:
        pytest.skip("no GRID sentences under data/grid_av_speech/clips_s1")
    images, sound = [], []
    for sentence in sentences:
        with Media(sentence) as media:
            pieces = list(media.pieces())
        frames = [p.image for p in pieces if isinstance(p, Frame)]
        heard = np.concatenate([p.values for p in pieces if isinstance(p, Samples)])[: len(frames) * RATE // 25]
        images += frames
        sound.append(np.pad(heard, (0, len(frames) * RATE // 25 - len(heard))))
    samples, folder = np.concatenate(sound)[None], tmp_path_factory.mktemp("real")
    made = [clips.write_clip(folder / f"film{e}", images=images, samples=samples, rate=RATE) for e in (".mp4", ".mkv")]
    made.append(clips.write_clip(folder / "film.wav", video=None, samples=samples, rate=RATE))
    try:
        measurer = Measurer(Reader(assets=shared / "models"), by="clip")
    except OptionError as error:
        pytest.skip(str(error))
    return {path.suffix: measurer.measure(path) for path in made}


TOLERANCES = {
    "speaking_share": 0.02, "pauses": 0.5, "pause_mean": 0.05, "f0_median": 2.0, "f0_range": 0.5,
    "loudness_median": 0.05, "level_median": 0.5, "jitter": 0.5, "shimmer": 0.2,
    "face_share": 0.02, "smile": 0.02, "brow_raise": 0.02,
    "brow_lower": 0.02, "gaze_left": 0.05, "gaze_up": 0.05, "head_yaw": 0.5, "head_pitch": 0.5, "head_roll": 0.5,
    "head_speed": 1.0,
}  # fmt: skip
"""As docs/measure.md states them."""


@pytest.mark.slow
def test_containers_and_codecs_change_nothing_that_matters(real: dict[str, Measured]) -> None:
    for name, tolerance in TOLERANCES.items():
        mp4, mkv, wav = (real[e].whole[name] for e in (".mp4", ".mkv", ".wav"))
        assert mp4 == pytest.approx(mkv, abs=tolerance), name
        if wav is not None:
            assert mp4 == pytest.approx(wav, abs=tolerance), name
    assert real[".wav"].whole["face_share"] is None
    assert real[".wav"].whole["head_yaw"] is None


@pytest.mark.slow
def test_a_calm_man_reading_is_measured_as_one(real: dict[str, Measured]) -> None:
    whole: dict[str, Any] = real[".mp4"].whole
    assert whole["face_share"] > 0.95
    assert whole["smile_share"] < 0.1
    assert 80 < whole["f0_median"] < 140
    # Four sentences of 1.1 to 1.4 s by GRID's own word times, and three silences between them.
    assert whole["speaking_share"] == pytest.approx(4 * 1.2 / 12, abs=0.08)
    assert whole["pauses"] == pytest.approx(3, abs=1)
    assert abs(whole["head_yaw"]) < 15
