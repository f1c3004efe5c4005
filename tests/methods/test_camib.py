"""CaMIB: the split, the exchange, what each loss moves, and what they do on planted data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import View
from polymodal.methods.camib import CaMIB
from polymodal.nn.bottleneck import mean_kl
from polymodal.nn.intervention import backdoor_loss

MakeBatch = Callable[..., Batch]

SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
SCHEMA = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("face", "vector", 4)), (SENTIMENT,)
)
SMALL: dict[str, Any] = {"width": 8, "heads": 2, "joint": 12, "hidden": 16, "dropout": 0.0}


def small(schema: Schema = SCHEMA, **options: Any) -> CaMIB:
    return CaMIB(schema, **{**SMALL, **options})


def touched(method: nn.Module, loss: Tensor) -> set[str]:
    """First parts of the names of the parameters that ``loss`` reaches with a gradient other than zero."""
    named = dict(method.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {n.split(".")[0] for n, g in zip(named, gradients, strict=True) if g is not None and g.any()}


def test_both_parts_are_the_whole(make_batch: MakeBatch) -> None:
    method, batch = small().eval(), make_batch(SCHEMA)
    found = method(batch).representations
    joint = method.fusion(torch.cat([found[f"z_{n}"] for n in SCHEMA.names], dim=1))
    torch.testing.assert_close(found["fused"] + found["shortcut"], joint)
    torch.testing.assert_close(found["fused"], found["mask"] * joint)
    assert found["mask"].min() > 0
    assert found["mask"].max() < 1
    nn.init.zeros_(method.mask[-1].weight)  # type: ignore[arg-type]
    torch.testing.assert_close(method(batch).representations["mask"], torch.full((8, 12), 0.5))


def test_with_an_open_mask_nothing_is_left_to_exchange(make_batch: MakeBatch) -> None:
    method, batch = small(shared=True, backdoor=1.0).train(), make_batch(SCHEMA)
    nn.init.constant_(method.mask[-1].bias, 1e4)  # type: ignore[arg-type]
    output = method(batch)
    assert not output.representations["shortcut"].any()
    losses = method.losses(batch, output)
    torch.testing.assert_close(losses["backdoor"], losses["task"])


def test_a_sample_with_its_own_shortcut_is_the_whole(make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = small(shared=True, backdoor=1.0).train(), make_batch(SCHEMA)
    monkeypatch.setattr("polymodal.nn.intervention.exchanges", lambda size, *_: torch.arange(size)[None])
    output = method(batch)
    whole = method.heads(output.representations["fused"] + output.representations["shortcut"])["sentiment"]
    wanted = (whole - batch.targets["sentiment"]).abs().mean()
    torch.testing.assert_close(method.losses(batch, output)["backdoor"], wanted)


def test_the_parts_of_the_network_learn_from_their_losses(make_batch: MakeBatch) -> None:
    method, batch = small().train(), make_batch(SCHEMA)
    losses = method.losses(batch, method(batch))
    common = {"tokens", "bottlenecks", "fusion", "mask"}
    wanted = {
        "task": common | {"heads"},
        "shortcut": common | {"shortcut_heads"},
        "backdoor": common | {"exchanged_heads"},
        "instrument": common | {"witness"},
        **{f"unimodal/{n}": {"tokens", "bottlenecks", "judges"} for n in SCHEMA.names},
        **{f"kl/{n}": {"tokens", "bottlenecks"} for n in SCHEMA.names},
    }
    assert {name: touched(method, loss) for name, loss in losses.items()} == wanted
    assert set(method.eval().losses(batch, method(batch))) == {"task"}


def test_every_weight_is_of_its_own_loss(make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA)
    for option, name in (("shortcut", "shortcut"), ("backdoor", "backdoor"), ("instrument", "instrument")):
        found = []
        for weight in (0.2, 0.6):
            torch.manual_seed(0)
            method = small(**{option: weight}).train()
            found.append(method.losses(batch, method(batch)))
        for key, loss in found[0].items():
            assert found[1][key].item() == pytest.approx((3 if key == name else 1) * loss.item(), rel=1e-4)


def test_the_weight_of_the_bottlenecks_is_of_both_their_losses_and_a_nat_has_its_own_price(
    make_batch: MakeBatch,
) -> None:
    batch = make_batch(SCHEMA)
    for option, prefixes in (("unimodal", ("unimodal/", "kl/")), ("beta", ("kl/",))):
        found = []
        for weight in (0.2, 0.6):
            torch.manual_seed(0)
            method = small(**{option: weight}).train()
            found.append(method.losses(batch, method(batch)))
        for key, loss in found[0].items():
            wanted = (3 if key.startswith(prefixes) else 1) * loss.item()
            assert found[1][key].item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("mean", "deviation", "nats"), [(0.0, 1.0, 0.0), (1.0, 1.0, 0.5), (0.0, 0.5, 0.318147)])
def test_a_code_costs_its_divergence_from_the_prior(
    mean: float, deviation: float, nats: float, make_batch: MakeBatch
) -> None:
    method, batch = small(beta=2.0).train(), make_batch(SCHEMA)
    output = method(batch)
    output.representations["mean_text"] = torch.full((8, 8), mean)
    output.representations["log_variance_text"] = torch.full((8, 8), 2 * math.log(deviation))
    assert method.losses(batch, output)["kl/text"].item() == pytest.approx(2 * nats, abs=1e-5)


def test_codes_are_drawn_in_training_and_their_means_in_evaluation(make_batch: MakeBatch) -> None:
    method, batch = small(), make_batch(SCHEMA)
    drawn = [method.train()(batch).representations for _ in range(2)]
    said = [method.eval()(batch) for _ in range(2)]
    for n in SCHEMA.names:
        assert (drawn[0][f"z_{n}"] - drawn[1][f"z_{n}"]).abs().max() > 1e-4
        torch.testing.assert_close(drawn[0][f"mean_{n}"], drawn[1][f"mean_{n}"])
        torch.testing.assert_close(said[0].representations[f"z_{n}"], said[0].representations[f"mean_{n}"])
    torch.testing.assert_close(said[0].predictions, said[1].predictions)
    assert "instrument" not in said[0].representations


def test_the_instrument_is_zero_for_parallel_vectors(make_batch: MakeBatch) -> None:
    method, batch = small(instrument=1.0).train(), make_batch(SCHEMA)
    output = method(batch)
    for factor, wanted in ((5.0, 0.0), (-1.0, 4.0)):
        output.representations["instrument"] = factor * output.representations["fused"]
        assert method.losses(batch, output)["instrument"].item() == pytest.approx(wanted, abs=1e-5)


def test_the_mean_training_label_says_nothing(make_batch: MakeBatch) -> None:
    method, batch = small(shortcut=1.0), make_batch(SCHEMA)
    method.prepare(View(train=lambda: [batch, make_batch(SCHEMA, seed=1)], valid=list))
    labels = torch.cat([batch.targets["sentiment"], make_batch(SCHEMA, seed=1).targets["sentiment"]])
    head = method.shortcut_heads[-1].linears[0]  # type: ignore[union-attr,index]
    nn.init.zeros_(head.weight)  # type: ignore[arg-type,union-attr]
    nn.init.constant_(head.bias, labels.mean().item())  # type: ignore[arg-type,union-attr]
    assert method.train().losses(batch, method(batch))["shortcut"].item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide width, got heads=3 and width=8"),
        ({"backdoor": -1.0}, "none may be negative"),
        ({"draws": -1}, "layers and draws must not be negative, got 1 and -1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        small(**options)


KIND = Target("kind", "classification", classes=("no", "yes"))
PLANTED = Schema((Modality("a", "vector", 8), Modality("b", "vector", 8)), (KIND,))


def planted(rows: int, seed: int) -> Batch:
    """``a`` shows the class and, more clearly, a shortcut that agrees with it in 80 %; ``b`` is noise."""
    random = torch.Generator().manual_seed(seed)
    kind, here = torch.randint(2, (rows,), generator=random), torch.ones(rows, dtype=torch.bool)
    a, b = torch.randn(2, rows, 8, generator=random)
    sign = 2.0 * kind - 1
    agrees = torch.rand(rows, generator=random) < 0.8
    a[:, :4] += 0.5 * sign[:, None]
    a[:, 4:6] = 0.5 * a[:, 4:6] + torch.where(agrees, sign, -sign)[:, None]
    return Batch(
        {"a": Stream(a, None, here), "b": Stream(b, None, here)}, {"kind": kind}, [str(i) for i in range(rows)]
    )


def trained(steps: int = 300, **options: Any) -> CaMIB:
    torch.manual_seed(0)
    method = small(PLANTED, **options).train()
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    for step in range(steps):
        batch = planted(64, step)
        optimiser.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimiser.step()
    return method.eval()


@pytest.mark.slow
def test_predictions_of_exchanged_sums_hardly_follow_the_shortcut_part() -> None:
    spread = {}
    for backdoor in (0.0, 0.5):
        method, batch = trained(backdoor=backdoor, shared=True), planted(400, 999)
        with torch.no_grad():
            found = method(batch).representations
            said = torch.stack(
                [method.heads(found["fused"] + found["shortcut"][torch.randperm(400)])["kind"] for _ in range(20)]
            )
        spread[backdoor] = (said.std(0).mean() / said.mean(0).std()).item()
    assert spread[0.5] < 0.7 * spread[0.0], spread


@pytest.mark.slow
def test_a_priced_bottleneck_forgets_the_modality_of_noise() -> None:
    method, batch = trained(beta=0.3), planted(400, 999)
    with torch.no_grad():
        found = method(batch).representations
    rows = torch.ones(400, dtype=torch.bool)
    kl = {n: mean_kl(found[f"mean_{n}"], found[f"log_variance_{n}"], rows).item() for n in "ab"}
    assert kl["b"] < 0.1 < kl["a"], kl
    assert (method(batch).predictions["kind"].argmax(1) == batch.targets["kind"]).float().mean() > 0.8


def test_all_exchanges_are_the_mean_of_the_cyclic_ones(make_batch: MakeBatch) -> None:
    batch, head = make_batch(SCHEMA), small().heads
    causal, shortcut = torch.randn(2, 8, 12)
    single = []
    for shift in range(8):
        said = head(causal + shortcut.roll(-shift, 0))["sentiment"]
        single.append((said - batch.targets["sentiment"]).abs().mean())
    torch.testing.assert_close(backdoor_loss(SCHEMA, head, causal, shortcut, batch, 0), torch.stack(single).mean())
