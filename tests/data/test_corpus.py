"""What a corpus repairs, refuses, measures and hashes."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Ragged
from polymodal.data.split import Column, Split, build_split
from polymodal.data.standardise import CLIP, Normalizer
from polymodal.data.statistics import channel_statistics

AUDIO, FACE, TEXT = Modality("audio", "sequence", 2), Modality("face", "vector", 3), Modality("text", "text")
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
SCHEMA = Schema((TEXT, AUDIO, FACE), (SCORE,))


def _split(prefix: str = "a", rows: int = 3, seed: int = 0, **changed: Any) -> Split:
    rng = np.random.default_rng(seed)
    columns = {
        "text": [f"words {i}" for i in range(rows)],
        "audio": [rng.standard_normal((i + 1, 2)) for i in range(rows)],
        "face": [rng.standard_normal(3) for _ in range(rows)],
    }
    labels = {"sentiment": np.linspace(-3, 3, rows)}
    return build_split(SCHEMA, [f"{prefix}{i}" for i in range(rows)], columns | changed, labels)


def _corpus(**splits: Split) -> Corpus:
    return Corpus("made", "made:corpus", SCHEMA, splits or {"train": _split("a"), "valid": _split("b", seed=1)})


def _row(split: Split, name: str, i: int) -> np.ndarray:
    column = split.columns[name]
    assert isinstance(column, Ragged)
    return column[i]


def test_none_no_steps_and_an_empty_string_mean_absent() -> None:
    audio: list[Any] = [np.ones((2, 2)), np.zeros((0, 2)), None]
    split = _split(text=["a", " ", None], audio=audio, face=[np.ones(3), None, np.ones(3)])
    assert split.present["text"].tolist() == [True, False, False]
    assert split.present["audio"].tolist() == [True, False, False]
    assert split.present["face"].tolist() == [True, False, True]
    assert _row(split, "face", 1).shape == (0, 3)


def test_presence_that_is_given_overrides_what_is_there() -> None:
    columns: dict[str, Any] = {"text": ["a", "b"], "audio": [np.ones((2, 2))] * 2, "face": [np.ones(3)] * 2}
    split = build_split(SCHEMA, ["x", "y"], columns, {"sentiment": [0, 1]}, present={"audio": [True, False]})
    assert split.present["audio"].tolist() == [True, False]
    assert _row(split, "audio", 1).shape == (0, 2)


def test_non_finite_features_become_zero_and_a_row_of_nothing_else_absent() -> None:
    odd = np.array([[1.0, -np.inf], [np.nan, 2.0]])
    split = _split(audio=[odd, np.full((2, 2), np.nan), np.ones((1, 2))])
    assert _row(split, "audio", 0).tolist() == [[1, 0], [0, 2]]
    assert split.present["audio"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"audio": [np.ones((2, 2))] * 2}, "audio has 2 rows for 3 ids"),
        ({"audio": [np.ones((2, 2)), np.ones((2, 3)), np.ones((2, 2))]}, r"'a1': audio has shape \(2, 3\)"),
        ({"face": [np.ones(3), np.ones(3), np.ones((2, 3, 1))]}, "'a2': face has shape"),
        ({"face": [np.ones(3), np.ones((1, 3)), np.ones((2, 3))]}, r"'a2': face has shape \(2, 3\), expected \(1, 3\)"),
    ],
)
def test_shapes_that_disagree_name_sample_and_modality(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError, match=named):
        _split(**changed)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"groups": ["g", "g"]}, "there are 2 groups for 3 ids"),
        ({"present": {"audoi": [True] * 3}}, "no modality 'audoi'; did you mean 'audio'"),
        ({"present": {"audio": [True] * 2}}, "present of audio has 2 rows for 3 ids"),
        ({"present": {"audio": True}}, "present of audio has 1 rows for 3 ids"),
        (
            {"columns": {"text": ["a"] * 3, "audoi": [None] * 3, "face": [None] * 3}},
            "no column 'audio'.*did you mean 'audoi'",
        ),
    ],
)
def test_what_is_given_beside_must_fit_the_samples(given: dict[str, Any], named: str) -> None:
    columns = {"text": ["a"] * 3, "audio": [np.ones((2, 2))] * 3, "face": [np.ones(3)] * 3}
    with pytest.raises(DataError, match=named):
        build_split(SCHEMA, ["x", "y", "z"], **{"columns": columns, "targets": {"sentiment": [0, 1, 2]}, **given})


def _labelled(target: Target, labels: Any) -> Corpus:
    part = build_split(Schema((AUDIO,), (target,)), ["a", "b"], {"audio": [np.ones((1, 2))] * 2}, {target.name: labels})
    return Corpus("made", "made:corpus", Schema((AUDIO,), (target,)), {"train": part})


EMOTION = Target("emotion", "classification", classes=("joy", "fear"))
TAGS = Target("tags", "multilabel", classes=("x", "y"))


@pytest.mark.parametrize(
    ("target", "labels", "named"),
    [
        (SCORE, [0.0, 3.5], "label 'sentiment' of sample 'b' .* expected a number from -3 to 3, or NaN where"),
        (SCORE, [0.0, np.inf], "'b' .* is inf, expected a number from -3 to 3"),
        (SCORE, np.array([1 + 1j, 0]), "label 'sentiment': each must be a real number"),
        (SCORE, ["good", "bad"], "each must be a real number"),
        (SCORE, [0.0], "there are 1 for 2 samples"),
        (replace(SCORE, range=None), [0.0, 1e39], "'b' .* is 1e\\+39, expected"),
        (SCORE, [np.nan, np.nan], "no sample of train has a label 'sentiment'"),
        (EMOTION, [2, 0], "'a' .* a class number from 0 to 1"),
        (EMOTION, [1.5, 0], "'a' .* is 1.5, expected a class number"),
        (EMOTION, [-1, None], "no sample of train has a label 'emotion'"),
        (TAGS, [[0, 1], [0, 2]], "'b' .* 0 or 1 for every class"),
        (TAGS, [[0, 1], [0, np.nan]], "'b' .* 0 or 1 for every class"),
        (TAGS, [[0, 1, 1], [0, 1, 0]], r"shape \(2, 3\), expected \(samples, 2\)"),
    ],
)
def test_a_label_that_cannot_be_learned_names_its_sample(target: Target, labels: Any, named: str) -> None:
    with pytest.raises(DataError, match=named):
        _labelled(target, labels).check()


@pytest.mark.parametrize(
    ("target", "labels", "kept"),
    [
        (SCORE, [None, 1.5], [np.nan, 1.5]),
        (EMOTION, [1.0, np.nan], [1, -1]),
        (EMOTION, [-1, 0], [-1, 0]),
        (TAGS, [[np.nan, np.nan], [0, 1]], [[np.nan, np.nan], [0, 1]]),
    ],
)
def test_a_label_that_is_not_known_stays_unknown(target: Target, labels: Any, kept: Any) -> None:
    split = _labelled(target, labels).check()["train"]
    np.testing.assert_array_equal(split.targets[target.name], kept)
    assert split.targets[target.name].dtype == target.spec.dtype


def test_the_ends_of_a_range_are_inside_in_single_precision() -> None:
    target = Target("y", "regression", (0.0, 0.1))
    labels = np.array([0.1, 0.0], np.float32)  # which is above 0.1 in double precision
    np.testing.assert_array_equal(_labelled(target, labels).check()["train"].targets["y"], labels)


def test_an_empty_split_and_ids_used_twice_are_refused() -> None:
    with pytest.raises(DataError, match="split 'test' is empty"):
        _corpus(train=_split(), test=_split(rows=0)).check()
    with pytest.raises(DataError, match="'a0' appears in train and in test"):
        _corpus(train=_split(), test=_split()).check()
    with pytest.raises(DataError, match="'a0' appears twice in train"):
        _corpus(train=_split().select([0, 1, 0])).check()


def test_an_unknown_split_names_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'train'"):
        _ = _corpus()["tran"]
    assert _corpus(train=_split(), test_ood=_split("b")).test_splits == ("test_ood",)


def _columns(corpus: Corpus) -> dict[str, Column]:
    return {name: split.columns["audio"] for name, split in corpus.splits.items()}


def test_the_hash_follows_everything_that_training_sees() -> None:
    base = _corpus()
    train = base["train"]
    louder = _split(audio=[2 * _row(train, "audio", i) for i in range(3)])
    changed = [
        base.with_split("train", louder),
        base.with_split("train", _split(text=["words 0", "words 1", "words two"])),
        base.with_split("train", replace(train, targets={"sentiment": train.targets["sentiment"] * 0.5})),
        base.with_split("train", replace(train, ids=["x", *train.ids[1:]])),
        base.with_split("train", train.select([0, 2, 1])),
        base.with_split("test", _split("c")),
        base.with_modality(replace(AUDIO, normalize=False), _columns(base), ""),
    ]
    hashes = [c.hash for c in changed]
    assert len({base.hash, *hashes}) == len(hashes) + 1
    assert _corpus().hash == base.hash


def test_the_hash_does_not_follow_how_a_column_is_stored() -> None:
    column = _split().columns["audio"]
    assert isinstance(column, Ragged)
    padded = np.concatenate([np.ones((5, 2), np.float32), column.chunks[0][0], np.ones((3, 2), np.float32)])
    moved = Ragged([(padded, column.chunks[0][1] + 5)])
    train = replace(_split(), columns={**_split().columns, "audio": moved})
    assert _corpus().with_split("train", train).hash == _corpus().hash


def test_statistics_are_those_of_all_true_steps() -> None:
    rng = np.random.default_rng(0)
    rows = [1e4 + rng.standard_normal((n, 2)) * [1, 0] for n in (70_000, 1, 0, 3000)]
    mean, std = channel_statistics(Ragged.from_rows(rows, 2))
    flat = np.concatenate(rows).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(mean, flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, [flat[:, 0].std(), 1.0], rtol=1e-4)  # a constant channel is not divided by 0


def test_statistics_of_a_wide_column_are_those_of_its_channels_and_cost_little_memory() -> None:
    values = np.random.default_rng(0).standard_normal((70_000, 150), dtype=np.float32) + np.float32(300)
    tracemalloc.start()
    mean, std = channel_statistics(Ragged([(values, np.array([0, len(values)]))]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 2, "never a copy in double precision"
    np.testing.assert_allclose(mean, values.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(std, values.std(axis=0, dtype=np.float64), rtol=1e-6)


def test_a_modality_that_no_row_has_is_left_as_it_is() -> None:
    mean, std = channel_statistics(Ragged.from_rows([np.zeros((0, 2))] * 3, 2))
    assert (mean.tolist(), std.tolist()) == ([0, 0], [1, 1])


def test_normalising_standardises_and_clips_and_survives_json() -> None:
    normalizer = Normalizer({"audio": np.array([1.0, 0], np.float32)}, {"audio": np.array([2.0, 1e-3], np.float32)})
    again = Normalizer.from_dict(normalizer.to_dict())
    for one in (normalizer, again):
        out = np.zeros((2, 2), np.float32)
        one.apply("audio", np.array([[3.0, 1.0], [-1.0, -1.0]], np.float32), out)
        assert out.tolist() == [[1, CLIP], [-1, -CLIP]]
    out = np.zeros((1, 3), np.float32)
    normalizer.apply("face", np.full((1, 3), 99.0, np.float32), out)
    assert out.tolist() == [[99, 99, 99]]


def test_statistics_come_from_the_training_split_alone() -> None:
    louder = _split("b", audio=[np.full((2, 2), 100.0)] * 3)
    assert _corpus(train=_split(), valid=louder).normalizer.to_dict() == _corpus(train=_split()).normalizer.to_dict()
    assert set(_corpus().normalizer.mean) == {"audio", "face"}


def test_selected_rows_keep_their_labels_and_groups() -> None:
    split = replace(_split(), groups=["g", "h", "g"])
    chosen = split.select([2, 0])
    assert (chosen.ids, chosen.groups) == (["a2", "a0"], ["g", "g"])
    assert chosen.targets["sentiment"].tolist() == [3, -3]
    assert chosen.columns["text"][0] == "words 2"
    assert np.array_equal(_row(chosen, "audio", 0), _row(split, "audio", 2))
