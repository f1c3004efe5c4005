"""Multimodal Graph: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.multimodal_graph import MultimodalGraph
from polymodal.nn.graph import Adjacency
from polymodal.nn.graph_pooling import Pooling

MakeBatch = Callable[..., Batch]
SCORE = Target("y", "regression", (-3.0, 3.0))
SMALL = Schema(tuple(Modality(n, "sequence", w) for n, w in (("text", 6), ("audio", 5), ("vision", 4))), (SCORE,))
PAIR = Schema(SMALL.modalities[1:], (SCORE,))
UNORDERED = {"width": 8, "kernel": 1, "positions": False, "dropout": 0.0}


def one(steps: int, width: int) -> Stream:
    return Stream(torch.randn(1, steps, width), torch.tensor([steps]), torch.tensor([True]))


def reached(method: MultimodalGraph, at: int, steps: int = 40) -> list[int]:
    """Steps of audio that its vertex ``at`` depends on."""
    stream = one(steps, 5)
    values = stream.tensor.requires_grad_()
    out = method.vertices("audio", replace(stream, values=values)).tensor[0, at]
    (slope,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), values)
    return (slope[0].abs().sum(1) > 0).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(("layers", "reach"), [(1, 2), (2, 2), (3, 1)])
def test_a_window_sees_as_far_as_its_layers_reach(layers: int, reach: int) -> None:
    method = MultimodalGraph(PAIR, width=16, adjacency="window", layers=layers, reach=reach).eval()
    far = layers * reach + 1  # the convolution
    assert reached(method, 20) == list(range(20 - far, 20 + far + 1))


@pytest.mark.parametrize("adjacency", ["attention", "window+attention", "free"])
def test_other_edges_see_the_whole_sequence(adjacency: Adjacency) -> None:
    assert reached(MultimodalGraph(PAIR, adjacency=adjacency, max_steps=40).eval(), 20) == list(range(40))


def test_the_nearest_are_as_many_as_asked_for() -> None:
    few, all_others = (
        len(reached(MultimodalGraph(PAIR, adjacency="nearest", layers=1, kernel=1, neighbours=n).eval(), 20))
        for n in (1, 39)
    )
    assert 1 < few < all_others == 40


@pytest.mark.parametrize("pooling", ["link", "assignment"])
@pytest.mark.parametrize("adjacency", ["attention", "nearest"])
def test_without_positions_the_order_of_steps_is_nothing(
    adjacency: Adjacency, pooling: Pooling, make_batch: MakeBatch
) -> None:
    method = MultimodalGraph(SMALL, adjacency=adjacency, pooling=pooling, **UNORDERED).eval()
    batch = make_batch(SMALL, longest=20)
    audio = batch["audio"]
    assert audio.lengths is not None
    mirrored = audio.tensor.clone()
    for row, n in enumerate(audio.lengths.tolist()):
        mirrored[row, :n] = audio.tensor[row, :n].flip(0)
    other = replace(batch, streams={**batch.streams, "audio": replace(audio, values=mirrored)})
    torch.testing.assert_close(method(other).predictions, method(batch).predictions)
    ordered = MultimodalGraph(SMALL, adjacency=adjacency, pooling=pooling, **{**UNORDERED, "positions": True}).eval()
    assert not torch.allclose(ordered(other).predictions["y"], ordered(batch).predictions["y"], atol=1e-5)


def test_edges_across_modalities_join_no_two_steps_of_one(make_batch: MakeBatch) -> None:
    method = MultimodalGraph(SMALL).eval()
    for related in method.relate(make_batch(SMALL)).values():
        edges, (first, _) = related.graph.edges, related.graph.sizes
        for side in (edges[:, :first, :first], edges[:, first:, first:]):
            assert not (side - torch.diag_embed(side.diagonal(dim1=1, dim2=2))).any()
        assert edges[:, :first, first:].any()
        torch.testing.assert_close(edges.sum(2), related.graph.mask.float())


def test_a_modality_without_its_partner_is_a_graph_of_its_own_steps(make_batch: MakeBatch) -> None:
    gone = torch.arange(8) < 4
    related = MultimodalGraph(PAIR).relate(make_batch(PAIR).without("vision", rows=gone))["audio_vision"]
    first = related.graph.sizes[0]
    own = related.graph.edges[:, :first, :first]
    joined = (own - torch.diag_embed(own.diagonal(dim1=1, dim2=2))).flatten(1).any(1)
    assert joined[:4].any()
    assert not joined[4:].any()
    assert not related.graph.edges[:4, :, first:].any()


def test_without_queries_nothing_is_exchanged_before_the_pooling(make_batch: MakeBatch) -> None:
    method = MultimodalGraph(PAIR, dropout=0.0).eval()
    fusion, batch, other = method.fusions["audio_vision"], make_batch(PAIR), make_batch(PAIR, seed=1)
    moved = {**batch.streams, "vision": other["vision"]}

    def audio(streams: dict[str, Stream]) -> Tensor:
        graph = fusion.joined([method.vertices(n, s) for n, s in streams.items()])
        return fusion.layers[0](graph.vertices, graph.edges, graph.mask)[:, : graph.sizes[0]]

    with torch.no_grad():
        assert not torch.allclose(audio(moved), audio(batch.streams), atol=1e-4)
        fusion.attention.query.weight.zero_()
        torch.testing.assert_close(audio(moved), audio(batch.streams))


def test_every_level_leaves_its_share() -> None:
    method = MultimodalGraph(PAIR, ratio=0.25, levels=2)
    related = method.relate(Batch({"audio": one(30, 5), "vision": one(11, 4)}, {}, ["s"]))["audio_vision"]
    assert [tuple(s.shape[1:]) for s in related.shares] == [(41, 11), (11, 3)]


def test_the_temperature_decides_between_one_seed_and_all() -> None:
    batch, surest = Batch({"audio": one(30, 5), "vision": one(11, 4)}, {}, ["s"]), {}
    for temperature in (1e-5, 1e3):
        torch.manual_seed(0)
        method = MultimodalGraph(PAIR, temperature=temperature).eval()
        surest[temperature] = method.relate(batch)["audio_vision"].shares[0].amax(2)
    assert surest[1e-5].mean() > 0.95
    torch.testing.assert_close(surest[1e3], torch.full((1, 41), 1 / 11), atol=1e-3, rtol=0)


@pytest.mark.parametrize("graphs", ["pairs", "one"])
def test_a_graph_per_pair_or_one_for_all(graphs: Any, make_batch: MakeBatch) -> None:
    method = MultimodalGraph(SMALL, graphs=graphs)
    pairs = ["text_audio", "text_vision", "audio_vision"]
    assert list(method.relate(make_batch(SMALL))) == (pairs if graphs == "pairs" else ["text_audio_vision"])
    assert method(make_batch(SMALL)).predictions["y"].shape == (8,)


@pytest.mark.parametrize("pooling", get_args(Pooling))
@pytest.mark.parametrize("adjacency", get_args(Adjacency))
def test_neither_padding_nor_neighbours_matter_in_any_kind(
    adjacency: Adjacency, pooling: Pooling, make_batch: MakeBatch
) -> None:
    method, batch = MultimodalGraph(SMALL, adjacency=adjacency, pooling=pooling), make_batch(SMALL)
    longer = {n: replace(s, values=nn.functional.pad(s.tensor, (0, 0, 0, 23))) for n, s in batch.streams.items()}
    absent = batch.without("text", rows=torch.arange(8) < 4).without("audio", "vision", rows=torch.arange(8) % 4 < 2)
    for some in (batch.without("audio"), absent):
        method.train().zero_grad()
        sum(method.losses(some, method(some)).values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
    with torch.no_grad():
        full = method.eval()(batch).predictions["y"]
        torch.testing.assert_close(method(replace(batch, streams=longer)).predictions["y"], full, atol=1e-5, rtol=1e-5)
        alone = method(batch.select(torch.tensor([3]))).predictions["y"]
        torch.testing.assert_close(alone, full[3:4], atol=1e-5, rtol=1e-5)


def test_longer_sequences_than_the_longest_are_shortened() -> None:
    method = MultimodalGraph(PAIR, adjacency="free", max_steps=20)
    related = method.relate(Batch({"audio": one(33, 5), "vision": one(4, 4)}, {}, ["s"]))["audio_vision"]
    assert related.graph.sizes == (20, 4)


def test_only_learned_assignments_pay_and_only_in_training(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL)
    for pooling in get_args(Pooling):
        method = MultimodalGraph(SMALL, pooling=pooling)
        terms = set(method.losses(batch, method(batch)))
        assert terms == ({"task", "pooling"} if pooling == "assignment" else {"task"})
        assert set(method.eval().losses(batch, method(batch))) == {"task"}


def test_all_modules_hear_the_task(make_batch: MakeBatch) -> None:
    method = MultimodalGraph(SMALL, dropout=0.0)
    method(make_batch(SMALL, longest=20)).predictions["y"].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def unaligned(rows: int, seed: int, *, lag: bool) -> Batch:
    """Audio and vision each show one event of two kinds, at one time or at two; the label says whether kinds agree."""
    random = torch.Generator().manual_seed(seed)
    steps, every = 12, torch.arange(rows)
    kinds = torch.randint(2, (2, rows), generator=random) * 2.0 - 1
    at = torch.randint(6, (rows,), generator=random)
    then = at + torch.randint(1, 6, (rows,), generator=random) if lag else at
    here, lengths, streams = torch.ones(rows, dtype=torch.bool), torch.full((rows,), steps), {}
    for name, kind, when in zip(("audio", "vision"), kinds, (at, then), strict=True):
        values = 0.1 * torch.randn(rows, steps, 2, generator=random)
        values[every, when, 0] += kind
        values[every, when, 1] += 1.0
        streams[name] = Stream(values, lengths, here)
    label = (kinds[0] == kinds[1]).long()
    return Batch(streams, {"agree": label}, [f"{seed}_{i}" for i in range(rows)])


AGREE = Schema(
    (Modality("audio", "sequence", 2), Modality("vision", "sequence", 2)),
    (Target("agree", "classification", classes=("no", "yes")),),
)


class StepByStep(nn.Module):
    """A perceptron of each step of the concatenation, averaged, with a linear head: it needs alignment."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 2)

    def forward(self, batch: Batch) -> Tensor:
        return self.head(self.steps(torch.cat([s.tensor for s in batch.streams.values()], dim=2)).mean(1))


