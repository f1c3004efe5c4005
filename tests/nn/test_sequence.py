"""Sequence encoders: every context and pooling sees true steps only."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from polymodal.core import OptionError, Stream
from polymodal.nn.masking import masked_mean
from polymodal.nn.sequence import AttentionPool, BiRecurrent, SequenceEncoder, masked_softmax, sinusoid

LENGTHS = torch.tensor([5, 1, 0, 7])
WAYS = list(product(["lstm", "gru", "transformer", "none"], ["last", "mean", "attention"]))


def random_stream(steps: int = 7) -> Stream:
    values = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0))
    s = Stream(torch.nn.functional.pad(values, (0, 0, 0, steps - 7)), LENGTHS, LENGTHS > 0)
    return Stream(s.tensor * s.mask.unsqueeze(-1), s.lengths, s.present)


@pytest.mark.parametrize(("context", "pool"), WAYS)
def test_padding_and_batch_mates_do_not_matter(context: str, pool: str) -> None:
    encoder = SequenceEncoder(3, 8, context=context, pool=pool, layers=2, kernel=3).eval()
    stream = random_stream()
    together = encoder(stream)
    assert together.shape == (4, 8)
    torch.testing.assert_close(encoder(random_stream(steps=107)), together, atol=1e-5, rtol=1e-5)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = Stream(stream.tensor[row : row + 1, : max(1, length)], LENGTHS[row : row + 1], stream.present[[row]])
        torch.testing.assert_close(encoder(alone)[0], together[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("context", "pool"), WAYS)
def test_an_absent_row_is_zero_and_harmless(context: str, pool: str) -> None:
    encoder = SequenceEncoder(3, 8, context=context, pool=pool)
    out = encoder(random_stream())
    assert not out[2].any()
    assert out[[0, 1, 3]].any(1).all()
    out.sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_last_reads_both_directions_at_their_ends() -> None:
    encoder = SequenceEncoder(3, 8, context="gru", pool="last").eval()
    stream = random_stream()
    states, final = encoder.states(stream)
    assert final is not None
    for row in (0, 1, 3):
        torch.testing.assert_close(final[row, :4], states[row, LENGTHS[row] - 1, :4])
        torch.testing.assert_close(final[row, 4:], states[row, 0, 4:])


@pytest.mark.parametrize(("kind", "slow_twin"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_both_directions_equal_the_packed_network_of_torch(kind: str, slow_twin: type[nn.RNNBase]) -> None:
    ours = BiRecurrent(kind, 3, 4, layers=2, dropout=0.0)
    twin = slow_twin(3, 4, 2, batch_first=True, bidirectional=True)
    for layer in range(2):
        for end, side in (("", ours.forth), ("_reverse", ours.back)):
            for name, weight in side[layer].named_parameters():
                getattr(twin, f"{name.removesuffix('_l0')}_l{layer}{end}").data.copy_(weight)
    stream = random_stream()
    states, final = ours(stream.tensor, LENGTHS)
    assert states.shape == (4, 7, 8)
    real = [0, 1, 3]  # torch cannot pack row 2, of length 0
    packed = pack_padded_sequence(stream.tensor[real], LENGTHS[real], batch_first=True, enforce_sorted=False)
    plain, hidden = twin(packed)
    hidden = hidden[0] if kind == "lstm" else hidden
    torch.testing.assert_close(states[real], pad_packed_sequence(plain, batch_first=True)[0])
    torch.testing.assert_close(final[real], hidden[-2:].transpose(0, 1).flatten(1))
    assert not states[2].any()
    assert not final[2].any()


def test_masked_mean_and_softmax_count_true_steps() -> None:
    x = torch.tensor([[[2.0], [4.0], [90.0]], [[7.0], [7.0], [7.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(x, mask).tolist() == [[3.0], [0.0]]
    weights = masked_softmax(torch.tensor([[0.0, math.log(3.0), 50.0], [1.0, 2.0, 3.0]]), mask)
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]))


def test_attention_pool_is_a_mean_where_scores_are_equal() -> None:
    pool = AttentionPool(3)
    nn.init.zeros_(pool.score[2].weight)
    stream = random_stream()
    torch.testing.assert_close(pool(stream.tensor, stream.mask), masked_mean(stream.tensor, stream.mask))


def test_sinusoids_have_sines_then_cosines_of_falling_frequency() -> None:
    table = sinusoid(50, 6, torch.device("cpu"))
    step = torch.arange(50.0)
    torch.testing.assert_close(table[:, 0], step.sin())
    torch.testing.assert_close(table[:, 2], (step * 1e-4).sin())
    torch.testing.assert_close(table[:, 3], step.cos())
    assert sinusoid(3, 5, torch.device("cpu")).shape == (3, 5)
    assert sinusoid(3, 1, torch.device("cpu")).shape == (3, 1)


@pytest.mark.parametrize("width", [8, 48, 100, 128])
def test_a_transformer_context_has_heads_that_divide_any_width(width: int) -> None:
    assert SequenceEncoder(3, width, context="transformer")(random_stream()).shape == (4, width)


def test_wrong_options_are_named() -> None:
    with pytest.raises(OptionError, match="context must be one of lstm, gru, transformer, none, got 'rnn'"):
        SequenceEncoder(3, 8, context="rnn")
    with pytest.raises(OptionError, match="pool must be one of last, mean, attention, got 'max'"):
        SequenceEncoder(3, 8, pool="max")
    with pytest.raises(OptionError, match="width must be even for context 'lstm'"):
        SequenceEncoder(3, 7)
