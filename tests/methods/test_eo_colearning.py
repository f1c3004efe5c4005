"""MDiCo: what its losses are at known points, that modalities predict alone, and that one gains from the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import View
from polymodal.methods.eo_colearning import EoColearning

MakeBatch = Callable[..., Batch]

SCORE = Target("score", "regression", (-9.0, 9.0))
TWO = Schema((Modality("one", "vector", 24), Modality("two", "vector", 12)), (SCORE,))
THREE = Schema((*TWO.modalities, Modality("three", "sequence", 5)), (SCORE,))
ALONE: dict[str, Any] = {"auxiliary": 0.0, "contrast": 0.0, "modality": 0.0}


def zeroed(*modules: torch.nn.Module) -> None:
    for parameter in (p for module in modules for p in module.parameters()):
        torch.nn.init.zeros_(parameter)


@pytest.mark.parametrize("schema", [TWO, THREE])
def test_equal_shared_vectors_cost_the_log_of_the_candidates_in_every_direction(
    schema: Schema, make_batch: MakeBatch
) -> None:
    method, batch = EoColearning(schema, width=8).train(), make_batch(schema, 6)
    zeroed(method.projections, method.norms)
    pairs = len(schema.names) * (len(schema.names) - 1)
    loss = method.losses(batch, method(batch))["contrast"].item()
    assert loss == pytest.approx(pairs * math.log(6), abs=1e-4)
    part = batch.without("one", rows=torch.arange(6) < 2)
    both = (pairs - 2 * (len(schema.names) - 1)) * math.log(6) + 2 * (len(schema.names) - 1) * math.log(4)
    assert method.losses(part, method(part))["contrast"].item() == pytest.approx(both, abs=1e-4)


@pytest.mark.parametrize("schema", [TWO, THREE])
def test_a_discriminator_that_knows_nothing_costs_the_log_of_the_modalities(
    schema: Schema, make_batch: MakeBatch
) -> None:
    method, batch = EoColearning(schema, width=8).train(), make_batch(schema)
    zeroed(method.useful_judges, method.other_judges)
    loss = method.losses(batch, method(batch))["modality"].item()
    assert loss == pytest.approx(math.log(len(schema.names)), abs=1e-5)


def test_who_says_the_mean_of_training_labels_has_a_loss_of_one(make_batch: MakeBatch) -> None:
    method, batch = EoColearning(TWO, width=8), make_batch(TWO, 32)
    method.prepare(View(train=lambda: [batch], valid=lambda: [batch]))
    zeroed(method.heads, method.auxiliary_head)
    output = method(batch)
    torch.testing.assert_close(output.predictions["score"], batch.targets["score"].mean().expand(32))
    losses = method.losses(batch, output)
    assert losses["main"].item() == pytest.approx(1.0, abs=1e-4)
    assert losses["auxiliary"].item() == pytest.approx(1.0, abs=1e-4)


def test_what_a_modality_makes_of_a_sample_knows_nothing_of_the_others(make_batch: MakeBatch) -> None:
    method, batch, other = EoColearning(THREE, width=8).eval(), make_batch(THREE), make_batch(THREE, seed=5)
    with torch.no_grad():
        before = method(batch).representations["one"]
        mixed = replace(batch, streams={**other.streams, "one": batch["one"]})
        torch.testing.assert_close(method(mixed).representations["one"], before, rtol=0, atol=1e-7)
        alone = method(batch.without("two", "three")).predictions["score"]
        torch.testing.assert_close(method(mixed.without("two", "three")).predictions["score"], alone, rtol=0, atol=1e-7)


def test_without_the_extra_losses_every_modality_learns_as_if_alone(make_batch: MakeBatch) -> None:
    """Plain gradient steps on the mean of three losses are those on each, at a third of the rate."""
    torch.manual_seed(0)
    whole = EoColearning(THREE, width=8, dropout=0.0, **ALONE)
    single = EoColearning(THREE.only(["three"]), width=8, dropout=0.0)
    single.load_state_dict({n: t for n, t in whole.state_dict().items() if n in single.state_dict()})
    for method, rate in ((whole, 0.3), (single, 0.1)):
        optimizer = torch.optim.SGD(method.train().parameters(), rate)
        for step in range(4):
            batch = make_batch(THREE, seed=step).only(method.schema.names)
            optimizer.zero_grad()
            torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
            optimizer.step()
    for name, tensor in single.state_dict().items():
        torch.testing.assert_close(tensor, whole.state_dict()[name], rtol=1e-3, atol=1e-5, msg=name)


def test_the_extra_losses_teach_a_modality_without_labels(make_batch: MakeBatch) -> None:
    """Labels are unknown: contrast and discriminators still move both encoders; with all weights at 0 nothing does."""
    batch = make_batch(TWO)
    batch = replace(batch, targets={"score": torch.full((8,), math.nan)})
    moved = []
    for weights in ({}, ALONE):
        method = EoColearning(TWO, width=8, **weights).train()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        encoders = [*method.specific.parameters(), *method.shared.parameters()]
        moved.append(sum(float(p.grad.abs().sum()) for p in encoders if p.grad is not None))
    assert moved[0] > 1e-3
    assert moved[1] == pytest.approx(0.0, abs=1e-6)


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match="width must be even"):
        EoColearning(TWO, width=7)
    with pytest.raises(OptionError, match="must not be negative"):
        EoColearning(TWO, contrast=-1.0)


TURN = {
    n: torch.linalg.qr(torch.randn(w, w, generator=torch.Generator().manual_seed(w)))[0]
    for n, w in (("one", 24), ("two", 12))
}


def planted(seed: int, rows: int, labelled: int | None = None) -> Batch:
    """The score is of a factor that both modalities show, loud in ``two``, and of one that ``one`` alone shows."""
    g = torch.Generator().manual_seed(seed)
    shared, own = torch.randn(rows, 2, generator=g), torch.randn(rows, 1, generator=g)
    one = torch.cat([shared, own, torch.randn(rows, 21, generator=g)], 1) @ TURN["one"]
    two = torch.cat([shared, 0.5 * torch.randn(rows, 10, generator=g)], 1) @ TURN["two"]
    score = (shared.sum(1) + own[:, 0] + 0.3 * torch.randn(rows, generator=g)).clamp(-9, 9)
    score[rows if labelled is None else labelled :] = math.nan
    there = torch.ones(rows, dtype=torch.bool)
    streams = {"one": Stream(one, None, there), "two": Stream(two, None, there)}
    return Batch(streams, {"score": score}, [str(i) for i in range(rows)])


def learned(seed: int, labelled: int, steps: int = 300, **weights: float) -> EoColearning:
    torch.manual_seed(seed)
    method, batch = EoColearning(TWO, width=32, **weights), planted(seed, 600, labelled)
    method.prepare(View(train=lambda: [batch], valid=lambda: [batch]))
    optimizer = torch.optim.AdamW(method.train().parameters(), 2e-3, weight_decay=1e-3)
    for _ in range(steps):
        some = batch.select(torch.cat([torch.randint(0, labelled, (16,)), torch.randint(0, 600, (48,))]))
        optimizer.zero_grad()
        torch.stack(list(method.losses(some, method(some)).values())).sum().backward()
        optimizer.step()
    return method.eval()


def correlation(method: EoColearning, batch: Batch) -> float:
    with torch.no_grad():
        said = method(batch.without("two")).predictions["score"]
    return float(torch.corrcoef(torch.stack([said, batch.targets["score"]]))[0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_few_labels_a_modality_gains_from_the_other_that_it_is_deployed_without(seed: int) -> None:
    test = planted(seed + 100, 1000)
    alone, together = (correlation(learned(seed, 30, **weights), test) for weights in (ALONE, {}))
    assert together > alone + 0.03, (alone, together)


def probed(features: Tensor, classes: Tensor) -> float:
    """Accuracy of a linear probe on the second half of the samples, fitted on the first."""
    x = torch.cat([features, torch.ones(len(features), 1)], 1).double()
    half, order = len(x) // 2, torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    first, second = order[:half], order[half:]
    way = torch.linalg.lstsq(
        x[first].T @ x[first] + 1e-3 * torch.eye(x.shape[1]), x[first].T @ (2.0 * classes[first].double() - 1)
    ).solution
    return float(((x[second] @ way > 0) == (classes[second] > 0)).float().mean())


@pytest.mark.slow
def test_specific_vectors_name_their_modality_and_shared_ones_find_their_sample() -> None:
    method, test = learned(1, 100, steps=500), planted(200, 400)
    with torch.no_grad():
        found = {n: v.split(method.part, dim=1) for n, v in method.encode(test).items()}
    classes = torch.arange(2).repeat_interleave(len(test))
    useful, shared, other = (torch.cat([found[n][part] for n in TWO.names]) for part in range(3))
    accuracy = [probed(part, classes) for part in (useful, shared, other)]
    one, two = (torch.nn.functional.normalize(found[n][1], dim=1) for n in TWO.names)
    first = float(((one @ two.T).argmax(1) == torch.arange(len(test))).float().mean())
    assert min(accuracy[0], accuracy[2]) > 0.95
    assert accuracy[1] < 0.75
    assert first > 20 / len(test)
