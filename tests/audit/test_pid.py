"""Decompositions of information found again where they were planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from polymodal.audit._codes import Codes, coded, kinds_of
from polymodal.audit.base import Judge, Said
from polymodal.audit.pid import Pid, _lines
from polymodal.core import Batch, DataError, Modality, Schema, Target
from polymodal.data.loader import Loader
from polymodal.data.split import build_split
from polymodal.score.decomposition import decompose
from polymodal.score.information import entropy, joint

Bits = tuple[np.ndarray, np.ndarray, np.ndarray]
pytestmark = pytest.mark.filterwarnings("error")

TOLERANCE = 0.05
"""Bits."""


def _bits(kind: str, count: int, rng: np.random.Generator) -> Bits:
    a, b, noise = rng.integers(2, size=count), rng.integers(2, size=count), rng.random((2, count))
    return {
        "redundant": (a, a, a),
        "unique": (a, b, a),
        "synergy": (a, b, a ^ b),
        "and": (a, b, a & b),
        "noisy": (a ^ (noise[0] < 0.1), a ^ (noise[1] < 0.2), a),
    }[kind]


def _seen(bits: np.ndarray, channel: int, rng: np.random.Generator) -> np.ndarray:
    """Six features of each bit, under noise."""
    means = np.random.default_rng(channel).normal(size=(2, 6))
    return means[bits] + 0.3 * rng.normal(size=(len(bits), 6))


def _truth(kind: str) -> np.ndarray:
    found = decompose(joint(_bits(kind, 200_000, np.random.default_rng(99)), (2, 2, 2)))
    return np.array([found.redundant, found.first, found.second, found.synergy])


def test_a_part_that_no_group_moves_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    seen = np.where(rng.random(400) < 0.2, 1 - labels, labels)
    codes = Codes(seen, np.zeros(400, int), seen, labels, 2)
    lines = {line.what: line for line in _lines(codes, "a", "b", "labels", np.arange(400) % 20)}
    nothing, alone = lines["only b"], lines["only a"]
    assert nothing.value == pytest.approx(0, abs=1e-6)
    assert nothing.low is None, "that b says nothing here does not show that it never does"
    assert alone.low is not None
    assert alone.low < alone.value < (alone.high or 0)


def test_fewer_kinds_than_classes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, batches = _asked()
    assert len(Pid().run(judge, batches).notes) == 1
    monkeypatch.setattr("polymodal.audit._codes.CODES", 1)
    monkeypatch.setattr("polymodal.audit._codes.EACH", 240)
    assert "240 samples carry 1 kinds, fewer than the 2 classes" in Pid().run(judge, batches).notes[1]


def test_kinds_follow_classes_as_far_as_samples_carry_them() -> None:
    assert [kinds_of(*of) for of in ((2, 700), (7, 653), (10, 500), (10, 300), (10, 120))] == [6, 7, 10, 7, 6]


@pytest.mark.parametrize("classes", [7, 10])
def test_many_classes_are_shared_as_they_were_planted(classes: int) -> None:
    """One source names the class, the other the same, or another number; nothing is said only together."""
    rng, count = np.random.default_rng(classes), 500
    means = 3 * np.random.default_rng(0).normal(size=(2, classes, 8))
    a, other = rng.integers(classes, size=(2, count))
    whole, tolerance = entropy(np.bincount(a) / count), {7: 0.05, 10: 0.1}[classes]
    for b, wanted in ((a, (whole, 0, 0, 0)), (other, (0, whole, 0, 0))):
        seen = [m[x] + 0.3 * rng.normal(size=(count, 8)) for m, x in zip(means, (a, b), strict=True)]
        assert coded(seen[0], seen[1], a).parts() == pytest.approx(wanted, abs=tolerance)


def test_intervals_of_first_order_are_those_of_the_program_solved_anew() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=600)
    said = [np.where(rng.random(600) < 0.5, labels, rng.integers(3, size=600)) for _ in range(3)]
    codes, member = Codes(*said, labels, 3), np.arange(600) % 20
    least = codes.least()
    kept = [(member != block).astype(float) for block in range(20)]
    anew, near = (np.stack([codes.parts(k, least=given) for k in kept]).std(0) for given in (None, least))
    np.testing.assert_allclose(near, anew, rtol=0.1, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redundant", "unique", "synergy", "and", "noisy"])
def test_the_estimate_is_within_a_twentieth_of_a_bit_of_what_was_planted(kind: str) -> None:
    rng = np.random.default_rng(1)
    first, second, labels = _bits(kind, 700, rng)
    found = coded(_seen(first, 1, rng), _seen(second, 2, rng), labels).parts()
    assert found == pytest.approx(_truth(kind), abs=TOLERANCE)
    # A label that goes with nothing must not pass for what was planted.
    shuffled = coded(_seen(first, 1, rng), _seen(second, 2, rng), rng.permutation(labels)).parts()
    assert np.abs(shuffled).max() < TOLERANCE


@pytest.mark.slow
def test_it_agrees_with_the_exact_program_on_clusters_of_a_mixture() -> None:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(3)
    labels, other = rng.integers(2, size=1500), rng.integers(2, size=1500)
    first = rng.normal(size=(1500, 4)) + 1.2 * labels[:, None]
    second = rng.normal(size=(1500, 4)) + 0.8 * (labels ^ (other & (rng.random(1500) < 0.3)))[:, None]
    clusters = [KMeans(4, n_init=3, random_state=0).fit_predict(x) for x in (first, second)]
    exact = decompose(joint((*clusters, labels), (4, 4, 2)))
    wanted = [exact.redundant, exact.first, exact.second, exact.synergy]
    assert coded(first, second, labels).parts() == pytest.approx(wanted, abs=0.1)


class _Echo:
    """Says what the first modality shows."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def __call__(self, batch: Batch) -> Said:
        return {"y": torch.nn.functional.one_hot((batch["a"].tensor[:, 0] > 0.5).long(), 2).double()}


