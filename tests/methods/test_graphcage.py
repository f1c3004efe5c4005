"""GraphCAGE: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.graphcage import GraphCAGE, StepVotes
from polymodal.nn.fast import LSTM
from polymodal.nn.graph import AttentionEdges, looped

MakeBatch = Callable[..., Batch]
SCORE = Target("y", "regression", (-3.0, 3.0))
WIDTHS = {"text": 6, "audio": 5, "vision": 4}
SMALL = Schema(tuple(Modality(n, "sequence", w) for n, w in WIDTHS.items()), (SCORE,))
STILL = dict.fromkeys(("text_dropout", "embed_dropout", "attention_dropout", "layer_dropout"), 0.0)
TINY: dict[str, Any] = {"width": 8, "heads": 2, "layers": 1, "vertices": 5, "capsule": 6, "steps": 12, **STILL}


def field_schema(audio: int, vision: int) -> Schema:
    widths = {"text": 300, "audio": audio, "vision": vision}
    return Schema(tuple(Modality(n, "sequence", w) for n, w in widths.items()), (SCORE,))


def test_the_capsules_have_the_published_number_of_weights() -> None:
    method = GraphCAGE(field_schema(5, 20), steps={"text": 50, "audio": 375, "vision": 500})
    sizes = {n: votes.weight.numel() for n, votes in method.votes.items()}
    assert sizes == {"text": 50 * 20 * 60 * 32, "audio": 375 * 20 * 60 * 32, "vision": 19_200_000}
    assert sum(p.numel() for p in method.layers.parameters()) == 2 * (2 * 32 * 32 + 32 + 20 * 32 * 32)
    assert sum(p.numel() for p in method.edges.parameters()) == 3 * 2 * 32 * 32
    assert sum(p.numel() for p in method.mix.parameters()) == 192 * 64 + 64
    assert sum(p.numel() for p in method.heads.parameters()) == 65


def test_votes_are_each_steps_own_product() -> None:
    votes, x = StepVotes(9, 4, 3, 2), torch.randn(2, 7, 4)
    torch.testing.assert_close(votes(x), torch.einsum("btj,tjnd->bntd", x, votes.weight[:7]))
    shared = StepVotes(1, 4, 3, 2)
    torch.testing.assert_close(shared(x), torch.einsum("btj,jnd->bntd", x, shared.weight[0]))


def test_votes_begin_as_large_as_xaviers_rule_says() -> None:
    expected = torch.empty(50, 20, 60, 32)
    nn.init.xavier_normal_(expected)
    assert StepVotes(50, 60, 20, 32).weight.std().item() == pytest.approx(expected.std().item(), rel=0.01)


def test_weights_of_both_routings_sum_to_one_where_there_is_something(make_batch: MakeBatch) -> None:
    method, batch = GraphCAGE(SMALL, **TINY).eval(), make_batch(SMALL).without("text", rows=torch.arange(8) < 3)
    found = method(batch).representations
    for name, stream in batch.streams.items():
        routing, aggregation = found[f"routing_{name}"], found[f"aggregation_{name}"]
        assert routing.shape == (8, 12, 5)
        assert aggregation.shape == (8, 2, 5)
        mask = torch.zeros(8, 12)
        mask[:, : stream.tensor.shape[1]] = stream.mask.float()
        torch.testing.assert_close(routing.sum(2), mask)
        torch.testing.assert_close(aggregation.sum(2), stream.present[:, None].float().expand(-1, 2))
        assert not routing.requires_grad
        assert not aggregation.requires_grad
        attribution = torch.einsum("bti,bi->bt", routing, aggregation.mean(1))
        assert attribution.shape == (8, 12)


def test_without_rounds_all_weights_are_even(make_batch: MakeBatch) -> None:
    found = GraphCAGE(SMALL, **TINY, rounds=0).eval()(make_batch(SMALL)).representations
    assert found["aggregation_audio"].unique().tolist() == pytest.approx([0.2])
    assert found["routing_audio"].unique().tolist() == pytest.approx([0.0, 0.2])


def gradients(loss: Tensor, method: GraphCAGE) -> dict[str, float]:
    method.zero_grad()
    loss.backward(retain_graph=True)
    return {n: float(p.grad.abs().sum()) for n, p in method.named_parameters() if p.grad is not None}


def test_the_task_reaches_all_and_the_norm_the_votes_alone(make_batch: MakeBatch) -> None:
    method, batch = GraphCAGE(SMALL, **TINY), make_batch(SMALL)
    output = method(batch)
    norm = method.losses(batch, output)["norm"]
    expected = 1e-4 * sum(v.weight.square().sum().sqrt() for v in method.votes.values())
    torch.testing.assert_close(norm, expected)
    assert set(gradients(norm, method)) == {f"votes.{n}.weight" for n in WIDTHS}
    task = gradients(output.predictions["y"].sum(), method)
    assert set(task) == {n for n, _ in method.named_parameters()}
    assert all(task[f"edges.{n}.{part}.weight"] > 0 for n in WIDTHS for part in ("query", "key"))
    assert all(task[f"votes.{n}.weight"] > 0 for n in WIDTHS)
    assert "norm" not in method.eval().losses(batch, output)
    off = GraphCAGE(SMALL, **TINY, norm_weight=0.0)
    assert set(off.losses(batch, off(batch))) == {"task"}


def test_edges_have_loops_of_at_least_one_and_without_queries_nothing_else() -> None:
    method, x = GraphCAGE(SMALL, **TINY), torch.randn(3, 5, 6)
    edges = method.edges["audio"]
    assert isinstance(edges, AttentionEdges)
    every = torch.ones(3, 5, dtype=torch.bool)
    found = looped(edges(x), every)
    assert (found.diagonal(dim1=1, dim2=2) >= 1).all()
    assert (found >= 0).all()
    assert (found > 0).sum() > 15
    with torch.no_grad():
        edges.query.weight.zero_()
    alone = looped(edges(x), every)
    layer = method.layers[0]
    h = layer(x, alone, 2)[0]
    torch.testing.assert_close(h, torch.tanh(layer.linear(layer.point(x))))


def test_a_layer_reads_its_vertices_by_matrices_of_their_own() -> None:
    method, x = GraphCAGE(SMALL, **TINY), torch.randn(2, 5, 6)
    layer = method.layers[1]
    h, vector, weights = layer(x, torch.eye(5).expand(2, 5, 5), 0)
    expected = torch.tanh(sum(h[:, i] @ layer.weight[i] for i in range(5)) / 5)
    torch.testing.assert_close(vector, expected)
    torch.testing.assert_close(weights, torch.full((2, 5), 0.2))


def test_steps_have_numbers_and_with_shared_votes_none(make_batch: MakeBatch) -> None:
    """A lone modality passes no transformer: only its votes can tell its steps apart."""
    schema = Schema((Modality("audio", "sequence", 5),), (SCORE,))
    batch = make_batch(schema)
    audio = batch["audio"]
    assert audio.lengths is not None
    mirrored = audio.tensor.clone()
    for row, n in enumerate(audio.lengths.tolist()):
        mirrored[row, :n] = audio.tensor[row, :n].flip(0)
    other = replace(batch, streams={"audio": replace(audio, values=mirrored)})
    for shared in (False, True):
        method = GraphCAGE(schema, **TINY, shared=shared).eval()
        with torch.no_grad():
            method.votes["audio"].weight.mul_(10)
            same = torch.allclose(method(other).predictions["y"], method(batch).predictions["y"], atol=1e-5)
        assert same == shared


def test_sequences_of_any_length_are_read(make_batch: MakeBatch) -> None:
    method = GraphCAGE(SMALL, **{**TINY, "steps": {"text": 3, "audio": 9, "vision": 4}}).eval()
    short, long = (method(make_batch(SMALL, longest=n)) for n in (2, 30))
    for output in (short, long):
        assert output.representations["routing_vision"].shape == (8, 4, 5)
        assert output.predictions["y"].isfinite().all()


def test_more_steps_than_there_are_matrices_are_refused_by_votes_and_shortened_by_the_method() -> None:
    with pytest.raises(RuntimeError):
        StepVotes(9, 4, 3, 2)(torch.randn(2, 10, 4))
    method = GraphCAGE(Schema(SMALL.modalities[1:2], (SCORE,)), **{**TINY, "steps": 4}).eval()
    frames = torch.randn(1, 4, 5)
    said = [
        method(Batch({"audio": Stream(x, torch.tensor([x.shape[1]]), torch.tensor([True]))}, {}, ["s"])).predictions
        for x in (frames, frames.repeat_interleave(3, dim=1))
    ]
    torch.testing.assert_close(said[1], said[0])


def test_attention_to_text_alone_is_dropped() -> None:
    method = GraphCAGE(SMALL, **{**TINY, "attention_dropout": 0.3})
    dropped = {n: stack.layers[0].attention.dropout for n, stack in method.crossings.items()}  # type: ignore[union-attr,index]
    assert dropped == {n: 0.3 if n.startswith("text_to") else 0.0 for n in dropped}
    assert len(dropped) == 6


def test_the_scale_is_that_of_what_the_heads_read(make_batch: MakeBatch) -> None:
    method, batch = GraphCAGE(SMALL, **TINY).eval(), make_batch(SMALL)
    bias = method.heads.linears[0].bias
    once = method(batch).predictions["y"] - bias
    method.output_scale = 20.0
    torch.testing.assert_close(method(batch).predictions["y"] - bias, 2 * once)


LONG = 500


def early(rows: int, seed: int) -> Batch:
    """Noise of 500 steps; the label is the sign of the one frame among the first ten that is marked."""
    random = torch.Generator().manual_seed(seed)
    values, kind = 0.1 * torch.randn(rows, LONG, 2, generator=random), torch.randint(2, (rows,), generator=random)
    at = torch.randint(10, (rows,), generator=random)
    values[torch.arange(rows), at] = torch.stack([2.0 * kind - 1, torch.ones(rows)], dim=1)
    lengths, here = torch.full((rows,), LONG), torch.ones(rows, dtype=torch.bool)
    return Batch({"audio": Stream(values, lengths, here)}, {"sign": kind}, [f"{seed}_{i}" for i in range(rows)])


class LastStep(nn.Module):
    """An LSTM of which the last step is read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn, self.head = LSTM(2, width, batch_first=True), nn.Linear(width, 2)

    def forward(self, batch: Batch) -> Tensor:
        return self.head(self.rnn(batch["audio"].tensor)[0][:, -1])


