"""Cross-modal attention: masks from true lengths, a fixed source, nothing from nothing."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Stream
from polymodal.nn.attention import Attention, CrossModalStack, attention_mask
from polymodal.nn.sequence import sinusoid


def stream(*lengths: int, steps: int | None = None, width: int = 8, seed: int = 0) -> Stream:
    counts = torch.tensor(lengths)
    values = torch.randn(len(lengths), steps or max(lengths), width, generator=torch.Generator().manual_seed(seed))
    there = Stream(values, counts, counts > 0)
    return Stream(values * there.mask.unsqueeze(-1), counts, counts > 0)


def changed(s: Stream, row: int, step: int) -> Stream:
    values = s.tensor.clone()
    values[row, step, :4] += 1  # not the whole frame: a layer norm would not see it
    return Stream(values, s.lengths, s.present)


@pytest.mark.parametrize(
    ("queries", "keys", "visible"),
    [
        (46, 371, list(range(326, 372))),
        (371, 46, [46] * 371),
        (5, 5, [1, 2, 3, 4, 5]),
        (1, 1, [1]),
        (4, 3, [2, 3, 3, 3]),
    ],
)
def test_the_offset_causal_mask_shows_the_published_number_of_keys(queries: int, keys: int, visible: list[int]) -> None:
    mask = attention_mask(stream(queries), stream(keys), causal=True)
    assert mask[0].sum(1).tolist() == visible
    assert mask[0, 0, : visible[0]].all(), "the visible keys are the first ones"


def test_the_offset_comes_from_true_lengths() -> None:
    alone = attention_mask(stream(3), stream(5), causal=True)
    padded = attention_mask(stream(3, 9, steps=9), stream(5, 20, steps=20), causal=True)
    assert torch.equal(padded[0, :3, :5], alone[0])
    assert not padded[0, :, 5:].any()


def test_without_causality_every_true_key_is_visible() -> None:
    mask = attention_mask(stream(2, 3), stream(4, 0, steps=6), causal=False)
    assert mask.sum(2).tolist() == [[4, 4, 4], [0, 0, 0]]


def test_attention_equals_torchs_with_the_same_weights() -> None:
    ours, theirs = Attention(8, 2).eval(), nn.MultiheadAttention(8, 2, batch_first=True).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.project.weight)
        theirs.in_proj_bias.copy_(ours.project.bias.normal_())
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias.normal_())
    q, k, v = torch.randn(3, 4, 8), torch.randn(3, 6, 8), torch.randn(3, 6, 8)
    mask = torch.rand(3, 4, 6) > 0.4
    mask[:, :, 0] = True
    wanted, _ = theirs(q, k, v, attn_mask=~mask.repeat_interleave(2, dim=0))
    torch.testing.assert_close(ours(q, k, v, mask), wanted)


@pytest.mark.parametrize("training", [True, False])
def test_attention_over_nothing_is_zero_and_so_is_its_gradient(training: bool) -> None:
    attention = Attention(8, 2, dropout=0.5).train(training)
    nn.init.normal_(attention.out.bias)
    key = torch.randn(2, 3, 8, requires_grad=True)
    mask = torch.tensor([[[True, True, False]] * 4, [[False] * 3] * 4])
    out = attention(torch.randn(2, 4, 8), key, key, mask)
    assert out[0].any()
    assert not out[1].any()
    out.sum().backward()
    assert key.grad is not None
    assert torch.isfinite(key.grad).all()
    assert not key.grad[1].any()
    assert not key.grad[0, 2].any()


def test_attention_dropout_acts_in_training_only() -> None:
    attention = Attention(8, 2, dropout=0.5)
    x, mask = torch.randn(1, 6, 8), torch.ones(1, 6, 6, dtype=torch.bool)
    assert not torch.equal(attention(x, x, x, mask), attention(x, x, x, mask))
    attention.eval()
    assert torch.equal(attention(x, x, x, mask), attention(x, x, x, mask))


@pytest.mark.parametrize("positions", [False, True])
def test_order_of_source_frames_matters_exactly_with_positions(positions: bool) -> None:
    stack = CrossModalStack(8, 2, 2, positions=positions).eval()
    target, source = stream(3), stream(10)
    # All 3 queries see the first 8 keys: their order carries nothing but their positions.
    shuffled = source.tensor.clone()
    shuffled[0, :8] = source.tensor[0, torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])]
    moved = (stack(target, Stream(shuffled, source.lengths, source.present)) - stack(target, source)).abs().max()
    assert (moved > 1e-3) == positions
    assert (moved < 1e-5) == (not positions)


def moved_rows(a: Tensor, b: Tensor) -> list[int]:
    return torch.nonzero((a - b).abs().amax(2)[0] > 1e-6).flatten().tolist()


def test_a_target_frame_alters_its_own_query_only() -> None:
    stack = CrossModalStack(8, 2, 2).eval()
    target, source = stream(5), stream(5, seed=1)
    for step in range(5):
        assert moved_rows(stack(changed(target, 0, step), source), stack(target, source)) == [step]


def test_a_source_frame_alters_the_queries_that_see_it() -> None:
    target, source = stream(5), stream(7, seed=1)
    causal, free = CrossModalStack(8, 2, 2).eval(), CrossModalStack(8, 2, 2, causal=False).eval()
    assert moved_rows(causal(target, changed(source, 0, 6)), causal(target, source)) == [4]
    assert moved_rows(causal(target, changed(source, 0, 4)), causal(target, source)) == [2, 3, 4]
    assert moved_rows(free(target, changed(source, 0, 6)), free(target, source)) == [0, 1, 2, 3, 4]


def test_self_attention_is_causal() -> None:
    stack = CrossModalStack(8, 2, 3).eval()
    x = stream(6)
    for step in range(6):
        assert moved_rows(stack(changed(x, 0, step)), stack(x)) == list(range(step, 6))


def test_every_layer_sends_gradient_to_the_source() -> None:
    stack, target, source = CrossModalStack(8, 2, 4).eval(), stream(3), stream(5, seed=1)
    for kept in range(4):
        only = deepcopy(stack)
        for i, layer in enumerate(only.layers):
            if i != kept:
                nn.init.zeros_(layer.attention.out.weight)
        values = source.tensor.clone().requires_grad_()
        only(target, Stream(values, source.lengths, source.present))[..., 0].sum().backward()
        assert values.grad is not None
        assert values.grad.abs().max() > 1e-6, f"layer {kept} does not reach the source"


def test_an_absent_source_adds_nothing_and_an_absent_target_is_zero() -> None:
    stack = CrossModalStack(8, 2, 3).eval()
    target = stream(3, 0, 4)
    out = stack(target, stream(0, 5, 0, steps=5))
    silent = deepcopy(stack)
    for layer in silent.layers:
        nn.init.zeros_(layer.attention.out.weight)
    wanted = silent(target, stream(5, 5, 5))
    torch.testing.assert_close(out, wanted)
    assert out[0, :3].any()
    assert not out[1].any()
    assert not out[0, 3:].any()


def test_inputs_are_scaled_and_positions_count_from_one() -> None:
    seen: list[tuple[Tensor, ...]] = []
    stack = CrossModalStack(8, 2, 1).eval()
    stack.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args))
    target, source = stream(3), stream(5, seed=1)
    stack(target, source)
    x, _, (key, value) = seen[0]
    table = sinusoid(6, 8, torch.device("cpu"))
    torch.testing.assert_close(x, 8**0.5 * target.tensor + table[1:4])
    torch.testing.assert_close(key, 8**0.5 * source.tensor + table[1:6])
    assert torch.equal(key, value)


def test_key_and_value_are_dropped_independently() -> None:
    seen: list[tuple[Tensor, ...]] = []
    stack = CrossModalStack(8, 2, 1, embed_dropout=0.5)
    stack.layers[0].attention.register_forward_pre_hook(lambda _, args: seen.append(args))
    stack(stream(3), stream(5, seed=1))
    _, key, value, _ = seen[0]
    assert not torch.equal(key, value)


@pytest.mark.parametrize("given", [True, False])
def test_a_stack_can_be_differentiated_twice(given: bool) -> None:
    torch.manual_seed(0)
    stack = CrossModalStack(4, 2, 1).double()
    target, source = torch.randn(1, 2, 4).double(), torch.randn(1, 3, 4).double()
    there = torch.ones(1, dtype=torch.bool)

    def out(x: Tensor, y: Tensor) -> Tensor:
        streams = (Stream(x, 2 * there.long(), there), Stream(y, 3 * there.long(), there))
        return stack(*streams) if given else stack(streams[1])

    inputs = (target.requires_grad_(given), source.requires_grad_())
    assert torch.autograd.gradgradcheck(out, inputs)
