"""MIDG: adapters, gates, router and invariance in closed form; domains that it refuses; what alignment is worth."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, DataError, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import Method, View
from polymodal.methods.midg import MIDG
from polymodal.nn.discrepancy import coral, moment_gap
from polymodal.nn.experts import load_balance

MakeBatch = Callable[..., Batch]

SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
MODALITIES = (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("face", "vector", 4))
SCHEMA = Schema(MODALITIES, (SENTIMENT,))
DOMAINS = Schema(MODALITIES, (SENTIMENT,), ("lab", "street", "court"))
SMALL: dict[str, Any] = {"width": 8, "heads": 2, "layers": 0, "dropout": 0.0}


def small(schema: Schema = SCHEMA, **options: Any) -> MIDG:
    return MIDG(schema, **{**SMALL, **options})


def test_adapters_add_nothing_at_first(make_batch: MakeBatch) -> None:
    method, plain, batch = small().eval(), small(adapter=False).eval(), make_batch(SCHEMA)
    missing = plain.load_state_dict(
        {n: x for n, x in method.state_dict().items() if not n.startswith(("adapters.", "heads.0.weight"))},
        strict=False,
    )
    assert missing.missing_keys == ["heads.0.weight"]
    plain.heads[0].weight.data = method.heads[0].weight.data[:, :8].clone()  # type: ignore[union-attr,operator,index]
    got, wanted = method(batch), plain(batch)
    assert not any(got.representations[f"k_{n}"].any() for n in SCHEMA.names)
    torch.testing.assert_close(got.representations["fused"], wanted.representations["fused"])
    torch.testing.assert_close(got.predictions["sentiment"], wanted.predictions["sentiment"])


def louder(batch: Batch) -> Batch:
    audio = batch["audio"]
    streams = {**batch.streams, "audio": replace(audio, values=audio.tensor * 2)}
    return replace(batch, streams=streams)


def test_after_a_step_the_text_hears_the_audio_through_its_adapter_alone(make_batch: MakeBatch) -> None:
    for adapter in (True, False):
        method, batch = small(adapter=adapter).train(), make_batch(SCHEMA)
        optimiser = torch.optim.SGD(method.parameters(), 0.5)
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimiser.step()
        method.eval()
        before, after = (method(b).representations["u_text"] for b in (batch, louder(batch)))
        assert (not torch.allclose(before, after, atol=1e-6)) == adapter


def test_an_adapter_that_attends_to_its_own_modality_alone_hears_no_other(
    make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = small().eval(), make_batch(SCHEMA)
    for adapter in method.adapters.values():
        nn.init.normal_(adapter.up.weight)  # type: ignore[union-attr,arg-type]
    monkeypatch.setattr("polymodal.methods.midg._others", lambda tokens, n: (tokens[n].tensor, tokens[n].mask))
    before, after = (method(b).representations for b in (batch, louder(batch)))
    for name in ("u_text", "k_text", "u_face", "k_face"):
        torch.testing.assert_close(before[name], after[name])
    assert before["k_text"].any()
    assert (before["u_audio"] - after["u_audio"]).abs().max() > 1e-3


def test_the_router_shares_out_among_experts_whose_modalities_are_there(make_batch: MakeBatch) -> None:
    method, batch = small().eval(), make_batch(SCHEMA)
    assert len(method.sets) == 7
    full = method(batch).representations["router"]
    torch.testing.assert_close(full.sum(1), torch.ones(8))
    assert (full > 0).all()
    left = method(batch.without("audio")).representations["router"]
    used = [1 not in c for c in method.sets]
    assert ((left > 0) == torch.tensor(used)).all()
    torch.testing.assert_close(left.sum(1), torch.ones(8))
    assert not method(batch.without(*SCHEMA.names)).representations["router"].any()


def test_pools_of_experts() -> None:
    assert small(pool="single").sets == [(0,), (1,), (2,)]
    assert small(pool="joint").sets == [(0, 1, 2)]
    assert small(Schema(MODALITIES[:1], (SENTIMENT,))).sets == [(0,)]


def test_a_lone_expert_makes_do_with_what_is_there(make_batch: MakeBatch) -> None:
    method, batch = small(pool="joint").eval(), make_batch(SCHEMA)
    left = method(batch.without("audio"))
    assert left.representations["fused"].any(1).all()


def test_with_top_k_the_others_get_no_weight_and_no_task_gradient(make_batch: MakeBatch) -> None:
    method, batch = small(top=2).eval(), make_batch(SCHEMA, 1)
    method.train()
    output = method(batch)
    chosen = output.representations["router"][0] > 0
    assert int(chosen.sum()) == 2
    task = method.losses(batch, output)["task"]
    for expert, used in zip(method.experts, chosen.tolist(), strict=True):
        gradients = torch.autograd.grad(task, list(expert.parameters()), allow_unused=True, retain_graph=True)
        assert any(g is not None and bool(g.any()) for g in gradients) == used


def test_the_balance_is_one_when_even_and_seven_when_collapsed(make_batch: MakeBatch) -> None:
    assert load_balance(torch.full((14, 7), 1 / 7), 7).item() == pytest.approx(1.0)
    method, batch = small(balance=1.0).train(), make_batch(SCHEMA)
    nn.init.zeros_(method.router.weight)
    method.router.bias.data = torch.tensor([50.0, 0, 0, 0, 0, 0, 0])
    assert method.losses(batch, method(batch))["balance"].item() == pytest.approx(7.0)


def test_gates_begin_open_and_hard_ones_are_zero_or_one(make_batch: MakeBatch) -> None:
    method = small()
    torch.testing.assert_close(method.opening(6), torch.full((24,), 0.9))
    hard, batch = small(gate="hard").train(), make_batch(SCHEMA)
    hard.gates[6].data[:12] = -1.0
    assert hard.opening(6).tolist() == [0.0] * 12 + [1.0] * 12
    hard.losses(batch, hard(batch))["task"].backward()
    gradient = hard.gates[6].grad
    assert gradient is not None
    assert gradient[:12].any()
    assert "sparsity" not in small(gate="none").train().losses(batch, small(gate="none").train()(batch))


def in_domains(batch: Batch, *numbers: int) -> Batch:
    return replace(batch, domain=torch.tensor(numbers))


def test_invariance_is_zero_for_equal_domains_and_counts_every_pair(make_batch: MakeBatch) -> None:
    method, batch = small(DOMAINS).train(), make_batch(DOMAINS)
    there = torch.ones(8, 7, dtype=torch.bool)
    half = torch.randn(4, 7, 8)
    twins = torch.cat([half, half])
    two = in_domains(batch, 0, 0, 0, 0, 1, 1, 1, 1)
    assert method.invariance(two, twins, there).abs() < 1e-6
    shifted = torch.cat([half, half + 1])
    assert method.invariance(two, shifted, there).item() == pytest.approx(8.0, rel=1e-4)  # the mean of each of 8
    assert method.invariance(in_domains(batch, *[2] * 8), shifted, there).item() == pytest.approx(0, abs=1e-6)
    z = torch.randn(8, 7, 8)
    three = in_domains(batch, 0, 0, 0, 1, 1, 1, 2, 2)
    assert three.domain is not None
    rows = [three.domain == d for d in range(3)]
    wanted = [moment_gap(z[:, e], z[:, e], rows[a], rows[b]) for e in range(7) for a, b in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(method.invariance(three, z, there), torch.stack(wanted).mean())


def test_the_gap_of_moments_is_that_of_means_and_of_covariances() -> None:
    x, rows = torch.randn(12, 3), torch.arange(12) < 6
    gap = (x[:6].mean(0) - x[6:].mean(0)).square().sum() + coral(x, x, rows, ~rows)
    torch.testing.assert_close(moment_gap(x, x, rows, ~rows), gap)
    assert moment_gap(x, x, rows, torch.zeros(12, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-6)


def test_an_adversary_learns_to_tell_domains_while_experts_unlearn_it(make_batch: MakeBatch) -> None:
    method, batch = small(DOMAINS, invariance="adversarial").train(), make_batch(DOMAINS)
    z = torch.randn(8, 7, 8, requires_grad=True)
    loss = method.invariance(batch, z, torch.ones(8, 7, dtype=torch.bool))
    assert method.critic is not None
    loss.backward()
    reversed_, told = z.grad, method.critic.weight.grad
    assert reversed_ is not None
    with torch.no_grad():
        up = method.invariance(batch, z + 0.1 * reversed_, torch.ones(8, 7, dtype=torch.bool))
        assert up < loss  # the gradient of z points the other way
        method.critic.weight -= 0.1 * told
        assert method.invariance(batch, z, torch.ones(8, 7, dtype=torch.bool)) < loss


def test_a_domain_without_labels_is_refused(make_batch: MakeBatch) -> None:
    method = small(DOMAINS)
    batch = in_domains(make_batch(DOMAINS), 0, 0, 1, 1, 1, 2, 2, 2)
    method.prepare(View(train=lambda: [batch], valid=list))
    hidden = batch.targets["sentiment"].clone()
    hidden[5:] = torch.nan
    with pytest.raises(DataError, match=r"domain 'court' is in the training split without a label.*unseen=court"):
        method.prepare(View(train=lambda: [replace(batch, targets={"sentiment": hidden})], valid=list))


def test_without_domains_clusters_of_sound_and_face_stand_for_them(make_batch: MakeBatch) -> None:
    method, batch = small(), make_batch(SCHEMA, 40)
    face = batch["face"].tensor.clone()
    face[:20] += 8.0
    batch = replace(batch, streams={**batch.streams, "face": replace(batch["face"], values=face)})
    method.prepare(View(train=lambda: [batch], valid=list))
    assert method.environments is not None
    assert method.environments.names == ("audio", "face")
    found = method.environments(batch.streams)
    assert len(found[:20].unique()) == len(found[20:].unique()) == 1
    assert found[0] != found[-1]
    assert "environments.centres" not in method.state_dict()
    assert small(environments=1).environments is None
    assert small(Schema(MODALITIES[:1], (SENTIMENT,))).environments is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide width, got heads=3 and width=8"),
        ({"top": 8}, "top must lie between 0 and 7, the number of experts, got 8"),
        ({"sparse": -1.0}, "must not be negative"),
        ({"environments": 0}, "environments must be above 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        small(**options)


def fitted(method: Method, draw: Callable[[int], Batch], steps: int = 250) -> Method:
    method.train()
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    for step in range(steps):
        batch = draw(step)
        optimiser.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimiser.step()
    return method.eval()


PAIR = Schema((Modality("text", "vector", 4), Modality("face", "vector", 4)), (SENTIMENT,))


def product(seed: int, rows: int = 64) -> Batch:
    """The label is twice the product of a sign in either modality."""
    random = torch.Generator().manual_seed(seed)
    signs = 2.0 * torch.randint(2, (2, rows, 1), generator=random) - 1
    here = torch.ones(rows, dtype=torch.bool)
    streams = {
        n: Stream(s + 0.3 * torch.randn(rows, 4, generator=random), None, here)
        for n, s in zip(PAIR.names, signs, strict=True)
    }
    return Batch(streams, {"sentiment": 2 * signs.prod(0)[:, 0]}, [str(i) for i in range(rows)])


@pytest.mark.slow
def test_synergy_goes_to_the_expert_of_both_modalities() -> None:
    errors, test = {}, product(9999, 500)
    for pool in ("all", "single"):
        torch.manual_seed(0)
        method = fitted(small(PAIR, pool=pool, adapter=False), product)
        with torch.no_grad():
            output = method(test)
        errors[pool] = (output.predictions["sentiment"] - test.targets["sentiment"]).abs().mean().item()
        if pool == "all":
            assert output.representations["router"].mean(0).argmax() == 2
    assert errors["all"] < 0.5
    assert errors["single"] > errors["all"] + 0.3


TELLING = Schema((Modality("text", "vector", 4), Modality("face", "vector", 4)), (SENTIMENT,), ("a", "b", "new"))
SLOPES = (1.0, 0.3, -1.0)


def sources(seed: int, numbers: tuple[int, ...] = (0, 1), rows: int = 32) -> Batch:
    """``text`` means the same in all domains; ``face`` follows the label more exactly, by each domain's own slope."""
    random = torch.Generator().manual_seed(seed)
    text, face, labels = [], [], []
    for d in numbers:
        x = torch.randn(rows, 4, generator=random)
        y = (0.7 * x.sum(1) + 0.3 * torch.randn(rows, generator=random)).clamp(-3, 3)
        text.append(x + 0.3 * torch.randn(rows, 4, generator=random))
        face.append(SLOPES[d] * y[:, None] + 0.2 * torch.randn(rows, 4, generator=random))
        labels.append(y)
    domain = torch.tensor(numbers).repeat_interleave(rows)
    here = torch.ones(len(domain), dtype=torch.bool)
    streams: dict[str, Tensor] = {"text": torch.cat(text), "face": torch.cat(face)}
    return Batch(
        {n: Stream(x, None, here) for n, x in streams.items()},
        {"sentiment": torch.cat(labels)},
        [str(i) for i in range(len(domain))],
        domain,
    )


