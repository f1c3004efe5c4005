"""Ratings of single raters: how they become labels, and that nothing on the road of a corpus loses them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.folds import Dealt, deal
from polymodal.data.ratings import agreement_rows, joined
from polymodal.data.sources import load_corpus
from polymodal.data.split import Split, build_split
from polymodal.data.store import write_store

SCHEMA = Schema(
    (Modality("audio", "vector", 2),),
    (Target("valence", "regression", (-3.0, 3.0)), Target("mood", "classification", classes=("sad", "calm", "glad"))),
)
NOT = np.nan


def part(prefix: str, rows: int = 12, **changes: Any) -> Split:
    rng = np.random.default_rng(len(prefix) + rows)
    heard = rng.integers(-3, 4, (rows, 3)).astype(float)
    heard[1, 0] = NOT
    votes = rng.integers(0, 3, (rows, 3)).astype(float)
    votes[0] = [0, 1, 1]
    votes[1] = [0, NOT, 2]  # no majority
    said = {
        "valence": dict(zip(("anna", "ben", "cleo"), heard.T, strict=True)),
        "mood": dict(zip(("anna", "ben", "cleo"), votes.T, strict=True)),
    }
    ids = [f"{prefix}{i}" for i in range(rows)]
    columns = {"audio": list(rng.standard_normal((rows, 2)))}
    groups = [f"{prefix}-{i // 3}" for i in range(rows)]
    return build_split(SCHEMA, ids, columns, **{"targets": {}, "ratings": said, "groups": groups, **changes})


def corpus(**changes: Any) -> Corpus:
    splits = {"train": part("a", 24, **changes), "valid": part("b", **changes), "test": part("c", **changes)}
    return Corpus("rated", "made:here", SCHEMA, splits)


def same(one: Split, other: Split) -> None:
    assert {t: list(by) for t, by in one.ratings.items()} == {t: list(by) for t, by in other.ratings.items()}
    for target, by_rater in one.ratings.items():
        for rater, values in by_rater.items():
            np.testing.assert_array_equal(values, other.ratings[target][rater])
            assert values.dtype == other.ratings[target][rater].dtype == np.float32


def test_labels_are_the_mean_and_the_majority_unless_they_are_given() -> None:
    made = part("a")
    by_rater = np.stack(list(made.ratings["valence"].values()), axis=1)
    np.testing.assert_allclose(made.targets["valence"], np.nanmean(by_rater, axis=1), rtol=1e-6)
    assert made.targets["mood"][:2].tolist() == [1, -1]
    assert np.isnan(made.ratings["mood"]["ben"][1])
    given = part("a", targets={"valence": np.zeros(12)})
    assert not given.targets["valence"].any()
    assert given.targets["mood"].tolist() == made.targets["mood"].tolist()


def test_rows_and_joints_keep_ratings() -> None:
    made = part("a")
    for chosen in (made.select([3, 1]), made.view([3, 1])):
        np.testing.assert_array_equal(chosen.ratings["valence"]["anna"], made.ratings["valence"]["anna"][[3, 1]])
    same(Split.joined([made.select(range(5)), made.select(range(5, 12))]), made)


def test_a_rater_whom_one_part_does_not_know_rated_nothing_there() -> None:
    one, nobody = {"valence": {"anna": np.ones(2, np.float32)}}, {}
    two = {"valence": {"ben": np.zeros(1, np.float32)}, "mood": {"ben": np.zeros(1, np.float32)}}
    found = joined([(one, 2), (nobody, 1), (two, 1)])
    np.testing.assert_array_equal(found["valence"]["anna"], [1, 1, NOT, NOT])
    np.testing.assert_array_equal(found["valence"]["ben"], [NOT, NOT, NOT, 0])
    np.testing.assert_array_equal(found["mood"]["ben"], [NOT, NOT, NOT, 0])
    assert found["valence"]["ben"].dtype == np.float32


def test_a_store_keeps_ratings_and_the_hash(tmp_path: Path) -> None:
    made = corpus().check()
    again = load_corpus(write_store(made, tmp_path / "store"))
    assert again.hash == made.hash == replace(again, stored_hash=None).hash
    for name in made.splits:
        same(again[name], made[name])
    limited = load_corpus(f"{tmp_path / 'store'}?limit=2")
    assert len(limited["test"].ratings["mood"]["ben"]) == 2


def test_the_hash_knows_ratings_and_without_any_it_is_what_it_was() -> None:
    labels = {"valence": np.linspace(-3, 3, 5), "mood": np.arange(5) % 3}
    plain = build_split(SCHEMA, [f"s{i}" for i in range(5)], {"audio": np.arange(10.0).reshape(5, 2)}, labels)
    assert Corpus("plain", "made:here", SCHEMA, {"test": plain}).hash == "4dd8e8aee9b48ecf"
    made = corpus()
    bare = replace(made, splits={n: replace(s, ratings={}) for n, s in made.splits.items()})
    moved = made["test"].ratings["valence"]["ben"].copy()
    moved[0] += 1
    test = made["test"]
    changed = {**test.ratings, "valence": {**test.ratings["valence"], "ben": moved}}
    others = [bare, replace(made, splits={**made.splits, "test": replace(test, ratings=changed)})]
    assert len({made.hash, *(c.hash for c in others)}) == 3


def test_folds_mixes_and_retrievals_treat_ratings_as_their_labels(tmp_path: Path) -> None:
    made = corpus().check()
    dealt = Dealt(made, deal(made, 3))
    fold = dealt.corpus(0)["test"]
    rows = [dealt.whole["test"].ids.index(i) for i in fold.ids]
    same(fold, dealt.whole["test"].select(rows))
    write_store(made, tmp_path / "one")
    write_store(made, tmp_path / "two")
    both = load_corpus(f"mix:{tmp_path / 'one'},{tmp_path / 'two'}?unlabelled=two")
    names = [f"{d}/{r}" for d in ("one", "two") for r in ("anna", "ben", "cleo")]
    assert list(both["train"].ratings["mood"]) == names[:3]  # hidden with the labels of two
    assert np.isnan(both["train"].ratings["mood"]["one/anna"][24:]).all()
    assert list(both["test_two"].ratings["mood"]) == names[3:]
    assert load_corpus(f"{tmp_path / 'one'}?match=sample")["test"].ratings == {}


def test_a_corpus_made_by_hand_is_checked() -> None:
    made = corpus()
    test = made["test"]

    def with_ratings(ratings: Any) -> Corpus:
        return replace(made, splits={**made.splits, "test": replace(test, ratings=ratings)})

    wide = with_ratings({"mood": {"anna": np.full(12, -1)}}).check()["test"].ratings["mood"]["anna"]
    assert np.isnan(wide).all()
    for ratings, message in (
        ({"mood": {"anna": np.full(12, 7.0)}}, "rater 'anna': label 'mood' of sample 'c0'"),
        ({"mood": {"anna": np.zeros(3)}}, "rater 'anna': label 'mood': there are 3 for 12 samples"),
        ({"moods": {"anna": np.zeros(12)}}, "no target 'moods'; did you mean 'mood'"),
        ({"mood": {}}, "target 'mood' has ratings of nobody"),
    ):
        with pytest.raises(DataError, match=message):
            with_ratings(ratings).check()
    assert made.check() is made


def test_what_cannot_be_rated_is_refused() -> None:
    schema = Schema((Modality("audio", "vector", 2),), (Target("tags", "multilabel", classes=("a", "b")),))
    columns, labels = {"audio": np.zeros((2, 2))}, {"tags": np.zeros((2, 2))}
    with pytest.raises(DataError, match="ratings are kept of numbers and of single classes"):
        build_split(schema, ["x", "y"], columns, labels, ratings={"tags": {"anna": np.zeros((2, 2))}})
    with pytest.raises(DataError, match="target 'tags' has neither labels nor ratings"):
        build_split(schema, ["x", "y"], columns, {})


def test_rows_of_agreement_are_plain_data() -> None:
    made = corpus()
    rows = agreement_rows(SCHEMA, made["train"])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert {(r["target"], r["what"]) for r in rows} == {
        (t, w) for t in ("valence", "mood") for w in ("agreement", "one rater")
    }
    main = [r for r in rows if r["main"]]
    assert [(r["target"], r["metric"], r["raters"], r["groups"]) for r in main] == [
        ("valence", "mae", 3, 8),
        ("mood", "f1", 3, 8),
    ]
    bare = replace(made["train"], ratings={})
    assert agreement_rows(SCHEMA, bare) == []
