"""Which clips browsers play, and the copies of those that they do not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from polymodal.core import DataError
from polymodal.media.clip.decode import Media
from polymodal.media.types import Frame, Samples
from polymodal.predict.page import write_page
from polymodal.predict.playable import media_type, small_copy
from polymodal.predict.timeline import Timeline

EMPTY = Timeline("clip", 1.0, "run", "linear", ("audio",), (), ())


@pytest.fixture(scope="module")
def clips() -> ModuleType:
    """The helpers of the tests of media."""
    specification = importlib.util.spec_from_file_location("clips", Path(__file__).parents[1] / "media" / "clips.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "codecs", "kind"),
    [
        ("a.mp4", {}, "video/mp4"),
        ("a.webm", {}, "video/webm"),
        ("a.mp4", {"video": None}, "audio/mp4"),
        ("a.wav", {}, "audio/wav"),
        ("a.flac", {}, "audio/flac"),
        ("a.mp3", {}, "audio/mpeg"),
        ("a.ogg", {}, "audio/ogg"),
        ("a.mkv", {}, None),
        ("a.mpg", {}, None),
        ("a.avi", {}, None),
        ("a.mp4", {"video": "mpeg4"}, None),
    ],
)
def test_the_container_and_its_codecs_decide_what_browsers_play(
    name: str, codecs: dict[str, str | None], kind: str | None, clips: ModuleType, tmp_path: Path
) -> None:
    assert media_type(clips.write_clip(tmp_path / name, seconds=0.3, **codecs)) == kind


def test_a_copy_shows_and_plays_the_same_at_the_same_time(clips: ModuleType, tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.mkv", seconds=2.0, event=1.2, fps=10, size=(640, 360))
    copy = small_copy(clip, 1 << 20)
    assert copy is not None
    with Media(copy) as media:
        assert (media.info.width, media.info.height) == (480, 270)
        pieces = list(media.pieces())
    flash = max((p for p in pieces if isinstance(p, Frame)), key=lambda p: p.image.mean())
    assert flash.time == pytest.approx(1.2, abs=0.07)
    sound = [p for p in pieces if isinstance(p, Samples)]
    heard = np.concatenate([p.values for p in sound])
    assert sound[0].time + np.abs(heard).argmax() / 16_000 == pytest.approx(1.2, abs=0.04)


def test_a_copy_stays_below_its_size_or_is_none(clips: ModuleType, tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "a.mpg", seconds=2.0, size=(160, 120))
    copy = small_copy(clip, 60_000)
    assert copy is not None
    assert len(copy) <= 60_000
    assert small_copy(clip, 20_000) is None


def test_a_clip_without_picture_or_sound_is_copied_too(clips: ModuleType, tmp_path: Path) -> None:
    for missing in ("video", "audio"):
        clip = clips.write_clip(tmp_path / f"{missing}.mkv", seconds=0.5, **{missing: None})
        copy = small_copy(clip, 1 << 20)
        assert copy is not None
        with Media(copy) as media:
            assert (media.info.has_video, media.info.has_audio) == (missing != "video", missing != "audio")


def test_the_page_of_an_unplayable_clip_holds_a_copy_or_says_why_not(
    clips: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clips.write_clip(tmp_path / "a.mpg", seconds=0.5)
    text = write_page(EMPTY, clip, tmp_path / "page.html").read_text()
    assert '<video src="data:video/webm;base64,' in text
    assert "Browsers do not play a.mpg: this is a copy" in text
    monkeypatch.setattr("polymodal.predict.page.INLINE", 100)
    text = write_page(EMPTY, clip, tmp_path / "page.html").read_text()
    assert "<video src" not in text
    assert "Browsers do not play a.mpg, and it is too long" in text


def test_what_cannot_be_read_or_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no clip")
    for name in ("gone.mp4", "text.mp4"):
        with pytest.raises(DataError, match=name):
            write_page(EMPTY, tmp_path / name, tmp_path / "page.html")
    with pytest.raises(DataError, match=r"cannot write .*page\.html"):
        write_page(EMPTY, None, tmp_path / "text.mp4" / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["text.mp4"]
