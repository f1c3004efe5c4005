"""GRAM: what its contrast draws together, and what a match is worth."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.core import Batch, DataError, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.gram import GRAM, hard_negatives
from polymodal.nn.volume import volume

MakeBatch = Callable[..., Batch]

MATCH = Target("match", "retrieval")
MODALITIES = tuple(Modality(n, "vector", 6) for n in ("text", "audio", "vision"))
TUPLES = Schema(MODALITIES, (MATCH,))
SMALL = {"width": 8, "hidden": 8, "dropout": 0.0}


def tuples(seed: int, rows: int = 48) -> Batch:
    """Three views of one latent of four numbers, each through its own map, with noise."""
    fixed, drawn = torch.Generator().manual_seed(0), torch.Generator().manual_seed(500 + seed)
    latent = torch.randn(rows, 4, generator=drawn)
    streams = {}
    for name in TUPLES.names:
        values = latent @ torch.randn(4, 6, generator=fixed) + 0.1 * torch.randn(rows, 6, generator=drawn)
        streams[name] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"match": torch.arange(rows)}, [str(i) for i in range(rows)])


def test_the_prediction_holds_unit_vectors_and_the_similarity_is_minus_the_volume() -> None:
    method, batch = GRAM(TUPLES, **SMALL).eval(), tuples(1, 5)
    vectors = method(batch).predictions["match"]
    torch.testing.assert_close(vectors.norm(dim=2), torch.ones(5, 3))
    expected = -volume(vectors[:, 0], vectors[:, 1:])
    torch.testing.assert_close(method.similarity(vectors, vectors), expected)


def test_vectors_that_are_all_the_same_cost_the_logarithm_of_the_batch() -> None:
    method, batch = GRAM(TUPLES, **SMALL).eval(), tuples(1, 12)
    output = method(batch)
    for name in TUPLES.names:
        output.representations[name][:] = F.normalize(torch.ones(8), dim=0)
    assert method.losses(batch, output)["volume"].item() == pytest.approx(math.log(12), abs=1e-3)


def test_an_absent_modality_leaves_the_volume_of_the_others() -> None:
    method, batch = GRAM(TUPLES, **SMALL).eval(), tuples(1, 6).without("vision")
    vectors = method(batch).predictions["match"]
    wanted = -volume(vectors[:, 0], vectors[:, 1:2])
    torch.testing.assert_close(method.similarity(vectors, vectors), wanted, rtol=1e-4, atol=1e-5)


def test_who_lacks_the_anchor_is_in_no_contrast() -> None:
    method, batch = GRAM(TUPLES, **SMALL).eval(), tuples(1, 8)
    gone = torch.arange(8) < 3
    lacking = batch.without("text", rows=gone)
    part = batch.select(~gone)
    wanted = method.losses(part, method(part))["volume"]
    torch.testing.assert_close(method.losses(lacking, method(lacking))["volume"], wanted)


def test_negatives_are_others_and_the_hardest_come_most_often() -> None:
    logits = torch.full((4, 4), -20.0)
    logits[0, 2] = 0.0
    drawn = torch.stack([hard_negatives(logits.clone()) for _ in range(200)])
    assert not (drawn == torch.arange(4)).any()
    assert (drawn[:, 0] == 2).float().mean() > 0.9


def test_the_match_head_sees_one_match_and_two_mismatches_of_each_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = GRAM(TUPLES, **SMALL).train(), tuples(1, 6)
    seen: list[Tensor] = []
    method.matcher.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    losses = method.losses(batch, method(batch))
    assert {"volume", "match"} == losses.keys()
    pairs = seen[0].view(3, 6, 3, 8)
    vectors = method(batch).predictions["match"]
    torch.testing.assert_close(pairs[0], vectors)
    torch.testing.assert_close(pairs[1][:, 0], vectors[:, 0])  # the own anchor with another's tuple
    assert not torch.isclose(pairs[1][:, 1:], vectors[:, 1:]).all(dim=(1, 2)).any()
    torch.testing.assert_close(pairs[2][:, 1:], vectors[:, 1:])  # the own tuple with another's anchor
    assert not torch.isclose(pairs[2][:, 0], vectors[:, 0]).all(dim=1).any()


def test_other_tasks_are_learned_beside_the_alignment(make_batch: MakeBatch) -> None:
    schema = Schema(MODALITIES, (Target("mood", "regression", (-1.0, 1.0)),))
    method, batch = GRAM(schema, **SMALL).train(), make_batch(schema)
    assert set(method.losses(batch, method(batch))) == {"task", "volume", "match"}
    assert method.phases()[0].select == ("task",)
    assert GRAM(TUPLES).phases()[0].select == ("volume",)


def test_what_cannot_be_learned_is_one_sentence() -> None:
    with pytest.raises(DataError, match="a retrieval alone or other targets"):
        GRAM(Schema(MODALITIES, (MATCH, Target("mood", "regression"))))
    with pytest.raises(OptionError, match="anchor is 'txt', which is no modality; did you mean 'text'"):
        GRAM(TUPLES, anchor="txt")


def recall(scores: Tensor) -> float:
    return float((scores.argmax(1) == torch.arange(len(scores))).float().mean())


def test_training_shrinks_the_volume_of_what_belongs_together_and_finds_it_both_ways() -> None:
    torch.manual_seed(3)
    method, test = GRAM(TUPLES, **SMALL).train(), tuples(-1, 100)

    @torch.no_grad()
    def state() -> tuple[float, float, float]:
        vectors = method.eval()(test).predictions["match"]
        method.train()
        scores = method.similarity(vectors, vectors)
        return float(-scores.diagonal().mean()), recall(scores), recall(scores.T)

    before = state()
    optimizer = torch.optim.AdamW(method.parameters(), 5e-3)
    for step in range(120):
        batch = tuples(step)
        optimizer.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimizer.step()
    after = state()
    assert after[0] < before[0] - 0.1
    assert min(after[1:]) > 0.3  # chance: 0.01
