"""Contrastive losses against closed forms, a slow twin, and their behaviour at the edges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polymodal.nn.contrast import info_nce, supervised_contrastive, weighted_contrastive


@pytest.mark.parametrize("batch", [1, 2, 8, 33])
def test_info_nce_of_equal_vectors_is_the_log_of_the_batch(batch: int) -> None:
    x = torch.ones(batch, 5)
    assert info_nce(x, 3 * x, 0.1).item() == pytest.approx(math.log(batch), abs=1e-6)


@pytest.mark.parametrize(("temperature", "stated"), [(0.5, 0.6665), (0.1, 3.18e-4)])
def test_info_nce_of_aligned_orthonormal_pairs(temperature: float, stated: float) -> None:
    x = torch.eye(8)
    loss = info_nce(x, x, temperature).item()
    assert loss == pytest.approx(math.log(1 + 7 * math.exp(-1 / temperature)), abs=1e-6)
    assert loss == pytest.approx(stated, rel=2e-3)


def test_info_nce_agrees_with_a_loop() -> None:
    a, b = torch.randn(6, 4), torch.randn(6, 4)
    cosine = torch.nn.functional.cosine_similarity
    terms = [-torch.log_softmax(torch.stack([cosine(a[i], b[j], 0) for j in range(6)]) / 0.3, 0)[i] for i in range(6)]
    torch.testing.assert_close(info_nce(a, b, 0.3), torch.stack(terms).mean())


def test_info_nce_leaves_masked_rows_out_as_queries_and_as_negatives() -> None:
    a, b = torch.randn(7, 4), torch.randn(7, 4)
    mask = torch.tensor([1, 0, 1, 1, 0, 1, 0]).bool()
    torch.testing.assert_close(info_nce(a, b, 0.2, mask), info_nce(a[mask], b[mask], 0.2))


def test_info_nce_treats_leading_dimensions_as_separate_batches() -> None:
    a, b = torch.randn(3, 5, 4), torch.randn(3, 5, 4)
    each = torch.stack([info_nce(a[i], b[i], 0.2) for i in range(3)])
    torch.testing.assert_close(info_nce(a, b, 0.2), each.mean())


def test_supervised_contrast_of_two_orthogonal_classes() -> None:
    vectors = torch.eye(2).repeat_interleave(4, 0)
    loss = supervised_contrastive(vectors, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), 0.5).item()
    assert loss == pytest.approx(math.log(3 + 4 * math.exp(-2)), abs=1e-5)
    assert loss == pytest.approx(1.2645, abs=1e-4)


def test_supervised_contrast_agrees_with_a_loop() -> None:
    vectors, classes = torch.randn(9, 4), torch.tensor([0, 1, 2, 0, 1, 0, 5, 2, 2])
    torch.testing.assert_close(supervised_contrastive(vectors, classes, 0.3), _slow(vectors, classes, 0.3))


def test_a_class_of_one_is_no_anchor_but_still_a_negative() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    # Each of the two anchors sees its mate and the stranger at the same distance: ln 2.
    assert supervised_contrastive(vectors, torch.tensor([0, 0, 7]), 0.1).item() == pytest.approx(math.log(2), abs=1e-6)


def test_supervised_contrast_leaves_masked_vectors_out() -> None:
    vectors, classes = torch.randn(8, 4), torch.tensor([0, 0, 1, 1, 0, 1, 2, 2])
    mask = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0]).bool()
    masked = supervised_contrastive(vectors, classes, 0.3, mask)
    torch.testing.assert_close(masked, supervised_contrastive(vectors[mask], classes[mask], 0.3))


@pytest.mark.parametrize("count", [1, 4])
def test_without_positives_or_rows_losses_are_zero_with_zero_gradients(count: int) -> None:
    x = torch.zeros(count, 3, requires_grad=True)
    nobody = torch.zeros(count, dtype=torch.bool)
    loss = supervised_contrastive(x, torch.arange(count), 0.1) + info_nce(x, x, 0.1, nobody)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert x.grad is not None
    assert not x.grad.any()


def test_bfloat16_vectors_lose_nothing_under_autocast() -> None:
    x = torch.randn(8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = info_nce(x, x, 0.05)
    torch.testing.assert_close(mixed, info_nce(x, x, 0.05))


def _slow(vectors: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Equation 2 of Khosla et al., term by term."""
    unit = torch.nn.functional.normalize(vectors, dim=1)
    anchors = []
    for q in range(len(unit)):
        rest = [r for r in range(len(unit)) if r != q]
        total = sum((unit[q] @ unit[r] / temperature).exp() for r in rest)
        terms = [-((unit[q] @ unit[p] / temperature).exp() / total).log() for p in rest if classes[p] == classes[q]]
        if terms:
            anchors.append(torch.stack(terms).mean())
    return torch.stack(anchors).mean()


def test_a_weighted_contrast_agrees_with_a_loop_and_counts_rows_by_shares() -> None:
    vectors, alike = torch.randn(6, 4), torch.rand(6, 6)
    mask = torch.tensor([1, 1, 0, 1, 1, 1]).bool()
    unit = torch.nn.functional.normalize(vectors, dim=1)
    losses = []
    for i in mask.nonzero()[:, 0].tolist():
        others = [j for j in mask.nonzero()[:, 0].tolist() if j != i]
        log_shares = torch.log_softmax(torch.stack([unit[i] @ unit[j] for j in others]) / 0.3, 0)
        losses.append(-(alike[i, others] * log_shares).sum() / alike[i, others].sum())
    wanted = torch.stack(losses).mean()
    torch.testing.assert_close(weighted_contrastive(vectors, alike, 0.3, mask), wanted)
    torch.testing.assert_close(weighted_contrastive(vectors, 7 * alike, 0.3, mask), wanted)
    assert weighted_contrastive(vectors, torch.zeros(6, 6), 0.3).item() == pytest.approx(0, abs=1e-6)
