"""Volumes of vectors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from polymodal.nn.volume import _determinant, gram_determinant, volume


def one(*vectors: list[float]) -> float:
    first, *rest = (torch.tensor(v) for v in vectors)
    return float(volume(first[None], torch.stack(rest)[None]))


def test_orthonormal_vectors_span_one_and_equal_ones_nothing() -> None:
    for count in (2, 3, 4, 5):
        eye = torch.eye(6)[:count].tolist()
        assert one(*eye) == pytest.approx(1, abs=1e-5)
        assert one(*eye[:-1], eye[0]) == pytest.approx(0, abs=2e-4)


def test_two_vectors_span_the_sine_and_three_of_equal_cosine_their_closed_form() -> None:
    assert one([1, 0], [0.5, math.sqrt(0.75)]) == pytest.approx(math.sin(math.pi / 3), abs=1e-5)
    c = 0.5
    gram = torch.full((3, 3), c).fill_diagonal_(1.0)
    assert one(*torch.linalg.cholesky(gram).tolist()) == pytest.approx(math.sqrt((1 - c) ** 2 * (1 + 2 * c)), abs=1e-5)


def test_signs_rotations_and_the_order_of_the_others_change_nothing() -> None:
    a, others = torch.randn(4, 7), torch.randn(5, 3, 7)
    rotation = torch.linalg.qr(torch.randn(7, 7)).Q
    wanted = volume(a, others)
    for same in (
        volume(-a, others),
        volume(a, torch.stack([others[:, 0], -others[:, 1], others[:, 2]], dim=1)),
        volume(a @ rotation, others @ rotation),
        volume(a, others[:, [2, 0, 1]]),
    ):
        torch.testing.assert_close(same, wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(volume(-3 * a, others), 3 * wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_written_out_determinants_are_the_general_one(count: int) -> None:
    a, others = F.normalize(torch.randn(4, 6), dim=1), F.normalize(torch.randn(3, count, 6), dim=2)
    parts = (a.square().sum(1), torch.einsum("nd,mkd->nmk", a, others), others @ others.transpose(1, 2))
    torch.testing.assert_close(_determinant(*parts), gram_determinant(*parts), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_what_is_absent_leaves_the_volume_of_the_rest(count: int) -> None:
    a, others = torch.randn(4, 6), torch.randn(3, count, 6)
    present = torch.ones(3, count, dtype=torch.bool)
    present[:, -1] = False
    torch.testing.assert_close(volume(a, others, present), volume(a, others[:, :-1]), rtol=1e-4, atol=1e-5)


def test_the_gradient_is_finite_where_vectors_agree_entirely() -> None:
    vector = F.normalize(torch.randn(1, 5), dim=1).requires_grad_()
    volume(vector, vector[:, None].expand(1, 3, 5)).sum().backward()
    assert vector.grad is not None
    assert torch.isfinite(vector.grad).all()
