"""Cascaded residual translator: the recursion, its size, and zeros from zeros."""

from __future__ import annotations

import torch

from polymodal.nn.translate import CascadedTranslator


def test_is_the_cascade_of_its_blocks_and_a_transition_without_skip() -> None:
    net, x = CascadedTranslator(6, (5, 4, 3), blocks=3), torch.randn(2, 7, 6)
    u, v = x.transpose(1, 2), torch.zeros(2, 6, 7)
    for block in net.blocks:
        u = u + v
        v = block(u)
    torch.testing.assert_close(net(x), net.transition(u + v).transpose(1, 2))
    assert net(x).shape == x.shape


def test_without_biases_zeros_are_translated_to_zeros_and_zero_weights_to_nothing() -> None:
    net = CascadedTranslator(6, (4,), blocks=2)
    assert not net(torch.zeros(2, 5, 6)).any()
    assert all("bias" not in name for name, _ in net.named_parameters())
    for parameter in net.parameters():
        parameter.data.zero_()
    assert not net(torch.randn(2, 5, 6)).any()


def test_has_the_layers_of_the_released_settings() -> None:
    net = CascadedTranslator(128, (64, 32, 16), blocks=8)
    block = 3 * (128 * 64 + 64 * 32 + 32 * 16) + 3 * (16 * 32 + 32 * 64) + 64 * 128
    assert sum(p.numel() for p in net.parameters()) == 8 * block + 2 * 3 * 128 * 128
    assert [type(layer).__name__ for layer in net.blocks[0]] == [
        *("Conv1d", "LeakyReLU", "Conv1d", "LeakyReLU", "Conv1d"),
        *("Conv1d", "ReLU", "Conv1d", "ReLU", "Conv1d"),
    ]


def test_learns_a_linear_map_that_mixes_neighbours() -> None:
    torch.manual_seed(0)
    net, x = CascadedTranslator(4, (16, 8), blocks=2), torch.randn(64, 10, 4)
    y = x.roll(1, 2) + torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(250):
        optimiser.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.15 * y.var().item()
