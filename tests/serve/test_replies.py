"""A service that replies: its page, and what a worker answers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polymodal.core import DataError
from polymodal.reply.dialogue import Conversation, Line, Profile, Turn
from polymodal.serve.replies import Replier

Replies = Callable[..., Replier]


@pytest.fixture
def replier(monkeypatch: pytest.MonkeyPatch) -> Replies:
    """``replier(voice)``: one that hears the same in every clip, without an encoder."""

    def heard(clip: Path, *_: object, name: str, **__: object) -> Conversation:
        turn = Turn(0, "", (Line("speaker", "I am so sad."),), clip=clip)
        return Conversation(clip.stem, Profile("a"), Profile("b"), (turn,), notes=[f"{name}: the words are doubtful"])

    monkeypatch.setattr("polymodal.reply.bank.find_spec", lambda name: None)
    monkeypatch.setattr("polymodal.reply.heard.listen", heard)
    return lambda voice: Replier(None, None, voice=voice)


def test_the_page_is_that_of_replies(make_client: Any) -> None:
    client = make_client(replies=True)
    page = client.get("/")
    assert "a synthetic listener replies" in page.text
    for name in ("clip.js", "reply.js", "app.css"):
        assert f"static/{name}" in page.text
        assert client.get(f"/static/{name}").status_code == 200
    assert "a synthetic listener replies" not in make_client().get("/").text


def test_a_reply_has_what_the_service_counts_and_no_name_of_a_folder(replier: Replies, tmp_path: Path) -> None:
    told = replier("none").predict(tmp_path / "upload-17.mp4", name="me.mp4").to_dict()
    assert told["turns"][0]["emotion"]["label"] == "sad"
    assert told["media"] is None
    assert told["duration"] == 0
    assert set(told["seconds"]) == {"emotion", "reply", "total"}
    assert "me.mp4: the words are doubtful" in told["notes"]
    assert "upload-17" not in str(told)


@pytest.mark.slow
def test_the_video_comes_along(replier: Replies, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("mediapipe")
    monkeypatch.setenv("POLYMODAL_ASSETS", str(shared / "models"))
    told = replier("espeak").predict(tmp_path / "a.mp4").to_dict()
    kind, _, data = told["media"].partition(",")
    assert kind == "data:video/mp4;base64"
    (tmp_path / "reply.mp4").write_bytes(base64.b64decode(data))
    with av.open(str(tmp_path / "reply.mp4")) as opened:
        assert "Synthetic" in opened.metadata["comment"]
        assert float(opened.duration / 1e6) == pytest.approx(told["duration"], abs=0.1)


def test_what_a_reply_has_no_use_for(replier: Replies, tmp_path: Path) -> None:
    one = replier("none")
    with pytest.raises(DataError, match="takes the clip alone"):
        one.predict(tmp_path / "a.mp4", transcript=tmp_path / "a.srt")
    with pytest.raises(DataError, match="replies to clips"):
        one.predict_features([{}])
