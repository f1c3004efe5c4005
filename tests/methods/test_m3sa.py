"""M3SA: weights in closed form, what the filter lets through, who gets which gradient, and noise that is planted."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import Now
from polymodal.methods.m3sa import M3SA, modulation_weights
from polymodal.nn.heads import sample_losses

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
KIND = Target("kind", "classification", classes=("x", "y", "z"))
NAMES = ("text", "audio", "vision")
MODALITIES = tuple(Modality(n, "vector", 6) for n in NAMES)
THREE = Schema(MODALITIES, (SCORE,))
ALL = torch.ones(1, 3, dtype=torch.bool)


def made(schema: Schema = THREE, **options: object) -> M3SA:
    return M3SA(schema, **{"width": 8, "dropout": 0.0} | options)  # type: ignore[arg-type]


def weights(*losses: float, there: Tensor = ALL, modulation: str = "harmonic") -> list[float]:
    found: list[float] = modulation_weights(torch.tensor([losses]), there, modulation)[0].tolist()  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        ((0.5, 0.5, 0.5), (0.125, 0.125, 0.125)),
        ((2.0, 2.0, 2.0), (8.0, 8.0, 8.0)),
        ((0.1, 1.0, 1.0), (0.25, 0.025, 0.025)),
    ],
)
def test_a_modality_weighs_as_much_as_the_others_fail(losses: tuple[float, ...], wanted: tuple[float, ...]) -> None:
    assert weights(*losses) == pytest.approx(wanted)
    x = torch.tensor([losses])
    total = (modulation_weights(x, ALL) * x).sum().item()
    assert total == pytest.approx(3 * 3 / sum(1 / v for v in losses) * math.prod(losses))


def test_other_modulations() -> None:
    assert weights(0.1, 2.0, 3.0, modulation="none") == [1.0, 1.0, 1.0]
    assert weights(0.1, 2.0, 3.0, modulation="product") == pytest.approx([6.0, 0.3, 0.2])
    lacks = [1 - math.exp(-v) for v in (0.1, 2.0, 3.0)]
    wanted = [lacks[1] * lacks[2], lacks[0] * lacks[2], lacks[0] * lacks[1]]
    assert weights(0.1, 2.0, 3.0, modulation="focal") == pytest.approx(wanted)


def test_where_one_modality_is_right_the_others_are_left_alone_and_it_has_nothing_to_learn() -> None:
    found = weights(1e-6, 1.0, 2.0)
    assert max(found[1:]) < 1e-5
    assert found[0] * 1e-6 < 1e-9


def test_what_is_not_there_weighs_nothing_and_is_no_other_to_anybody() -> None:
    there = torch.tensor([[True, False, True]])
    harmonic = 2 / (1 / 0.5 + 1 / 2.0)
    assert weights(0.5, 7.0, 2.0, there=there) == pytest.approx([harmonic * 2.0, 0.0, harmonic * 0.5])
    assert weights(0.5, math.nan, 2.0, there=there) == pytest.approx([harmonic * 2.0, 0.0, harmonic * 0.5])
    assert weights(0.5, 7.0, 2.0, there=~ALL) == [0.0, 0.0, 0.0]
    for modulation in ("none", "product", "focal"):
        assert weights(0.5, 7.0, 2.0, there=there, modulation=modulation)[1] == 0


def reached(method: M3SA, batch: Batch, name: str) -> set[str]:
    method.train().zero_grad()
    method.losses(batch, method(batch))[name].backward()
    return {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}


def test_the_modalities_losses_leave_the_filter_alone_and_their_weights_are_constants(make_batch: MakeBatch) -> None:
    method, batch = made().train(), make_batch(THREE)
    assert reached(method, batch, "modulated") == {"encoders", "heads"}
    assert reached(method, batch, "task") == {"encoders", "heads", "common", "gates", "bases", "norm"}
    assert reached(method, batch, "decisive") == {"encoders", "common", "gates"}
    output = method(batch)
    own, there = method.own_losses(batch, output)
    vectors = [output.representations[n] for n in NAMES]
    found = torch.autograd.grad(method.losses(batch, output)["modulated"], vectors, retain_graph=True)
    w = modulation_weights(own, there)
    for m in range(3):
        (slope,) = torch.autograd.grad(own[:, m].sum(), vectors[m], retain_graph=True)
        torch.testing.assert_close(found[m], w[:, m, None] * slope / len(batch))


def forced(method: M3SA, keep: float) -> M3SA:
    """Gates that say the same of everything."""
    with torch.no_grad():
        for gate in method.gates:
            gate.weight.zero_()
            gate.bias.copy_(torch.tensor([100.0, 0.0] if keep else [0.0, 100.0]))
    return method


@pytest.mark.parametrize("filter_", ["soft", "hard"])
def test_what_is_kept_is_summed_and_what_is_dropped_is_the_baseline(filter_: str, make_batch: MakeBatch) -> None:
    method, batch = made(filter=filter_).eval(), make_batch(THREE)
    torch.nn.init.normal_(method.bases)
    found = forced(method, 1.0)(batch).representations
    torch.testing.assert_close(found["keep"], torch.ones(8, 3))
    torch.testing.assert_close(found["fused"], method.norm(torch.stack([found[n] for n in NAMES]).sum(0)))
    output = forced(method, 0.0)(batch)
    torch.testing.assert_close(output.representations["keep"], torch.zeros(8, 3))
    constant = method.heads(method.norm(method.bases.sum(0, keepdim=True)))["sentiment"]
    torch.testing.assert_close(output.predictions["sentiment"], constant.expand(8))


def test_the_baseline_learns_only_where_something_is_dropped(make_batch: MakeBatch) -> None:
    method, batch = made(), make_batch(THREE, 7)  # an odd number of signs does not sum to 0
    assert "bases" not in reached(forced(method, 1.0), batch, "task")
    assert "bases" in reached(forced(method, 0.0), batch, "task")
    assert "bases" in reached(forced(method, 1.0), batch.without("audio"), "task")
    assert not made(baseline="zeros").bases.requires_grad


def test_a_vector_above_the_common_one_everywhere_is_judged_by_the_bias_alone(make_batch: MakeBatch) -> None:
    method = made().eval()
    with torch.no_grad():
        method.common.weight.zero_()
        method.common.bias.fill_(-50.0)
    x = torch.randn(5, 3, 8)
    keep = method.kept(x, ALL.expand(5, 3))
    wanted = torch.stack([(3.0 * gate.bias).softmax(0)[0] for gate in method.gates])
    torch.testing.assert_close(keep, wanted.expand(5, 3))


def test_hard_gates_are_0_or_1_and_have_the_gradient_of_soft_ones() -> None:
    hard, x = made(filter="hard").train(), torch.randn(6, 3, 8)
    soft = made().train()
    soft.load_state_dict(hard.state_dict())
    keep, gates = hard.kept(x, ALL.expand(6, 3)), [*hard.gates.parameters()]
    torch.testing.assert_close(keep, keep.round())
    assert 0 < keep.sum() < 18
    found = torch.autograd.grad(keep.sum(), gates)
    wanted = torch.autograd.grad(soft.kept(x, ALL.expand(6, 3)).sum(), [*soft.gates.parameters()])
    torch.testing.assert_close(found, wanted)


def test_while_warming_up_and_without_a_filter_all_that_is_there_is_kept(make_batch: MakeBatch) -> None:
    batch = make_batch(THREE).without("audio", rows=torch.arange(8) < 3)
    method = made(warmup=0.2).train()
    method.now = Now(share=0.1)
    assert torch.equal(method(batch).representations["keep"], batch.present.float())
    method.now = Now(share=0.2)
    assert not torch.equal(method(batch).representations["keep"], batch.present.float())
    off = made(filter="off").train()
    output = off(batch)
    assert torch.equal(output.representations["keep"], batch.present.float())
    assert set(off.losses(batch, output)) == {"task", "modulated"}


def test_one_predictor_reads_everything_unless_each_is_to_have_its_own(make_batch: MakeBatch) -> None:
    batch = make_batch(THREE)
    for shared in (True, False):
        method = made(shared_head=shared).train()
        output = method(batch)
        own, _ = method.own_losses(batch, output)
        for m, n in enumerate(NAMES):
            heads = method.heads if shared else method.own_heads[m]
            errors, _ = sample_losses(SCORE, heads(output.representations[n])["sentiment"], batch.targets["sentiment"])
            torch.testing.assert_close(own[:, m], errors)


def test_losses_are_on_one_scale_averaged_over_targets_that_are_known(make_batch: MakeBatch) -> None:
    schema = Schema(MODALITIES, (Target("sentiment", "regression", (-1.0, 1.0)), KIND))
    method, batch = made(schema).train(), make_batch(schema)
    batch.targets["sentiment"][0] = torch.nan
    batch.targets["kind"][:2] = -1
    batch.targets["sentiment"][2] = torch.nan
    output = method(batch)
    own, there = method.own_losses(batch, output)
    said = method.heads(output.representations["text"])
    number = 3 * (said["sentiment"] - batch.targets["sentiment"]).abs()
    kind = torch.nn.functional.cross_entropy(said["kind"][2:], batch.targets["kind"][2:], reduction="none")
    assert not there[0].any()
    assert there[1:].all()
    torch.testing.assert_close(own[1, 0], number[1])
    torch.testing.assert_close(own[2, 0], kind[0])
    torch.testing.assert_close(own[3:, 0], (number[3:] + kind[1:]) / 2)


@pytest.mark.parametrize("option", ["modulated", "decisive"])
def test_every_weight_is_of_its_own_loss(option: str, make_batch: MakeBatch) -> None:
    batch, found = make_batch(THREE), []
    for weight in (0.2, 0.6):
        torch.manual_seed(0)
        method = made(**{option: weight}).train()
        found.append(method.losses(batch, method(batch)))
    for name, loss in found[0].items():
        assert found[1][name].item() == pytest.approx((3 if name == option else 1) * loss.item(), rel=1e-4)


def test_indecision_costs_most_at_one_half_and_nothing_for_what_is_absent(make_batch: MakeBatch) -> None:
    batch = make_batch(THREE).without("audio")
    for bias, cost in ((0.0, 1.0), (math.log(3) / 3, 0.75), (50.0, 0.0)):  # p is 1/2, 3/4 and 1
        method = made(decisive=1.0).train()
        with torch.no_grad():
            for gate in method.gates:
                gate.weight.zero_()
                gate.bias.copy_(torch.tensor([bias, 0.0]))
        assert method.losses(batch, method(batch))["decisive"].item() == pytest.approx(cost, abs=1e-5)


@pytest.mark.parametrize("option", ["modulated", "decisive"])
def test_weights_below_0_are_named(option: str) -> None:
    with pytest.raises(OptionError, match="modulated and decisive must not be negative"):
        made(**{option: -0.1})


def planted(seed: int, rows: int = 64) -> tuple[Batch, Tensor]:
    """Three views of the label, of which vision is the clearest, or nothing but noise: (batch, where it is noise)."""
    fixed, drawn = torch.Generator().manual_seed(0), torch.Generator().manual_seed(500 + seed)
    label = 6 * torch.rand(rows, generator=drawn) - 3
    noisy = torch.rand(rows, generator=drawn) < 0.5
    streams = {}
    for n in NAMES:
        said = label[:, None] * torch.randn(6, generator=fixed)
        values = said + (0.5 if n == "vision" else 3.0) * torch.randn(rows, 6, generator=drawn)
        if n == "vision":
            values = torch.where(noisy[:, None], 2 * torch.randn(rows, 6, generator=drawn), values)
        streams[n] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"sentiment": label}, [str(i) for i in range(rows)]), noisy


def trained(**options: object) -> M3SA:
    torch.manual_seed(1)
    method = made(width=16, **options).train()
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    for step in range(400):
        batch, _ = planted(step)
        optimizer.zero_grad()
        torch.stack([*method.losses(batch, method(batch)).values()]).sum().backward()
        optimizer.step()
    return method.eval()


@pytest.mark.slow
def test_noise_is_dropped_and_its_branch_is_not_forced() -> None:
    (batch, noisy), filtered, plain, errors = planted(-1, 1000), trained(), trained(filter="off"), {}
    with torch.no_grad():
        keep = filtered(batch).representations["keep"][:, 2]
        for name, method in (("filtered", filtered), ("plain", plain)):
            error = (method(batch).predictions["sentiment"] - batch.targets["sentiment"]).abs()
            errors[name] = (error[noisy].mean().item(), error[~noisy].mean().item())
    assert roc_auc_score(noisy, 1 - keep) > 0.8
    assert errors["filtered"][0] < errors["plain"][0]
    assert errors["filtered"][1] < errors["plain"][1]

    with torch.no_grad():
        own, _ = filtered.own_losses(batch, filtered(batch))
    sure = (own[:, :2] < 0.7).all(1)  # text and audio know
    spoiled, slopes = batch.select(noisy & sure), {}
    assert len(spoiled) > 50
    for modulation in ("harmonic", "none"):
        filtered.train().modulation = modulation  # type: ignore[assignment]
        loss = filtered.losses(spoiled, filtered(spoiled))["modulated"]
        branch = [*filtered.encoders["vision"].parameters()]
        slopes[modulation] = torch.stack([g.square().sum() for g in torch.autograd.grad(loss, branch)]).sum().sqrt()
    assert slopes["harmonic"] < 0.5 * slopes["none"]