def accuracy(model: nn.Module, scores: Callable[[Batch], Tensor], *, lag: bool) -> float:
    """Share of right answers on fresh samples after 150 steps."""
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for seed in range(150):
        batch = unaligned(64, seed, lag=lag)
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores(batch), batch.targets["agree"]).backward()
        optimizer.step()
    fresh = unaligned(1000, 10_000, lag=lag)
    with torch.no_grad():
        return (scores(fresh).argmax(1) == fresh.targets["agree"]).float().mean().item()


@pytest.mark.slow
def test_events_that_lie_apart_are_related_where_a_step_by_step_baseline_is_at_chance() -> None:
    method = MultimodalGraph(AGREE, width=16, dropout=0.0)
    found = accuracy(method, lambda b: method(b).predictions["agree"], lag=True)
    baseline = {}
    for lag in (False, True):
        plain = StepByStep()
        baseline[lag] = accuracy(plain, plain, lag=lag)
    assert found > 0.9
    assert baseline[False] > 0.9
    assert baseline[True] < 0.6


def test_wrong_options_are_named() -> None:
    for options, message in (
        ({"kernel": 2}, "kernel must be odd, or steps would move, got 2"),
        ({"ratio": 0.7}, "ratio must be at most 0.5"),
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
    ):
        with pytest.raises(OptionError, match=message):
            MultimodalGraph(SMALL, **options)
