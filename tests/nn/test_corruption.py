"""Corruption of modalities: its ends, its statistics, and that nothing is lost entirely."""

from __future__ import annotations

import torch

from polymodal.core import Stream
from polymodal.nn.corruption import corrupt, corrupt_stream, drawn_corruption, gaussian_like, rank_loss


def test_corruption_runs_from_the_vector_to_the_noise() -> None:
    x, noise = torch.randn(2, 4, 3, 5).unbind()
    rho = torch.zeros(4, 3)
    assert torch.equal(corrupt(x, noise, rho), x)
    assert torch.equal(corrupt(x, noise, rho + 1), noise)
    torch.testing.assert_close(corrupt(x, noise, rho + 0.25), 0.75 * x + 0.25 * noise)


def test_noise_has_the_mean_and_the_deviation_of_the_present_samples() -> None:
    x = 5 + torch.randn(4000, 2, 3) * torch.tensor([1.0, 2.0, 0.5])
    present = torch.rand(4000, 2) < 0.5
    x = torch.where(present.unsqueeze(-1), x, 1e3)
    noise = gaussian_like(x, present)
    assert (noise.mean((0, 1)) - 5).abs().max() < 0.15
    torch.testing.assert_close(noise.std((0, 1)), torch.tensor([1.0, 2.0, 0.5]), rtol=0.05, atol=0)
    assert gaussian_like(x[:1], present[:1]).isfinite().all()


def test_a_stream_is_corrupted_at_its_true_steps_with_noise_like_them() -> None:
    lengths = torch.tensor([300, 200, 0])
    real = torch.arange(300) < lengths[:, None]
    x = torch.where(real.unsqueeze(-1), 5 + 2 * torch.randn(3, 300, 2), 0.0)
    stream, rho = Stream(x, lengths, lengths > 0), torch.tensor([0.0, 1.0, 1.0])
    spoiled = corrupt_stream(stream, rho)
    assert torch.equal(spoiled.mask, stream.mask)
    torch.testing.assert_close(spoiled.tensor[0], x[0])
    assert not spoiled.tensor[~real].any()
    noise = spoiled.tensor[1, :200]
    assert (noise.mean(0) - 5).abs().max() < 0.7
    assert (noise.std(0) - 2).abs().max() < 0.5
    vector = Stream(torch.ones(3, 2), None, torch.tensor([True, True, False]))
    assert torch.equal(corrupt_stream(vector, rho).tensor, torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]))


def test_fates_have_their_probabilities() -> None:
    rho = drawn_corruption(torch.ones(20000, 8, dtype=torch.bool), noisy=0.25, missing=0.25)
    noisy = (rho > 0) & (rho < 1)
    for share, wanted in ((rho == 0, 0.5), (noisy, 0.25), (rho == 1, 0.25)):
        assert abs(share.float().mean() - wanted) < 0.01
    assert rho[noisy].min() >= 0.1
    assert rho[noisy].max() <= 0.9


def test_a_sample_keeps_one_of_the_modalities_it_has() -> None:
    present = torch.rand(500, 3) < 0.5
    rho = drawn_corruption(present, noisy=0.0, missing=1.0)
    kept = (rho < 1) & present
    assert torch.equal(kept.sum(1), present.any(1).long())
    assert kept.any(0).all()


def test_a_generator_makes_it_repeatable() -> None:
    present, x = torch.ones(5, 3, dtype=torch.bool), torch.randn(5, 3, 2)
    for draw in (
        lambda g: drawn_corruption(present, noisy=0.3, missing=0.3, random=g),
        lambda g: gaussian_like(x, present, g),
    ):
        assert torch.equal(draw(torch.Generator().manual_seed(1)), draw(torch.Generator().manual_seed(1)))


def test_ranks_cost_nothing_once_the_gaps_exceed_the_margin() -> None:
    rho = torch.tensor([0.0, 0.2, 0.6, 1.0])
    apart = torch.tensor([0.95, 0.9, 0.5, 0.0])
    assert not rank_loss(apart, rho, 0.1).any()
    torch.testing.assert_close(rank_loss(torch.zeros(4), rho, 0.1), torch.tensor([0.04, 0.08, 0.08]))
    torch.testing.assert_close(rank_loss(apart.flip(0), rho, 0.1), torch.tensor([0.54, 0.48, 0.13]))
