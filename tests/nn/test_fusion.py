"""Fusion operators: what is absent is never looked at, closed forms, slow twins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from polymodal.nn.fusion import (
    ConcatFusion,
    GraphFusion,
    LowRankFusion,
    ProductFusion,
    SumFusion,
    TensorFusion,
    product_of_experts,
    tensor_product,
)

WIDTH = 6
OPERATORS: dict[str, Callable[[int], nn.Module]] = {
    "concat": lambda count: ConcatFusion([WIDTH] * count, WIDTH),
    "sum": lambda count: SumFusion(),
    "product": lambda count: ProductFusion(),
    "tensor": lambda count: TensorFusion([WIDTH] * count, WIDTH),
    "low-rank": lambda count: LowRankFusion([WIDTH] * count, WIDTH, 3),
    "graph": lambda count: GraphFusion(count, WIDTH),
}


def vectors(count: int, rows: int = 5) -> list[Tensor]:
    return [torch.randn(rows, WIDTH) for _ in range(count)]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_absent_vectors_are_never_looked_at_and_present_ones_all_count(operator: str, count: int) -> None:
    fusion, given = OPERATORS[operator](count).eval(), vectors(count)
    everyone = torch.ones(5, count, dtype=torch.bool)
    assert torch.equal(fusion(given, everyone), fusion(given))
    for gone in range(count):
        present = everyone.clone()
        present[1:3, gone] = False
        spoiled = [v.clone() for v in given]
        spoiled[gone][1:3] = float("nan")
        out, whole = fusion(spoiled, present), fusion(given)
        assert out.shape == (5, WIDTH)
        assert torch.isfinite(out).all()
        torch.testing.assert_close(out[[0, 3, 4]], whole[[0, 3, 4]])
        assert not torch.allclose(out[1:3], whole[1:3])
    assert torch.isfinite(fusion(given, ~everyone)).all()


@pytest.mark.parametrize("operator", ["concat", "tensor", "low-rank", "graph"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_parameter_gets_a_gradient(operator: str, count: int) -> None:
    fusion = OPERATORS[operator](count)
    if operator == "low-rank":
        nn.init.normal_(fusion.bias)
    fusion(vectors(count)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in fusion.parameters())


def test_sum_and_product_have_neutral_elements() -> None:
    a, b = vectors(2)
    only = torch.tensor([[True, False]]).expand(5, 2)
    for fusion, both, nothing in ((SumFusion(), a + b, 0.0), (ProductFusion(), a * b, 1.0)):
        assert torch.allclose(fusion([a, b]), both)
        assert torch.equal(fusion([a, b], only), a)
        assert (fusion([a, b], torch.zeros(5, 2, dtype=torch.bool)) == nothing).all()


def test_low_rank_fusion_reads_the_tensor_product_with_weights_of_low_rank() -> None:
    fusion = LowRankFusion([2, 3, 4], 5, rank=3)
    nn.init.normal_(fusion.bias)
    given = [torch.randn(4, n) for n in (2, 3, 4)]
    weights = torch.einsum("r,rio,rjo,rko->ijko", fusion.weights[0], *fusion.factors)
    expected = tensor_product(given) @ weights.flatten(0, 2) + fusion.bias
    assert torch.allclose(fusion(given), expected, atol=1e-5)


def graph_of_three(fusion: GraphFusion, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The graph of one sample, vertex by vertex: the pairs' weights and the fused vector."""
    e, w = [a, b, c], [torch.tanh(fusion.importance(x))[0] for x in (a, b, c)]

    def score(p: Tensor, q: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return (s + t) / (p.softmax(0) @ q.softmax(0) + 0.5)

    pairs = [(0, 1), (0, 2), (1, 2)]
    raw = [fusion.joins[0](torch.cat([e[i], e[j]])) for i, j in pairs]
    s = [score(e[i], e[j], w[i], w[j]) for i, j in pairs]
    alpha = torch.stack(s).softmax(0)
    vertices = [torch.tanh(x * m) for x, m in zip(alpha, raw, strict=True)]
    triples, scores = [], []
    for p, q in ((0, 1), (0, 2), (1, 2)):
        triples.append(fusion.joins[1](torch.cat([vertices[p], vertices[q]])))
        scores.append(score(raw[p], raw[q], s[p], s[q]))
    for p, m in ((0, 2), (1, 1), (2, 0)):
        triples.append(fusion.joins[1](torch.cat([vertices[p], e[m]])))
        scores.append(score(raw[p], e[m], s[p], w[m]))
    beta = torch.stack(scores).softmax(0)
    t = torch.stack([torch.tanh(x * m) for x, m in zip(beta, triples, strict=True)]).sum(0)
    u = torch.stack([x * v for x, v in zip(w, e, strict=True)]).sum(0) / 3
    return alpha, fusion.readout(torch.cat([u, torch.stack(vertices).sum(0), t]))


def test_the_graph_of_three_equals_the_one_built_vertex_by_vertex() -> None:
    fusion, given = GraphFusion(3, WIDTH), vectors(3, rows=4)
    fused = fusion([10 * v for v in given])
    for row in range(4):
        alpha, expected = graph_of_three(fusion, *(10 * v[row] for v in given))
        torch.testing.assert_close(fused[row], expected)
        assert alpha.sum().item() == pytest.approx(1)


def test_with_one_modality_absent_the_graph_is_that_of_the_pair_left() -> None:
    fusion, (a, b, c) = GraphFusion(3, WIDTH), vectors(3)
    present = torch.tensor([[True, True, False]]).expand(5, 3)
    pair = GraphFusion(2, WIDTH)
    pair.importance, pair.joins[0] = fusion.importance, fusion.joins[0]
    pair.readout, fusion.readout = nn.Identity(), nn.Identity()
    out = fusion([a, b, c], present)
    torch.testing.assert_close(out[:, : 2 * WIDTH], pair([a, b]))
    assert not out[:, 2 * WIDTH :].any()


@pytest.mark.parametrize(("count", "pairs", "triples"), [(1, 0, 0), (2, 1, 0), (3, 3, 6), (4, 6, 24), (5, 10, 60)])
def test_the_graph_has_six_triple_vertices_per_three_modalities(count: int, pairs: int, triples: int) -> None:
    fusion = GraphFusion(count, WIDTH)
    assert (len(fusion.pairs), len(fusion.triples)) == (pairs, triples)


def test_products_of_experts_have_their_closed_form() -> None:
    one = torch.ones(2, 4)
    mean, variance = product_of_experts([one] * 3, [one] * 3)
    assert torch.allclose(variance, torch.tensor(0.25))
    assert torch.allclose(mean, torch.tensor(0.75))
    without = product_of_experts([one] * 2, [one] * 2)
    present = torch.tensor([[True, True, False]] * 2)
    for args in (([one, one, 9 * one], [one, one, 1e12 * one]), ([one, one, 9 * one], [one] * 3, present)):
        for got, wanted in zip(product_of_experts(*args), without, strict=True):
            assert torch.allclose(got, wanted, atol=1e-6)
    prior = product_of_experts([one] * 3, [one] * 3, torch.zeros(2, 3, dtype=torch.bool))
    assert not prior[0].any()
    assert torch.equal(prior[1], one)
