"""Every mistake in a file gives one sentence that names the file, and nothing else happens."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError
from polymodal.data import magbert, mmsa
from polymodal.data.sources import load_corpus

Data = dict[str, Any]


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def _empty_split(data: Data) -> None:
    data["valid"] = {k: v[:0] for k, v in data["valid"].items()}


def _nan_labels(data: Data) -> None:
    data["valid"]["regression_labels"][:] = np.nan


def _infinite_audio(data: Data) -> None:
    for part in data.values():
        part["audio"][:] = -np.inf


def _no_width(data: Data) -> None:
    for part in data.values():
        part["vision"] = part["vision"][:, :, :0]


def _long(data: Data) -> None:
    data["train"]["audio_lengths"][0] = 1000


def _twice(data: Data) -> None:
    data["test"]["id"][1] = data["train"]["id"][0]


def _twice_in_one(data: Data) -> None:
    data["train"]["id"][1] = data["train"]["id"][0]


def _no_split(data: Data) -> None:
    data["train"] = data["train"]["text"]


def _wrong_class(data: Data) -> None:
    for part in data.values():
        del part["regression_labels"]
    data["train"]["classification_labels"][0] = 3


def _wrong_width(data: Data) -> None:
    data["test"]["audio"] = data["test"]["audio"][:, :, :4]


CHANGES: dict[str, tuple[Callable[[Data], None], str]] = {
    "empty split": (_empty_split, "'valid' is empty"),
    "NaN labels": (_nan_labels, "no sample of valid has a label 'sentiment'"),
    "all-infinite audio": (_infinite_audio, "no sample has audio"),
    "modality of width 0": (_no_width, "vision has no features"),
    "length beyond the array": (_long, "'trainv0$_$0': the length of audio is 1000"),
    "id in two splits": (_twice, "'trainv0$_$0' appears in train and in test"),
    "id twice in a split": (_twice_in_one, "'trainv0$_$0' appears twice in train"),
    "a split that is an array": (_no_split, "'train' is a ndarray"),
    "a class that does not exist": (_wrong_class, "'sentiment' of sample 'trainv0$_$0'"),
    "another width in one split": (_wrong_width, "'testv0$_$0': audio has shape"),
}


def _message(source: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        load_corpus(source)
    message = str(caught.value)
    assert str(source) in message
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_wrong_content_is_one_sentence_with_file_and_place(
    make_mmsa: Callable[..., Data], write: Callable[..., Path], name: str
) -> None:
    change, named = CHANGES[name]
    data = make_mmsa()
    change(data)
    assert named in _message(write(data))


def test_the_unchanged_file_is_fine(make_mmsa: Callable[..., Data], write: Callable[..., Path]) -> None:
    assert len(load_corpus(write(make_mmsa()))["train"]) == 12


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in _message(tmp_path / "mosi.pkl")


def test_truncated_pickle(make_mmsa: Callable[..., Data], write: Callable[..., Path]) -> None:
    path = write(make_mmsa())
    path.write_bytes(path.read_bytes()[:-1000])
    assert "ends in the middle" in _message(path)


def test_hostile_pickle(make_mmsa: Callable[..., Data], write: Callable[..., Path], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = write({**make_mmsa(), "extra": _Touch(marker)})
    message = _message(path)
    assert f"{os.system.__module__}.system" in message
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists()  # so the file does carry a payload


@pytest.mark.parametrize("data", [{"a": {"b": 1}, "c": 2}, [1, 2], {}, {"train": [((1, 2), 3)]}, 5])
def test_wrong_layout_lists_known_ones_and_what_was_found(write: Callable[..., Path], data: object) -> None:
    message = _message(write(data))
    assert "MMSA" in message
    assert "MAG-BERT" in message
    assert ("'a'" in message) == (isinstance(data, dict) and "a" in data)


def test_empty_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"")
    assert "is empty" in _message(tmp_path / "a.pkl")
    assert "is a folder" in _message(tmp_path)


ODD: list[Any] = [
    None,
    [],
    {},
    3.5,
    "x",
    (1,),
    np.array(3.0),
    np.zeros(12),
    np.zeros((12, 0)),
    np.zeros((12, 3, 4, 5)),
    [None] * 12,
    ["a"] * 12,
    [b"b"] * 12,
    [[1, 2], [3]],
    [np.zeros((2, 3))] * 12,
    [np.zeros(3)] * 12,
    [float("inf")] * 12,
    {"M": [1] * 12},
]


@pytest.mark.parametrize("layout", ["mosi", "sims"])
def test_any_column_may_hold_anything_without_a_traceback(make_mmsa: Callable[..., Data], layout: str) -> None:
    outcomes = {"read": 0, "refused": 0}
    for key in make_mmsa(layout)["train"]:
        for odd in ODD:
            data = make_mmsa(layout)
            data["train"][key] = odd
            try:
                mmsa.read(data, Path("made.pkl")).check()
                outcomes["read"] += 1
            except DataError as error:
                assert "\n" not in str(error)  # noqa: PT017
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


def test_any_part_of_an_example_may_hold_anything_without_a_traceback(make_magbert: Callable[..., Data]) -> None:
    refused = 0
    for place in range(5):
        for odd in ODD:
            data = make_magbert()
            (words, vision, audio), label, segment = data["train"][2]
            parts = [words, vision, audio, label, segment]
            parts[place] = odd
            data["train"][2] = (tuple(parts[:3]), *parts[3:])
            try:
                magbert.read(data, Path("made.pkl")).check()
            except DataError as error:
                assert "\n" not in str(error)  # noqa: PT017
                refused += 1
    assert refused > 40
