"""What words name, what a bank answers, what a large model is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from polymodal.cascade.chat import open_chat
from polymodal.core import DataError, OptionError
from polymodal.reply.bank import Nearest, bank, filled, general
from polymodal.reply.dialogue import Conversation
from polymodal.reply.labels import COARSE, FINE, LABELS, SCORED
from polymodal.reply.lexicon import named_emotion
from polymodal.reply.prompt import Example, chosen_examples, feel_messages, reply_messages
from polymodal.reply.understand import AsTold, ByChat, ByWords
from polymodal.reply.write import ByBank, bank_examples
from polymodal.reply.write import ByChat as Writes

Talk = Callable[..., Conversation]


@pytest.fixture(scope="module")
def nearest() -> Nearest:
    return Nearest("tfidf")


def test_the_bank_has_replies_to_all_emotions() -> None:
    assert {e.emotion for e in bank()} == {*FINE, "neutral"}
    assert len(bank()) == len({e.said for e in bank()}) == len({e.reply for e in bank()}) >= 150
    assert min(sum(e.emotion == name for e in bank()) for name in FINE) >= 5
    assert all(len(general(name)) >= 3 for name in COARSE)


def test_nothing_is_left_of_slots_that_cannot_be_filled(talk: Talk) -> None:
    for exchange in bank():
        bare = filled(exchange.reply, talk("Hello.").turns[0])
        assert not re.search(r"[<>{}]|  | [.?!,]", bare), bare
        assert re.search(r"[.?!]$", bare), bare
        full = filled(exchange.reply, talk("My sister comes tomorrow.").turns[0])
        assert not re.search(r"[<>{}]|  | [.?!,]", full), full


def test_slots_are_filled_from_what_the_speaker_said(talk: Talk) -> None:
    reply = "I am sorry. <Your {who} is missed {when}.> <How is {when}?>"
    assert filled(reply, talk("My old dog died.").turns[0]) == "I am sorry."
    assert filled(reply, talk("My cat goes tomorrow.").turns[0]) == (
        "I am sorry. Your cat is missed tomorrow. How is tomorrow?"
    )
    assert filled(reply, talk("My cat.", "My dog goes tomorrow.", "Yes.").turns[0]) == "I am sorry."


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I am so lonely.", "lonely"),
        ("I am not happy.", "sad"),
        ("I am not afraid", "neutral"),
        ("Bin blue at F two now.", "neutral"),
        ("I\u2019m so proud of her", "proud"),
        ("a terrific show", "neutral"),
        ("We celebrate with her, and I feel so alone.", "lonely"),
        ("It was sad, but I am happy now", "joyful"),
    ],
)
def test_words_name_feelings(text: str, label: str) -> None:
    assert named_emotion(text).label == label


def test_the_nearest_exchange_of_the_felt_class_replies(nearest: Nearest, talk: Talk) -> None:
    asked = talk("The house is so quiet since my dog died.")
    felt = ByWords(nearest).feel(asked, asked.turns[0])
    written = ByBank(nearest).write(asked, asked.turns[0], felt.label)
    assert felt.label == "devastated"
    assert "A house without your dog must feel empty." in written.text
    assert "My dog died" in written.why
    found = nearest.find(asked.turns[0].said, "happy")
    assert found.exchange is None or SCORED[found.exchange.emotion] == "happy"


def test_what_is_near_to_nothing_or_doubtful_gets_a_general_reply(nearest: Nearest, talk: Talk) -> None:
    asked = talk("Bin blue at F two now.")
    far = ByBank(nearest).write(asked, asked.turns[0], "lonely")
    assert far.text in general("sad")
    assert "near" in far.why
    doubtful = replace(talk("My dog died.").turns[0], doubtful=True)
    assert ByWords(nearest).feel(asked, doubtful).label == "neutral"
    assert ByBank(nearest).write(asked, doubtful, "angry").text in general("angry")


def test_examples_are_of_other_dialogues_and_have_their_own_words(talk: Talk) -> None:
    asked = talk("My own words.", name="7")
    mine = Example("Speaker: Something else.", "sad", "Oh.", conversation="7")
    same = Example(asked.turns[0].written(), "sad", "Oh.", conversation="8")
    others = [Example(f"Speaker: Number {k}.", "proud", f"Reply {k}.", str(k + 100)) for k in range(9)]
    shown = chosen_examples([mine, same, *others], asked, asked.turns[0], 9)
    assert sorted(e.written for e in shown) == sorted(e.written for e in others)
    assert chosen_examples([mine, *others], asked, asked.turns[0], 3) == chosen_examples(
        [mine, *others], asked, asked.turns[0], 3
    )
    messages = reply_messages(asked.turns[0], "lonely", shown[:2])
    *before, last = [m["content"] for m in messages]
    assert "My own words." in last
    assert "lonely" in last
    assert not any("My own words." in text or "lonely" in text for text in before)
    assert before[1:] == [x for e in shown[:2] for x in (f"{e.written}\nThe speaker feels: {e.emotion}", e.reply)]
    assert all(name in feel_messages(asked.turns[0], [])[0]["content"] for name in LABELS)


def test_a_large_model_is_asked_and_read(tmp_path: Path, talk: Talk) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps({"id": "7/0", "emotion": "I think: Proud.", "reply": '"Listener: Well done!"'}))
    chat, asked = open_chat(f"file:{file}"), talk("I ran far.")
    assert ByChat(chat, bank_examples(), 3).feel(asked, asked.turns[0]).label == "proud"
    assert Writes(chat, bank_examples(), 3).write(asked, asked.turns[0], "proud").text == "Well done!"
    with pytest.raises(DataError, match="has no emotion for '8/0'"):
        ByChat(chat, [], 0).feel(talk("x", name="8"), asked.turns[0])


def test_what_is_no_large_model_or_emotion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYMODAL_LLM_URL", raising=False)
    for spec, sentence in (("http", "POLYMODAL_LLM_URL"), ("grpc", "unknown large model 'grpc'")):
        with pytest.raises(OptionError, match=sentence):
            open_chat(spec)
    (tmp_path / "bad.jsonl").write_text("[]\n")
    (tmp_path / "twice.jsonl").write_text('{"id": "7/0", "emotion": "sad"}\n\n{"id": "7/0", "reply": "Oh."}\n')
    for name, sentence in (
        ("none.jsonl", "there is no file"),
        ("bad.jsonl", "line 1 is no JSON object"),
        ("twice.jsonl", "line 3: there is an answer for '7/0' already"),
    ):
        with pytest.raises(DataError, match=sentence):
            open_chat(f"file:{tmp_path / name}")
    with pytest.raises(OptionError, match="there is no emotion 'joyfull'; did you mean 'joyful'"):
        AsTold("joyfull")
