from __future__ import annotations

import math

import pytest

from polymodal.reply.labels import COARSE, FINE, LABELS, SCORED, SHOWN, label_of, parsed
from polymodal.reply.metrics import distinct, hit_rate, word_error_rate


def test_there_are_32_emotions_and_8_classes_and_every_label_has_both() -> None:
    assert (len(set(FINE)), len(COARSE)) == (32, 8)
    assert set(SCORED) == set(SHOWN) == {*FINE, *COARSE} == {*LABELS}
    assert set(SCORED.values()) == set(SHOWN.values()) == {*COARSE}


@pytest.mark.parametrize(
    ("label", "scored", "shown"),
    [
        ("prepared", "happy", "neutral"),
        ("anxious", "sad", "fear"),
        ("devastated", "sad", "surprised"),
        ("embarrassed", "disgusted", "disgusted"),
        ("nostalgic", "sad", "neutral"),
        ("jealous", "contempt", "contempt"),
    ],
)
def test_both_maps_are_those_of_the_paper(label: str, scored: str, shown: str) -> None:
    assert (SCORED[label], SHOWN[label]) == (scored, shown)


def test_a_hit_is_the_same_coarse_class() -> None:
    assert hit_rate(["joyful"], ["proud"]) == 1
    assert hit_rate(["joyful", "mumble"], ["sad", "neutral"]) == 0.5
    assert hit_rate(["mumble"], ["sad"]) == 0
    with pytest.raises(ValueError, match="0 answers to 1"):
        hit_rate([], ["sad"])


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("I think: Joyful.", "joyful"),
        ("joyful", "joyful"),
        ("The word is discontent", "neutral"),
        ("", "neutral"),
        ("sadly, I cannot say", "neutral"),
        ("**Terrified**", "terrified"),
        ("careless and unprepared", "neutral"),
    ],
)
def test_an_answer_is_read_in_any_case_and_by_whole_words(answer: str, label: str) -> None:
    assert parsed(answer) == label


def test_distinct_is_a_mean_over_replies_not_over_the_corpus() -> None:
    assert distinct(["a a b"], 1) == pytest.approx(2 / 3)
    assert distinct(["a a b"], 2) == 1
    assert distinct(["a b", "A b"], 1) == 1  # of a corpus it would be 1/2
    assert distinct(["a a", "b"], 2) == 1  # too short replies are left out
    assert math.isnan(distinct(["b"], 2))


def test_labels_of_runs_and_corpora_find_their_names() -> None:
    assert [label_of(x) for x in ("Joy", "anger", "boredom", "Surprise", "hungry")] == [
        *("happy", "angry", "neutral", "surprised", None)
    ]


def test_word_errors() -> None:
    assert word_error_rate(["a", "b", "c"], ["a", "x", "c", "d"]) == pytest.approx(2 / 3)
    assert word_error_rate(["a"], []) == 1
