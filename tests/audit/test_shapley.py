"""Shapley values: closed forms, the axioms that define them, a slow twin, every registered method."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from polymodal.audit.base import Panel
from polymodal.audit.shapley import CHUNK, explain
from polymodal.core import Batch, Modality, Output, Schema, Stream, Target
from polymodal.data.loader import Loader
from polymodal.data.sources import load_corpus
from polymodal.methods import build, find_method, method_ids
from polymodal.methods.base import Method, View
from polymodal.score.calibration import tempered

A, B, C = (Modality(n, "vector", 1) for n in "abc")
SCORE = Target("score", "regression")
CLASSES = Target("kind", "classification", classes=("x", "y", "z"))
TAGS = Target("tags", "multilabel", classes=("x", "y"))

Game = Callable[[dict[str, Tensor], dict[str, Tensor]], Tensor]


def _said(target: Target, prediction: Tensor) -> Tensor:
    return target.spec.columns(prediction)[target.spec.averaged]


class Toy(Method):
    """A method that is a formula of values and flags ``(batch,)``."""

    def __init__(self, target: Target, game: Game, modalities: tuple[Modality, ...] = (A, B, C)) -> None:
        super().__init__(Schema(modalities, (target,)))
        self.game, self.sizes = game, []

    def forward(self, batch: Batch) -> Output:
        self.sizes.append(len(batch))
        values = {n: s.tensor[:, 0] for n, s in batch.streams.items()}
        return Output(
            {self.schema.targets[0].name: self.game(values, {n: s.present for n, s in batch.streams.items()})}
        )


def vectors(rows: int = 5, absent: Any = None) -> Batch:
    values = torch.randn(rows, 3, generator=torch.Generator().manual_seed(4))
    there = torch.ones(rows, 3, dtype=torch.bool) if absent is None else ~torch.tensor(absent)
    streams = {
        n: Stream(torch.where(there[:, [i]], values[:, [i]], 0.0), None, there[:, i]) for i, n in enumerate("abc")
    }
    return Batch(streams, {}, [f"s{i}" for i in range(rows)])


def test_terms_of_a_sum_are_the_contributions() -> None:
    batch = vectors()
    found = explain(Panel([Toy(SCORE, lambda v, _: 7 + 2 * v["a"] - v["b"] + 0 * v["c"])]), batch)["score"]
    np.testing.assert_allclose(found.baseline, 7)
    np.testing.assert_allclose(found.contributions["a"][:, 0], 2 * batch["a"].tensor[:, 0], atol=1e-6)
    np.testing.assert_allclose(found.contributions["b"][:, 0], -batch["b"].tensor[:, 0], atol=1e-6)
    assert not found.contributions["c"].any()  # a dummy gets nothing


def test_what_needs_all_of_them_is_shared_alike() -> None:
    found = explain(Panel([Toy(SCORE, lambda _, p: (p["a"] & p["b"] & p["c"]).float())]), vectors())["score"]
    for share in found.contributions.values():
        np.testing.assert_allclose(share, 1 / 3)
    two = explain(Panel([Toy(SCORE, lambda _, p: (p["a"] & p["b"]).float())]), vectors())["score"]
    np.testing.assert_allclose(two.contributions["a"], 1 / 2)
    assert not two.contributions["c"].any()


def test_only_what_is_there_plays() -> None:
    absent = [[False, False, True], [True, False, True], [True, True, True]]
    found = explain(Panel([Toy(SCORE, lambda _, p: sum(p.values(), torch.zeros(())) ** 2)]), vectors(3, absent))[
        "score"
    ]
    np.testing.assert_allclose(found.value[:, 0], [4, 1, 0])
    np.testing.assert_allclose(found.contributions["a"][:, 0], [2, 0, 0])
    np.testing.assert_allclose(found.contributions["b"][:, 0], [2, 1, 0])
    np.testing.assert_allclose(found.contributions["c"][:, 0], 0)


def test_seeds_are_averaged_and_passes_are_bounded() -> None:
    one, two = Toy(SCORE, lambda v, _: v["a"]), Toy(SCORE, lambda v, _: 3 * v["a"])
    batch = vectors(20)
    found = explain(Panel([one, two]), batch)["score"]
    np.testing.assert_allclose(found.value[:, 0], 2 * batch["a"].tensor[:, 0], atol=1e-6)
    assert max(one.sizes) == CHUNK
    assert sum(one.sizes) == sum(two.sizes) == 20 * 2**3


def test_probabilities_are_averaged_then_tempered_by_the_samples_own_temperature() -> None:
    def logits(v: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
        return torch.stack([v["a"], v["b"], v["a"] * v["c"]], dim=1)

    batch, methods = vectors(), [Toy(CLASSES, logits), Toy(CLASSES, lambda v, p: -logits(v, p))]
    known = np.array([0.5, 1.0, 2.0, 3.0, 4.0])
    found = explain(Panel(methods), batch, {"kind": known})["kind"]
    with torch.no_grad():
        mean = sum(_said(CLASSES, m(batch).predictions["kind"]).double() for m in methods) / 2
    np.testing.assert_allclose(found.value, tempered(CLASSES, mean, known), atol=1e-6)
    np.testing.assert_allclose(found.value.sum(1), 1)
    np.testing.assert_allclose(sum(found.contributions.values()), found.value - found.baseline, atol=1e-12)


def slow(methods: list[Method], batch: Batch, target: Target) -> dict[str, np.ndarray]:
    """Contributions as the mean over all orders in which a sample's modalities can come in."""

    def said(row: int, kept: tuple[str, ...]) -> np.ndarray:
        only = torch.arange(len(batch)) == row
        part = batch.without(*(n for n in batch.streams if n not in kept), rows=only)
        with torch.no_grad():
            each = [_said(target, m(part).predictions[target.name].float()).double()[row] for m in methods]
        return torch.stack(each).mean(0).reshape(-1).numpy()

    shares = {n: np.zeros((len(batch), target.spec.width)) for n in batch.streams}
    for row, flags in enumerate(batch.present.tolist()):
        orders = list(permutations([n for n, there in zip(batch.streams, flags, strict=True) if there]))
        for order in orders:
            for i, name in enumerate(order):
                shares[name][row] += (said(row, order[: i + 1]) - said(row, order[:i])) / len(orders)
    return shares


