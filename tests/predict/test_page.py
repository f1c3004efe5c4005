"""The page in a real browser: seeking, keyboard, sums, absence, hostile text, phones, dark, long clips."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from polymodal import Run
from polymodal.core import Target
from polymodal.predict import page as page_module
from polymodal.predict.page import write_page
from polymodal.predict.predictor import Predictor
from polymodal.predict.routed import Opinion, Routed
from polymodal.predict.timeline import Estimate, Timeline

TARGETS = (
    Target("sentiment", "regression", (-3.0, 3.0)),
    Target("emotion", "classification", classes=("anger", "joy", "neutral")),
    Target("tags", "multilabel", classes=("humour", "sarcasm")),
)
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of WebM."""
    specification = importlib.util.spec_from_file_location("clips", Path(__file__).parents[1] / "media" / "clips.py")
    assert specification is not None
    assert specification.loader is not None
    clips = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(clips)
    written: Path = clips.write_clip(tmp_path_factory.mktemp("film") / "my clip.webm", seconds=8.0, fps=5)
    return written


@pytest.fixture
def timeline(make_run: Callable[..., Run], make_clip: Callable[..., Path], pipeline: Any) -> Timeline:
    """Three utterances, the second without vision, the third with nothing else, and three targets."""
    return Predictor(make_run(targets="sentiment,emotion,tags", extraction={})).predict(make_clip())


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """``open_page(timeline, clip, **context)``; the page must raise no error and ask nobody for anything."""
    complaints: list[str] = []
    contexts = []

    def complain(message: Any) -> None:
        if message.type in ("error", "warning") and "ERR_FILE_NOT_FOUND" not in message.text:
            complaints.append(message.text)

    def begin(timeline: Timeline, clip: Path | None = None, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", complain)
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url))
        page.goto(write_page(timeline, clip, tmp_path / "page.html").as_uri())
        return page

    yield begin
    for context in contexts:
        context.close()
    assert complaints == []


def at(page: Any) -> float:
    return float(page.evaluate("document.querySelector('video').currentTime"))


def until(page: Any, true: str) -> None:
    """Wait until the expression ``true`` holds; the policy of the page forbids Playwright's own way, an eval."""
    for _ in range(200):
        if page.evaluate(true):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never: {true}")


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


def chosen(page: Any) -> str:
    return str(page.locator(".pm-details h2").inner_text())


def test_clicks_on_words_utterances_and_the_chart_seek_the_clip(
    timeline: Timeline, film: Path, open_page: Open
) -> None:
    page = open_page(timeline, film)
    until(page, "document.querySelector('video').readyState > 0")
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(8.0, abs=0.1)
    page.locator(".pm-time").nth(1).click()
    assert at(page) == pytest.approx(2.5)
    assert chosen(page) == "Utterance 2 of 3"
    page.locator(".pm-utterance").nth(0).locator(".pm-word").nth(1).click()
    assert at(page) == pytest.approx(0.5)
    assert chosen(page) == "Utterance 1 of 3"
    width = page.locator(".pm-plot").bounding_box()["width"]
    page.locator(".pm-plot").click(position={"x": width * 6 / 8, "y": 60})
    assert at(page) == pytest.approx(6.0, abs=0.05)
    assert chosen(page) == "Utterance 3 of 3"
    assert number(page.locator(".pm-head").get_attribute("x1")) == pytest.approx(width * 6 / 8, abs=2)


def test_the_keyboard_moves_between_utterances_and_enter_seeks(timeline: Timeline, film: Path, open_page: Open) -> None:
    page = open_page(timeline, film)
    page.locator('.pm-utterance[tabindex="0"]').focus()
    page.keyboard.press("ArrowDown")
    assert chosen(page) == "Utterance 2 of 3"
    assert at(page) == 0
    focused = page.locator(".pm-utterance:focus")
    assert (focused.get_attribute("aria-selected"), focused.get_attribute("role")) == ("true", "option")
    page.keyboard.press("Enter")
    assert at(page) == pytest.approx(2.5)
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert chosen(page) == "Utterance 3 of 3"
    page.locator(".pm-scroll").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert (chosen(page), at(page)) == ("Utterance 1 of 3", pytest.approx(0.5))


