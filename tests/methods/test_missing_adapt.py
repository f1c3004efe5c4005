"""Missing-modality adaptation: what is frozen, what is learned, and how much of a missing view it makes up for."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.base import Method, Now
from polymodal.methods.missing_adapt import MissingAdapt
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.traced import tracing

MakeBatch = Callable[..., Batch]

SCORE = Target("y", "regression", (-3.0, 3.0))
SEQUENCES = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (SCORE,)
)
VIEWS = Schema(tuple(Modality(n, "vector", 6) for n in "abc"), (SCORE,))
NOISE = {"a": 0.4, "b": 1.5, "c": 2.0}
SMALL = {"width": 8, "heads": 2, "layers": 1}
BASES: dict[str, dict[str, Any]] = {
    "mult": SMALL,
    "late-fusion": {"width": 8, "context": "transformer", "kernel": 3},
    "lf-dnn": {"width": 8, "head": 8, "hidden": 8},
    "mmcl": {"width": 8},
}
ADAPTERS = ("ssf", "lora", "bitfit", "norm")


def adapt(schema: Schema = SEQUENCES, base: str = "mult", **options: Any) -> MissingAdapt:
    return MissingAdapt(schema, base=base, base_options=BASES[base], **options)


def disturb(method: MissingAdapt, scale: float = 0.2) -> MissingAdapt:
    """Move every Delta_S away from the identity."""
    with torch.no_grad():
        for delta in method.adapters.values():
            delta += scale * torch.randn_like(delta)
    return method.eval()


def stage(method: Method, batch: Batch, name: str, steps: int, rate: float = 3e-3, gone: str = "") -> Method:
    """Train one phase full-batch as the loop does: only its parameters, everything else frozen."""
    method.now = Now(name)
    (chosen,) = [p.parameters for p in method.phases() if p.name == name]
    for n, p in method.named_parameters():
        p.requires_grad_(chosen is None or chosen(n))
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], rate)
    method.train()
    for _ in range(steps):
        part = batch.without(*gone)
        optimiser.zero_grad()
        sum(method.losses(part, method(part)).values()).backward()
        optimiser.step()
    method.now = Now("train")
    return method.eval()


@torch.no_grad()
def predict(method: nn.Module, batch: Batch) -> Tensor:
    return method(batch).predictions["y"]


def subsets(method: MissingAdapt, batch: Batch) -> list[Batch]:
    return [batch.without(*set(batch.streams).difference(key.split("+"))) for key in method.adapters]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_at_first_it_is_the_base(base: str, adapter: Any, make_batch: MakeBatch) -> None:
    method = adapt(base=base, adapter=adapter).eval()
    batch = make_batch(SEQUENCES)
    for part in [batch, *subsets(method, batch)]:
        torch.testing.assert_close(predict(method, part), predict(method.base, part), rtol=0, atol=1e-6)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_training_leaves_every_base_parameter_and_buffer(base: str, adapter: Any, make_batch: MakeBatch) -> None:
    method = adapt(base=base, adapter=adapter, rank=2)
    batch = make_batch(SEQUENCES)
    before = {n: t.clone() for n, t in method.state_dict().items()}
    stage(method, batch, "adapt", 2)
    moved = {n for n, t in method.state_dict().items() if not torch.equal(t, before[n])}
    assert moved
    assert all(n.startswith("adapters.") for n in moved)


def test_stage_one_trains_the_base_alone(make_batch: MakeBatch) -> None:
    method = adapt(base="lf-dnn")
    before = {n: t.clone() for n, t in method.state_dict().items()}
    stage(method, make_batch(SEQUENCES), "base:train", 2)
    moved = {n for n, t in method.state_dict().items() if not torch.equal(t, before[n])}
    assert {n for n, p in method.named_parameters() if n.startswith("base.") and p.dim() > 1} <= moved
    assert not any(n.startswith("adapters.") for n in moved)


def maps(base: nn.Module) -> list[nn.Module]:
    heads = {id(x) for h in base.modules() if isinstance(h, Heads) for x in h.modules()}
    return [m for m in base.modules() if isinstance(m, (nn.Linear, nn.Conv1d)) and id(m) not in heads]


@pytest.mark.parametrize("base", ["mult", "lf-dnn", "mmcl"])
def test_has_as_many_parameters_as_the_formulas_say(base: str) -> None:
    ssf, lora = adapt(base=base), adapt(base=base, adapter="lora", rank=4)
    norms = [m for m in ssf.base.modules() if isinstance(m, (nn.LayerNorm, nn.BatchNorm1d))]
    channels = sum(len(m.weight) for m in [*maps(ssf.base), *norms])
    assert {d.numel() for d in ssf.adapters.values()} == {2 * channels}
    ranks = sum(4 * (m.weight[0].numel() + len(m.weight)) for m in maps(lora.base))
    assert {d.numel() for d in lora.adapters.values()} == {ranks}
    assert set(ssf.adapters) == {"text", "audio", "vision", "text+audio", "text+vision", "audio+vision"}


@pytest.mark.parametrize("base", ["mult", "late-fusion"])
def test_a_subset_costs_less_than_one_percent_of_a_wide_transformer(base: str) -> None:
    pair = Schema(SEQUENCES.modalities[:2], (SCORE,))
    options = {"mult": {"width": 400, "layers": 1}, "late-fusion": {"width": 400, "context": "transformer"}}[base]
    method = MissingAdapt(pair, base=base, base_options=options)
    own = method.adapters["text"].numel()
    assert 0.002 < own / sum(p.numel() for p in method.base.parameters()) < 0.01


def test_packed_attention_of_torch_is_adapted_too(make_batch: MakeBatch) -> None:
    method = adapt(base="late-fusion")
    names = [layer.weight for layer in method.layers]
    assert sum(n.endswith("in_proj_weight") for n in names) == 3
    assert sum(n.endswith("out_proj.weight") for n in names) == 3


@pytest.mark.parametrize("base", ["lf-dnn", "mmcl"])
def test_folded_equals_scaled_and_shifted_outputs(base: str, make_batch: MakeBatch) -> None:
    """The slow twin: a hook after every layer; both networks call all layers they have."""
    method = disturb(adapt(base=base))
    batch = make_batch(SEQUENCES).without("audio")
    twin, start, delta = deepcopy(method.base), 0, method.adapters["text+vision"].detach()
    for layer in method.layers:
        gamma, beta = delta[start : start + sum(layer.sizes)].chunk(2)
        start += sum(layer.sizes)

        def scale(module: nn.Module, _: Any, h: Tensor, g: Tensor = gamma, b: Tensor = beta) -> Tensor:
            shape = (-1, 1) if isinstance(module, nn.Conv1d) else (-1,)
            scaled = g.view(shape) * h + b.view(shape)
            # PresentNorm returns nothing for absent samples, here the whole of audio.
            return scaled * bool(h.any()) if isinstance(module, nn.BatchNorm1d) else scaled

        twin.get_submodule(layer.weight.removesuffix(".weight")).register_forward_hook(scale)
    torch.testing.assert_close(predict(method, batch), predict(twin, batch), rtol=1e-5, atol=1e-5)
    assert (predict(method, batch) - predict(method.base, batch)).abs().max() > 0.01


def test_low_rank_maps_add_b_a_h(make_batch: MakeBatch) -> None:
    method = disturb(adapt(base="lf-dnn", adapter="lora", rank=2))
    batch = make_batch(SEQUENCES).without("text", "vision")
    twin, start, delta = deepcopy(method.base), 0, method.adapters["audio"].detach()
    for layer in method.layers:
        down, up = delta[start : start + sum(layer.sizes)].split(layer.sizes)
        start += sum(layer.sizes)

        def add(module: Any, args: Any, h: Tensor, down: Tensor = down, up: Tensor = up) -> Tensor:
            return h + F.linear(F.linear(args[0], down.view(2, -1)), up.view(-1, 2))

        twin.get_submodule(layer.weight.removesuffix(".weight")).register_forward_hook(add)
    torch.testing.assert_close(predict(method, batch), predict(twin, batch), rtol=1e-5, atol=1e-5)


def test_a_subset_is_deployed_by_loading_its_folded_weights_into_the_base(make_batch: MakeBatch) -> None:
    method = disturb(adapt(base="lf-dnn"))
    part = make_batch(SEQUENCES).without("vision")
    plain = deepcopy(method.base)
    assert not plain.load_state_dict(method.folded("text+audio"), strict=False).unexpected_keys
    torch.testing.assert_close(predict(plain, part), predict(method, part), rtol=0, atol=1e-6)


def test_complete_samples_get_the_untouched_base_and_others_their_own_parameters(make_batch: MakeBatch) -> None:
    method = disturb(adapt())
    batch = make_batch(SEQUENCES)
    torch.testing.assert_close(predict(method, batch), predict(method.base, batch), rtol=0, atol=0)
    before = [predict(method, part) for part in subsets(method, batch)]
    with torch.no_grad():
        method.adapters["audio+vision"] += 1
    for key, part, was in zip(method.adapters, subsets(method, batch), before, strict=True):
        assert torch.equal(predict(method, part), was) == (key != "audio+vision"), key


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_rows_of_mixed_subsets_are_adapted_row_by_row(adapter: Any, make_batch: MakeBatch) -> None:
    method = disturb(adapt(adapter=adapter))
    batch = make_batch(SEQUENCES)
    rows = torch.arange(8) % 3 == 0
    mixed = predict(method, batch.without("text", rows=rows).without("vision", rows=~rows))
    torch.testing.assert_close(mixed[rows], predict(method, batch.without("text"))[rows])
    torch.testing.assert_close(mixed[~rows], predict(method, batch.without("vision"))[~rows])
    with tracing():
        torch.testing.assert_close(
            predict(method, batch.without("text", rows=rows).without("vision", rows=~rows)), mixed
        )


def test_each_subset_descends_on_its_own_loss(make_batch: MakeBatch) -> None:
    method = disturb(adapt(base="lf-dnn"))
    batch = make_batch(SEQUENCES)
    method.now = Now("adapt")
    method.losses(batch, method(batch))["task"].backward()
    together = {key: delta.grad.clone() for key, delta in method.adapters.items()}
    for key, part in zip(method.adapters, subsets(method, batch), strict=True):
        method.zero_grad()
        task_losses(SEQUENCES, part, method.adapted(part))["task"].backward()
        torch.testing.assert_close(method.adapters[key].grad / 6, together[key])
        assert all(d.grad is None for k, d in method.adapters.items() if k != key)


def test_samples_that_never_had_a_modality_train_what_they_have(make_batch: MakeBatch) -> None:
    method = adapt(base="lf-dnn")
    batch = make_batch(SEQUENCES).without("audio")
    method.now = Now("adapt")
    method.losses(batch, method(batch))["task"].backward()
    trained = {key for key, delta in method.adapters.items() if delta.grad is not None}
    assert trained == {"text", "vision", "text+vision"}


def test_the_heads_are_frozen_unless_wanted() -> None:
    frozen, tuned = adapt(), adapt(adapt_heads=True)
    assert tuned.adapters["text"].numel() - frozen.adapters["text"].numel() == 2


def test_unfit_bases_are_refused() -> None:
    with pytest.raises(OptionError, match="closed form"):
        MissingAdapt(SEQUENCES, base="linear")
    with pytest.raises(OptionError, match="no layer"):
        MissingAdapt(VIEWS, base="late-fusion", adapter="norm")
    with pytest.raises(OptionError, match="MulT: there is no option 'widht'; did you mean 'width'"):
        MissingAdapt(SEQUENCES, base_options={"widht": 8})


def views(rows: int, seed: int) -> Batch:
    """One factor, read by three views with independent errors of standard deviation ``NOISE``."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.Generator().manual_seed(7)
    factor, here = torch.randn(rows, generator=g), torch.ones(rows, dtype=torch.bool)
    streams = {}
    for name, noise in NOISE.items():
        reading = factor + noise * torch.randn(rows, generator=g)
        values = reading[:, None] * torch.randn(6, generator=directions) + 0.1 * torch.randn(rows, 6, generator=g)
        streams[name] = Stream(values, None, here)
    return Batch(streams, {"y": factor}, [str(i) for i in range(rows)])


