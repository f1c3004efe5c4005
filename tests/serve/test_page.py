"""The page in a real browser: choose, drop, record; answers, errors; keyboard, phone, dark."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_service import answer, running

from polymodal.predict.timeline import Timeline

TOKEN = "open sesame"
SAID = "so good, I said; <b>really</b>"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service for small, short clips."""
    with running(tmp_path_factory.mktemp("page"), "max_upload=2", "max_seconds=30") as (_, address):
        yield address


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[Open]:
    """``open_page(**context)`` -> the page; it must ask no other host, break no policy and raise no error."""
    complaints: list[str] = []
    contexts = []

    def begin(address: str = url, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console", lambda m: complaints.append(m.text) if m.type == "error" and "status of 4" not in m.text else 0
        )
        page.on(
            "request", lambda r: None if r.url.startswith((address, "blob:", "data:")) else complaints.append(r.url)
        )
        page.goto(address)
        page.get_by_text("Video or sound, up to").wait_for()
        return page

    yield begin
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of picture and sound that a browser can play."""
    specification = importlib.util.spec_from_file_location("clips", Path(__file__).parents[1] / "media" / "clips.py")
    assert specification is not None
    assert specification.loader is not None
    clips = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(clips)
    written: Path = clips.write_clip(tmp_path_factory.mktemp("film") / "film.webm", seconds=3.0, size=(160, 120))
    return written


def shoot(page: Any, name: str) -> None:
    """Keep a picture of the page where $POLYMODAL_SCREENSHOTS says; to be looked at by a person."""
    if folder := os.environ.get("POLYMODAL_SCREENSHOTS"):
        size = page.viewport_size
        page.set_viewport_size({**size, "height": page.evaluate("document.documentElement.scrollHeight")})
        page.screenshot(path=f"{folder}/{name}.png")
        page.set_viewport_size(size)


def choose(page: Any, file: Any) -> None:
    page.set_input_files("#clip", file)


def until(page: Any, true: str) -> None:
    """Wait until the expression ``true`` holds; the policy of the page forbids Playwright's own way, an eval."""
    for _ in range(300):
        if page.evaluate(true):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {true}")


def has_focus(page: Any, selector: str) -> bool:
    return bool(page.evaluate("s => document.activeElement === document.querySelector(s)", selector))


def test_a_clip_is_sent_and_its_timeline_shown(open_page: Open, film: Path) -> None:
    page = open_page(color_scheme="light")
    shoot(page, "ask")
    choose(page, film)
    page.locator("#result").wait_for()
    assert page.locator("#title").inner_text() == "film.webm"
    assert page.locator("#timeline").get_by_text("words were made up by a fake").is_visible()
    assert page.locator("#timeline [role=option]").count() == 3
    assert "<b>really</b>" in page.locator("#timeline").inner_text()  # as text, not as markup
    assert page.locator("#status").inner_text().startswith("Done: 3 utterances")
    until(page, "document.querySelector('#player video').readyState >= 2")
    page.locator("#timeline [role=option]").nth(1).locator(".pm-time").click()
    until(page, "Math.abs(document.querySelector('#player video').currentTime - 1) < 0.2")
    shoot(page, "result-light")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["film.webm", "cascade.webm"])
def test_json_and_csv_are_those_of_the_command_line(open_page: Open, film: Path, name: str) -> None:
    page = open_page()
    choose(page, {"name": name, "mimeType": "video/webm", "buffer": film.read_bytes()})
    page.locator("#result").wait_for()
    expected = answer(name, film.read_bytes(), SAID, 3)
    with page.expect_download() as saved:
        page.get_by_text("Download JSON").click()
    assert saved.value.suggested_filename == f"{name}.json"
    found = json.loads(Path(saved.value.path()).read_text())
    assert found["utterances"] == expected.to_dict()["utterances"]
    with page.expect_download() as saved:
        page.get_by_text("Download CSV").click()
    assert saved.value.suggested_filename == f"{name}.csv"
    assert cells(Path(saved.value.path()).read_text()) == cells(Timeline.from_dict(found).to_csv())