@pytest.mark.slow
def test_alignment_lowers_the_error_on_a_domain_that_turns_a_feature_round() -> None:
    errors, test = {}, sources(99_999, (2,), 500)
    plain = {"align": 0.0, "sparse": 0.0, "gate": "none", "adapter": False}
    # What adapters add reaches the heads past the experts, and is not aligned.
    aligned = {"align": 100.0, "sparse": 0.1, "expert": 0.0, "adapter": False}
    for name, options in {"plain": plain, "aligned": aligned}.items():
        torch.manual_seed(0)
        method = fitted(small(TELLING, **options), sources, 200)
        with torch.no_grad():
            said = method(test).predictions["sentiment"]
        errors[name] = (said - test.targets["sentiment"]).abs().mean().item()
    assert errors["aligned"] < errors["plain"] - 0.1, errors


@pytest.mark.slow
def test_gates_alone_close_on_what_differs_between_domains() -> None:
    torch.manual_seed(0)
    start = fitted(small(TELLING, align=0.0, sparse=0.0, expert=0.0, adapter=False), sources, 200)
    gaps, errors, test = {}, {}, sources(99_999, (2,), 500)
    for align in (0.0, 100.0):
        # Encoders and experts that learn on would unlearn the face themselves, and leave its gates as they are.
        method = deepcopy(start).requires_grad_(False).train()
        method.gates.requires_grad_(True)
        method.align, method.sparse = align, 0.1
        optimiser = torch.optim.Adam(method.gates.parameters(), 2e-2)
        for step in range(150):
            batch = sources(1000 + step)
            optimiser.zero_grad()
            torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
            optimiser.step()
        method.eval()
        with torch.no_grad():
            text, face, both = (method.opening(i) for i in range(3))
            gaps[align] = (torch.cat([text, both[:8]]).mean() - torch.cat([face, both[8:]]).mean()).item()
            errors[align] = (method(test).predictions["sentiment"] - test.targets["sentiment"]).abs().mean().item()
    assert gaps[100.0] > 0.1, gaps
    assert gaps[0.0] < gaps[100.0] - 0.1, gaps
    assert errors[100.0] < errors[0.0] - 0.05, errors