def limit(*present: str) -> float:
    """Mean absolute error of the posterior median of the factor."""
    return math.sqrt(2 / math.pi / (1 + sum(NOISE[n] ** -2 for n in present)))


def error(method: nn.Module, batch: Batch) -> float:
    return (predict(method, batch) - batch.targets["y"]).abs().mean().item()


def plain(batch: Batch, absent: Callable[[Batch], Batch]) -> Method:
    """The base alone, trained on what ``absent`` leaves of the batch at every step."""
    method = build(find_method("late-fusion"), VIEWS, {"width": 16})
    optimiser = torch.optim.AdamW(method.parameters(), 1e-2)
    for _ in range(120):
        part = absent(batch)
        optimiser.zero_grad()
        sum(method.losses(part, method(part)).values()).backward()
        optimiser.step()
    return method.eval()


def dropped(batch: Batch) -> Batch:
    """Modality dropout: each view is lost with probability 0.4."""
    for name in batch.streams:
        batch = batch.without(name, rows=torch.rand(len(batch)) < 0.4)
    return batch


@pytest.mark.parametrize("adapter", ["ssf", pytest.param("lora", marks=pytest.mark.slow)])
def test_adaptation_recovers_most_of_what_the_strongest_view_took_along(adapter: Any) -> None:
    train, test = views(500, 1), views(4000, 2)
    method = MissingAdapt(VIEWS, base="late-fusion", base_options={"width": 16}, adapter=adapter, rank=4)
    stage(method, train, "base:train", 120, 1e-2)
    lost, full = test.without("a"), error(method, test)
    zeros, others = error(method.base, lost), {n: error(method.base, test.without(n)) for n in "bc"}
    stage(method, train, "adapt", 50, 1e-2)
    adapted, own = error(method, lost), error(plain(train, lambda b: b.without("a")), lost)
    dropout = error(plain(train, dropped), lost)
    bayes = limit("b", "c")
    assert full < 1.15 * limit("a", "b", "c")
    assert zeros > 1.15 * bayes
    assert 0.97 * bayes < adapted < bayes + 0.3 * (zeros - bayes)
    assert own < 1.05 * adapted
    assert adapted < 1.05 * dropout
    assert error(method, test) == full
    assert all(error(method, test.without(n)) < 1.02 * was for n, was in others.items())