def test_while_the_clip_plays_what_is_said_now_is_marked_and_selected(
    timeline: Timeline, film: Path, open_page: Open
) -> None:
    page = open_page(timeline, film)
    page.evaluate("(async () => { const v = document.querySelector('video'); v.muted = true; v.currentTime = 2.3; "
                  "await v.play(); })()")  # fmt: skip
    until(page, "document.querySelector('.pm-now')?.textContent.includes('awful')")
    assert chosen(page) == "Utterance 2 of 3"
    before = number(page.locator(".pm-head").get_attribute("x1"))
    until(page, f"document.querySelector('.pm-head').getAttribute('x1') > {before + 2}")
    page.evaluate("document.querySelector('video').pause()")


def test_contributions_are_shown_as_the_sum_that_they_are(timeline: Timeline, open_page: Open) -> None:
    page = open_page(timeline)
    for index, target in product(range(3), TARGETS):
        page.locator(".pm-utterance").nth(index).click()
        page.get_by_role("button", name=target.name).click()
        moment = timeline.moments[index]
        value, baseline = said(moment.estimates[target.name], target)
        table = page.locator(".pm-details table").last
        parts = [number(cell.split("\t")[1]) for cell in table.locator("tbody tr").all_inner_texts()]
        assert len(parts) == len(moment.present) + 1
        assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.0021)
        assert parts[-1] == pytest.approx(value - baseline, abs=0.0006)
        shown = re.findall(r"\(?[+\u2212]?\d+\.\d{3}\)?", table.locator("tfoot").inner_text())
        assert [number(n.strip("()")) for n in shown] == pytest.approx([value, baseline, value - baseline], abs=6e-4)


def said(estimate: Any, target: Target) -> tuple[float, float]:
    """Return what the contributions lead to and from: of the label, or of the class that the page shows first."""
    if target.task == "regression":
        return estimate.value, estimate.baseline
    if target.task == "classification":
        return estimate.probabilities[estimate.label], estimate.baseline
    return estimate.probabilities[target.classes[0]], estimate.baseline[target.classes[0]]


def test_absent_modalities_and_notes_are_named(timeline: Timeline, open_page: Open) -> None:
    page = open_page(timeline)
    page.locator(".pm-utterance").nth(1).click()
    assert "Absent: vision." in page.locator(".pm-details").inner_text()
    hatched = [len(d.split("z")) - 1 for d in (p.get_attribute("d") for p in page.locator(".pm-absent").all())]
    assert hatched == [1, 1, 1]
    assert page.locator(".pm-chart text", has_text="absent").count() == 3
    assert page.locator(".pm-notes li").all_inner_texts() == list(timeline.notes)


def test_text_of_a_timeline_never_becomes_markup(timeline: Timeline, open_page: Open) -> None:
    evil = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    first = timeline.moments[0]
    word = replace(first.words[0], text=evil)
    moments = (
        replace(first, text=evil, words=(word,), speaker=evil),
        replace(timeline.moments[1], text=evil, words=()),
    )
    hostile = replace(timeline, clip=evil, run=evil, notes=(evil,), moments=moments)
    page = open_page(hostile)
    assert page.title().startswith(evil)
    assert page.locator("h1").inner_text() == evil
    assert page.locator(".pm-word").inner_text() == evil
    assert page.locator(".pm-notes li").inner_text() == evil
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_the_page_itself_allows_no_other_script_style_or_address(timeline: Timeline, tmp_path: Path) -> None:
    text = write_page(timeline, None, tmp_path / "page.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?https?:""", text)


