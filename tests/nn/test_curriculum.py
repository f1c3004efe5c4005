"""What is fed by rank, and a level that follows a scripted loss."""

from __future__ import annotations

import pytest
import torch

from polymodal.nn.curriculum import Feeding, Rule, easiest


def test_the_hardest_are_discarded_and_the_rest_is_cut_into_equal_parts() -> None:
    difficulty = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 1.0])
    by_level = [easiest(difficulty, k, levels=4, discard=0.2) for k in (1, 2, 3, 4)]
    assert [int(f.sum()) for f in by_level] == [2, 4, 6, 8]
    assert by_level[3].tolist() == (difficulty < 0.85).tolist()
    assert by_level[0].tolist() == (difficulty < 0.25).tolist()
    alone = [easiest(difficulty, k, levels=4, discard=0.2, feed="single") for k in (1, 2, 3, 4)]
    assert torch.equal(torch.stack(alone).sum(0), by_level[3].long())
    assert alone[1].tolist() == ((difficulty > 0.25) & (difficulty < 0.45)).tolist()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_candidates_are_all_fed_in_the_end(count: int) -> None:
    assert easiest(torch.rand(count), 5, levels=5, discard=0.1).all()


def test_equals_are_ranked_as_they_come() -> None:
    assert easiest(torch.zeros(6), 1, levels=2, discard=0.0).tolist() == [True] * 3 + [False] * 3


def levels_after(losses: list[float], rule: Rule = "success", tolerance: float = 0.05) -> list[int]:
    feeding, seen = Feeding(3, tolerance, rule), []
    for loss in losses:
        for part in (loss - 0.2, loss + 0.2):  # two steps with this mean
            feeding.note(torch.tensor(part))
        feeding.decide()
        seen.append(int(feeding.level))
    return seen


def test_the_level_goes_forward_stays_and_goes_back_within_its_bounds() -> None:
    script = [1.0, 0.9, 0.8, 0.7, 0.68, 0.71, 0.8, 0.9, 1.0, 1.1, 1.0]
    assert levels_after(script) == [1, 2, 3, 3, 3, 3, 2, 1, 1, 1, 2]


def test_the_rule_can_be_turned_round() -> None:
    assert levels_after([1.0, 1.2, 1.4, 1.6, 1.5], rule="failure") == [1, 2, 3, 3, 2]


def test_a_window_without_a_loss_decides_nothing_and_a_restart_forgets() -> None:
    feeding = Feeding(3, 0.0, "success")
    feeding.decide()
    assert feeding.before.isnan()
    for loss in (1.0, 0.5):
        feeding.note(torch.tensor(loss))
        feeding.decide()
    assert int(feeding.level) == 2
    feeding.decide()
    assert int(feeding.level) == 2
    feeding.restart()
    assert int(feeding.level) == 1
    assert feeding.before.isnan()
    assert not feeding.state_dict()
