"""MoSEAR: adapters that begin as nothing, who is routed where, the gate's loss, and attention that is moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target, seed_torch
from polymodal.methods.base import Now
from polymodal.methods.mosear import MoSEAR
from polymodal.nn.modality_experts import Gates, gate_losses, lopsided, reallocated
from polymodal.nn.open_attention import attention_share
from polymodal.testing import train_briefly

MakeBatch = Callable[..., Batch]

SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
SCHEMA = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("video", "sequence", 4)), (SENTIMENT,)
)
SMALL: dict[str, Any] = {"width": 16, "heads": 2, "layers": 2, "dropout": 0.0, "rank": 4, "alpha": 4.0}


def small(schema: Schema = SCHEMA, **options: Any) -> MoSEAR:
    return MoSEAR(schema, **{**SMALL, **options})


def opened(method: MoSEAR) -> MoSEAR:
    """Return the method with experts that add something, each something else."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if name.endswith(".up"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return method


def test_at_first_experts_add_nothing(make_batch: MakeBatch) -> None:
    method, batch = small().train(), make_batch(SCHEMA)
    frozen = method(batch).predictions["sentiment"]
    with torch.no_grad():
        method.gate.weigh.weight.mul_(5.0)
        for layer in method.experts:
            for part in layer.values():  # type: ignore[operator]
                part.down.mul_(3.0)
    torch.testing.assert_close(method(batch).predictions["sentiment"], frozen)
    assert (opened(method)(batch).predictions["sentiment"] - frozen).abs().max() > 1e-3


def test_what_is_absent_moves_no_expert_and_no_expert_of_it_counts(make_batch: MakeBatch) -> None:
    method, batch = opened(small()).train(), make_batch(SCHEMA).without("video")
    assert method.row.names == ("audio", "video", "text")
    assert method.members == [0, 1]
    output = method(batch)
    torch.testing.assert_close(output.representations["weights"], torch.tensor([1.0, 0.0]).expand(8, 2))
    output.predictions["sentiment"].sum().backward()
    ups = [p for n, p in method.named_parameters() if n.endswith(".up")]
    assert all(p.grad is not None and p.grad[0].abs().max() > 0 for p in ups)
    assert all(p.grad is not None and p.grad[1].abs().max() == pytest.approx(0, abs=1e-12) for p in ups)
    with torch.no_grad():
        for parameter in ups:
            parameter[1] += 5.0
    torch.testing.assert_close(method(batch).predictions, output.predictions)


def test_language_has_no_experts_where_two_others_are() -> None:
    pair = Schema(SCHEMA.modalities[:2], SCHEMA.targets)
    assert small(pair).members == [0, 1]
    assert len(small(Schema(SCHEMA.modalities[1:2], SCHEMA.targets)).members) == 1


def test_the_likeliest_expert_counts_with_its_probability() -> None:
    gates = Gates(torch.tensor([[0.25, 0.75]]), torch.tensor([[[0.6, 0.4], [0.1, 0.9]]]), torch.ones(1, 2).bool())
    torch.testing.assert_close(gates.chosen, torch.tensor([[[0.15, 0.0], [0.0, 0.675]]]))


def test_the_loss_of_the_gate_is_that_of_one_sided_weights() -> None:
    assert lopsided(torch.full((4, 2), 0.5)) == pytest.approx(0, abs=1e-6)
    assert lopsided(torch.tensor([[1.0, 0.0]] * 3)) == pytest.approx(math.log(2), abs=1e-6)
    assert lopsided(torch.tensor([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(0, abs=1e-6)  # on average
    there = torch.tensor([[True, True], [True, False]])
    experts = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.1, 0.9], [0.5, 0.5]]])
    apart, used = gate_losses(Gates(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), experts, there))
    assert apart == pytest.approx(0, abs=1e-6)  # a sample that lacks one says nothing
    assert used == pytest.approx(0, abs=1e-6)
    nobody = gate_losses(Gates(torch.zeros(2, 2), experts, torch.zeros(2, 2).bool()))
    assert [float(x) for x in nobody] == pytest.approx([0, 0])


def test_only_experts_gate_and_heads_learn_after_the_base(make_batch: MakeBatch) -> None:
    method, batch = small(), make_batch(SCHEMA)
    base, experts = method.phases()
    assert base.share + experts.share == pytest.approx(1)
    assert base.parameters is not None
    assert experts.parameters is not None
    names = [n for n, _ in method.named_parameters()]
    assert {n.split(".")[0] for n in names if base.parameters(n)} == {"row", "layers", "norm", "heads"}
    assert {n.split(".")[0] for n in names if experts.parameters(n)} == {"experts", "gate", "heads"}
    method.now = Now("base")
    assert set(method.losses(batch, method(batch))) == {"task"}
    method.now = Now("experts")
    assert set(method.losses(batch, method(batch))) == {"task", "balance"}


OWNER = torch.tensor([0] * 5 + [1] * 2 + [2] * 2)


def weights(seed: int = 0) -> Tensor:
    scores = torch.randn(2, 2, 9, 9, generator=torch.Generator().manual_seed(seed))
    return scores.softmax(-1)


