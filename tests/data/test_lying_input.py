"""Values that say something else than they seem to: every door refuses them, or takes them for what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.core.arrays import real_array
from polymodal.core.records import sealed
from polymodal.data import magbert, mmsa
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Ragged
from polymodal.data.sources import load_corpus
from polymodal.data.split import Split, build_split
from polymodal.data.store import write_store
from polymodal.media.folder.manifest import read_manifest
from polymodal.predict.features import Features

Make = Callable[..., dict[str, Any]]
HERE = Path("made.pkl")
CLASSES = Target("emotion", "classification", classes=("joy", "fear", "calm"))
SCHEMA = Schema((Modality("text", "text"), Modality("face", "vector", 2)), (CLASSES,))
COMPLEX = [
    np.array([1 + 2j, 0]),
    [1j, 0.5],
    np.array([np.complex64(1 + 2j), None], dtype=object),
    np.array([np.array(1j), 0.5], dtype=object),
]


def _split(labels: Any = (0, 1), face: Any = ((0.0, 1.0), (1.0, 0.0)), text: Any = ("a", "b"), **more: Any) -> Split:
    return build_split(SCHEMA, ["x", "y"], {"text": text, "face": face}, {"emotion": labels}, **more)


# Numbers


@pytest.mark.parametrize("values", COMPLEX)
def test_complex_numbers_are_no_real_ones(values: Any) -> None:
    with pytest.raises(TypeError):
        real_array(values)


def test_none_dates_and_numbers_beyond_every_float() -> None:
    assert np.isnan(real_array([None, 1.0])).tolist() == [True, False]
    with pytest.raises(ValueError, match="beyond"):
        real_array([10**400])
    with pytest.raises(TypeError):
        real_array(np.array(["2020-01-01"], dtype="M8[D]"))


@pytest.mark.parametrize("labels", COMPLEX)
def test_a_complex_label_is_refused_by_build_split(labels: Any) -> None:
    with pytest.raises(DataError, match=r"label 'emotion'.*real number"):
        _split(labels)


def test_a_class_between_two_is_refused_by_build_split() -> None:
    with pytest.raises(DataError, match=r"label 'emotion' of sample 'x'.*is 1.5, expected a class number from 0 to 2"):
        _split([1.5, 0])
    assert _split([2.0, None]).targets["emotion"].tolist() == [2, -1]


@pytest.mark.parametrize("target", ["regression", "classification"])
def test_labels_of_an_mmsa_pickle(make_mmsa: Make, target: Any) -> None:
    data = make_mmsa()
    data["train"][f"{target}_labels"] = data["train"][f"{target}_labels"] + 0j
    with pytest.raises(DataError, match=r"labels of split 'train'.*real numbers"):
        mmsa.read(data, HERE, target=target)


def test_a_class_between_two_in_an_mmsa_pickle(make_mmsa: Make) -> None:
    data = make_mmsa()
    data["valid"]["classification_labels"][1] = 1.5
    sample = data["valid"]["id"][1]
    with pytest.raises(DataError) as caught:
        mmsa.read(data, HERE, target="classification")
    assert repr(sample) in str(caught.value)
    assert "is 1.5, expected a class number" in str(caught.value)


def test_labels_and_features_of_a_magbert_pickle(make_magbert: Make) -> None:
    data = make_magbert()
    (words, vision, audio), label, segment = data["train"][1]
    data["train"][1] = ((words, vision, audio), label + 1j, segment)
    with pytest.raises(DataError, match=rf"label of sample '{re.escape(segment)}'.*real numbers"):
        magbert.read(data, HERE)
    data["train"][1] = ((words, vision, audio + 1j), label, segment)
    with pytest.raises(DataError, match=r"audio of sample.*real numbers"):
        magbert.read(data, HERE)


@pytest.mark.parametrize("name", ["text", "audio", "vision"])
def test_complex_features_of_an_mmsa_pickle(make_mmsa: Make, name: str) -> None:
    data = make_mmsa()
    data["test"][name] = data["test"][name].astype(np.complex64)
    with pytest.raises(DataError, match=f"{name} of sample .*real numbers"):
        mmsa.read(data, HERE)


@pytest.mark.parametrize("name", ["Labels", "COVAREP"])
def test_complex_numbers_in_csd_files(tmp_path: Path, name: str) -> None:
    for root in ("Labels", "COVAREP"):
        with h5py.File(tmp_path / f"{root}.csd", "w") as file:
            for video in ("a", "b", "c"):
                group = file.create_group(f"{root}/data/{video}")
                group["features"] = np.ones((1, 2)) * (1j if root == name else 1)
                group["intervals"] = np.array([[0.0, 1.0]])
    with pytest.raises(DataError, match=rf"{name}.csd.*holds complex128, expected real numbers or words"):
        load_corpus(str(tmp_path))


@pytest.mark.parametrize("face", [np.array([[1j, 0], [0, 0]]), [["a", "b"], [0, 0]], [[10**400, 0], [0, 0]]])
def test_features_that_are_no_real_numbers_are_refused_by_build_split(face: Any) -> None:
    with pytest.raises(DataError, match=r"sample 'x': face.*real numbers"):
        _split(face=face)


def _made(labels: Any) -> Corpus:
    """A corpus whose splits were made without ``build_split``."""
    rows = len(labels)

    def split(name: str) -> Split:
        face = Ragged.from_rows([np.ones((1, 2), np.float32)] * rows, (2,), np.float32)
        there = {"text": np.ones(rows, bool), "face": np.ones(rows, bool)}
        ids = [f"{name}{i}" for i in range(rows)]
        return Split(ids, {"text": ["a"] * rows, "face": face}, there, {"emotion": np.asarray(labels)})

    return Corpus("made", "made", SCHEMA, {name: split(name) for name in ("train", "valid")})


def test_labels_of_a_corpus_that_a_function_returns() -> None:
    labels = load_corpus(_made([2.0, 0.0, np.nan]))["train"].targets["emotion"]
    assert labels.dtype == np.int64
    assert labels.tolist() == [2, 0, -1]
    for lie in ([1.5, 0.0], [1j, 0j]):
        with pytest.raises(DataError, match="label 'emotion'"):
            load_corpus(_made(lie))
    whole = _made(np.array([2, 0]))
    assert load_corpus(whole) is whole


def test_a_store_whose_numbers_are_said_to_be_classes(tmp_path: Path) -> None:
    scale = Target("emotion", "regression", (0.0, 2.0))
    schema = Schema(SCHEMA.modalities, (scale,))
    columns = {"text": ["a", "b"], "face": np.ones((2, 2))}
    splits = {n: build_split(schema, [f"{n}0", f"{n}1"], columns, {"emotion": [1.5, 2]}) for n in ("train", "valid")}
    place = write_store(Corpus("made", "made", schema, splits), tmp_path / "store")
    about = json.loads((place / "polymodal.json").read_text())
    about["schema"]["targets"] = Schema(SCHEMA.modalities, (CLASSES,)).to_dict()["targets"]
    (place / "polymodal.json").write_text(json.dumps(sealed(about)))
    with pytest.raises(DataError, match=r"label 'emotion'.*is 1.5, expected a class number") as caught:
        load_corpus(str(place))
    assert str(place) in str(caught.value)


# Text

NOTHING = [None, float("nan"), np.float32("nan"), 3.5, pd.NA, pd.NaT, "nan", b"NaN", "", np.array(["nan"])]


@pytest.mark.parametrize("missing", NOTHING, ids=lambda value: f"{type(value).__name__} {value}")
def test_missing_text_is_absent_in_build_split(missing: Any) -> None:
    split = _split(text=[missing, "hello"])
    assert split.present["text"].tolist() == [False, True]
    assert list(split.columns["text"]) == ["", "hello"]


@pytest.mark.parametrize("odd", [["a", "word"], 5, {"a": 1}, True, np.array(["a", "b"]), ()])
def test_what_is_no_text_is_named_by_its_type(odd: Any) -> None:
    with pytest.raises(DataError, match=rf"sample 'x': text is a {type(odd).__name__}, expected text"):
        _split(text=[odd, "hello"])


def test_a_column_of_a_data_frame() -> None:
    frame = pd.DataFrame({"text": ["hello", np.nan], "emotion": [2.0, np.nan], "id": ["x", "y"]})
    split = build_split(
        SCHEMA, frame["id"], {"text": frame["text"], "face": np.ones((2, 2))}, {"emotion": frame["emotion"]}
    )
    assert split.present["text"].tolist() == [True, False]
    assert split.targets["emotion"].tolist() == [2, -1]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("key", ["raw_text", "text"])
def test_missing_text_in_an_mmsa_pickle(make_mmsa: Make, key: str, first: bool) -> None:
    data = make_mmsa()
    for part in data.values():
        texts = part.pop("raw_text").astype(object)
        row = 0 if first else -1
        texts[row] = np.nan
        part[key] = texts
        if key == "text":
            del part["text_bert"]
    corpus = mmsa.read(data, HERE, text="raw").check()
    for split in corpus.splits.values():
        assert not split.present["text"][row]
        assert split.present["text"].sum() == len(split) - 1
        assert "nan" not in list(split.columns["text"])


def test_text_that_is_none_in_an_mmsa_pickle(make_mmsa: Make) -> None:
    data = make_mmsa()
    data["train"]["raw_text"] = [["a", "list"], *data["train"]["raw_text"][1:]]
    with pytest.raises(DataError, match=r"text of sample 'trainv0.*' is a list, expected text"):
        mmsa.read(data, HERE, text="raw")


def test_missing_words_in_a_magbert_pickle(make_magbert: Make) -> None:
    data = make_magbert()
    for row, words in ((1, [None, np.nan]), (2, ["very", np.nan, "nan"])):
        (_, vision, audio), label, segment = data["train"][row]
        data["train"][row] = ((words, vision, audio), label, segment)
    train = magbert.read(data, HERE).check()["train"]
    assert list(train.columns["text"])[1:3] == ["", "very nan"]  # a word of a text is one
    assert train.present["text"].tolist()[:3] == [True, False, True]


def test_missing_text_in_a_table_of_clips(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("clip,text,label\na.wav,nan,joy\nb.wav,,fear\nc.wav,nan bread,joy\n")
    for name in "abc":
        (tmp_path / f"{name}.wav").touch()
    assert [row.text for row in read_manifest(tmp_path).rows] == ["", "", "nan bread"]


def test_rows_to_predict() -> None:
    config, normalizer = {"data": {"encode": {}}}, _made([0, 1]).normalizer
    run: Any = SimpleNamespace(schema=SCHEMA, normalizer=normalizer, config=config, crossed=False)
    features = Features(run)
    rows = [{"text": float("nan"), "face": [0.0, 1.0]}, {"text": "hello", "face": float("nan")}]
    batch = features.batch(rows, ["x", "y"])
    assert batch["text"].present.tolist() == [False, True]
    assert batch["face"].present.tolist() == [True, False]
    with pytest.raises(DataError, match="x: face is no array of real numbers"):
        features.batch([{"face": [1j, 0]}], ["x"])
    with pytest.raises(DataError, match="x: text is a list, expected text"):
        features.batch([{"text": ["a"]}], ["x"])


# Names


@pytest.mark.parametrize("odd", [None, float("nan"), ["a", None]])
def test_an_id_that_is_missing(make_mmsa: Make, odd: Any) -> None:
    data = make_mmsa()
    data["train"]["id"][1] = odd
    with pytest.raises(DataError, match="the id of sample 1 of split 'train' is missing"):
        mmsa.read(data, HERE)


def test_a_segment_and_a_group_that_are_missing(make_magbert: Make) -> None:
    data = make_magbert()
    data["dev"][0] = (*data["dev"][0][:2], None)
    with pytest.raises(DataError, match="the segment of sample 0 of split 'valid' is missing"):
        magbert.read(data, HERE)
    with pytest.raises(DataError, match="the group of sample 1 is missing"):
        _split(groups=["a", float("nan")])
    with pytest.raises(DataError, match="the group of sample 0 is a tuple"):
        _split(groups=[("a",), "b"])  # type: ignore[list-item]
