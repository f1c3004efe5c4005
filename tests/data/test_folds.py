"""Dealing a corpus to folds: groups stay whole, parts are even, and what cannot be dealt is told."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from polymodal import Corpus, load_corpus
from polymodal.core import DataError, Modality, OptionError, Schema, Target
from polymodal.data.folds import Dealt, Folds, deal
from polymodal.data.loader import Loader
from polymodal.data.ragged import Ragged
from polymodal.data.split import Split, build_split
from polymodal.data.standardise import standardise

SCHEMA = Schema(
    (Modality("text", "text"), Modality("voice", "sequence", 2)),
    (Target("mood", "classification", classes=("sad", "glad")),),
)


def _part(prefix: str, rows: int, groups: list[str], labels: list[int] | None = None) -> Split:
    rng = np.random.default_rng(len(prefix) + rows)
    columns = {
        "text": [f"{prefix} says {i}" for i in range(rows)],
        "voice": [rng.normal(size=(int(rng.integers(1, 5)), 2)) for _ in range(rows)],
    }
    told = [i % 2 for i in range(rows)] if labels is None else labels
    return build_split(SCHEMA, [f"{prefix}{i}" for i in range(rows)], columns, {"mood": told}, groups)


def _corpus(groups: int = 12, grouped: bool = True) -> Corpus:
    """60 + 20 + 20 samples whose groups, of uneven sizes, run through all three splits; 10 in ``test_ood``."""
    rng = np.random.default_rng(1)
    sizes = {"train": 60, "valid": 20, "test": 20}
    drawn = {n: [f"g{int(g)}" for g in rng.integers(0, groups, s) ** 2 // groups] for n, s in sizes.items()}
    splits = {n: _part(n, s, drawn[n] if grouped else []) for n, s in sizes.items()}
    splits["test_ood"] = _part("ood", 10, ["far"] * 10 if grouped else [])
    return Corpus("c", "made", SCHEMA, splits)


def _names(split: Split) -> set[str]:
    return set(split.groups)


@pytest.mark.parametrize("scheme", [3, 5, "leave-one-group-out"])
def test_no_group_is_on_two_sides_and_every_sample_is_tested_once(scheme: int | str) -> None:
    corpus = _corpus()
    dealt = Dealt(corpus, deal(corpus, scheme))
    tested: list[str] = []
    validated: list[str] = []
    for fold in range(len(dealt.folds)):
        own = dealt.corpus(fold)
        train, valid, test = (_names(own[n]) for n in ("train", "valid", "test"))
        assert train
        assert valid
        assert test
        assert not train & valid
        assert not train & test
        assert not valid & test
        assert sum(len(own[n]) for n in ("train", "valid", "test")) == 100
        tested += own["test"].ids
        validated += own["valid"].ids
        own.check()
    everyone = sorted(i for n in ("train", "valid", "test") for i in corpus[n].ids)
    assert sorted(tested) == everyone
    assert set(Counter(validated).values()) == {dealt.folds.validated}
    assert sorted(set(validated)) == everyone


def test_leaving_one_group_out_validates_on_a_handful_of_others() -> None:
    corpus = _corpus()
    folds = deal(corpus, "leave-one-group-out")
    assert all(len(names) == 1 for names in folds.groups)
    assert folds.validated == round((len(folds) - 1) / 5)
    many = _corpus().with_split("train", _part("many", 60, [f"m{i}" for i in range(60)]))
    assert deal(many, "leave-one-group-out").validated == 5


def test_parts_are_as_even_as_groups_let_them_be() -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in range(40) for _ in range(int(rng.integers(3, 15)))]
    tilt = {f"g{i}": rng.uniform(0.05, 0.6) for i in range(40)}
    labels = [int(rng.random() < tilt[g]) for g in groups]
    corpus = Corpus("c", "made", SCHEMA, {"train": _part("t", len(groups), groups, labels)})
    folds = deal(corpus, 5)
    dealt = Dealt(corpus, folds)
    parts = [dealt.corpus(fold)["test"] for fold in range(5)]
    sizes = np.array([len(p) for p in parts])
    shares = np.array([p.targets["mood"].mean() for p in parts])
    assert np.abs(sizes / sizes.mean() - 1).max() < 0.1
    assert np.abs(shares - np.mean(labels)).max() < 0.05
    drawn = rng.permuted(np.arange(40) % 5)  # groups dealt blindly are less even in both
    blind = np.array([drawn[int(g[1:])] for g in groups])
    assert np.bincount(blind).std() > sizes.std()
    assert np.std([np.mean(np.array(labels)[blind == f]) for f in range(5)]) > shares.std()


def test_the_dealing_is_a_function_of_corpus_and_seed() -> None:
    corpus = _corpus()
    assert deal(corpus, 4) == deal(_corpus(), 4)
    alike = _corpus(grouped=False)  # where all are as large as each other, the seed decides
    assert deal(alike, 4) != deal(alike, 4, seed=1)
    hashes = [Dealt(alike, deal(alike, 4, seed=seed)).hash for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_folds_survive_json() -> None:
    folds = deal(_corpus(), "leave-one-group-out")
    told = json.loads(json.dumps(folds.to_dict()))
    assert (told["scheme"], told["count"], told["by"]) == ("leave-one-group-out", len(folds), "group")
    assert Folds.from_dict(told) == folds


def test_other_test_splits_stay_and_this_is_said() -> None:
    corpus = _corpus()
    dealt = Dealt(corpus, deal(corpus, 3))
    assert dealt.corpus(1)["test_ood"] is corpus["test_ood"]
    assert dealt.whole.test_splits == ("test", "test_ood")
    assert dealt.whole.hash == corpus.hash
    assert len({dealt.corpus(fold).hash for fold in range(3)} | {corpus.hash}) == 4
    assert dealt.notes() == ["test_ood stays as it is, tested by the models of all folds"]


def test_without_groups_samples_are_dealt_and_this_is_said() -> None:
    corpus = _corpus(grouped=False)
    dealt = Dealt(corpus, deal(corpus, 5))
    assert dealt.folds.by == "sample"
    assert np.bincount(dealt.numbers).tolist() == [20] * 5
    assert [int(dealt.corpus(f)["test"].targets["mood"].sum()) for f in range(5)] == [10] * 5
    assert dealt.notes()[0].startswith("no groups (videos, speakers) are known: samples are dealt one by one")


def test_a_fold_has_statistics_of_its_own_training_part() -> None:
    corpus = _corpus()
    dealt = Dealt(corpus, deal(corpus, 3))
    means = []
    for fold in range(3):
        own = dealt.corpus(fold)
        column = own["train"].columns["voice"]
        assert isinstance(column, Ragged)
        rows = np.concatenate([column[i] for i in range(len(column))])
        assert own.normalizer.mean["voice"] == pytest.approx(rows.mean(axis=0), abs=1e-5)
        assert own.normalizer.std["voice"] == pytest.approx(rows.std(axis=0), abs=1e-5)
        means.append(own.normalizer.mean["voice"].tolist())
    assert len({tuple(m) for m in means}) == 3


def _one_group() -> Corpus:
    return Corpus("c", "made", SCHEMA, {"train": _part("t", 30, ["only"] * 30)})


def _hidden() -> Corpus:
    return load_corpus("mix:a=(synthetic:xor?n=20),b=(synthetic:xor?n=20&seed=1)?unlabelled=b")


WRONG = {
    "fewer groups than folds": (_corpus, 50, DataError, "groups for 50 folds, and a group stays whole; use"),
    "one group": (_one_group, 3, DataError, "made has 1 group for 3 folds, .* fit it without folds"),
    "leave one of one out": (_one_group, "leave-one-group-out", DataError, "made has 1 group for 3 folds"),
    "two folds": (_corpus, 2, OptionError, "folds must be a whole number, 3 or more .* or leave-one-group-out, got 2"),
    "no scheme": (_corpus, "loo", OptionError, "folds must be a whole number, 3 or more"),
    "no groups to leave out": (
        lambda: _corpus(grouped=False),
        "leave-one-group-out",
        DataError,
        "knows no groups .* use folds 5",
    ),
    "groups in one split only": (
        lambda: _corpus().with_split("test", _part("u", 20, [])),
        3,
        DataError,
        "has groups in train, valid only; give all of train, valid, test groups",
    ),
    "nothing to pool": (
        lambda: replace(_corpus(), splits={"test_ood": _part("ood", 10, [])}),
        3,
        DataError,
        "has none of the splits train, valid, test",
    ),
    "retrieval": (lambda: _corpus().for_retrieval(), 3, DataError, "retrieves among the samples of a split"),
    "hidden labels": (_hidden, 3, DataError, "hides the labels of b from training, .*leave out unlabelled"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_cannot_be_dealt_is_one_sentence(name: str) -> None:
    make, scheme, error, named = WRONG[name]
    with pytest.raises(error, match=named) as caught:
        deal(make(), scheme)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_sample_that_was_not_dealt_is_refused() -> None:
    corpus = _corpus()
    folds = deal(corpus, 3)
    later = corpus.with_split("test", _part("new", 20, ["newcomer"] * 20))
    with pytest.raises(DataError, match=r"group 'newcomer' is in none of the 3 folds"):
        Dealt(later, folds)


def test_a_class_that_a_part_lacks_and_a_group_that_is_most_of_all_are_warned_of() -> None:
    groups = ["big"] * 30 + ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    labels = [1] * 30 + [0] * 18  # without the big group nobody is glad
    corpus = Corpus("c", "made", SCHEMA, {"train": _part("t", 48, groups, labels)})
    dealt = Dealt(corpus, deal(corpus, 4))
    home = dealt.folds.numbers(corpus["train"])[0]
    without = sorted([home, (home - 1) % 4])  # the fold that tests it, and the one that validates on it
    assert dealt.warnings() == [
        "one group holds 62% of the samples: folds cannot be even",
        f"mood has no glad to train on in fold {', '.join(map(str, without))}",
    ]


def test_a_part_without_any_label_is_refused() -> None:
    groups = ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    corpus = Corpus("c", "made", SCHEMA, {"train": _part("t", 15, groups, [0, 1] * 2 + [0] + [-1] * 10)})
    with pytest.raises(DataError, match=r"no label 'mood' is known in the (train|valid) part of fold \d"):
        Dealt(corpus, deal(corpus, 3)).warnings()


def test_groups_that_splits_shared_are_no_matter_in_folds_but_texts_and_fixed_splits_are() -> None:
    corpus = _corpus()
    assert Dealt(corpus, deal(corpus, 3)).warnings() == []
    ood = replace(corpus["test_ood"], groups=[corpus["train"].groups[0]] * 10)
    found = Dealt(shared := corpus.with_split("test_ood", ood), deal(shared, 3)).warnings()
    assert found == [
        "1 of 1 groups (videos, speakers) of test_ood are also in train: scores on test_ood may be too good"
    ]
    same = replace(corpus["train"], columns={**corpus["train"].columns, "text": ["so what"] * 60})
    found = Dealt(repeated := corpus.with_split("train", same), deal(repeated, 3)).warnings()
    assert found == ["60 of 100 samples have a text that is also in another fold"]


def test_a_view_holds_what_a_selection_holds_and_shares_its_steps() -> None:
    column = Dealt(corpus := _corpus(), deal(corpus, 3)).pooled.columns["voice"]
    assert isinstance(column, Ragged)
    rows = [0, 1, 2, 59, 60, 61, 99, 5, 4]
    view, copy = column.view(rows), column.select(rows)
    assert view.lengths.tolist() == copy.lengths.tolist()
    assert all((view[i] == copy[i]).all() for i in range(len(rows)))
    assert len(view.chunks) == 6  # 59 and 60 are neighbours, but of two splits
    assert np.shares_memory(view[3], column[59])
    assert not np.shares_memory(copy[3], column[59])
    assert len(column.view([])) == 0


@pytest.mark.parametrize("name", ["talk", "faces", "sarcasm"])
def test_a_batch_that_is_standardised_late_is_the_loaders_own(name: str) -> None:
    corpus = load_corpus(f"synthetic:{name}?n=20&absent=0.3")
    rows = np.arange(12)
    wanted = Loader(corpus["train"], corpus.schema, 12, normalizer=corpus.normalizer).batch(rows)
    raw = Loader(corpus["train"], corpus.schema, 12).batch(rows)
    found = standardise(raw, corpus.normalizer)
    for modality in corpus.schema.names:
        if isinstance(wanted[modality].values, torch.Tensor):
            torch.testing.assert_close(found[modality].tensor, wanted[modality].tensor)
        else:
            assert found[modality].texts == wanted[modality].texts
