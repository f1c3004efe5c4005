"""MMIM: what its bounds must show, and who trains what."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.mmim import (
    MMIM,
    BarberAgakov,
    ClassEntropy,
    ConditionalGaussian,
    components_of,
    log_likelihood,
    mixture_entropy,
)

MakeBatch = Callable[..., Batch]
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
SMALL = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (SCORE,)
)
ALL = torch.ones(64, dtype=torch.bool)


def points(count: int, width: int, scale: float = 1.0) -> Tensor:
    """Points whose biased covariance is exactly ``scale`` times the identity."""
    x = torch.randn(count, width, dtype=torch.float64)
    x = x - x.mean(0)
    return (scale**0.5 * torch.linalg.qr(x)[0] * count**0.5).float()


def train_losses(method: MMIM, batch: Batch) -> dict[str, Tensor]:
    method.train().zero_grad()
    return method.losses(batch, method(batch))


def test_parameters_are_the_published_ones_beside_bert() -> None:
    method = MMIM(MOSI, text_pool="first")
    size = {n: sum(p.numel() for p in m.parameters()) for n, m in method.named_children()}
    assert size["encoders"] == 5_392 + 3_472
    assert size["bounds"] == 2 * 25_220
    assert size["predictors"] == 99_072 + 2 * 2_064
    assert size["mix"] + size["heads"] == 119_169
    assert sum(size.values()) == 109_763_913 - 109_482_240


def test_equal_covariances_have_the_entropy_of_their_volume() -> None:
    torch.manual_seed(0)
    for scale in (0.25, 1.0, 3.0):
        both = torch.cat([points(12, 4, scale), 5 + points(9, 4, scale)])
        sides = torch.tensor([0] * 12 + [1] * 9)
        assert mixture_entropy(both, sides, 2).item() == pytest.approx(2 * math.log(scale), abs=1e-4)


def test_scaling_the_points_adds_the_logarithm_per_dimension() -> None:
    x, sides = torch.randn(40, 4), torch.arange(40) % 2
    grown = mixture_entropy(3 * x, sides, 2) - mixture_entropy(x, sides, 2)
    assert grown.item() == pytest.approx(4 * math.log(3), abs=1e-4)


def test_a_class_with_too_few_or_flat_points_cannot_be_infinitely_sure() -> None:
    few = torch.randn(4, 4)
    assert mixture_entropy(few, torch.zeros(4, dtype=torch.long), 2) == 0
    flat = torch.randn(9, 1).expand(9, 4).clone().requires_grad_()
    entropy = mixture_entropy(flat, torch.zeros(9, dtype=torch.long), 2)
    entropy.backward()
    assert torch.isfinite(entropy)
    assert torch.isfinite(flat.grad).all()


def test_the_likelihood_is_that_of_the_normal_distribution_and_best_at_the_squared_error() -> None:
    mean, y = torch.randn(2, 64, 3)
    log_variance = torch.randn(64, 3)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = normal.log_prob(y).sum(1).mean()
    torch.testing.assert_close(log_likelihood(mean, log_variance, y, ALL), expected)
    best = (mean - y).square().log().requires_grad_()
    (slope,) = torch.autograd.grad(log_likelihood(mean, best, y, ALL), best)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-6, rtol=0)
    assert log_likelihood(mean, best.detach() + 50, y, ALL) < log_likelihood(mean, best.detach(), y, ALL) - 60


def test_rows_without_the_pair_do_not_count() -> None:
    mean, log_variance, y = torch.randn(3, 6, 2)
    rows = torch.tensor([True, False, True, True, False, False])
    wild = torch.where(rows.unsqueeze(1), y, 1e9)
    expected = log_likelihood(mean[rows], log_variance[rows], y[rows], ALL[:3])
    torch.testing.assert_close(log_likelihood(mean, log_variance, wild, rows), expected)
    assert log_likelihood(mean, log_variance, y, ~ALL[:6]) == 0


def test_the_fitted_bound_grows_with_dependence() -> None:
    torch.manual_seed(0)
    x, noise = torch.randn(2, 2048, 3)
    rows, reached = torch.ones(2048, dtype=torch.bool), []
    for rho in (0.0, 0.4, 0.7, 0.95):
        density = ConditionalGaussian(3, 3, 16)
        optimizer = torch.optim.Adam(density.parameters(), 2e-2)
        y = rho * x + (1 - rho**2) ** 0.5 * noise
        for _ in range(100):
            optimizer.zero_grad()
            (-log_likelihood(*density(x), y, rows)).backward()
            optimizer.step()
        reached.append(log_likelihood(*density(x), y, rows).item())
    # The entropy of y is the same for every rho, so the likelihood alone decides the bound.
    assert all(b > a + 0.1 for a, b in pairwise(reached)), reached
    assert reached[0] == pytest.approx(-3 * 0.5 * (1 + math.log(2 * math.pi)), abs=0.1)


def test_the_density_trains_on_its_own_loss_and_everything_else_on_the_others(make_batch: MakeBatch) -> None:
    method = MMIM(SMALL, memory=32)
    batch = make_batch(SMALL, 32)
    losses = train_losses(method, batch)
    assert set(losses) == {"task", "nce", "likelihood", "entropy", "density"}
    own = {n for n, _ in method.named_parameters() if ".density." in n}
    losses["density"].backward(retain_graph=True)
    assert {n for n, p in method.named_parameters() if p.grad is not None and p.grad.any()} == own
    for name in ("task", "nce", "likelihood", "entropy"):
        method.zero_grad()
        losses[name].backward(retain_graph=True)
        reached = {n for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached, name
        assert not reached & own, name
    # What the entropy and the likelihood push is the other modality's encoder; the text here is fixed features.
    assert reached == {n for n, _ in method.named_parameters() if n.startswith(("encoders.audio", "encoders.vision"))}


def test_the_projection_of_the_entropy_is_fixed_unless_asked_for(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL, 32)
    for learn in (False, True):
        method = MMIM(SMALL, learn_code=learn)
        train_losses(method, batch)["entropy"].backward()
        project = method.bounds["audio"].entropy.project
        assert project.weight.requires_grad == learn
        assert (project.weight.grad is not None and project.weight.grad.any().item()) == learn


def test_the_second_level_is_log_batch_per_modality_when_all_predictions_coincide(make_batch: MakeBatch) -> None:
    method = MMIM(SMALL, alpha=0.5)
    batch = make_batch(SMALL, 8)
    for predictor in method.predictors.values():
        torch.nn.init.zeros_(predictor.weight)
        torch.nn.init.ones_(predictor.bias)
    assert train_losses(method, batch)["nce"].item() == pytest.approx(0.5 * 3 * math.log(8), rel=1e-5)
    gone = batch.without("audio")
    assert train_losses(method, gone)["nce"].item() == pytest.approx(0.5 * 2 * math.log(8), rel=1e-5)


def test_the_second_level_never_falls_below_what_cosines_allow(make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    method, batch = MMIM(SMALL, alpha=1.0, beta=0.0, dropout=0.0), make_batch(SMALL, 8)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(60):
        losses = train_losses(method, batch)
        losses["nce"].backward()
        optimizer.step()
    assert 3 * math.log(1 + 7 * math.exp(-2)) <= losses["nce"].item() < 3 * math.log(8) - 2


def test_the_memory_keeps_the_newest_points_of_each_class_and_passes_no_gradient() -> None:
    entropy = ClassEntropy(3, code=2, components=2, memory=5).train()
    first, second = torch.randn(2, 4, 3).requires_grad_().unbind()
    sides = torch.tensor([0, 0, 1, -1])
    assert entropy(first, sides) == 0
    assert entropy.filled.tolist() == [2, 1]
    entropy(second, sides).backward()
    assert entropy.filled.tolist() == [4, 2]
    z = torch.tanh(entropy.project(torch.cat([second, first])))
    torch.testing.assert_close(entropy.memory[0, :4], z[[0, 1, 4, 5]].detach())
    for _ in range(3):
        entropy(second, sides)
    assert entropy.filled.tolist() == [5, 5]
    (gradient,) = torch.autograd.grad(entropy(second, sides), second)
    assert gradient[:3].any(1).all()
    assert not gradient[3].any()
    before = entropy.memory.clone()
    entropy.eval()(first, sides)
    assert torch.equal(entropy.memory, before)


def test_absent_samples_are_not_remembered() -> None:
    bound = BarberAgakov(3, 3, hidden=4, code=2, components=1, memory=8).train()
    rows = torch.tensor([True, False, True, False])
    bound(torch.randn(4, 3), torch.randn(4, 3), rows, torch.zeros(4, dtype=torch.long))
    assert bound.entropy.filled.tolist() == [2]


def test_the_mixture_follows_the_task() -> None:
    assert components_of(Target("y", "regression", (1.0, 7.0)), torch.tensor([1.0, 4.0, 6.0])).tolist() == [0, -1, 1]
    assert components_of(Target("y", "regression"), torch.tensor([10.0, 30.0, 50.0])).tolist() == [0, -1, 1]
    assert components_of(Target("y", "classification", classes=("a", "b")), torch.tensor([1, 0])).tolist() == [1, 0]
    assert components_of(Target("y", "multilabel", classes=("a",)), torch.tensor([[1.0], [0.0]])).tolist() == [0, 0]


def test_the_text_is_its_first_state_their_mean_or_read_as_the_others(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL)
    text = batch["text"]
    assert text.lengths is not None
    expected = {"first": text.tensor[:, 0], "mean": text.tensor.sum(1) / text.lengths.unsqueeze(1)}
    for pool, vector in expected.items():
        method = MMIM(SMALL, text_pool=pool).eval()
        torch.testing.assert_close(method(batch).representations["h_text"], vector)
    assert MMIM(SMALL, text_pool="lstm").eval()(batch).representations["h_text"].shape == (8, 16)


def test_every_modality_is_paired_with_the_text_or_what_takes_its_place() -> None:
    sequence, words = Modality("audio", "sequence", 3), Modality("transcript", "text")
    face = Modality("face", "vector", 2)
    assert list(MMIM(SMALL).bounds) == ["audio", "vision"]
    assert list(MMIM(Schema((sequence, words), (SCORE,))).bounds) == ["audio"]
    assert list(MMIM(Schema((sequence, face), (SCORE,))).bounds) == ["face"]
    assert not MMIM(Schema((sequence,), (SCORE,))).bounds


@pytest.mark.parametrize("level", ["alpha", "beta"])
def test_a_weight_of_zero_leaves_its_level_out(level: str, make_batch: MakeBatch) -> None:
    method = MMIM(SMALL, **{level: 0.0})
    left = set(train_losses(method, make_batch(SMALL, 32)))
    assert left == ({"task", "likelihood", "entropy", "density"} if level == "alpha" else {"task", "nce"})


def test_mixed_precision_changes_the_losses_by_its_rounding_only(make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    method, batch = MMIM(SMALL, dropout=0.0), make_batch(SMALL, 32)
    full = train_losses(method, batch)
    for bound in method.bounds.values():
        bound.entropy.filled.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = train_losses(method, batch)
    for name, loss in full.items():
        torch.testing.assert_close(rounded[name], loss, rtol=0.03, atol=0.03)


def half_shared(size: int, seed: int) -> Batch:
    """Text is four factors; audio is these and four of its own, one of which is the label."""
    random = torch.Generator().manual_seed(seed)
    shared, own = torch.randn(2, size, 1, 4, generator=random).unbind()
    here, length = torch.ones(size, dtype=torch.bool), torch.ones(size, dtype=torch.long)
    streams = {"text": Stream(shared, length, here), "audio": Stream(torch.cat([shared, own], 2), length, here)}
    return Batch(streams, {"sentiment": own[:, 0, 0].sign()}, [str(i) for i in range(size)])


@pytest.mark.slow
def test_the_first_level_keeps_in_audio_what_text_shares_without_collapsing_it() -> None:
    schema = Schema((Modality("text", "sequence", 4), Modality("audio", "sequence", 8)), (SCORE,))
    explained = {}
    for beta in (0.0, 0.5):
        torch.manual_seed(1)
        method = MMIM(schema, beta=beta, alpha=0.0, dropout=0.0)
        optimizer = torch.optim.Adam(method.parameters(), 3e-3)
        for seed in range(120):
            losses = train_losses(method, half_shared(32, seed))
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
        with torch.no_grad():
            found = method.eval()(half_shared(512, 999)).representations
        x = torch.cat([found["h_text"], torch.ones(512, 1)], dim=1)
        residual = found["h_audio"] - x @ torch.linalg.lstsq(x, found["h_audio"]).solution
        explained[beta] = 1 - (residual.var(0).sum() / found["h_audio"].var(0).sum()).item()
        assert found["h_audio"].std(0).mean() > 0.15, "collapsed"
    assert explained[0.5] > explained[0.0] + 0.2, explained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.1}, "alpha and beta must not be negative, got -0.1 and 0.1"),
        ({"memory": 0}, "memory must be above 0, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"text_pool": "cls"}, "text_pool must be 'first', 'mean' or 'lstm', got 'cls'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MMIM(SMALL, **options)
