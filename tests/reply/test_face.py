"""The mouth's way, the mesh, the video: moved where they should, and in step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polymodal.core import DataError
from polymodal.reply.face.acting import poses
from polymodal.reply.face.drawn import drawn_face
from polymodal.reply.face.film import FPS, Warped
from polymodal.reply.face.motion import Pose
from polymodal.reply.face.portrait import SIDE, Portrait, drawn_portrait, read_portrait
from polymodal.reply.face.sounds import LEAD, OPEN, PRESS, ROUND, WIDE, mouth_track, shape_of
from polymodal.reply.face.warp import Bender
from polymodal.reply.manner import MANNERS, Manner
from polymodal.reply.voice.speech import Sound, Speech

QUIET = Manner(blinks=1.0, liveliness=1.0)


@pytest.fixture(scope="module")
def portrait(request: pytest.FixtureRequest) -> Portrait:
    pytest.importorskip("mediapipe")
    return drawn_portrait(request.getfixturevalue("shared") / "models" / "face_landmarker.task")


def test_sounds_have_their_shapes() -> None:
    assert shape_of("m")[PRESS] == 1
    assert shape_of("ɑ")[OPEN] > shape_of("ɪ")[OPEN] > shape_of("m")[OPEN]
    assert shape_of("u")[ROUND] > 0.9
    assert shape_of("i")[WIDE] > 0.5
    assert shape_of("oʊ")[ROUND] > 0.7
    assert np.isfinite(shape_of("ʔ")).all()


def test_the_mouth_is_open_for_a_vowel_shut_for_an_m_and_at_rest_else() -> None:
    sounds = [Sound("ɑ", 0.2, 0.4), Sound("m", 0.4, 0.48), Sound("ɑ", 0.48, 0.7)]
    way = mouth_track(sounds, np.array([0.0, 0.3, 0.44, 0.6, 1.5]) - LEAD)
    assert way[:, OPEN] == pytest.approx([0, 1, 0, 1, 0], abs=0.05)
    assert way[2, PRESS] == pytest.approx(1, abs=0.05)
    assert mouth_track(sounds, np.array([0.3]), 0.5)[0, OPEN] == pytest.approx(0.5, abs=0.05)
    assert mouth_track([], np.array([0.1])).max() == pytest.approx(0, abs=1e-6)


def test_a_manner_moves_brows_corners_and_lids() -> None:
    speech = Speech(np.zeros(32_000, np.float32), 16_000, ())
    last = {name: poses(speech, manner, FPS)[-1] for name, manner in MANNERS.items()}
    assert len(poses(speech, QUIET, FPS)) == 2 * FPS
    assert last["happy"].smile > 0.5 > 0 > last["sad"].smile
    assert last["surprised"].brow_outer > 0.5 > last["sad"].brow_outer
    assert last["angry"].brow_inner < -0.3 < 0.3 < last["sad"].brow_inner
    lids = [p.lids for p in poses(Speech(np.zeros(160_000, np.float32), 16_000, ()), MANNERS["neutral"], FPS)]
    assert min(lids) < 0.2  # a blink
    assert np.median(lids) == pytest.approx(1, abs=0.01)


def _gap(image: np.ndarray, model: Path, upper: int, lower: int) -> float:
    from polymodal.media.face.still import landmarks_of

    [face] = landmarks_of(image, model)
    return float(face[lower, 1] - face[upper, 1]) / float(np.linalg.norm(face[33] - face[263]))


def test_the_landmarker_sees_what_was_asked_for(portrait: Portrait, model: Path) -> None:
    bender = Bender(portrait)
    rest = bender.bend(Pose(np.zeros(5)))
    wide = bender.bend(Pose(np.array([1.0, 0, 0, 0, 0])))
    shut = bender.bend(Pose(np.zeros(5), lids=0.0))
    up = bender.bend(Pose(np.zeros(5), brow_inner=1.0, brow_outer=1.0))
    assert _gap(wide, model, 13, 14) > _gap(rest, model, 13, 14) + 0.1
    assert _gap(shut, model, 159, 145) < 0.6 * _gap(rest, model, 159, 145)
    assert _gap(up, model, 105, 159) > 1.1 * _gap(rest, model, 105, 159)
    assert np.abs(rest.astype(int) - portrait.image).mean() < 1
    edges = np.zeros(rest.shape[:2], bool)
    edges[[0, -1]] = edges[:, [0, -1]] = True
    assert np.abs(wide.astype(int) - portrait.image)[edges].max() < 12


def test_a_tilt_turns_the_head(portrait: Portrait, model: Path) -> None:
    from polymodal.media.face.still import landmarks_of

    [face] = landmarks_of(Bender(portrait).bend(Pose(np.zeros(5), tilt=5.0)), model)
    across = face[263] - face[33]
    assert np.degrees(np.arctan2(across[1], across[0])) == pytest.approx(5, abs=1.5)


@pytest.mark.slow
def test_lips_and_sound_are_in_step(portrait: Portrait, model: Path, tmp_path: Path) -> None:
    from polymodal.media.clip.decode import Media
    from polymodal.media.face.still import landmarks_of
    from polymodal.media.types import Frame

    # A tone that is there exactly while the mouth says an open vowel.
    times = np.arange(int(2.4 * 22_050)) / 22_050
    sounds = [Sound("ɑ", at, at + 0.24) for at in (0.4, 1.0, 1.7)]
    on = np.any([(s.start <= times) & (times < s.end) for s in sounds], axis=0)
    speech = Speech((0.3 * on * np.sin(2 * np.pi * 200 * times)).astype(np.float32), 22_050, tuple(sounds))
    Warped().film(speech, portrait, QUIET, tmp_path / "a.mp4")
    with Media(tmp_path / "a.mp4") as media:
        pieces = list(media.pieces(fps=None))
    frames = [p for p in pieces if isinstance(p, Frame)]
    sound = np.concatenate([p.values for p in pieces if not isinstance(p, Frame)])
    loud = np.abs(sound) > 0.05
    began = np.flatnonzero(np.convolve(loud, np.ones(160), "same") > 0)[0] / 16_000
    assert began == pytest.approx(0.4, abs=0.02)
    gaps = np.array([np.diff(landmarks_of(f.image, model)[0][[13, 14], 1])[0] for f in frames])
    at = np.arange(0.1, 2.2, 0.005)
    opened = np.interp(at, [f.time + 0.5 / FPS for f in frames], gaps)
    heard = np.convolve(np.abs(sound), np.hanning(1440) / 720, "same")
    heard = np.interp(at, np.arange(len(heard)) / 16_000, heard)
    lags = range(-20, 21)
    alike = [np.corrcoef(np.roll(opened, -lag)[25:-25], heard[25:-25])[0, 1] for lag in lags]
    assert max(alike) > 0.8
    assert abs(5 * lags[int(np.argmax(alike))]) <= 40  # milliseconds


def test_a_video_says_what_it_is(portrait: Portrait, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    speech = Speech(np.full(4800, 0.01, np.float32), 16_000, (Sound("a", 0.1, 0.2),))
    Warped().film(speech, portrait, QUIET, tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as opened:
        assert [s.codec_context.name for s in opened.streams] == ["h264", "aac"]
        assert "Synthetic" in opened.metadata["comment"]
        assert opened.metadata["title"].startswith("SYNTHETIC VIDEO")
        frames = [f.to_ndarray(format="rgb24") for f in opened.decode(video=0)]
    assert len(frames) == 8
    assert frames[0].shape == (SIDE, SIDE, 3)
    assert all((f[-24:].max(axis=2) > 230).mean() > 0.03 for f in frames)  # white letters
    with pytest.raises(DataError, match="cannot write"):
        Warped().film(speech, portrait, QUIET, tmp_path / "none" / "a.mp4")


def test_pictures_without_a_face_that_can_be_used(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (200, 200)).save(tmp_path / "black.png")
    Image.fromarray(drawn_face(80)).save(tmp_path / "small.png")
    for name, sentence in (
        ("text.jpg", "is no picture"),
        ("black.png", "shows no face"),
        ("none.png", "is no picture"),
    ):
        with pytest.raises(DataError, match=sentence):
            read_portrait(tmp_path / name, model)
    with pytest.raises(DataError, match=r"pixels wide|shows no face"):
        read_portrait(tmp_path / "small.png", model)
    Image.fromarray(drawn_face()).save(tmp_path / "good.png")
    found = read_portrait(tmp_path / "good.png", model)
    assert found.image.shape == (SIDE, SIDE, 3)
    assert found.person
