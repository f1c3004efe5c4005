"""A large model behind HTTP: what is asked, what is read, and what happens when it is dead, slow or talks nonsense."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_chat import Service, said

from polymodal.cascade.asking import Questions, Reference, Sample
from polymodal.cascade.prompt import messages, parsed
from polymodal.cascade.records import run
from polymodal.cascade.remote import PATIENCE, Remote
from polymodal.cascade.routing import Answers, Rule
from polymodal.core import OptionError, Target

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOOD = Target("mood", "classification", classes=("low", "very low", "high"))
FEW = [Sample("a", "fine"), Sample("b", "dull"), Sample("c", "so so")]


def routed(large: Remote) -> tuple[list[str], list[float]]:
    asked = Questions(large, FEW, Answers(np.array([0.5, -0.5, 0.0]), np.ones(3)))
    record = run(Rule(0.5, 0.5), asked)
    return record.stage.tolist(), record.score.tolist()


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("1.5", 1.5),
        (" -2 ", -2),
        ("\u22121.25", -1.25),
        ("Rating: +0.5.", 0.5),
        ("1.5 (80% sure), so 1.5", 1.5),
        ("between 1 and 2", None),
        ("9", None),
        ("v2 of x1", None),
        ("1.5e9", None),
        ("", None),
        ("positive", None),
    ],
)
def test_a_number_is_read_only_where_it_is_the_only_one_and_in_range(reply: str, answer: float | None) -> None:
    found = parsed(SCORE, reply)
    assert math.isnan(found) if answer is None else found == answer


@pytest.mark.parametrize(("reply", "answer"), [("High.", 2), ("very low", 1), ("low or high", None), ("lowly", None)])
def test_a_class_is_read_by_its_whole_name(reply: str, answer: int | None) -> None:
    found = parsed(MOOD, reply)
    assert math.isnan(found) if answer is None else found == answer


def test_a_question_has_range_and_words_and_the_second_one_both_answers() -> None:
    first = json.dumps(messages(SCORE, 'he said "4"'))
    assert "-3" in first
    assert "sentiment" in first
    second = messages(SCORE, "fine", Reference(-1.25, 2.0))[-1]["content"]
    assert "-1.25" in second
    assert "2.00" in second
    assert "very low" in messages(MOOD, "fine", Reference(1, 2))[-1]["content"]
    assert json.dumps('he said "4"') in messages(SCORE, 'he said "4"')[-1]["content"]


def test_the_mean_of_replies_is_the_answer_and_their_entropy_its_uncertainty(service: Service) -> None:
    service.reply = said("1", "1", "3", "3")
    answer = Remote(SCORE, samples=4).predict(FEW[:1])[0]
    assert answer.score == 2
    assert answer.uncertainty == pytest.approx(math.log(2) / math.log(4))
    assert {(b["model"], b["temperature"]) for b in service.bodies} == {("stub", 0.7)}
    assert set(service.keys) == {"Bearer secret"}
    service.reply = said("2")
    assert Remote(SCORE, samples=4).predict(FEW[1:2])[0].uncertainty == 0


def test_a_reply_without_a_rating_among_others_makes_less_sure(service: Service) -> None:
    service.reply = said("1", "1", "1", "I cannot say")
    answer = Remote(SCORE, samples=4).predict(FEW[:1])[0]
    assert answer.score == 1
    assert answer.uncertainty > 0.3


def test_classes_are_named_by_the_most(service: Service) -> None:
    service.reply = said("high", "low", "high")
    answer = Remote(MOOD, samples=3).predict(FEW[:1])[0]
    assert answer.score == 2
    assert answer.uncertainty == pytest.approx(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(3))


def test_log_probabilities_of_tokens_are_the_uncertainty_where_they_come(service: Service) -> None:
    def reply(body: dict[str, Any], number: int) -> tuple[int, bytes]:
        assert body["logprobs"]
        tops = [{"logprob": math.log(0.5)}, {"logprob": math.log(0.5)}]
        choice = {"message": {"content": "1"}, "logprobs": {"content": [{"top_logprobs": tops}]}}
        return 200, json.dumps({"choices": [choice]}).encode()

    service.reply = reply
    answer = Remote(SCORE, uncertainty="tokens").predict(FEW[:1])[0]
    assert answer.uncertainty == pytest.approx(math.log(2) / math.log(21))
    service.reply = said("1")
    assert Remote(SCORE, uncertainty="tokens").predict(FEW[1:2])[0].uncertainty == 1


def test_nothing_is_paid_for_twice_and_no_key_is_kept(service: Service, tmp_path: Path) -> None:
    twice = [*FEW, Sample("d", "fine")]
    first = Remote(SCORE, samples=2)
    answers = first.predict(twice)
    assert len(service.bodies) == first.usage["requests"] == 6
    assert first.usage["prompt_tokens"] == 42
    again = Remote(SCORE, samples=2)
    assert again.predict(twice) == answers
    assert len(service.bodies) == 6
    assert (again.usage["requests"], again.usage["cached"]) == (0, 6)
    assert not any("secret" in file.read_text() for file in (tmp_path / "cache").rglob("*.json"))
    again.predict(FEW[:1], [Reference(1, -1)])
    assert len(service.bodies) == 8


def test_a_dead_service_leaves_all_to_the_small_model(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_LLM_URL", "http://127.0.0.1:9/v1")
    large = Remote(SCORE, samples=2, timeout=2)
    began = time.monotonic()
    assert routed(large) == (["failed"] * 3, [0.5, -0.5, 0.0])
    assert time.monotonic() - began < 20
    assert "left 3 of 3 questions unanswered" in large.notes[0]


def test_a_slow_service_is_left_alone_after_a_few_questions(service: Service) -> None:
    service.drip = 0.15  # the reply would take half a minute, every byte of it in time
    large = Remote(SCORE, samples=2, timeout=0.5, retries=0)
    began = time.monotonic()
    many = [Sample(str(i), f"words {i}") for i in range(60)]
    assert all(math.isnan(answer.score) for answer in large.predict(many))
    assert time.monotonic() - began < 10
    assert len(service.bodies) <= PATIENCE + 4
    assert "no whole reply within 0.5 s" in large.notes[0]


NONSENSE = {
    "no json": (200, b"<html>"),
    "no object": (200, b"[1]"),
    "no completion": (200, b'{"choices": []}'),
    "no text": (200, b'{"choices": [{"message": {"content": null}}]}'),
    "broken": (500, b"oops"),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_leaves_all_to_the_small_model(service: Service, kind: str) -> None:
    service.reply = lambda body, number: NONSENSE[kind]
    large = Remote(SCORE, samples=2, retries=1)
    assert routed(large) == (["failed"] * 3, [0.5, -0.5, 0.0])
    assert large.notes


def test_words_without_a_rating_are_told_apart_from_silence(service: Service) -> None:
    service.reply = said("As a model I would rather not.")
    large = Remote(SCORE, samples=2)
    assert routed(large) == (["failed"] * 3, [0.5, -0.5, 0.0])
    assert large.notes == ["3 of 3 replies of the large model have no rating; the small run's stand"]


def test_a_passing_failure_is_tried_again_and_a_refusal_is_not(service: Service) -> None:
    service.reply = lambda body, number: (503, b"") if number == 0 else said("1")(body, number)
    assert Remote(SCORE, samples=2, retries=1).predict(FEW[:1])[0].score == 1
    assert len(service.bodies) == 3
    service.bodies.clear()
    service.reply = lambda body, number: (401, b"")
    large = Remote(SCORE, samples=2)
    large.predict([Sample(str(i), f"words {i}") for i in range(60)])
    assert len(service.bodies) <= 4
    assert "HTTP 401" in large.notes[0]


def test_the_key_goes_to_no_other_address(service: Service) -> None:
    service.reply, service.location = lambda body, number: (307, b""), f"{service.url}/elsewhere"
    large = Remote(SCORE, samples=2)
    large.predict(FEW[:1])
    assert len(service.bodies) == 1
    assert "HTTP 307" in large.notes[0]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("POLYMODAL_LLM_URL", "", "set POLYMODAL_LLM_URL in the environment"),
        ("POLYMODAL_LLM_URL", "file:///etc/passwd", "set POLYMODAL_LLM_URL in the environment"),
        ("POLYMODAL_LLM_MODEL", "", "set POLYMODAL_LLM_MODEL in the environment"),
    ],
)
def test_what_the_environment_lacks_is_named(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match=words):
        Remote(SCORE)


def test_no_secret_of_the_address_is_part_of_the_name(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_LLM_URL", "https://me:word@example.org:81/v1?token=abc")
    assert Remote(SCORE).name == "stub at example.org:81"


def test_one_reply_has_no_uncertainty(service: Service) -> None:
    with pytest.raises(OptionError, match="use samples=2 or more, or tokens"):
        Remote(SCORE, samples=1)