@pytest.mark.slow
def test_an_event_at_the_beginning_of_500_steps_is_found_where_an_lstms_last_step_forgot() -> None:
    schema = Schema((Modality("audio", "sequence", 2),), (Target("sign", "classification", classes=("-", "+")),))
    method = GraphCAGE(schema, **{**TINY, "steps": LONG})
    models: list[tuple[nn.Module, Callable[[Batch], Tensor]]] = [(method, lambda b: method(b).predictions["sign"])]
    last = LastStep(8)
    models.append((last, last))
    right = []
    for model, scores in models:
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for seed in range(150):
            batch = early(32, seed)
            optimizer.zero_grad()
            nn.functional.cross_entropy(scores(batch), batch.targets["sign"]).backward()
            optimizer.step()
        fresh = early(500, 10_000)
        with torch.no_grad():
            right.append((scores(fresh).argmax(1) == fresh.targets["sign"]).float().mean().item())
    assert right[0] > 0.9
    assert right[1] < 0.6


def test_wrong_options_are_named() -> None:
    for options, message in (
        ({"heads": 7}, "heads must divide width, got heads=7 and width=30"),
        ({"rounds": -1}, "rounds and norm_weight must not be negative, got -1 and 0.0001"),
        ({"steps": {"text": 50}}, "steps has no value for audio, vision"),
        ({"steps": 0}, "steps of text must be above 0, got 0"),
    ):
        with pytest.raises(OptionError, match=message):
            GraphCAGE(SMALL, **options)
