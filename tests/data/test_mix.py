"""Several corpora as the domains of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polymodal.core import DataError, Modality, OptionError, PolymodalError, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.mix import members_of, mix
from polymodal.data.sources import load_corpus
from polymodal.data.split import build_split
from polymodal.data.store import read_store, verify, write_store

SCORE = Target("score", "regression", (-1.0, 1.0))
AUDIO, TEXT = Modality("audio", "sequence", 2), Modality("text", "text")
SIZES = {"train": 12, "valid": 6, "test": 4}


def corpus(name: str, *modalities: Modality, target: Target = SCORE, mean: float = 0.0) -> Corpus:
    rng = np.random.default_rng(len(name))
    schema = Schema(modalities, (target,))
    splits = {}
    for split, size in SIZES.items():
        columns = {
            m.name: ["word"] * size if m.kind == "text" else [rng.normal(mean, 2, (3, m.width)) for _ in range(size)]
            for m in modalities
        }
        ids = [f"{split}{i}" for i in range(size)]
        splits[split] = build_split(schema, ids, columns, {target.name: rng.uniform(-1, 1, size)}, ids)
    return Corpus(name, name, schema, splits)


MEMBERS = {"a": corpus("a", AUDIO, TEXT), "b": corpus("b", AUDIO, mean=50.0), "cc": corpus("cc", AUDIO, TEXT)}


def mixed(place: str = "a,b,cc", **options: object) -> Corpus:
    return mix(place, MEMBERS.__getitem__, **options)  # type: ignore[arg-type]


def one_word(domains: list[str] | None) -> object:
    schema = Schema((TEXT,), (SCORE,), ("x",))
    return build_split(schema, ["1"], {"text": ["word"]}, {"score": [0.0]}, domains=domains)


def test_every_sample_knows_its_domain_and_nothing_is_lost() -> None:
    whole = mixed().check()
    assert whole.schema.domains == ("a", "b", "cc")
    assert {n: len(s) for n, s in whole.splits.items()} == {
        "train": 36,
        "valid": 18,
        "test_a": 4,
        "test_b": 4,
        "test_cc": 4,
    }
    train = whole["train"]
    assert train.domains is not None
    for domain, sample, group in zip(train.domains, train.ids, train.groups, strict=True):
        name = whole.schema.domains[domain]
        assert sample.startswith(f"{name}/")
        assert group.startswith(f"{name}/")
    np.testing.assert_array_equal(train.columns["audio"][12], MEMBERS["b"]["train"].columns["audio"][0])


def test_a_modality_that_a_source_lacks_is_absent_there() -> None:
    train = mixed()["train"]
    assert train.present["text"].tolist() == [True] * 12 + [False] * 12 + [True] * 12
    assert train.columns["text"][12] == ""


def test_labels_of_the_unlabelled_are_in_no_training_and_choose_nothing() -> None:
    whole = mixed(unlabelled=("b",), test=("b",))
    assert np.isnan(whole["train"].targets["score"][12:24]).all()
    assert np.isfinite(whole["train"].targets["score"][:12]).all()
    assert not any(i.startswith("b/") for i in whole["valid"].ids)
    assert list(whole.test_splits) == ["test"]
    np.testing.assert_array_equal(whole["test"].targets["score"], MEMBERS["b"]["test"].targets["score"])


def test_an_unseen_domain_is_tested_only() -> None:
    whole = mixed(unseen=("b",), test=("b",))
    number = whole.schema.domains.index("b")
    for part in ("train", "valid"):
        assert number not in whole[part].domains
    assert set(whole["test"].domains) == {number}


def test_unified_domains_have_the_same_mean_and_deviation() -> None:
    apart, unified = mixed("a,b"), mixed("a,b", unify=True)
    means = [
        [np.mean(np.concatenate([c["train"].columns["audio"][i] for i in r])) for r in (range(12), range(12, 24))]
        for c in (apart, unified)
    ]
    assert abs(means[0][0] - means[0][1]) > 40
    assert means[1] == pytest.approx([0, 0], abs=1e-5)


def test_hash_and_store_keep_the_domains(tmp_path: Path) -> None:
    whole = mixed("a,cc")
    back = read_store(write_store(whole, tmp_path / "mix"))
    assert back.schema.domains == ("a", "cc")
    np.testing.assert_array_equal(back["train"].domains, whole["train"].domains)
    assert mixed("cc,a").hash != whole.hash
    assert back["train"].select([0, 13]).domains.tolist() == [0, 1]  # type: ignore[union-attr]


def test_a_source_in_parentheses_keeps_its_options_and_its_name() -> None:
    assert members_of("lab=(synthetic:talk?n=9&seed=2),x/b.pkl") == {"lab": "synthetic:talk?n=9&seed=2", "b": "x/b.pkl"}
    whole = load_corpus("mix:one=(synthetic:vectors?n=20),two=(synthetic:vectors?n=20&seed=5)?test=two&limit=7")
    assert whole.schema.domains == ("one", "two")
    assert len(whole["train"]) == 7


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: mixed("a"), "at least two"),
        (lambda: mixed("a,a"), "two sources are called 'a'"),
        (lambda: mixed(unlabelled=("d",)), "no domain 'd'.*available: a, b, cc"),
        (lambda: mixed("a,b", unlabelled=("a", "b")), "every domain is unlabelled or unseen"),
        (lambda: mixed("a,b", unseen=("a",), unlabelled=("b",)), "every domain is unlabelled or unseen"),
        (lambda: mix("a,w", {**MEMBERS, "w": corpus("w", Modality("audio", "sequence", 5))}.__getitem__),
         "audio is a sequence of width 2 in a and a sequence of width 5 in w"),
        (lambda: mix("a,t", {**MEMBERS, "t": corpus("t", AUDIO, target=Target("age", "regression"))}.__getitem__),
         "a predicts score .* t age .*same targets"),
        (lambda: mix("a,r", {**MEMBERS, "r": MEMBERS["b"].for_retrieval()}.__getitem__),
         "r asks which .* behind the mix"),
        (lambda: one_word(["y"]), "sample '1' has the unknown domain 'y'"),
        (lambda: one_word(None), "0 domains for 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_one_sentence(make: object, named: str) -> None:
    with pytest.raises((DataError, OptionError), match=named):
        make()  # type: ignore[operator]


def test_options_of_a_source_without_parentheses_are_explained() -> None:
    with pytest.raises(OptionError, match=r"no option 'n'; .* stands in parentheses: mix:a=\(SOURCE\?n=\.\.\.\)"):
        load_corpus("mix:a=synthetic:talk?n=60,b=(synthetic:talk?n=60)")


@pytest.mark.parametrize("source", ["mix:a={a},b={b}", "mix:a=({a}?limit=4),b=({b}?targets=score)"])
def test_a_store_that_has_changed_is_found_in_a_mix_as_well(tmp_path: Path, source: str) -> None:
    a, b = (write_store(corpus(name, AUDIO), tmp_path / name) for name in "ab")
    said = source.format(a=a, b=b)
    assert verify(load_corpus(said)).stored_in == (a, b)
    table = next((b / "valid").glob("*.arrow"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    for damaged in (said, f"mix:x=({said}),c={a}?limit=2"):
        with pytest.raises(DataError, match=f"split 'valid' of the store {b} is not what was written"):
            verify(load_corpus(damaged))


def test_balanced_batches_have_as_many_of_each_domain_and_use_every_sample() -> None:
    whole = mixed("a,cc")
    rare = whole["train"].select([*range(12), 12, 13, 14])
    loader = Loader(rare, whole.schema, 6, shuffle=True, seed=3, balance="domain")
    seen: set[str] = set()
    for batch in loader.epoch(0):
        assert batch.domain is not None
        assert batch.domain.bincount().tolist() == [3, 3]
        seen.update(batch.ids)
    assert len([i for i in seen if i.startswith("cc/")]) == 3
    assert [p.tolist() for p in loader.plan(1)] == [p.tolist() for p in loader.plan(1)]
    assert [p.tolist() for p in loader.plan(1)] != [p.tolist() for p in loader.plan(2)]


def test_balanced_classes_come_equally_often() -> None:
    kind = Target("kind", "classification", classes=("x", "y"))
    schema = Schema((AUDIO,), (kind,))
    rows = [np.ones((2, 2))] * 20
    split = build_split(schema, [str(i) for i in range(20)], {"audio": rows}, {"kind": [0] * 16 + [1] * 4})
    for batch in Loader(split, schema, 4, shuffle=True, balance="class").epoch():
        assert batch.targets["kind"].tolist() == [0, 0, 1, 1]


def test_there_must_be_something_to_balance_by() -> None:
    for balance, named in (("domain", "corpus with domains"), ("class", "one class per sample, 'score'")):
        with pytest.raises(PolymodalError, match=named):
            Loader(MEMBERS["a"]["train"], MEMBERS["a"].schema, 4, balance=balance)


def test_groups_travel_as_numbers() -> None:
    split = MEMBERS["a"]["train"]
    groups = np.array(list("xxyyzzxxyyzz"))
    again = build_split(MEMBERS["a"].schema, split.ids, {n: list(c) for n, c in split.columns.items()},
                        split.targets, list(groups))  # fmt: skip
    batch = Loader(again, MEMBERS["a"].schema, 12).batch(np.arange(12))
    assert batch.group is not None
    assert batch.group.tolist() == [0, 0, 1, 1, 2, 2] * 2
