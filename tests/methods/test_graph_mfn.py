"""Graph-MFN: what its card says must be observable."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, DataError, Modality, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.graph_mfn import FusionGraph
from polymodal.nn.memory import aligned

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
SMALL = Schema(tuple(Modality(n, "sequence", 3) for n in "tav"), (SCORE,))
HERE = {n: torch.ones(6, 1, dtype=torch.bool) for n in "tav"}


def graph(names: str = "tav", *, efficacy: str = "sigmoid", activation: str = "relu") -> FusionGraph:
    return FusionGraph(dict.fromkeys(names, 4), node=5, units=8, efficacy=efficacy, activation=activation)


def singles(rows: int = 6) -> dict[str, Tensor]:
    return {n: torch.randn(rows, 4) for n in "tav"}


def edge(net: FusionGraph, source: str, target: str = "") -> int:
    return net.edges.index((tuple(source), tuple(target)))


def test_the_parameter_count_is_the_published_configurations_with_the_vertices_it_forgot():
    method = build(
        find_method("graph-mfn"),
        MOSI,
        {
            "hidden": {"text": 256, "audio": 32, "vision": 256},
            "node": 64,
            "vertex": 100,
            "memory": 300,
            "units": {"proposal": 32, "retain": 128, "update": 64, "head": 256},
        },
    )
    forgotten = sum(p.numel() for net in method.fusion.vertices[:4] for p in net.parameters())
    assert forgotten == 208_656
    assert sum(p.numel() for p in method.parameters()) - forgotten == 2_110_624


@pytest.mark.parametrize(("names", "edges"), [("a", 1), ("ta", 5), ("tav", 19), ("tavx", 65)])
def test_a_vertex_per_subset_and_an_edge_from_each_proper_subset(names, edges):
    net = graph(names)
    assert len(net.edges) == net.strengths[-1].out_features == edges
    assert {source for source, target in net.edges if not target} == {
        s for n in range(1, len(names) + 1) for s in combinations(names, n)
    }


def test_efficacies_come_in_the_published_order():
    targets = [target for _, target in graph().edges]
    assert ["".join(t) for t in dict.fromkeys(targets)] == ["ta", "tv", "av", "tav", ""]
    assert ["".join(s) for s, t in graph().edges if t == tuple("tav")] == ["t", "a", "v", "ta", "tv", "av"]


def test_every_vertex_network_trains_from_its_own_start():
    method = build(find_method("graph-mfn"), SMALL, {"dropout": 0.0})
    starts = [net[2].weight.detach().clone() for net in method.fusion.vertices]
    assert all(not torch.equal(a, b) for a, b in combinations(starts, 2))
    lengths, here = torch.full((6,), 4), torch.ones(6, dtype=torch.bool)
    batch = Batch({n: Stream(torch.randn(6, 4, 3), lengths, here) for n in "tav"}, {"sentiment": torch.randn(6)}, [])
    before = {n: t.clone() for n, t in method.state_dict().items()}
    optimiser = torch.optim.SGD(method.parameters(), 0.1)
    sum(method.losses(batch, method(batch)).values()).backward()
    optimiser.step()
    moved = [n for n, t in method.state_dict().items() if "fusion.vertices" in n and not torch.equal(t, before[n])]
    assert len(moved) == 4 * len(method.fusion.vertices) == 20


def test_a_zero_efficacy_removes_its_input_and_nothing_else():
    net, x = graph(), singles()
    alpha = torch.rand(6, 19) + 0.5
    for source, target in (("t", ""), ("av", ""), ("a", "tav")):
        cut = alpha.clone()
        cut[:, edge(net, source, target)] = 0
        without = net.combine(x, HERE, cut)
        assert not torch.allclose(without, net.combine(x, HERE, alpha), atol=1e-5)
        layer = net.vertices[list(net.sources).index(tuple(target))][0]
        at = 0
        for other in net.sources[tuple(target)]:
            width = 4 if len(other) == 1 else 5
            if other == tuple(source):
                break
            at += width
        with torch.no_grad():
            kept = layer.weight[:, at : at + width].clone()
            layer.weight[:, at : at + width] = 0
            assert torch.allclose(without, net.combine(x, HERE, alpha), atol=1e-6)
            layer.weight[:, at : at + width] = kept


def test_with_all_efficacies_one_it_is_a_network_of_concatenations():
    net, x = graph(), singles()
    t, a, v = x.values()
    ta, tv, av = (f(torch.cat(p, 1)) for f, p in zip(net.vertices[:3], ((t, a), (t, v), (a, v)), strict=True))
    tav = net.vertices[3](torch.cat([t, a, v, ta, tv, av], 1))
    output = net.vertices[4](torch.cat([t, a, v, ta, tv, av, tav], 1))
    assert torch.allclose(net.combine(x, HERE, torch.ones(6, 19)), output, atol=1e-6)


def test_sigmoid_efficacies_stay_between_zero_and_one_and_linear_ones_do_not():
    wild = {n: 100 * x for n, x in singles().items()}
    bounded, free = graph()(wild, HERE)[1], graph(efficacy="linear")(wild, HERE)[1]
    assert ((bounded >= 0) & (bounded <= 1)).all()
    assert free.min() < 0
    assert free.max() > 1


def test_without_activation_the_graph_is_affine_for_fixed_efficacies():
    def curvature(activation: str) -> Tensor:
        net, x, y = graph(activation=activation), singles(), singles()
        alpha = torch.rand(6, 19)
        both, none = {n: x[n] + y[n] for n in x}, {n: 0 * x[n] for n in x}
        f = [net.combine(z, HERE, alpha) for z in (both, none, x, y)]
        return (f[0] + f[1] - f[2] - f[3]).abs().max()

    assert curvature("none") < 1e-5
    assert curvature("relu") > 1e-3


def test_vertices_that_hold_an_absent_modality_are_zero():
    net, x = graph(), singles()
    x["v"] = torch.zeros(6, 4)
    gone = {**HERE, "v": torch.zeros(6, 1, dtype=torch.bool)}
    alpha = torch.rand(6, 19)
    before = net.combine(x, gone, alpha)
    with torch.no_grad():
        for name, vertex in zip(net.sources, net.vertices, strict=True):
            if "v" in name:
                vertex[2].bias.normal_()
        changed = net.combine(x, gone, alpha)
        assert torch.equal(changed, before)
        net.vertices[0][2].bias.normal_()  # text and audio
        assert not torch.allclose(net.combine(x, gone, alpha), before, atol=1e-4)


def test_the_vertices_of_a_step_see_it_and_the_one_before_and_nothing_later():
    method = build(find_method("graph-mfn"), SMALL, {}).eval()
    lengths, here = torch.full((2,), 5), torch.ones(2, dtype=torch.bool)
    streams = {n: Stream(torch.randn(2, 5, 3), lengths, here) for n in "tav"}
    later = {
        n: Stream(torch.cat([s.tensor[:, :3], torch.randn(2, 2, 3)], 1), lengths, here) for n, s in streams.items()
    }
    with torch.no_grad():
        (_, tau, alpha), (_, new_tau, new_alpha) = (method.watch(aligned(s, 50)) for s in (streams, later))
    assert alpha.shape == (2, 5, 19)
    assert torch.allclose(tau[:, :3], new_tau[:, :3], atol=1e-6)
    assert torch.allclose(alpha[:, :3], new_alpha[:, :3], atol=1e-6)
    assert (alpha[:, 3:] != new_alpha[:, 3:]).any()


def trained(goal: str, seed: int) -> tuple[FusionGraph, Tensor, Tensor]:
    """A graph with a linear read-out after 400 steps on three normal factors; mean efficacies before and after."""
    torch.manual_seed(seed)
    doors = nn.ModuleDict({n: nn.Linear(1, 4) for n in "tav"})
    net = FusionGraph(dict.fromkeys("tav", 4), node=8, units=16, efficacy="sigmoid", activation="relu")
    read = nn.Linear(8, 1)
    x = torch.randn(512, 3)
    wanted = x[:, 0] if goal == "text" else x[:, 1] * x[:, 2]
    here = {n: torch.ones(512, 1, dtype=torch.bool) for n in "tav"}

    def run() -> tuple[Tensor, Tensor]:
        tau, alpha = net({n: doors[n](x[:, i : i + 1]).relu() for i, n in enumerate("tav")}, here)
        return read(tau)[:, 0], alpha.mean(0).detach()

    start = run()[1]
    optimiser = torch.optim.Adam([*doors.parameters(), *net.parameters(), *read.parameters()], 0.01)
    for _ in range(400):
        optimiser.zero_grad()
        (run()[0] - wanted).abs().mean().backward()
        optimiser.step()
    return net, start, run()[1]


@pytest.mark.slow
def test_on_a_text_only_target_text_edges_end_strongest():
    net, _, after = trained("text", 0)
    mean = {n: after[[i for i, (source, _) in enumerate(net.edges) if source == (n,)]].mean() for n in "tav"}
    assert mean["t"] > max(mean["a"], mean["v"]) + 0.05


@pytest.mark.slow
def test_on_a_product_of_audio_and_vision_their_edge_rises_more_than_those_with_text():
    runs = [trained("product", seed) for seed in range(4)]
    net = runs[0][0]
    rise = torch.stack([after - before for _, before, after in runs]).mean(0)
    pair, others = rise[edge(net, "av")], [rise[edge(net, "ta")], rise[edge(net, "tv")]]
    assert pair > 0.03
    assert pair > max(others)


def test_more_modalities_than_a_power_set_can_bear_are_refused():
    schema = Schema(tuple(Modality(n, "sequence", 2) for n in "abcdefg"), (SCORE,))
    with pytest.raises(DataError, match="1 to 6 modalities"):
        build(find_method("graph-mfn"), schema, {})