def test_it_fits_phones_and_desks_in_light_and_dark(timeline: Timeline, film: Path, open_page: Open) -> None:
    page = open_page(timeline, film)
    for width, scheme in product((360, 1400), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        for target in TARGETS:
            page.get_by_role("button", name=target.name).click()
            until(page, f"document.documentElement.scrollWidth === {width}")
        ink, paper = (page.evaluate(f"getComputedStyle(document.body).{what}") for what in ("color", "backgroundColor"))
        light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
        assert (light[0] < light[1]) == (scheme == "light")
        if folder := os.environ.get("POLYMODAL_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/page-{width}-{scheme}.png", full_page=True)


def test_six_hundred_utterances_stay_responsive(timeline: Timeline, open_page: Open) -> None:
    moments = tuple(replace(timeline.moments[i % 3], start=6.0 * i, end=6.0 * i + 5.0, words=()) for i in range(600))
    page = open_page(replace(timeline, moments=moments, duration=3600.0))
    spent = page.evaluate(
        """() => { const view = document.getElementById("view"), began = performance.now();
        const shown = polymodal.renderTimeline(view, JSON.parse(document.getElementById("timeline").textContent), null);
        view.getBoundingClientRect(); const drawn = performance.now() - began;
        for (let i = 0; i < 50; i++) { shown.select(i * 12); view.getBoundingClientRect(); }
        return [drawn, (performance.now() - began - drawn) / 50]; }"""
    )
    # Measured: 0.1 s and 10 ms; a chart with an element per utterance took seconds.
    assert spent[0] < 2000
    assert spent[1] < 200
    assert page.locator(".pm-plot *").count() < 200
    page.get_by_role("button", name="Zoom in").click()
    assert chosen(page) == "Utterance 589 of 600"
    left, room = page.evaluate("(e => [e.scrollLeft, e.clientWidth])(document.querySelector('.pm-scroll'))")
    mark = page.locator(".pm-selected").get_attribute("d")
    assert left <= number(re.findall(r"M([\d.]+)", mark)[0]) <= left + room


def test_predictions_without_times_stand_in_their_order(timeline: Timeline, open_page: Open) -> None:
    moments = tuple(replace(m, start=0.0, end=0.0, words=()) for m in timeline.moments)
    page = open_page(replace(timeline, moments=moments, duration=0.0))
    assert page.locator(".pm-time").all_inner_texts() == ["row 1", "row 2", "row 3"]
    page.locator(".pm-utterance").nth(2).click()
    assert chosen(page) == "Utterance 3 of 3"


def test_a_timeline_without_utterances_or_intervals_says_so(timeline: Timeline, open_page: Open) -> None:
    assert "There is no utterance." in open_page(replace(timeline, moments=())).locator("main").inner_text()
    first = timeline.moments[0]
    bare = replace(first, estimates={"sentiment": replace(first.estimates["sentiment"], low=None, high=None)})
    page = open_page(replace(timeline, moments=(bare,), targets=TARGETS[:1]))
    assert "no interval" in page.locator(".pm-details").inner_text()
    assert page.locator(".pm-tabs").is_hidden()


def test_a_large_clip_is_referenced_beside_the_page_and_missed_in_a_sentence(
    timeline: Timeline, film: Path, tmp_path: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / film.name
    clip.write_bytes(film.read_bytes())
    monkeypatch.setattr(page_module, "INLINE", 100)
    page = open_page(timeline, clip)
    assert page.locator("video").get_attribute("src") == "my%20clip.webm"
    until(page, "document.querySelector('video').readyState > 0")
    assert page.locator("#unplayable").is_hidden()
    page.evaluate("document.querySelector('video').src = 'gone.webm'")
    page.locator("#unplayable").wait_for()
    assert "my%20clip.webm" in page.locator("#unplayable").inner_text()


def test_a_cascade_says_who_answered_and_what_both_said(timeline: Timeline, open_page: Open) -> None:
    """A service named a number and a class, without reasons; of the last utterance nothing was asked."""
    spent = {"requests": 5, "cached": 0}

    def asked(e: Estimate, answer: float | str) -> Estimate:
        route = Routed("2a", "large", Opinion(e.value or "joy", 0.8), Opinion(answer, 0.1), None, 1, spent)
        said = {"value": 2.5, "low": None, "high": None} if e.value is not None else {"label": answer}
        return replace(e, **said, probabilities=None, baseline=None, contributions={}, together=None, cascade=route)

    moments = []
    for m in timeline.moments[:2]:
        answers = {n: asked(m.estimates[n], said) for n, said in (("sentiment", 2.5), ("emotion", "neutral"))}
        moments.append(replace(m, estimates={**m.estimates, **answers}))
    last = timeline.moments[2]
    alone = Routed("1", "small", Opinion(0.5, 0.2), usage=dict.fromkeys(spent, 0))
    kept = {**last.estimates, "sentiment": replace(last.estimates["sentiment"], cascade=alone)}
    page = open_page(replace(timeline, moments=(*moments, replace(last, estimates=kept))))
    told = page.locator(".pm-route")
    first = told.inner_text()
    assert "Stage 2a: the large model's answer." in first
    assert "Large model: 2.500, uncertainty 0.10." in first
    assert "Questions to the large model: 1 (5 requests)." in first
    assert "What this rests on is not known." in page.locator(".pm-details").inner_text()
    page.get_by_role("button", name="emotion").click()
    assert "Large model: neutral, uncertainty 0.10." in told.inner_text()
    page.get_by_role("button", name="tags").click()
    assert told.count() == 0
    page.get_by_role("button", name="sentiment").click()
    page.locator(".pm-utterance").nth(2).click()
    assert "Stage 1: the small run's answer. Small run: 0.500, uncertainty 0.20." in told.inner_text()
