"""The gate at its limits: nothing of the others, or nothing else."""

from __future__ import annotations

import pytest
import torch

from polymodal.nn.gated import GatedInteraction

BOTH = torch.ones(3, 2, dtype=torch.bool)


@pytest.fixture
def block() -> GatedInteraction:
    torch.manual_seed(0)
    made = GatedInteraction(8, 2).eval()
    for norm in (made.shared_norm, made.specific_norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return made


@pytest.fixture
def tokens() -> dict[str, torch.Tensor]:
    return {"text": torch.randn(3, 4, 8), "audio": torch.randn(3, 4, 8)}


def test_a_closed_gate_lets_nothing_of_the_others_in(block: GatedInteraction, tokens: dict[str, torch.Tensor]) -> None:
    torch.nn.init.constant_(block.gate.bias, -1e4)
    shared, specific = block("text", tokens, BOTH)
    torch.testing.assert_close(shared, block.shared_norm(block.shared(tokens["text"])))
    torch.testing.assert_close(specific, block.specific_norm(block.specific(tokens["text"])))
    other = block("text", tokens | {"audio": torch.randn(3, 4, 8)}, BOTH)[0]
    torch.testing.assert_close(other, shared)


def test_an_open_gate_leaves_nothing_of_its_own(block: GatedInteraction, tokens: dict[str, torch.Tensor]) -> None:
    torch.nn.init.constant_(block.gate.bias, 1e4)
    assert block.attention is not None
    shared, specific = block("text", tokens, BOTH)
    seen = torch.ones(3, 4, 4, dtype=torch.bool)
    context = block.attention(tokens["text"], tokens["audio"], tokens["audio"], seen)
    torch.testing.assert_close(shared, block.shared_norm(context))
    torch.testing.assert_close(specific, block.specific_norm.bias.expand(3, 4, 8))


def test_the_absent_are_no_context(block: GatedInteraction, tokens: dict[str, torch.Tensor]) -> None:
    present = BOTH.clone()
    present[1, 1] = False
    shared = block("text", tokens, present)[0]
    changed = block("text", tokens | {"audio": tokens["audio"] + 1}, present)[0]
    moved = (shared - changed).abs().amax((1, 2)) > 1e-3
    assert moved.tolist() == [True, False, True]
