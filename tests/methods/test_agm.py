"""AGM: whose share is whose, what is modulated and when, and what it does to the slower modality."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Modality, Output, Schema, Stream, Target
from polymodal.methods._subsets import all_subsets, shapley
from polymodal.methods.agm import AGM, modulation, ratios
from polymodal.methods.base import Method, Now, Seamed

MakeBatch = Callable[..., Batch]

KIND = Target("kind", "classification", classes=("x", "y", "z"))


def schema(count: int) -> Schema:
    return Schema(tuple(Modality(n, "vector", 4) for n in "abcd"[:count]), (KIND,))


class Additive(Method):
    """A sum of one linear map per modality and a bias."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.maps = nn.ModuleDict({n: nn.Linear(4, 3, bias=False) for n in schema.names})
        self.bias = nn.Parameter(torch.randn(3))

    def parts(self, batch: Batch) -> dict[str, Tensor]:
        return {n: self.maps[n](batch[n].tensor) for n in self.schema.names}

    def forward(self, batch: Batch) -> Output:
        return Output({"kind": torch.stack(list(self.parts(batch).values())).sum(0) + self.bias})


def additive(**options: Any) -> AGM:
    method = AGM(schema(2), **options)
    method.base = Additive(schema(2))
    return method


def gradients(method: Method, batch: Batch) -> dict[str, Tensor]:
    method.zero_grad()
    torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
    return {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("base", ["late-fusion", "mult"])
def test_the_shares_sum_to_the_prediction(count: int, base: str, make_batch: MakeBatch) -> None:
    method = AGM(schema(count), base=base, base_options={"width": 8} | ({"heads": 2} if base == "mult" else {}))
    batch = make_batch(schema(count)).without("a", rows=torch.arange(8) < 2)
    full = method.base(batch)
    shares = method.attributed(batch, full)
    total = torch.stack([own["kind"] for own in shares.values()]).sum(0)
    torch.testing.assert_close(total, full.predictions["kind"], rtol=1e-4, atol=1e-5)


def test_shapley_values_have_the_closed_forms_of_two_and_three_modalities() -> None:
    f = {kept: torch.randn(()) for kept in all_subsets("avt")}
    two = shapley({k: v for k, v in f.items() if "t" not in k}, "av")
    torch.testing.assert_close(two["a"], 0.5 * (f["a", "v"] - f[("v",)] + f[("a",)]))
    three = shapley(f, "avt")
    wanted = (f["a", "v", "t"] - f["a", "v"] + f[("t",)]) / 3
    wanted = wanted + (f["a", "t"] - f[("a",)] + f["v", "t"] - f[("v",)]) / 6
    torch.testing.assert_close(three["t"], wanted)


@pytest.mark.parametrize("base", ["late-fusion", "lf-dnn", "mult"])
def test_without_strength_the_gradients_are_those_of_plain_training(base: str, make_batch: MakeBatch) -> None:
    small = {"late-fusion": {"width": 8, "dropout": 0.0}, "lf-dnn": {"width": 8, "head": 8, "dropout": 0.0}}
    dropouts = dict.fromkeys(
        ("attention_dropout", "embed_dropout", "layer_dropout", "output_dropout", "text_dropout"), 0.0
    )
    options = small.get(base, {"width": 8, "heads": 2} | dropouts)
    method, batch = AGM(schema(2), base=base, base_options=options, alpha=0.0), make_batch(schema(2))
    method.train()
    modulated, plain = gradients(method, batch), gradients(method.base, batch)
    for name, grad in plain.items():
        torch.testing.assert_close(modulated[f"base.{name}"], grad, rtol=1e-4, atol=1e-6, msg=name)


def test_a_factor_of_zero_stops_one_encoder_and_leaves_the_other(
    monkeypatch: pytest.MonkeyPatch, make_batch: MakeBatch
) -> None:
    method, batch = additive(), make_batch(schema(2))
    parts = method.base.parts(batch)  # type: ignore[operator]
    shares = method.attributed(batch, method.base(batch))
    for name in "ab":
        torch.testing.assert_close(shares[name]["kind"], parts[name] + method.base.bias / 2)
    plain = gradients(method.base, batch)
    monkeypatch.setattr(AGM, "_factors", lambda *_: torch.tensor([0.0, 1.0]))
    modulated = gradients(method.train(), batch)
    assert modulated["base.maps.a.weight"].abs().max() < 1e-7
    torch.testing.assert_close(modulated["base.maps.b.weight"], plain["maps.b.weight"])


def test_factors_have_their_closed_form() -> None:
    one = torch.ones(2)
    torch.testing.assert_close(modulation(one, one, 3.0, 10.0), one)
    got = modulation(torch.exp(torch.tensor([0.5, -0.5])), one, 3.0, 10.0)
    torch.testing.assert_close(got, torch.tensor([0.1428, 3.2557]), rtol=1e-3, atol=0)
    assert modulation(torch.zeros(1), torch.tensor([1e6]), 0.5, 7.0).item() == pytest.approx(math.exp(3.5))
    s = torch.tensor([0.3, 1.1])
    torch.testing.assert_close(ratios(s), torch.exp(torch.stack([s[1] - s[0], s[0] - s[1]])))
    assert ratios(torch.tensor([0.1, 0.5, 0.9])).argmax() == 0


def test_the_habit_is_the_average_of_all_steps_before(make_batch: MakeBatch) -> None:
    method = additive().train()
    seen = []
    for seed in range(3):
        batch = make_batch(schema(2), seed=seed)
        shares = method.attributed(batch, method.base(batch))
        seen.append(torch.stack([F.cross_entropy(s["kind"], batch.targets["kind"]) for s in shares.values()]).detach())
        wanted = modulation(ratios(seen[-1]), ratios(torch.stack(seen[:-1] or seen).mean(0)), 1.0, 10.0)
        torch.testing.assert_close(method._factors(batch, shares), wanted)
    torch.testing.assert_close(method.scores, torch.stack(seen).mean(0))
    assert not {"steps", "scores"} & method.state_dict().keys()


def test_outside_its_window_nothing_is_modulated_but_the_habit_grows(make_batch: MakeBatch) -> None:
    method = additive(alpha=3.0, starts=1, ends=2).train()
    factors = {}
    for epoch in range(4):
        method.now = Now(epoch=epoch)
        batch = make_batch(schema(2), seed=epoch)
        factors[epoch] = method._factors(batch, method.attributed(batch, method.base(batch)))
    assert [not torch.equal(k, torch.ones(2)) for k in factors.values()] == [False, True, True, False]
    assert int(method.steps) == 4


def test_predictions_are_the_bases_in_training_and_after(make_batch: MakeBatch) -> None:
    method, batch = AGM(schema(3), base_options={"width": 8, "dropout": 0.0}), make_batch(schema(3))
    for mode in (True, False):
        method.train(mode)
        torch.testing.assert_close(
            method(batch).predictions["kind"], method.base(batch).predictions["kind"], rtol=1e-4, atol=1e-5
        )


class Seam(Seamed):
    """Counts how often it encodes and fuses."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.maps = nn.ModuleDict({n: nn.Linear(4, 3) for n in schema.names})
        self.encoded = self.fused = 0

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        self.encoded += 1
        return {n: m(batch[n].tensor).tanh() * batch[n].present[:, None] for n, m in self.maps.items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        self.fused += 1
        return Output({"kind": torch.stack(list(vectors.values())).prod(0) + present.sum(1, keepdim=True)})


def test_a_base_with_a_seam_encodes_twice_and_fuses_once_for_each_subset(make_batch: MakeBatch) -> None:
    method, batch = AGM(schema(3)).train(), make_batch(schema(3))
    method.base = base = Seam(schema(3))
    shares = method.attributed(batch, base(batch))
    assert (base.encoded, base.fused) == (2, 8)
    for name in "abc":  # the same shares as from whole passes
        values = {
            kept: base(batch.without(*(n for n in "abc" if n not in kept))).predictions["kind"]
            for kept in all_subsets("abc")
        }
        torch.testing.assert_close(shares[name]["kind"], shapley(values, "abc")[name])


def two_speeds(seed: int, rows: int = 256) -> Batch:
    """Two modalities that tell the class equally well, one of them ten times weaker in amplitude: slow to learn."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 3, (rows,), generator=generator)
    centres = torch.eye(3, 4)
    streams = {}
    for name, size in (("a", 3.0), ("b", 0.3)):
        values = size * (centres[kind] + 0.45 * torch.randn(rows, 4, generator=generator))
        streams[name] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"kind": kind}, [str(i) for i in range(rows)])


def slow_accuracy(alpha: float, seed: int) -> float:
    """Train on both modalities; return the accuracy of the slow one's own part on new samples."""
    torch.manual_seed(seed)
    method = additive(alpha=alpha).train()
    optimizer = torch.optim.SGD(method.parameters(), 0.5)
    for step in range(30):
        batch = two_speeds(seed=100 * seed + step, rows=64)
        optimizer.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimizer.step()
    test = two_speeds(seed=7, rows=1000)
    alone = method.base.parts(test)["b"]  # type: ignore[operator]
    return float((alone.argmax(1) == test.targets["kind"]).float().mean())


def test_the_slower_modality_learns_more_than_in_plain_training() -> None:
    gains = [slow_accuracy(3.0, seed) - slow_accuracy(0.0, seed) for seed in (1, 2, 3)]
    assert min(gains) > 0.02, gains
