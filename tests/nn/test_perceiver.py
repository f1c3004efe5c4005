"""A perceiver is as wide as its tokens, whatever it reads."""

from __future__ import annotations

import torch

from polymodal.core import Stream
from polymodal.nn.perceiver import Perceiver


def stream(lengths: list[int], steps: int) -> Stream:
    count = torch.tensor(lengths)
    made = Stream(torch.randn(len(lengths), steps, 3), count, count > 0)
    return Stream(made.tensor * made.mask.unsqueeze(-1), count, count > 0)


def perceiver(*, positions: bool) -> Perceiver:
    return Perceiver(3, 8, tokens=4, heads=2, layers=2, dropout=0.1, positions=positions).eval()


def test_its_tokens_do_not_grow_with_the_sequence() -> None:
    reader = perceiver(positions=True)
    assert reader(stream([2, 1], 2)).shape == reader(stream([900, 4], 900)).shape == (2, 4, 8)


def test_padding_changes_nothing_and_absence_is_zero() -> None:
    reader, short = perceiver(positions=True), stream([3, 5, 0], 5)
    longer = torch.cat([short.tensor, torch.randn(3, 9, 3)], dim=1)
    found = reader(short)
    torch.testing.assert_close(reader(Stream(longer, short.lengths, short.present)), found)
    assert not found[2].any()
    assert found[:2].abs().sum() > 0


def test_without_positions_it_reads_a_set() -> None:
    given, order = stream([6], 6), torch.tensor([3, 1, 5, 0, 2, 4])
    mixed = Stream(given.tensor[:, order], given.lengths, given.present)
    torch.manual_seed(1)
    free = perceiver(positions=False)
    torch.testing.assert_close(free(mixed), free(given), rtol=1e-4, atol=1e-5)
    timed = perceiver(positions=True)
    assert (timed(mixed) - timed(given)).abs().max() > 1e-3
