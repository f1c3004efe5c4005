"""Windows begin every half window and see nothing but their steps."""

from __future__ import annotations

import pytest
import torch

from polymodal.core import Stream
from polymodal.nn.windows import Windows


@pytest.fixture
def windows() -> Windows:
    return Windows(3, 8, steps=4, heads=2, layers=1, dropout=0.1).eval()


def test_a_sample_has_a_window_for_every_half_of_one(windows: Windows) -> None:
    lengths = torch.tensor([1, 2, 3, 9, 0])
    found = windows(Stream(torch.randn(5, 9, 3), lengths, lengths > 0))
    assert found.lengths is not None
    assert found.lengths.tolist() == [1, 1, 2, 5, 0]
    assert found.tensor.shape == (5, 5, 8)
    assert not found.tensor[~found.mask].any()


def test_a_window_is_its_steps_read_alone(windows: Windows) -> None:
    x, length = torch.randn(1, 7, 3), torch.tensor([7])
    found = windows(Stream(x, length, length > 0)).tensor[0]
    for number, (first, last) in enumerate([(0, 4), (2, 6), (4, 7), (6, 7)]):
        part = x[:, first:last]
        alone = windows.transformer(Stream(part, torch.tensor([last - first]), torch.tensor([True])))
        torch.testing.assert_close(found[number], alone[0], rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing(windows: Windows) -> None:
    lengths = torch.tensor([7, 3])
    x = torch.randn(2, 7, 3) * (torch.arange(7) < lengths[:, None]).unsqueeze(-1)
    found = windows(Stream(x, lengths, lengths > 0))
    longer = windows(Stream(torch.cat([x, torch.randn(2, 30, 3)], dim=1), lengths, lengths > 0))
    torch.testing.assert_close(longer.tensor[:, : found.tensor.shape[1]], found.tensor, rtol=1e-4, atol=1e-5)
    assert not longer.tensor[:, found.tensor.shape[1] :].any()
