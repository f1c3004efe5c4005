from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polymodal.core import DataError
from polymodal.reply.dialogue import read_dialogues

HISTORY = [
    {"index": 0, "role": "speaker", "utterance": "My dog  ran away."},
    {"index": 1, "role": "listener", "utterance": "Oh no!"},
    {"index": 2, "role": "speaker", "utterance": "He came back."},
]
WHOLE = {
    "conversation_id": "c1",
    "speaker_profile": {"ID": 5, "age": "young", "gender": "female", "timbre": "high"},
    "listener_profile": {"ID": 9},
    "turns": [
        {
            "turn_id": 3,
            "context": "A dog.",
            "dialogue_history": HISTORY,
            "chain_of_empathy": {"speaker_emotion": "Joyful"},
        }
    ],
}


def test_a_dialogue_is_written_with_roles_and_context(make_json: Callable[[Any], Path]) -> None:
    [found] = read_dialogues(make_json([WHOLE]))
    [turn] = found.turns
    assert turn.written() == "\n".join(
        ["Dialogue context: A dog.", "Speaker: My dog ran away.", "Listener: Oh no!", "Speaker: He came back."]
    )
    assert (turn.said, turn.emotion, found.name(turn)) == ("He came back.", "joyful", "diac1turn3_9_gen")
    assert (found.speaker.age, found.listener.age) == ("young", "")


def test_a_conversation_of_one_turn_may_be_flat(make_json: Callable[[Any], Path]) -> None:
    [found] = read_dialogues(make_json({"dialogue_history": HISTORY[:1]}))
    assert (found.id, found.turns[0].id, found.listener.id) == ("1", 0, "listener")


def test_media_lie_beside_it_under_the_names_of_who_speaks(make_json: Callable[[Any], Path]) -> None:
    file = make_json(WHOLE)
    for name in ("diac1utt2_5.wav", "diac1utt1_9.mp4", "diac1utt1_5.mp4"):
        (file.parent / name).touch()
    [found] = read_dialogues(file)
    assert found.turns[0].clip == file.parent / "diac1utt2_5.wav"
    assert found.media(1, found.listener, ".mp4") == file.parent / "diac1utt1_9.mp4"
    assert found.media(1, found.listener, ".wav") is None


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("{", "is no JSON"),
        ([], "has no conversation"),
        ([3], "conversation 1 must be a JSON object, got '3'"),
        ({"turns": []}, "has no turns"),
        ({"dialogue_history": []}, "has no dialogue_history"),
        ({"dialogue_history": [{"role": "narrator", "utterance": "x"}]}, "utterance 0 must have a role"),
        ({"dialogue_history": [{"role": "speaker", "utterance": " "}]}, "utterance 0 must have a role"),
        ({"dialogue_history": HISTORY[1:2]}, "the speaker says nothing"),
        ({**WHOLE, "conversation_id": "../x"}, "cannot be part of a file's name"),
        ({**WHOLE, "listener_profile": {"ID": "a/b"}}, "cannot be part of a file's name"),
        ({**WHOLE, "listener_profile": "me"}, "listener_profile must be a JSON object"),
        ([WHOLE, WHOLE], "two conversations 'c1'"),
        ({**WHOLE, "turns": 2 * WHOLE["turns"]}, "conversation 1 has two turns 3; give each its own turn_id"),  # type: ignore[operator]
        ({"turn_id": "x", "dialogue_history": HISTORY}, "turn_id must be a whole number"),
    ],
)
def test_what_is_no_dialogue_is_said_in_one_sentence(
    make_json: Callable[[Any], Path], data: Any, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence.replace("(", r"\(")) as caught:
        read_dialogues(make_json(data))
    assert "talk.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none.json"):
        read_dialogues(tmp_path / "none.json")
