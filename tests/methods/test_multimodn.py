"""MultiModN: what is missing is skipped, every step is read and learned, and absence itself tells nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.base import Method
from polymodal.methods.multimodn import MultiModN

MakeBatch = Callable[..., Batch]

MOOD = Target("mood", "classification", classes=("low", "high"))
SCORE = Target("score", "regression", (-3.0, 3.0))
AB = Schema((Modality("a", "vector", 4), Modality("b", "vector", 4)), (MOOD,))
ABC = Schema((*AB.modalities, Modality("c", "sequence", 3)), (MOOD, SCORE))
SMALL: dict[str, Any] = {"state": 6, "width": 8}


def part(method: MultiModN, names: tuple[str, ...], **options: Any) -> MultiModN:
    """The network without the modules of the other modalities."""
    fewer = MultiModN(method.schema.only(names), **options)
    fewer.load_state_dict({n: t for n, t in method.state_dict().items() if n in fewer.state_dict()})
    return fewer.eval()


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_a_missing_modality_is_skipped_as_if_it_had_no_module(gone: str, make_batch: MakeBatch) -> None:
    method, batch = MultiModN(ABC, **SMALL).eval(), make_batch(ABC)
    kept = tuple(n for n in ABC.names if n != gone)
    with torch.no_grad():
        skipped, never = method(batch.without(gone)), part(method, kept, **SMALL)(batch.only(kept))
    for name, said in never.predictions.items():
        torch.testing.assert_close(skipped.predictions[name], said, rtol=0, atol=1e-7)


def test_the_readings_are_what_the_first_modalities_say(make_batch: MakeBatch) -> None:
    """The last of them is the prediction, the first needs no input; subsets are steps."""
    method, batch = MultiModN(ABC, **SMALL, order=("c",)).eval(), make_batch(ABC)
    assert method.order == ("c", "a", "b")
    with torch.no_grad():
        readings = method(batch).representations["score/readings"]
        for step, gone in enumerate([("c", "a", "b"), ("a", "b"), ("b",), ()]):
            said = method(batch.without(*gone)).predictions["score"]
            torch.testing.assert_close(readings[:, step], said, rtol=0, atol=1e-6)
    assert readings.shape == (len(batch), 4)


@pytest.mark.parametrize("bounded", [False, True])
def test_with_decoders_of_zero_every_step_has_the_entropy_of_a_guess(bounded: bool, make_batch: MakeBatch) -> None:
    method, batch = MultiModN(AB, **SMALL, bounded=bounded), make_batch(AB)
    for parameter in method.decoders.parameters():
        torch.nn.init.zeros_(parameter)
    output = method(batch)
    readings = output.representations["mood/readings"]
    torch.testing.assert_close(readings, torch.full_like(readings, 0.5 if bounded else 0.0))
    assert method.losses(batch, output)["steps/mood"].item() == pytest.approx(math.log(2), abs=1e-5)


def test_bounded_outputs_bound_the_loss(make_batch: MakeBatch) -> None:
    method, batch = MultiModN(AB, **SMALL, bounded=True).eval(), make_batch(AB)
    with torch.no_grad():
        for parameter in method.decoders.parameters():
            parameter.mul_(1e4)
        loss = float(method.losses(batch, method(batch))["task"])
    assert math.log1p(math.exp(-1)) - 1e-4 <= loss <= math.log1p(math.e) + 1e-4


def test_a_skipped_module_has_no_loss_and_counts_in_the_mean(make_batch: MakeBatch) -> None:
    method, batch = MultiModN(AB, **SMALL).train(), make_batch(AB).without("b")
    output = method(batch)
    readings = output.representations["mood/readings"]
    errors = [MOOD.spec.loss(readings[:, m], batch.targets["mood"]).mean() for m in (0, 1)]
    torch.testing.assert_close(method.losses(batch, output)["steps/mood"], (errors[0] + errors[1]) / 3)


def test_changes_of_state_are_counted_over_all_modules(make_batch: MakeBatch) -> None:
    method, batch = MultiModN(AB, **SMALL, change=0.5).train(), make_batch(AB)
    for seen, modules in ((batch, 2), (batch.without("a"), 1)):
        output = method(seen)
        moved = output.representations["change"]
        assert int((moved.mean(0) > 1e-6).sum()) == modules
        wanted = 0.01 * 0.5 * moved.mean(0).sum() / 2
        torch.testing.assert_close(method.losses(seen, output)["change"], wanted)


def test_a_missing_modality_teaches_its_module_nothing(make_batch: MakeBatch) -> None:
    method, batch = MultiModN(AB, **SMALL).train(), make_batch(AB).without("b")
    torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()

    def size(gradient: Tensor | None) -> float:
        return 0.0 if gradient is None else float(gradient.abs().sum())

    sizes = {n: size(p.grad) for n, p in method.named_parameters()}
    of_b = [v for n, v in sizes.items() if n.startswith(("encoders.b", "updates.b"))]
    assert of_b == pytest.approx([0.0] * len(of_b), abs=1e-9)
    assert sizes["initial"] > 0
    assert sizes["updates.a.weight"] > 0


def test_only_training_draws_orders(make_batch: MakeBatch) -> None:
    method, batch = MultiModN(ABC, **SMALL, shuffle=True, dropout=0.0), make_batch(ABC)
    with torch.no_grad():
        drawn = torch.stack([method.train()(batch).predictions["score"] for _ in range(12)])
        fixed = torch.stack([method.eval()(batch).predictions["score"] for _ in range(3)])
    assert float(drawn.std(0).max()) > 1e-4
    assert float(fixed.std(0).max()) == pytest.approx(0.0, abs=1e-6)


def test_orders_name_modalities_once() -> None:
    with pytest.raises(OptionError, match="order names 'd', which is no modality"):
        MultiModN(ABC, order=("d",))
    with pytest.raises(OptionError, match="order names 'a' twice"):
        MultiModN(ABC, order=("a", "a"))
    with pytest.raises(OptionError, match="change must not be negative"):
        MultiModN(ABC, change=-1.0)


def planted(seed: int, rows: int, *, missing_in: int | None = None, rate: float = 0.0) -> Batch:
    """``a`` shows the class under noise, ``b`` is noise alone, and missing from a share of one class."""
    g = torch.Generator().manual_seed(seed)
    mood = torch.randint(0, 2, (rows,), generator=g)
    a, b = (torch.randn(rows, 4, generator=g) for _ in "ab")
    a[:, 0] += 0.8 * (2 * mood - 1)
    there = torch.ones(rows, dtype=torch.bool)
    batch = Batch({"a": Stream(a, None, there), "b": Stream(b, None, there)}, {"mood": mood}, [str(i) for i in mood])
    return batch.without("b", rows=(mood == missing_in) & (torch.rand(rows, generator=g) < rate))


def learn(method: Method, batch: Batch, seed: int, steps: int = 200) -> Method:
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(method.train().parameters(), 3e-3)
    for _ in range(steps):
        some = batch.select(torch.randint(0, len(batch), (64,)))
        optimizer.zero_grad()
        torch.stack(list(method.losses(some, method(some)).values())).sum().backward()
        optimizer.step()
    return method.eval()


def accuracy(method: Method, batch: Batch) -> float:
    with torch.no_grad():
        return float((method(batch).predictions["mood"].argmax(1) == batch.targets["mood"]).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_pattern_of_absence_that_is_turned_round_costs_concatenation_much_and_this_little(seed: int) -> None:
    """``b`` is missing from 40 % of one class in training, and of the other class in the test."""

    def flipped(name: str, rate: float, **options: Any) -> tuple[float, float, float]:
        torch.manual_seed(seed)
        train, test = (planted(seed + n, rows, missing_in=1, rate=rate) for n, rows in ((0, 600), (100, 1000)))
        method = learn(build(find_method(name), AB, options), train, seed)
        turned = planted(seed + 100, 1000, missing_in=0, rate=rate)
        return accuracy(method, test), accuracy(method, turned), accuracy(method, turned.without("b"))

    _, turned, alone = flipped("multimodn", 0.4, state=16, width=16)
    _, plain, _ = flipped("late-fusion", 0.4, width=16)
    assert turned > alone - 0.05
    assert turned > plain + 0.04
    kept, below, _ = flipped("late-fusion", 0.8, width=16)
    assert kept > 0.85
    assert below < 0.42
    # Presence still tells how frequent the class was among what the module read: above chance, below ``a`` alone.
    assert flipped("multimodn", 0.8, state=16, width=16)[1] > below + 0.2


@pytest.mark.slow
def test_a_large_weight_of_changes_leaves_the_state_where_it_began() -> None:
    torch.manual_seed(1)
    batch = planted(1, 300)
    free, held = (learn(MultiModN(AB, state=8, width=8, change=change), batch, 1, 300) for change in (0.0, 1e5))
    with torch.no_grad():
        moved, still = free(batch).representations, held(batch).representations
    assert float(still["change"].mean()) < 0.02 * float(moved["change"].mean())
    probabilities = still["mood/readings"].softmax(-1)
    assert float((probabilities - probabilities[:, :1]).abs().max()) < 0.1
    spread = moved["mood/readings"].softmax(-1)
    assert float((spread - spread[:, :1]).abs().max()) > 0.3


@pytest.mark.slow
def test_shuffled_orders_shrink_the_gap_between_orders() -> None:
    for seed in (1, 2, 3):
        train, test, gaps = planted(seed, 600), planted(seed + 50, 1000), []
        for shuffle in (False, True):
            torch.manual_seed(seed)
            method, found = learn(MultiModN(AB, state=8, width=8, shuffle=shuffle), train, seed), []
            for order in (("a", "b"), ("b", "a")):
                method.order = order  # type: ignore[attr-defined]
                with torch.no_grad():
                    found.append(method(test).predictions["mood"].softmax(1))
            gaps.append(float((found[0] - found[1]).abs().mean()))
        assert gaps[1] < 0.7 * gaps[0], (seed, gaps)
