from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError
from polymodal.data import magbert, mmsa
from polymodal.data.ragged import Ragged

Make = Callable[..., dict[str, Any]]
HERE = Path("made.pkl")


def test_examples_become_words_and_sequences_aligned_to_them(make_magbert: Make) -> None:
    data = make_magbert()
    assert magbert.matches(data)
    assert not mmsa.matches(data)
    corpus = magbert.read(data, HERE).check()
    assert list(corpus.splits) == ["train", "valid", "test"]
    assert [(m.name, m.kind, m.width) for m in corpus.schema.modalities] == [
        ("text", "text", 0),
        ("audio", "sequence", 74),
        ("vision", "sequence", 47),
    ]
    (words, vision, audio), label, segment = data["train"][5]
    train = corpus["train"]
    assert train.columns["text"][5] == " ".join(words) == "train5 is good"
    for name, values in (("vision", vision), ("audio", audio)):
        column = train.columns[name]
        assert isinstance(column, Ragged)
        np.testing.assert_allclose(column[5], values.astype(np.float32))
    assert train.targets["sentiment"][5] == label[0, 0]
    assert (train.ids[5], train.groups[5]) == (segment, "trainv2")


def test_plain_numbers_as_labels_and_bytes_as_words_are_read(make_magbert: Make) -> None:
    data = make_magbert()
    data["train"] = [(([w.encode() for w in x[0]], x[1], x[2]), y.item(), s.encode()) for x, y, s in data["train"]]
    corpus = magbert.read(data, HERE)
    assert corpus["train"].columns["text"][2] == "train2 is good"
    assert corpus["train"].targets["sentiment"].tolist() == [-2, -1, 0, 1, 2, 3]


def test_repeated_segments_get_unique_ids_and_a_note(make_magbert: Make) -> None:
    corpus = magbert.read(make_magbert(unique=False), HERE).check()
    assert corpus["valid"].ids[0] == "0#valid-0"
    assert any("segment names repeat" in note for note in corpus.notes)
    assert not magbert.read(make_magbert(), HERE).notes


def test_infinite_values_are_counted(make_magbert: Make) -> None:
    data = make_magbert()
    data["train"][0][0][2][0, :4] = -np.inf
    assert "audio: 4 values in 1 samples were NaN or infinite and became 0" in magbert.read(data, HERE).notes


def test_rows_that_do_not_match_the_words_are_named(make_magbert: Make) -> None:
    data = make_magbert()
    (words, vision, audio), label, segment = data["test"][2]
    data["test"][2] = ((words, vision[:-1], audio), label, segment)
    with pytest.raises(DataError, match=r"'testv1\[2\]' has 2 rows of vision for 3 words"):
        magbert.read(data, HERE)


def test_an_example_of_another_kind_is_named(make_magbert: Make) -> None:
    data = make_magbert()
    data["dev"][1] = ("words", 1.0)
    with pytest.raises(DataError, match="sample 1 of split 'valid'"):
        magbert.read(data, HERE)


def test_two_names_of_one_split_are_refused(make_magbert: Make) -> None:
    data = make_magbert()
    with pytest.raises(DataError, match="split 'valid' is there twice, once as 'validation'"):
        magbert.read(data | {"validation": data["dev"]}, HERE)


def test_only_wanted_modalities_are_read(make_magbert: Make) -> None:
    assert magbert.read(make_magbert(), HERE, modalities=("audio",)).schema.names == ("audio",)
    with pytest.raises(DataError, match="did you mean 'audio'"):
        magbert.read(make_magbert(), HERE, modalities=("audoi",))
