"""What is noted about the transcript of a clip."""

from __future__ import annotations

import pytest

from polymodal.media.types import Word
from polymodal.media.words.said import Said, Transcript


def heard(count: int = 4, sure: float | None = 0.9, **about) -> Transcript:
    return Transcript(tuple(Word("w", i, i + 1) for i in range(count)), sure, **about)


def notes(*transcripts: Transcript, language: str = "", only: str = "en") -> list[str]:
    said = Said(language, only)
    for transcript in transcripts:
        said.add(transcript)
    return said.notes("a.mp4")


def test_what_is_as_it_should_be_is_not_noted():
    assert notes(heard(), heard()) == notes(heard(language="en", certain=0.9), only="") == []
    assert notes(heard(language="de", certain=0.9), language="de", only="") == []
    assert notes(heard(sure=None)) == []


def test_words_that_are_hardly_believed_may_be_another_language():
    (note,) = notes(heard(sure=0.3), heard(1, sure=0.9))
    assert note.startswith("a.mp4: the words are doubtful (mean probability 0.42)")
    assert "knows en only; if another language is spoken" in note
    assert notes(heard(sure=0.3), only="") == ["a.mp4: the words are doubtful (mean probability 0.30)"]
    assert notes(heard(2, sure=0.1)) == []  # two words say nothing


def test_a_language_that_is_detected_is_told():
    found = [heard(language="de", certain=0.4), heard(language="de", certain=0.9), heard(language="en", certain=0.9)]
    (note,) = notes(*found, only="")
    assert "taken to be de (2 of 3 stretches), en (1 of 3 stretches); --language says which" in note
    (note,) = notes(*found, language="en", only="")  # one of them is a guess
    assert "sounds like de (1 of 3 stretches), en (1 of 3 stretches) and was transcribed as en, as asked" in note


@pytest.mark.parametrize("empty", [Transcript(), Transcript(invented=True)])
def test_speech_without_words_is_told(empty):
    found = notes(empty)
    assert found[0] == "a.mp4: there is speech, but no word of it was recognised"
    assert [("1 of 1 stretches" in n and "repeated itself" in n) for n in found[1:]] == [True] * empty.invented
