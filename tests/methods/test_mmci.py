"""MMCI: who hears whom, shares that sum to one, what each loss moves, and whose part decides after the exchange."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import View
from polymodal.methods.mmci import MMCI, GraphAttention, Split
from polymodal.nn.heads import task_loss
from polymodal.nn.intervention import backdoor_loss

MakeBatch = Callable[..., Batch]

SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
SCHEMA = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("face", "vector", 4)), (SENTIMENT,)
)
SMALL: dict[str, Any] = {"width": 8, "heads": 2, "layers": 2, "dropout": 0.0}


def small(schema: Schema = SCHEMA, **options: Any) -> MMCI:
    return MMCI(schema, **{**SMALL, **options})


def test_shares_of_edges_and_nodes_sum_to_one() -> None:
    split, source, target = Split(8), torch.randn(3, 5, 8), torch.randn(3, 4, 8)
    edges = [split.edges(source, target, causal) for causal in (True, False)]
    assert edges[0].shape == (3, 4, 5)
    torch.testing.assert_close(edges[0] + edges[1], torch.ones(3, 4, 5))
    torch.testing.assert_close(split.nodes(source, True) + split.nodes(source, False), torch.ones(3, 5, 1))


def test_what_is_all_causal_leaves_the_shortcut_nothing(make_batch: MakeBatch) -> None:
    method, batch = small().eval(), make_batch(SCHEMA)
    nodes, real = method.graph(batch)
    for split in method.splits.values():
        nn.init.constant_(split.node.bias, 1e4)  # type: ignore[union-attr,arg-type]
        nn.init.constant_(split.edge_target.bias, 1e4)  # type: ignore[union-attr,arg-type]
        for n, x in nodes.items():
            assert not (split.nodes(x, False) * x).any(), n  # type: ignore[operator]
            assert not split.edges(x, x, False).any()  # type: ignore[operator]
    rows = method.part(nodes, real, causal=False)
    torch.testing.assert_close(rows, rows[:1].expand_as(rows))  # nothing but biases
    causal = method.part(nodes, real, causal=True)
    assert (causal - causal[:1]).abs().max() > 1e-3


def test_with_equal_shares_both_parts_hear_the_same(make_batch: MakeBatch) -> None:
    method, batch = small().eval(), make_batch(SCHEMA)
    for module in (*method.splits.modules(),):
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    method.trivial.load_state_dict(method.causal.state_dict())
    nodes, real = method.graph(batch)
    torch.testing.assert_close(method.part(nodes, real, causal=True), method.part(nodes, real, causal=False))


def test_attention_is_over_real_nodes_and_shares_send_less() -> None:
    relations = [("a", "a"), ("b", "a")]
    graph = GraphAttention(relations, 8, 2, 0.0)
    nodes = {"a": torch.randn(2, 3, 8), "b": torch.randn(2, 4, 8)}
    real = {"a": torch.ones(2, 3, dtype=torch.bool), "b": torch.tensor([[True, True, False, False], [False] * 4])}
    before = graph(nodes, real)
    moved = {**nodes, "b": nodes["b"] + 10 * (~real["b"]).unsqueeze(2)}
    torch.testing.assert_close(graph(moved, real)["a"], before["a"])
    torch.testing.assert_close(before["b"], graph.own(nodes["b"]))  # b hears nobody
    nothing = {r: torch.zeros(2, 3, len(real[r[0]][0])) for r in relations}
    torch.testing.assert_close(graph(nodes, real, nothing)["a"], graph.own(nodes["a"]))
    ones = {r: torch.ones_like(x) for r, x in nothing.items()}
    torch.testing.assert_close(graph(nodes, real, ones)["a"], before["a"])


def test_padding_changes_neither_nodes_nor_parts(make_batch: MakeBatch) -> None:
    method, batch = small().eval(), make_batch(SCHEMA)
    streams = {
        n: replace(s, values=nn.functional.pad(s.tensor, (0, 0, 0, 60))) if s.tensor.dim() == 3 else s
        for n, s in batch.streams.items()
    }
    (nodes, real), (longer, more) = method.graph(batch), method.graph(replace(batch, streams=streams))
    for n, x in nodes.items():
        steps = x.shape[1]
        torch.testing.assert_close(longer[n][:, :steps], x)
        assert not longer[n][:, steps:].any()
        assert more[n].sum() == real[n].sum()
    for causal in (True, False):
        parts = method.part(longer, more, causal=causal), method.part(nodes, real, causal=causal)
        torch.testing.assert_close(*parts)


def test_the_order_of_samples_is_that_of_the_outputs(make_batch: MakeBatch) -> None:
    method, batch, order = small().eval(), make_batch(SCHEMA), torch.randperm(8)
    turned, straight = method(batch.select(order)), method(batch)
    torch.testing.assert_close(turned.predictions["sentiment"], straight.predictions["sentiment"][order])
    torch.testing.assert_close(turned.representations["fused"], straight.representations["fused"][order])


def heard(edges: Any, batch: Batch) -> dict[str, bool]:
    """Which streams move the text nodes of a graph with these edges."""
    method = small(edges=edges).eval()
    values = {n: s.tensor.clone().requires_grad_() for n, s in batch.streams.items()}
    streams = {n: Stream(values[n], s.lengths, s.present) for n, s in batch.streams.items()}
    nodes, _ = method.graph(Batch(streams, {}, batch.ids))
    gradients = torch.autograd.grad(nodes["text"].square().sum(), list(values.values()), allow_unused=True)
    return {n: g is not None and bool(g.any()) for n, g in zip(values, gradients, strict=True)}


def test_edges_decide_whose_gradients_reach_the_text(make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA)
    assert heard("intra", batch) == {"text": True, "audio": False, "face": False}
    assert heard("inter", batch) == {"text": True, "audio": True, "face": True}
    assert heard("both", batch) == {"text": True, "audio": True, "face": True}


def test_there_is_a_relation_for_each_ordered_pair_and_each_modality() -> None:
    assert {k: len(found) for k, found in small().edges.items()} == {"intra": 3, "inter": 6}
    alone = Schema(SCHEMA.modalities[:1], (SENTIMENT,))
    assert {k: len(found) for k, found in small(alone).edges.items()} == {"intra": 1}
    with pytest.raises(OptionError, match="edges 'inter' join modalities, and 'text' is the only one"):
        small(alone, edges="inter")


def touched(method: nn.Module, loss: Tensor) -> set[str]:
    named = dict(method.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {n.split(".")[0] for n, g in zip(named, gradients, strict=True) if g is not None and g.any()}


def test_the_parts_of_the_network_learn_from_their_losses(make_batch: MakeBatch) -> None:
    method, batch = small().train(), make_batch(SCHEMA)
    losses = method.losses(batch, method(batch))
    common = {"tokens", "places", "layers", "norms", "splits"}
    assert {name: touched(method, loss) for name, loss in losses.items()} == {
        "task": common | {"causal", "heads"},
        "shortcut": common | {"trivial", "shortcut_heads"},
        "backdoor": common | {"causal", "trivial", "exchanged_heads"},
    }
    method.eval()
    assert set(method.losses(batch, method(batch))) == {"task"}
    assert set(method(batch).representations) == {"fused"}


def test_without_weights_the_task_is_learned_alone(make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA)
    for options, gone in (({"shortcut": 0.0}, {"shortcut_heads"}), ({"backdoor": 0.0}, {"exchanged_heads"})):
        method = small(**options).train()
        learned = touched(method, sum(method.losses(batch, method(batch)).values(), torch.zeros(())))
        assert learned == {n for n, _ in method.named_children()} - {"inputs", "drop", "uninformed"} - gone
    method = small(shortcut=0.0, backdoor=0.0).train()
    learned = touched(method, sum(method.losses(batch, method(batch)).values(), torch.zeros(())))
    assert not learned & {"trivial", "shortcut_heads", "exchanged_heads"}


def test_of_a_number_the_mean_label_says_nothing(make_batch: MakeBatch) -> None:
    method, batch = small().train(), make_batch(SCHEMA)
    method.prepare(View(train=lambda: [batch], valid=list))
    head = method.shortcut_heads[1][-1].linears[0]
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, batch.targets["sentiment"].mean().item())
    assert method.losses(batch, method(batch))["shortcut"].item() == pytest.approx(0.0, abs=1e-5)


def test_without_shortcuts_the_exchange_is_the_task_of_its_heads(make_batch: MakeBatch) -> None:
    method, batch = small().eval(), make_batch(SCHEMA)
    causal = method(batch).representations["fused"]
    for draws in (0, 2):
        found = backdoor_loss(SCHEMA, method.exchanged_heads, causal, torch.zeros_like(causal), batch, draws)
        said = method.exchanged_heads(causal)["sentiment"]
        torch.testing.assert_close(found, task_loss(SENTIMENT, said, batch.targets["sentiment"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide width, got heads=3 and width=8"),
        ({"shortcut": -1.0}, "shortcut, backdoor and draws must not be negative"),
        ({"layers": 0}, "layers must be above 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        small(**options)


KIND = Target("kind", "classification", classes=("no", "yes"))
MOTIF = Schema((Modality("text", "sequence", 4), Modality("audio", "sequence", 4)), (KIND,))


def motif(rows: int, seed: int) -> Batch:
    """One of four steps of either modality holds a sign; the class is whether the two agree (inter)."""
    random = torch.Generator().manual_seed(seed)
    signs, streams = 2.0 * torch.randint(2, (2, rows), generator=random) - 1, {}
    for name, sign in zip(("text", "audio"), signs, strict=True):
        x = 0.3 * torch.randn(rows, 4, 4, generator=random)
        place = torch.randint(4, (rows,), generator=random)
        x[torch.arange(rows), place, 0] += 2.0
        x[torch.arange(rows), place, 1] += 2.0 * sign
        streams[name] = Stream(x, torch.full((rows,), 4), torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"kind": (signs[0] == signs[1]).long()}, [str(i) for i in range(rows)])


@pytest.mark.slow
def test_what_two_modalities_say_together_is_learned_and_the_causal_part_decides() -> None:
    torch.manual_seed(0)
    method = MMCI(MOTIF, width=16, heads=2, layers=2, dropout=0.0).train()
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    for step in range(250):
        batch = motif(64, step)
        optimiser.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimiser.step()
    method.eval()
    batch = motif(300, 999)
    with torch.no_grad():
        nodes, real = method.graph(batch)
        causal, trivial = (method.part(nodes, real, causal=c) for c in (True, False))
        assert (method.heads(causal)["kind"].argmax(1) == batch.targets["kind"]).float().mean() > 0.9
        said = method.exchanged_heads(causal + trivial)["kind"]
        by_shortcut = (method.exchanged_heads(causal + trivial.roll(1, 0))["kind"] - said).abs().mean()
        by_cause = (method.exchanged_heads(causal.roll(1, 0) + trivial)["kind"] - said).abs().mean()
    assert by_shortcut < 0.3 * by_cause, (by_shortcut, by_cause)


def lured(rows: int, seed: int, agree: float) -> Batch:
    """The same with a lure: a sign in one step of audio, which is that of the class in this share of samples."""
    batch, random = motif(rows, seed), torch.Generator().manual_seed(seed + 1)
    kind, audio = batch.targets["kind"], batch["audio"].tensor.clone()
    lure = torch.where(torch.rand(rows, generator=random) < agree, kind, 1 - kind)
    audio[torch.arange(rows), torch.randint(4, (rows,), generator=random), 2] += 4.0 * lure - 2
    return replace(batch, streams={**batch.streams, "audio": replace(batch["audio"], values=audio)})


@pytest.mark.slow
def test_beside_a_certain_cause_a_lure_may_turn_round_and_the_shortcut_heads_say_nothing() -> None:
    method = MMCI(MOTIF, width=16, heads=2, layers=2, dropout=0.0).train()
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    for step in range(200):
        batch = lured(64, step, 0.9)
        optimiser.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimiser.step()
    method.eval()
    batch = lured(300, 999, 0.1)
    with torch.no_grad():
        nodes, real = method.graph(batch)
        causal, trivial = (method.part(nodes, real, causal=c) for c in (True, False))
        right = (method.heads(causal)["kind"].argmax(1) == batch.targets["kind"]).float().mean()
        said = method.shortcut_heads(trivial)["kind"].softmax(1)
    assert right > 0.9
    assert (said - 0.5).abs().mean() < 0.02
