"""Dense graphs: closed forms of edges, layers and poolings."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from polymodal.nn.graph import (
    Adjacency,
    AttentionEdges,
    GraphLayer,
    SequenceEdges,
    by_rows,
    looped,
    nearest_edges,
    symmetric,
    window_edges,
)
from polymodal.nn.graph_pooling import (
    AssignmentPooling,
    BlockPooling,
    Graph,
    LinkPooling,
    assignment_penalty,
    slots,
)

ALL = torch.ones(1, 6, dtype=torch.bool)


def some_graph(lengths: tuple[int, ...] = (9, 6), sizes: tuple[int, ...] = (5, 4), width: int = 3) -> Graph:
    """A graph per length, of as many vertices, which come last among the slots."""
    mask = torch.arange(sum(sizes)) >= sum(sizes) - torch.tensor(lengths)[:, None]
    edges = by_rows(looped(torch.rand(len(lengths), sum(sizes), sum(sizes)), mask))
    return Graph(torch.randn(*mask.shape, width) * mask.unsqueeze(2), edges, mask, sizes)


def test_symmetric_normalisation_of_a_full_graph_is_one_over_n() -> None:
    full = symmetric(torch.ones(1, 6, 6))
    torch.testing.assert_close(full, torch.full((1, 6, 6), 1 / 6))


def test_the_largest_eigenvalue_of_a_normalised_graph_is_one() -> None:
    edges = torch.rand(1, 6, 6)
    values = torch.linalg.eigvalsh(symmetric(looped(edges + edges.mT, ALL))[0])
    assert values.max().item() == pytest.approx(1, abs=1e-5)


def test_padding_has_no_edges_not_even_to_itself() -> None:
    mask = torch.tensor([[True] * 4 + [False] * 2, [False] * 6])
    for kind in ("attention", "window", "nearest", "free", "window+attention"):
        edges = SequenceEdges(kind, 3, reach=2, neighbours=2, steps=8)(torch.randn(2, 6, 3), mask)
        assert edges.isfinite().all()
        assert not edges[0, 4:].any()
        assert not edges[0, :, 4:].any()
        assert not edges[1].any()
        assert (edges[0].diagonal()[:4] > 0).all()


@pytest.mark.parametrize("kind", get_args(Adjacency))
def test_the_largest_eigenvalue_of_every_kind_of_edges_is_one(kind: Adjacency) -> None:
    edges = SequenceEdges(kind, 3, reach=2, neighbours=2, steps=6)(torch.randn(1, 6, 3), ALL)[0]
    assert torch.linalg.eigvals(edges).abs().max().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["window", "nearest"])
def test_a_step_hears_itself_no_more_than_another_where_all_are_joined(kind: Adjacency) -> None:
    edges = SequenceEdges(kind, 3, reach=5, neighbours=5, steps=6)(torch.randn(1, 6, 3), ALL)
    torch.testing.assert_close(edges, torch.full((1, 6, 6), 1 / 6))


def test_windows_join_what_is_close_in_time() -> None:
    edges = window_edges(5, 1, torch.device("cpu"))
    assert edges.tolist() == [[float(abs(i - j) == 1) for j in range(5)] for i in range(5)]


def test_the_nearest_are_joined_both_ways_never_with_padding_or_themselves() -> None:
    x = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [1.0, 0.3], [-1.0, 0.0], [1.0, 0.01]]])
    edges = nearest_edges(x, torch.tensor([[True] * 4 + [False]]), 1)[0]
    found = {(i, j) for i, j in edges.nonzero().tolist()}
    assert found == {(0, 1), (1, 0), (2, 1), (1, 2), (3, 2), (2, 3)}


def test_attention_edges_are_never_negative_and_none_without_queries() -> None:
    net, x = AttentionEdges(4, 2.0), torch.randn(2, 6, 4)
    expected = ((x @ net.query.weight.T) @ (x @ net.key.weight.T).mT / 2).clamp(min=0)
    torch.testing.assert_close(net(x), expected)
    with torch.no_grad():
        net.query.weight.zero_()
    assert not net(x).any()


def test_with_loops_alone_a_layer_is_a_perceptron_of_each_vertex() -> None:
    layer, x = GraphLayer(4, 0.0), torch.randn(1, 6, 4)
    alone = torch.cat([layer(x[:, i : i + 1], torch.ones(1, 1, 1), ALL[:, :1]) for i in range(6)], dim=1)
    torch.testing.assert_close(layer(x, torch.eye(6)[None], ALL), alone)


def test_a_layer_is_equivariant_to_the_order_of_vertices() -> None:
    layer, x, edges, order = GraphLayer(4, 0.0), torch.randn(1, 6, 4), torch.rand(1, 6, 6), torch.randperm(6)
    turned = layer(x[:, order], edges[:, order][:, :, order], ALL)
    torch.testing.assert_close(turned, layer(x, edges, ALL)[:, order])


@pytest.mark.parametrize("pool", [LinkPooling(0.3, 0.5), AssignmentPooling(3, 0.3, 12)], ids=["link", "assignment"])
def test_shares_sum_to_one_and_what_is_pooled_is_a_mean_of_vertices(pool: torch.nn.Module) -> None:
    graph = some_graph()
    pooled, shares = pool(graph)
    assert pooled.mask.sum(1).tolist() == [3, 2]  # of 9 and 6 vertices
    torch.testing.assert_close(shares.sum(2), graph.mask.float())
    assert not shares[1, :, 2:].any()
    weights = shares / shares.sum(1, keepdim=True).clamp(min=1e-9)
    torch.testing.assert_close(pooled.vertices, weights.mT @ graph.vertices)
    torch.testing.assert_close(pooled.edges.sum(2), pooled.mask.float())
    for row, x in zip(pooled.vertices, graph.vertices, strict=True):
        assert (row <= x.amax(0) + 1e-6).all()
        assert (row >= x.amin(0) - 1e-6).all()


def test_vertices_with_the_same_links_go_to_the_same_place() -> None:
    graph = some_graph((9,))
    edges = graph.edges.clone()
    edges[0, 4] = edges[0, 1]
    shares = LinkPooling(0.3, 0.1)(graph._replace(edges=edges))[1][0]
    torch.testing.assert_close(shares[4], shares[1])
    assert not torch.allclose(shares[4], shares[2], atol=1e-2)


def test_seeds_are_the_vertices_that_are_heard_most() -> None:
    edges = torch.eye(6)
    edges[:, 4] += 5.0
    edges[:, 2] += 2.0
    graph = Graph(torch.randn(1, 6, 3), by_rows(edges)[None], ALL, (6,))
    shares = LinkPooling(0.3, 1e-3)(graph)[1][0]
    assert shares[4].argmax() == 0
    assert shares[2].argmax() == 1
    assert shares[4, 0].item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("count", "ratio", "left"), [(12, 0.25, 3), (13, 0.25, 4), (30, 0.1, 3), (1, 0.25, 1)])
def test_a_share_of_the_vertices_is_left_rounded_up(count: int, ratio: float, left: int) -> None:
    assert slots(count, ratio) == left
    assert LinkPooling(ratio, 1.0)(some_graph((count,), (count,)))[0].mask.sum() == left


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_a_block_is_its_steps_and_whom_each_hears_most(kind: str) -> None:
    sizes, x = (3, 2), torch.randn(1, 5, 4)
    edges = torch.eye(5)[None].clone()
    edges[0, 0, 4], edges[0, 0, 3], edges[0, 4, 1] = 0.5, 0.2, 0.1
    graph = Graph(x, by_rows(edges), torch.ones(1, 5, dtype=torch.bool), sizes)
    pooled, blocks = BlockPooling(0.5, kind)(graph)
    members = [[0, 1, 4], [2], [3, 4, 1]]

    def read(rows: list[int]) -> Tensor:
        return x[0, rows].mean(0) if kind == "mean" else x[0, rows].amax(0)

    torch.testing.assert_close(pooled.vertices[0], torch.stack([read(m) for m in members]))
    assert blocks[0].argmax(1).tolist() == [0, 0, 1, 2, 2]
    assert pooled.sizes == (2, 1)
    assert pooled.edges[0, 0, 2] > 0
    assert pooled.edges[0, 2, 0] > 0
    assert not pooled.edges[0, 1, :1].any()


def test_the_penalty_is_nothing_for_sure_assignments_that_say_who_is_joined() -> None:
    blocks = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    graph = Graph(torch.randn(1, 3, 2), (blocks @ blocks.T)[None], ALL[:, :3], (3,))
    assert assignment_penalty(graph, blocks[None]).item() == pytest.approx(0, abs=1e-5)
    even = torch.full((1, 3, 2), 0.5)
    gap = (graph.edges - 0.5).norm() / 9
    assert assignment_penalty(graph, even).item() == pytest.approx(
        gap.item() + torch.tensor(2.0).log().item(), abs=1e-5
    )


def test_the_penalty_of_nothing_has_a_gradient() -> None:
    graph, pool = some_graph((0, 4)), AssignmentPooling(3, 0.25, 9)
    penalty = assignment_penalty(graph, pool(graph)[1])
    penalty.sum().backward()
    assert penalty[0] == 0
    assert pool.linear.weight.grad.isfinite().all()