def _asked(
    classes: bool = True, names: tuple[str, ...] = ("a", "b"), count: int = 240
) -> tuple[Judge, Callable[[], Iterator[Batch]]]:
    rng = np.random.default_rng(2)
    first, second, labels = _bits("synergy", count, rng)
    columns = {
        "a": first[:, None] + 0.1 * rng.normal(size=(count, 2)),
        "b": second[:, None] + 0.1 * rng.normal(size=(count, 2)),
    }
    target = Target("y", "classification", classes=("no", "yes")) if classes else Target("y", "regression", (-1, 1))
    schema = Schema(tuple(Modality(n, "vector", 2) for n in names), (target,))
    split = build_split(
        schema,
        [f"s{i}" for i in range(count)],
        {n: list(columns[n]) for n in names},
        {"y": labels if classes else 2.0 * labels - 1},
        [f"g{i % 10}" for i in range(count)],
    )
    return _Echo(schema), Loader(split, schema, 64).epoch


def test_labels_hold_synergy_and_answers_do_not() -> None:
    judge, batches = _asked()
    found = Pid().run(judge, batches)
    lines = {(line.part, line.what): line for line in found.evidence}
    labels, answers = "a and b, in the labels", "a and b, in the answers of the model"
    assert lines[labels, "synergy"].value > 0.8
    assert lines[labels, "synergy"].low is not None
    assert lines[labels, "synergy"].low < lines[labels, "synergy"].value < (lines[labels, "synergy"].high or 0)
    assert lines[answers, "only a"].value > 0.8
    assert abs(lines[answers, "synergy"].value) < 0.1
    assert lines[labels, "synergy, labels shuffled"].value < 0.1
    bounds = "a and b, synergy if no labelled sample had both"
    assert lines[bounds, "at least"].value <= lines[labels, "synergy"].value <= lines[bounds, "at most"].value + 0.05
    assert "the two only together" in found.found[0]
    assert found.asked
    assert len(found.limits) >= 2


@pytest.mark.slow
def test_a_number_is_low_or_high() -> None:
    judge, batches = _asked(classes=False)
    judge = _Number(judge.schema)
    found = Pid().run(judge, batches)
    assert {line.what: line.value for line in found.evidence if "labels" in line.part}["synergy"] > 0.8


class _Number(_Echo):
    def __call__(self, batch: Batch) -> Said:
        return {"y": batch["a"].tensor[:, 0].double() - 0.5}


def test_what_cannot_be_asked_is_one_sentence() -> None:
    with pytest.raises(DataError, match="only a: two modalities are needed"):
        Pid().run(*_asked(names=("a",)))
    with pytest.raises(DataError, match="too few"):
        Pid().run(*_asked(count=40))
    judge, _ = _asked()
    several = Schema(judge.schema.modalities, (Target("y", "multilabel", classes=("no", "yes")),))
    loaded = Loader(
        build_split(
            several,
            [str(i) for i in range(120)],
            {n: list(np.zeros((120, 2))) for n in "ab"},
            {"y": np.ones((120, 2))},
        ),
        several,
        64,
    )
    with pytest.raises(DataError, match="one class or one number per sample"):
        Pid().run(_Echo(several), loaded.epoch)