def cells(table: str) -> list[list[Any]]:
    """Return a CSV table with numbers as numbers: the two languages write 1.0 and 1e-07 differently."""

    def value(cell: str) -> Any:
        try:
            return float(cell)
        except ValueError:
            return cell

    return [[value(cell) for cell in row] for row in csv.reader(io.StringIO(table))]


def test_errors_are_shown_as_sentences_and_the_page_goes_on(open_page: Open, film: Path) -> None:
    page = open_page()
    alert = page.locator("#error")
    for file, words in [
        (
            {"name": "notes.mp4", "mimeType": "video/mp4", "buffer": b"only text " * 99},
            "notes.mp4 cannot be read as audio",
        ),
        ({"name": "empty.mp4", "mimeType": "video/mp4", "buffer": b""}, "empty.mp4 is empty (0 bytes)."),
        ({"name": "huge.mp4", "mimeType": "video/mp4", "buffer": bytes(2**21 + 1)}, "more than the 2 MiB"),
        ({"name": "defect.webm", "mimeType": "video/webm", "buffer": film.read_bytes()}, "Something went wrong here"),
    ]:
        choose(page, file)
        alert.get_by_text(words).wait_for()
        assert alert.get_attribute("role") == "alert"
        assert page.locator("#ask").is_visible()
    shoot(page, "error")
    choose(page, film)
    page.locator("#result").wait_for()
    assert alert.is_hidden()


@pytest.mark.slow
def test_progress_is_shown_and_can_be_cancelled(open_page: Open, film: Path) -> None:
    page = open_page()
    choose(page, {"name": "slow-9.webm", "mimeType": "video/webm", "buffer": film.read_bytes()})
    page.get_by_text("Watching and listening").first.wait_for()
    until(page, "document.querySelector('#bar').value > 0.1")
    shoot(page, "progress")
    page.get_by_role("button", name="Cancel").click()
    assert page.locator("#ask").is_visible()
    choose(page, film)
    page.locator("#result").wait_for()


@pytest.mark.slow
def test_the_keyboard_is_enough(open_page: Open, film: Path) -> None:
    page = open_page()
    # Not expect_file_chooser, which may begin to listen after the key has been pressed.
    page.on("filechooser", lambda chooser: chooser.set_files(film))
    page.keyboard.press("Tab")
    assert has_focus(page, "#clip")
    shoot(page, "focus")
    page.keyboard.press("Enter")
    page.locator("#result").wait_for()
    assert has_focus(page, "#title")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.role") == "option":
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(page, "Math.abs(document.querySelector('#player video').currentTime - 1) < 0.2")
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if has_focus(page, "#another"):
            break
    page.keyboard.press("Enter")
    assert has_focus(page, "#clip")
    assert page.locator("#ask").is_visible()


@pytest.mark.slow
def test_a_clip_can_be_dropped(open_page: Open, film: Path) -> None:
    page = open_page()
    drop = """(bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "dropped.webm", { type: "video/webm" }));
        document.querySelector("#drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }"""
    page.evaluate(drop, list(film.read_bytes()))
    page.locator("#result").wait_for()
    assert page.locator("#title").inner_text() == "dropped.webm"


@pytest.mark.slow
def test_a_recording_of_camera_and_microphone_is_answered(open_page: Open) -> None:
    page = open_page(permissions=["camera", "microphone"])
    page.get_by_role("button", name="Record one").click()
    page.get_by_role("button", name="Start").click()
    until(page, "document.querySelector('#recorded').textContent.startsWith('0:01')")
    shoot(page, "recording")
    page.get_by_role("button", name="Stop and send").click()
    page.locator("#result").wait_for()
    assert page.locator("#title").inner_text() == "recording.webm"
    # A recording does not tell its length; the player must find it, or it could not be sought in.
    until(page, "Number.isFinite(document.querySelector('#player video').duration)")
    until(page, "document.querySelector('#player video').currentTime === 0")


