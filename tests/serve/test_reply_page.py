"""The page of a service that replies, in a real browser."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_service import running

DROP = """([name, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], name));
    document.querySelector("#drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
}"""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """``open_page(**context)`` -> the page of a fake that replies; it must raise no error."""
    complaints: list[str] = []
    with running(tmp_path, "replies=1") as (_, address):

        def begin(**options: Any) -> Any:
            page = browser.new_context(**options).new_page()
            page.set_default_timeout(15_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(address)
            page.get_by_text("Video or sound, up to").wait_for()
            return page

        yield begin
    assert complaints == []


def drop(page: Any, name: str, content: bytes) -> None:
    page.evaluate(DROP, [name, list(content)])


def media(page: Any) -> Any:
    """Wait for the player, and return (readyState, duration)."""
    page.locator("#player audio, #player video").wait_for()
    for _ in range(200):
        found = page.evaluate(
            "(() => { const m = document.querySelector('#player > *'); return [m.readyState, m.duration]; })()"
        )
        if found[0] >= 2:
            return found
        page.wait_for_timeout(50)
    raise AssertionError(f"it does not play: {found}")


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_a_dropped_clip_gets_a_reply_that_is_read_and_played(open_page: Open, wav: bytes, options: Any) -> None:
    page = open_page(**options)
    drop(page, "me.wav", wav)
    page.get_by_role("heading", name="I am sorry to hear that.").wait_for()
    assert page.locator("#said").inner_text() == "I lost my <b>dog</b>."
    assert page.get_by_text("Synthetic: this reply was generated").is_visible()
    assert media(page)[1] == pytest.approx(1.0, abs=0.05)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_a_voice_the_reply_is_text(open_page: Open, wav: bytes) -> None:
    page = open_page()
    drop(page, "me.wav", wav)
    media(page)
    page.locator("#another").click()
    drop(page, "mute.wav", wav)
    page.get_by_role("heading", name="I am sorry to hear that.").wait_for()
    assert page.locator("#player > *").count() == 0
    assert page.locator("#save-media").is_hidden()
    assert page.get_by_text("Synthetic: this reply was generated").is_visible()


def test_a_silent_clip_is_said_to_be_one_and_a_slow_reply_can_be_cancelled(open_page: Open, wav: bytes) -> None:
    page = open_page()
    drop(page, "silent.wav", wav)
    page.locator("#error").get_by_text("nobody speaks in silent.wav").wait_for()
    drop(page, "slow-9.wav", wav)
    page.locator("#stage").get_by_text("Thinking of a reply").wait_for()
    page.get_by_role("button", name="Cancel").click()
    assert page.locator("#ask").is_visible()


@pytest.mark.slow
def test_a_real_clip_is_answered_by_a_face_that_speaks(
    browser: Any, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in ("mediapipe", "espeakng_loader", "faster_whisper"):
        pytest.importorskip(needed)
    monkeypatch.setenv("POLYMODAL_ASSETS", str(shared / "models"))
    command = [sys.executable, "-m", "polymodal", "serve", "voice-emotion", "--reply", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert process.stdout is not None
        page = browser.new_page()
        page.goto(process.stdout.readline().split()[-1])
        page.set_input_files("#clip", shared / "data" / "grid_av_speech" / "clips_s1" / "bbaf2n.mpg")
        page.locator("#result").wait_for(timeout=90_000)
        assert page.locator("#title").inner_text() != ""
        assert page.get_by_text("Synthetic: this reply was generated").is_visible()
        assert media(page)[1] > 1
        assert page.evaluate("document.querySelector('#player video').videoWidth") > 0
    finally:
        process.kill()
        process.communicate()
