"""Dynamic routing: closed forms, sums, agreement, constants to the gradient."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from polymodal.nn.routing import dynamic_routing

ALL = torch.ones(2, 7, dtype=torch.bool)


def test_without_rounds_a_capsule_is_the_tanh_of_even_shares() -> None:
    votes = torch.randn(2, 4, 7, 3)
    capsules, weights = dynamic_routing(votes, ALL, 0, over="outputs")
    torch.testing.assert_close(weights, torch.full((2, 4, 7), 0.25))
    torch.testing.assert_close(capsules, torch.tanh(votes.sum(2) / 4))
    capsules, weights = dynamic_routing(votes, ALL, 0, over="inputs")
    torch.testing.assert_close(weights, torch.full((2, 4, 7), 1 / 7))
    torch.testing.assert_close(capsules, torch.tanh(votes.mean(2)))


def test_a_round_adds_what_each_vote_says_of_its_capsule() -> None:
    votes = torch.randn(2, 4, 7, 3)
    first = dynamic_routing(votes, ALL, 0, over="outputs")[0]
    weights = dynamic_routing(votes, ALL, 1, over="outputs")[1]
    torch.testing.assert_close(weights, torch.einsum("bod,boid->boi", first, votes).softmax(1))


@pytest.mark.parametrize("over", ["inputs", "outputs"])
def test_weights_sum_to_one_over_what_competes_and_padding_has_none(over: Literal["inputs", "outputs"]) -> None:
    mask = torch.tensor([[True] * 4 + [False] * 3, [False] * 7])
    votes = torch.randn(2, 4, 7, 3)
    capsules, weights = dynamic_routing(votes, mask, 2, over=over)
    assert not weights[0, :, 4:].any()
    assert not weights[1].any()
    assert not capsules[1].any()
    sums = weights.sum(1 if over == "outputs" else 2)
    torch.testing.assert_close(sums[0], mask[0].float() if over == "outputs" else torch.ones(4))
    alone = dynamic_routing(votes[:1, :, :4], mask[:1, :4], 2, over=over)[0]
    torch.testing.assert_close(capsules[:1], alone)


def test_agreement_is_rewarded_more_with_every_round() -> None:
    votes = 0.1 * torch.randn(1, 5, 40, 8)
    votes[0, 2] = 0.3  # this capsule hears the same from every step, the others noise
    mask = torch.ones(1, 40, dtype=torch.bool)
    share = [dynamic_routing(votes, mask, rounds, over="outputs")[1][0, 2].mean().item() for rounds in range(4)]
    assert share[0] == pytest.approx(0.2)
    assert share[0] < share[1] < share[2] < share[3]


def test_gradients_flow_through_votes_and_never_through_weights() -> None:
    votes = torch.randn(2, 4, 7, 3, requires_grad=True)
    capsules, weights = dynamic_routing(votes, ALL, 2, over="outputs")
    assert not weights.requires_grad
    slope = torch.autograd.grad(capsules.sum(), votes)[0]
    torch.testing.assert_close(slope, (1 - capsules.detach().square()).unsqueeze(2) * weights.unsqueeze(3))