@pytest.mark.slow
def test_a_recording_can_be_cancelled_and_begun_again(open_page: Open) -> None:
    page = open_page(permissions=["camera", "microphone"])
    for _ in range(2):
        page.get_by_role("button", name="Record one").click()
        page.get_by_role("button", name="Start").click()
        page.get_by_role("button", name="Stop and send").wait_for()
        page.locator("#close-camera").click()
        assert page.locator("#ask").is_visible()
        assert page.locator("#error").is_hidden()
        until(page, "document.querySelector('#preview').srcObject === null")


@pytest.mark.slow
def test_a_recording_that_cannot_begin_is_said(open_page: Open) -> None:
    page = open_page(permissions=["camera", "microphone"])
    page.evaluate("() => { MediaRecorder.prototype.start = () => { throw new Error('the track ended'); }; }")
    page.get_by_role("button", name="Record one").click()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("The recording cannot begin (the track ended)").wait_for()
    assert page.locator("#ask").is_visible()


@pytest.mark.slow
def test_a_camera_that_is_forbidden_is_said(open_page: Open) -> None:
    page = open_page()
    page.evaluate("""() => { navigator.mediaDevices.getUserMedia = () =>
        Promise.reject(new DOMException("Permission denied", "NotAllowedError")); }""")
    page.get_by_role("button", name="Record one").click()
    page.get_by_text("This page may not use the camera").wait_for()
    assert page.locator("#again").is_hidden()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(open_page: Open, film: Path, scheme: str) -> None:
    page = open_page(**PHONE, color_scheme=scheme)
    shoot(page, f"phone-ask-{scheme}")
    choose(page, film)
    page.locator("#result").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = """() => [...document.querySelectorAll("main button, main .button, main summary")]
        .filter((e) => e.offsetParent && e.getBoundingClientRect().height < 32).map((e) => e.textContent)"""
    assert page.evaluate(small) == []
    shoot(page, f"phone-result-{scheme}")


@pytest.mark.slow
def test_dark_is_dark(open_page: Open, film: Path) -> None:
    page = open_page(color_scheme="dark")
    choose(page, film)
    page.locator("#result").wait_for()
    shoot(page, "result-dark")
    paper, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert luminance(paper) < 0.05
    assert (luminance(ink) + 0.05) / (luminance(paper) + 0.05) > 7


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)`` (WCAG 2)."""
    parts = [int(p) / 255 for p in colour[4:-1].split(",")]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.slow
def test_the_page_asks_for_the_token(open_page: Open, film: Path, tmp_path: Path) -> None:
    with running(tmp_path, f"token={TOKEN}") as (_, address):
        page = open_page(address)
        page.get_by_label("Token").fill("wrong")
        choose(page, film)
        page.get_by_text("The token is wrong.").wait_for()
        assert has_focus(page, "#token")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Try again").click()
        page.locator("#result").wait_for()
        page.reload()
        page.get_by_text("Video or sound, up to").wait_for()
        assert page.get_by_label("Token").input_value() == TOKEN  # until the tab is closed


@pytest.mark.slow
def test_everything_that_can_be_operated_has_a_name(open_page: Open, film: Path) -> None:
    page = open_page()
    choose(page, film)
    page.locator("#result").wait_for()
    nameless = """() => [...document.querySelectorAll("button, input, select, video, audio, progress, section")]
        .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length ||
            e.textContent.trim())).map((e) => e.outerHTML)"""
    assert page.evaluate(nameless) == []


def test_a_transcript_goes_with_its_clip_and_not_with_the_next_one(open_page: Open, film: Path) -> None:
    page = open_page()
    words = {"name": "words.txt", "mimeType": "text/plain", "buffer": b"only of the first"}
    page.locator("#transcript").set_input_files(words)
    choose(page, film)
    page.locator("#result").wait_for()
    assert "only of the first" in page.locator("#timeline").inner_text()
    page.locator("#another").click()
    choose(page, film)
    page.locator("#result").wait_for()
    assert "only of the first" not in page.locator("#timeline").inner_text()
