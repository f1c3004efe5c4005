"""Mixture of experts: sparse weights, and regularisers with known values."""

from __future__ import annotations

import torch

from polymodal.nn.experts import ConditionedExperts, best_weights, consistency, load_balance


def test_the_mixture_is_the_weighted_sum_of_the_best_experts() -> None:
    mixture = ConditionedExperts(6, 4, conditions=3, experts=5, top=2)
    x, condition = torch.randn(7, 6), torch.rand(7, 3)
    mixed, probabilities = mixture(x, condition)
    for row in range(7):
        best = probabilities[row].argsort(descending=True)[:2].tolist()
        share = probabilities[row, best] / probabilities[row, best].sum()
        expected = sum(s * mixture.experts[e](x[row]) for s, e in zip(share, best, strict=True))
        torch.testing.assert_close(mixed[row], expected)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(7))


def test_weights_of_the_best_sum_to_one_unless_there_are_none() -> None:
    shares = torch.tensor([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    wanted = torch.tensor([[0.625, 0.0, 0.375], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(best_weights(shares, 2), wanted)


def test_the_condition_alone_can_decide() -> None:
    mixture = ConditionedExperts(6, 4, conditions=2, experts=2, top=1)
    with torch.no_grad():
        mixture.router.weight[:, :6] = 0
        mixture.describe.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))
        mixture.router.weight[:, 6:] = torch.tensor([[9.0, 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]])
    x = torch.randn(3, 6)
    one, two = (mixture(x, torch.tensor(c).expand(3, 2))[1].argmax(1) for c in ([1.0, 0.0], [0.0, 1.0]))
    assert one.tolist() == [0, 0, 0]
    assert two.tolist() == [1, 1, 1]


def test_consistency_is_zero_for_equal_routing_and_blind_to_order() -> None:
    condition, routing = torch.rand(6, 3), torch.rand(6, 4).softmax(1)
    assert consistency(routing[:1].expand(6, 4), condition) == 0
    assert consistency(routing[:1], condition[:1]) == 0
    order = torch.randperm(6)
    torch.testing.assert_close(consistency(routing[order], condition[order]), consistency(routing, condition))


def test_consistency_weighs_pairs_by_how_alike_their_conditions_are() -> None:
    routing = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    near = consistency(routing, torch.tensor([[0.0], [0.0], [9.0]]))
    far = consistency(routing, torch.tensor([[0.0], [9.0], [0.0]]))
    torch.testing.assert_close(near, torch.tensor(2.0))  # the only alike pair is routed to opposite experts
    torch.testing.assert_close(far, torch.tensor(0.0))


def test_load_balance_is_one_when_balanced_and_the_number_of_experts_at_worst() -> None:
    even = torch.eye(4)
    assert load_balance(even, top=1) == 1
    torch.testing.assert_close(load_balance(torch.eye(4)[:1].expand(8, 4), top=1), torch.tensor(4.0))
