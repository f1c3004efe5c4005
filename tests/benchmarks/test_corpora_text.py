"""MUStARD and the text of MELD: utterance and context."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from polymodal.core import OptionError

PARTS = ("train", "valid", "test")


@pytest.mark.parametrize("source", ["mustard", "mustard?split=official", "meld_text"])
def test_every_utterance_has_words(load, source: str) -> None:
    corpus = load(source)
    assert [(m.name, m.kind) for m in corpus.schema.modalities] == [("utterance", "text"), ("context", "text")]
    assert all(split.present["utterance"].all() for split in corpus.splits.values())


@pytest.mark.parametrize("split", ["speaker", "official"])
def test_each_line_of_mustard_is_tested_in_one_fold(load, split: str) -> None:
    tested = [i for fold in range(5) for i in load(f"mustard?split={split}&fold={fold}")["test"].ids]
    assert len(tested) == len(set(tested)) == 690


def test_folds_by_speaker_are_of_similar_size_and_have_both_labels(load) -> None:
    shares = []
    for fold in range(5):
        labels = load(f"mustard?fold={fold}")["test"].targets["sarcasm"]
        assert 100 < len(labels) < 200
        shares.append(float(labels.mean()))
    assert 0.4 < min(shares) < max(shares) < 0.7


def test_the_official_folds_of_mustard_are_those_of_the_release(load, shared: Path) -> None:
    folder = shared / "data/mustard"
    names = list(json.loads((folder / "sarcasm_data.json").read_text()))
    trained, tested = json.loads((folder / "split_indices.json").read_text())[2]
    corpus = load("mustard?split=official&fold=2")
    assert set(corpus["test"].ids) == {names[i] for i in tested}
    assert {*corpus["train"].ids, *corpus["valid"].ids} == {names[i] for i in trained}
    assert not corpus["test"].groups, "they share speakers"


def test_mustard_does_not_say_who_speaks(load) -> None:
    corpus = load("mustard")
    for part in corpus.splits.values():
        for text, group in zip(part.columns["utterance"], part.groups, strict=True):
            assert not text.upper().startswith(f"{group.split()[1]}:")


def test_mustard_has_five_folds(load) -> None:
    with pytest.raises(OptionError, match="0 to 4"):
        load("mustard?fold=5")


def test_the_context_of_meld_is_what_was_said_before_in_the_dialogue(load) -> None:
    part = load("meld_text?turns=2")["valid"]
    said, before = part.columns["utterance"], part.columns["context"]
    first = [i == 0 or part.groups[i] != part.groups[i - 1] for i in range(len(part))]
    assert part.present["context"].tolist() == [not f for f in first]
    assert sum(first) == len(set(part.groups)) == 114
    for i, starts in enumerate(first):
        if not starts:
            assert before[i].endswith(said[i - 1])
            lines = [said[i - 1]] if first[i - 1] else [said[i - 2], said[i - 1]]
            assert before[i] == " ".join(lines)


def test_meld_keeps_the_order_and_the_emotions_of_the_release(load, shared: Path) -> None:
    corpus = load("meld_text")
    part, classes = corpus["test"], corpus.schema.target("emotion").classes
    with (shared / "data/meld_text/test_sent_emo.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [classes[label] for label in part.targets["emotion"]] == [row["Emotion"] for row in rows]
    assert list(part.columns["utterance"]) == [row["Utterance"] for row in rows]
    turns = [int(i.rsplit("-", 1)[1]) for i in part.ids]
    assert all(a < b for (a, b), (g, h) in zip(pairwise(turns), pairwise(part.groups), strict=True) if g == h)


def test_the_commonest_emotion_of_meld_is_neutral(load) -> None:
    labels = np.concatenate([load("meld_text")[part].targets["emotion"] for part in PARTS])
    assert float((labels == 0).mean()) == pytest.approx(0.47, abs=5e-3)


def test_meld_needs_a_turn_of_context(load) -> None:
    with pytest.raises(OptionError, match="turns"):
        load("meld_text?turns=0")