@pytest.mark.parametrize("target", [SCORE, CLASSES, TAGS], ids=lambda t: t.task)
def test_all_orders_give_the_same(target: Target) -> None:
    def game(v: dict[str, Tensor], p: dict[str, Tensor]) -> Tensor:
        parts = [v["a"] * v["b"] + p["c"], v["c"] * 2 + v["a"], v["b"] ** 2 - p["a"].float()]
        return parts[0] if target is SCORE else torch.stack(parts[: target.spec.width], dim=1)

    batch = vectors(6, [[False] * 3, [True, False, False], [False] * 3, [True, True, False], [True] * 3, [False] * 3])
    found = explain(Panel([Toy(target, game)]), batch)[target.name]
    for name, wanted in slow([Toy(target, game)], batch, target).items():
        np.testing.assert_allclose(found.contributions[name], wanted, atol=2e-6)


@pytest.mark.parametrize("method_id", method_ids())
@pytest.mark.parametrize("source", ["synthetic:talk?n=20&absent=0.3", "synthetic:xor?n=20&absent=0.3"])
def test_contributions_of_every_method_sum_to_value_minus_baseline(method_id: str, source: str) -> None:
    corpus = load_corpus(source)
    loader = Loader(corpus["valid"], corpus.schema, 8, normalizer=corpus.normalizer)
    torch.manual_seed(1)
    method_class = find_method(method_id)
    low, high = method_class.modality_counts
    if not low <= len(corpus.schema.names) <= high:
        pytest.skip(f"works with {low} to {high} modalities")
    if not {t.task for t in corpus.schema.joint_targets} <= method_class.tasks:
        pytest.skip(f"learns {', '.join(sorted(method_class.tasks))} only")
    if method_class.needs_domains:
        pytest.skip("needs domains")
    method = build(method_class, corpus.schema, {})
    method.prepare(View(train=loader.epoch, valid=loader.epoch))
    method.eval()
    batch = next(loader.epoch())
    target = corpus.schema.joint_targets[0]
    found = explain(Panel([method]), batch)[target.name]
    assert np.isfinite(found.value).all()
    assert np.isfinite(found.baseline).all()
    np.testing.assert_allclose(sum(found.contributions.values()), found.value - found.baseline, atol=1e-5)
    with torch.no_grad():
        whole = _said(target, method(batch).predictions[target.name]).reshape(len(batch), -1)
    np.testing.assert_allclose(found.value, whole, atol=1e-5)
    np.testing.assert_allclose(found.baseline, np.broadcast_to(found.baseline[:1], found.baseline.shape), atol=1e-5)
    if source.startswith("synthetic:xor"):
        for name, wanted in slow([method], batch, target).items():
            np.testing.assert_allclose(found.contributions[name], wanted, atol=1e-5)
