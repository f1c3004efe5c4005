"""Numerals in six views and synthetic applications."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Ragged


def whole(corpus: Corpus, name: str) -> np.ndarray:
    columns = [split.columns[name] for split in corpus.splits.values()]
    return np.concatenate([c[i] for c in columns if isinstance(c, Ragged) for i in range(len(c))])


def labels(corpus: Corpus) -> np.ndarray:
    return np.concatenate([split.targets[corpus.schema.targets[0].name] for split in corpus.splits.values()])


def test_every_split_has_as_many_of_each_digit(load) -> None:
    counts = [np.bincount(split.targets["digit"]).tolist() for split in load("mfeat_digits").splits.values()]
    assert counts == [[120] * 10, [30] * 10, [50] * 10]


def test_the_six_views_are_those_of_the_release(load) -> None:
    corpus = load("mfeat_digits")
    widths = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}
    assert {m.name: m.width for m in corpus.schema.modalities} == widths
    assert any("same hand" in note for note in corpus.notes), "no groups are known"


@pytest.mark.parametrize("bias", ["gender", "ethnicity"])
def test_no_input_of_faircv_is_a_demographic_column(load, shared: Path, bias: str) -> None:
    corpus = load(f"faircv?bias={bias}")
    with np.load(shared / f"data/faircv_2020/{bias}.npz") as stored:
        people = stored["profiles"][:, :2]
        order = np.concatenate([np.flatnonzero(stored["split"] == part) for part in ("train", "valid", "test")])
    inputs = np.concatenate([whole(corpus, "cv"), whole(corpus, "face")], axis=1)
    assert inputs.shape == (4800, 12 + 20)
    for person in people[order].T:
        assert not any(np.array_equal(column, person) for column in inputs.T)
        cv = [abs(np.corrcoef(column, person)[0, 1]) for column in whole(corpus, "cv").T]
        assert max(cv) < 0.06, "nor does the CV tell it"


def test_faircv_tells_gender_and_ethnicity_beside_the_inputs(load) -> None:
    split, agnostic = load("faircv")["test"], load("faircv?face=agnostic")["test"]
    assert sorted(set(split.about["gender"])) == ["g0", "g1"]
    assert sorted(set(split.about["ethnicity"])) == ["e0", "e1", "e2"]
    assert split.ids == agnostic.ids
    faces = [np.stack([c[i][0] for i in range(len(c))]) for c in (split.columns["face"], agnostic.columns["face"])]
    assert faces[0].shape == faces[1].shape == (720, 20)
    assert np.abs(faces[0] - faces[1]).max() > 0.1


@pytest.mark.parametrize("bias", ["gender", "ethnicity"])
def test_blind_scores_of_faircv_are_alike_in_every_group_and_biased_ones_are_not(load, bias: str) -> None:
    apart = {}
    for label in ("blind", "biased"):
        corpus = load(f"faircv?bias={bias}&label={label}")
        people = np.concatenate([split.about[bias] for split in corpus.splits.values()])
        means = [labels(corpus)[people == group].mean() for group in np.unique(people)]
        apart[label] = max(means) - min(means)
    assert apart["blind"] < 0.02 < 0.1 < apart["biased"]


def test_faircv_has_no_face_in_two_splits(load) -> None:
    corpus = load("faircv")
    faces = [{row.tobytes() for row in np.stack(list(split.columns["face"]))} for split in corpus.splits.values()]
    assert len(set.union(*faces)) == sum(map(len, faces))


def test_the_blind_score_is_what_the_cv_says_and_the_biased_one_is_not(load) -> None:
    unexplained = {}
    for label in ("blind", "biased"):
        corpus = load(f"faircv?label={label}")
        x, y = whole(corpus, "cv"), labels(corpus)
        x = np.column_stack([x, np.ones(len(x))])
        unexplained[label] = float((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]).std() / y.std())
    assert unexplained["blind"] < 0.2 < unexplained["biased"]