def test_moved_attention_stays_attention() -> None:
    before = weights()
    for beta in (0.3, 1.0):
        after = reallocated(before, OWNER, [0, 1], beta, 1.0)
        torch.testing.assert_close(after.sum(-1), torch.ones(2, 2, 9))
        assert after.min() >= 0
        assert after.max() <= 1
        assert torch.allclose(after[..., 7:], before[..., 7:], rtol=0, atol=0)  # to the bit: multiplied by 1
        for columns in (slice(0, 5), slice(5, 7)):
            torch.testing.assert_close(after[..., columns].argsort(-1), before[..., columns].argsort(-1))
    same = reallocated(before, OWNER, [0, 1], 0.0, 1.0)
    assert torch.allclose(same, before, rtol=0, atol=0)
    one, other = attention_share(reallocated(before, OWNER, [0, 1], 1.0, 1.0), OWNER, 2).unbind(-1)
    torch.testing.assert_close(one, other)


def test_attention_is_moved_above_tau_only_and_never_to_what_is_absent() -> None:
    before = weights()
    shares = attention_share(before, OWNER, 2)
    ratio = shares.max(-1).values / shares.min(-1).values
    after = reallocated(before, OWNER, [0, 1], 0.5, 2.0)
    moved = (after - before).abs().amax(-1) > 1e-6
    assert moved.any()
    assert not moved.all()
    assert (moved == (ratio > 2.0)).all()
    gone = before.masked_fill(OWNER == 1, 0.0)
    gone = gone / gone.sum(-1, keepdim=True)
    torch.testing.assert_close(reallocated(gone, OWNER, [0, 1], 1.0, 1.0), gone)
    several = attention_share(reallocated(before, OWNER, [0, 1, 2], 1.0, 1.0), OWNER, 3).sort(-1).values
    assert (several[..., 2] <= attention_share(before, OWNER, 3).max(-1).values + 1e-6).all()


def test_attention_is_moved_at_inference_only(make_batch: MakeBatch) -> None:
    batch, still, moving = make_batch(SCHEMA), small(beta=0.0), small(beta=1.0, tau=1.0)
    moving.load_state_dict(still.state_dict())
    torch.testing.assert_close(moving.train()(batch).predictions, still.train()(batch).predictions)
    apart = moving.eval()(batch).predictions["sentiment"] - still.eval()(batch).predictions["sentiment"]
    assert apart.abs().max() > 1e-5


def test_options_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="beta lies from 0 to 1, tau is 1 or more"):
        small(tau=0.5)
    with pytest.raises(OptionError, match="heads must divide width"):
        small(width=15)


CONFLICTS = Schema(
    (Modality("audio", "sequence", 4), Modality("video", "sequence", 4)),
    (Target("mood", "classification", classes=("low", "high")),),
)


def conflicts(rows: int, seed: int, audio: float, video: float) -> Batch:
    """Return samples whose sound (12 steps) and picture (3 steps) are right in these shares, each drawn by itself."""
    generator = torch.Generator().manual_seed(seed)
    label, streams = torch.randint(0, 2, (rows,), generator=generator), {}
    for name, right, steps in (("audio", audio, 12), ("video", video, 3)):
        told = torch.where(torch.rand(rows, generator=generator) < right, label, 1 - label)
        x = 0.7 * torch.randn(rows, steps, 4, generator=generator)
        x[..., 0] += (2.0 * told - 1).unsqueeze(1)
        streams[name] = Stream(x, torch.full((rows,), steps), torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"mood": label}, [str(i) for i in range(rows)])


def accuracy(method: MoSEAR, batch: Batch) -> float:
    with torch.no_grad():
        return float((method(batch).predictions["mood"].argmax(1) == batch.targets["mood"]).float().mean())


@pytest.mark.slow
def test_moved_attention_narrows_the_gap_between_conflicts() -> None:
    """Three seeds. Trained where sound is right more often: it wins conflicts, and less so once attention is moved.

    Seen: mean gaps of 0.60 without and 0.38 with all of it moved; what is consistent stays within 0.003.
    """
    gaps: dict[float, list[float]] = {0.0: [], 1.0: []}
    consistent: dict[float, list[float]] = {0.0: [], 1.0: []}
    for seed in (1, 2, 3):
        seed_torch(seed)
        method = small(CONFLICTS, tau=1.0)
        train_briefly(method, conflicts(256, seed, 0.85, 0.75), 60, lr=3e-3)
        method.eval()
        for beta in gaps:
            method.beta = beta
            of_audio, of_video = (accuracy(method, conflicts(400, 9, a, 1 - a)) for a in (1.0, 0.0))
            gaps[beta].append(of_audio - of_video)
            consistent[beta].append(accuracy(method, conflicts(400, 11, 1.0, 1.0)))
    assert min(gaps[0.0]) > 0.2
    assert all(after < before for before, after in zip(gaps[0.0], gaps[1.0], strict=True))
    assert sum(gaps[1.0]) / 3 < sum(gaps[0.0]) / 3 - 0.08
    assert min(after - before for before, after in zip(consistent[0.0], consistent[1.0], strict=True)) > -0.02
