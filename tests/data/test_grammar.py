from __future__ import annotations

from random import Random

import pytest

from polymodal.data.grammar import FEELINGS, OPINIONS, TOPICS, opinion, phrase, sentence

STRENGTH = {word: level for level, words in OPINIONS.items() for word in words}
SHIFT = {"": 0, "very": 1, "really": 1, "quite": 1, "extremely": 1, "rather": -1, "fairly": -1, "somewhat": -1}
PAST = {"was", "were", "seemed", "looked", "found", "felt", "left"}
PRESENT = {"is", "are", "am", "seems", "seem", "looks", "look", "find", "feel", "leaves"}


def read(words: str) -> int:
    """What a reader who knows the adjectives, but not the generator's table, takes a phrase to mean."""
    *before, adjective = words.split()
    level = STRENGTH[adjective]
    sign = (level > 0) - (level < 0)
    if before[:1] == ["not"]:
        return -sign * {"": 2, "very": 1, "so": 1, "at all": 3}[" ".join(before[1:])]
    return sign * (abs(level) + SHIFT[" ".join(before)])


@pytest.mark.parametrize("level", range(-3, 4))
def test_phrase_means_its_level(level: int) -> None:
    rng = Random(level)
    assert {read(phrase(level, OPINIONS, rng)) for _ in range(300)} == {level}


def test_same_adjective_is_good_alone_and_bad_when_negated() -> None:
    rng = Random(0)
    said = {level: {phrase(level, OPINIONS, rng) for _ in range(500)} for level in (-2, 2)}
    assert "good" in said[2]
    assert "not good" in said[-2]
    assert "bad" in said[-2]
    assert "not bad" in said[2]


def test_second_clause_after_but_weighs_twice() -> None:
    rng = Random(1)
    seen = 0
    for _ in range(2000):
        level = rng.randint(-3, 3)
        text = opinion(level, True, "film", rng)
        if ", but " not in text:
            continue
        first, second = (_phrase_of(clause) for clause in text.split(", but "))
        assert read(first) + 2 * read(second) == 3 * level, text
        assert read(first) != read(second)
        seen += 1
    assert seen > 200


def _phrase_of(clause: str) -> str:
    words = clause.split()
    start = len(words) - 1
    while words[start - 1] in {"not", "at", "all", "so", *SHIFT}:
        start -= 1
    return " ".join(words[start:])


@pytest.mark.parametrize("past", [True, False])
def test_every_verb_has_the_tense_of_the_cue(past: bool) -> None:
    rng = Random(2)
    for topic in TOPICS:
        for _ in range(50):
            words = set(sentence(1, -1, past, topic, rng).split())
            assert words & (PAST if past else PRESENT)
            assert not words & (PRESENT if past else PAST)


def test_tense_changes_nothing_but_the_verbs() -> None:
    for seed in range(200):
        now, then = (sentence(2, -1, past, "meal", Random(seed)).split() for past in (False, True))
        assert [w for w in now if w not in PRESENT] == [w for w in then if w not in PAST]


def test_plural_things_take_plural_verbs() -> None:
    rng = Random(3)
    for topic, things in TOPICS.items():
        for _ in range(100):
            text = opinion(0, False, topic, rng)
            for thing in things:
                for verb in ("is", "seems", "looks", "are", "seem", "look"):
                    if f"the {thing} {verb} " in text:
                        assert thing.endswith("s") == (verb in ("are", "seem", "look")), text


def test_opinion_and_feeling_have_separate_words() -> None:
    opinions = {w for words in OPINIONS.values() for w in words}
    feelings = {w for words in FEELINGS.values() for w in words}
    assert not opinions & feelings
    assert len(opinions) >= 24
    assert len(feelings) >= 24
