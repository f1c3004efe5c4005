"""UBM: a number as a distribution over ordered bins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from polymodal.core import Batch, Modality, OptionError, Schema, Target
from polymodal.methods.base import View
from polymodal.methods.ubm import Ubm
from polymodal.nn.bins import OrderedBins, bins_of

MakeBatch = Callable[..., Batch]
AUDIO, FACE = Modality("audio", "sequence", 3), Modality("face", "vector", 2)
SCHEMA = Schema((AUDIO, FACE), (Target("y", "regression", (-3, 3)),))


@pytest.mark.parametrize("count", [2, 7, 13])
def test_soft_labels_have_the_label_as_their_mean(count: int) -> None:
    bins = OrderedBins(Target("y", "regression", (-3, 3)), 4, count)
    labels = torch.linspace(-3, 3, 101)
    soft = bins.soft(labels)
    torch.testing.assert_close(bins.expected(soft), labels, atol=1e-5, rtol=0)
    torch.testing.assert_close(soft.sum(1), torch.ones(101))
    assert (soft >= 0).all()
    assert ((soft > 1e-6).sum(1) <= 2).all()


def test_a_label_on_a_centre_has_one_bin_and_one_between_shares() -> None:
    bins = OrderedBins(Target("y", "regression", (-3, 3)), 4, 7)
    soft = bins.soft(torch.tensor([-3.0, 1.0, 0.25, 9.0]))
    torch.testing.assert_close(soft[0], torch.eye(7)[0])
    torch.testing.assert_close(soft[1], torch.eye(7)[4])
    torch.testing.assert_close(soft[2], torch.tensor([0, 0, 0, 0.75, 0.25, 0, 0]))
    torch.testing.assert_close(soft[3], torch.eye(7)[6])


def test_the_number_is_the_mean_of_the_centres_under_the_probabilities_handed_out(make_batch: MakeBatch) -> None:
    output = Ubm(SCHEMA, width=8).eval()(make_batch(SCHEMA))
    shares = output.representations["y/bins"]
    torch.testing.assert_close(shares.sum(1), torch.ones(len(shares)))
    torch.testing.assert_close(output.predictions["y"], shares @ torch.arange(-3.0, 4.0))


def test_the_loss_is_soft_cross_entropy_and_absolute_error_over_its_weight(make_batch: MakeBatch) -> None:
    method, batch = Ubm(SCHEMA, width=8, regression=0.25).eval(), make_batch(SCHEMA)
    output = method(batch)
    losses = method.losses(batch, output)
    y, p = batch.targets["y"], output.representations["y/bins"]
    error = (p @ torch.arange(-3.0, 4.0) - y).abs().mean()
    below = y.floor().clamp(max=2)
    at = (below + 3).long()
    entropy = -((below + 1 - y) * p.log().gather(1, at[:, None])[:, 0]).mean()
    entropy -= ((y - below) * p.log().gather(1, at[:, None] + 1)[:, 0]).mean()
    torch.testing.assert_close(losses["task"], error)
    torch.testing.assert_close(0.25 * sum(losses.values()), entropy + 0.25 * error)


def test_bins_of_a_number_without_a_range_reach_two_deviations_of_the_training_labels(make_batch: MakeBatch) -> None:
    schema = Schema(SCHEMA.modalities, (Target("y", "regression"), Target("c", "classification", classes=("a", "b"))))
    method, batch = Ubm(schema, width=8, bins=5), make_batch(schema)
    batch.targets["y"][:] = torch.linspace(10, 50, len(batch))
    batch.targets["y"][1] = torch.nan
    method.prepare(View(train=lambda: iter([batch]), valid=lambda: iter([])))
    bins = bins_of(method, "y")
    assert bins is not None
    known = batch.targets["y"][batch.targets["y"].isfinite()]
    reach = 2 * known.std(correction=0)
    torch.testing.assert_close(bins.centres, known.mean() + reach * torch.tensor([-1, -0.5, 0, 0.5, 1]))
    assert bins_of(method, "c") is None
    assert method(batch).predictions["c"].shape == (len(batch), 2)


def test_wrong_options_are_named() -> None:
    with pytest.raises(OptionError, match="bins must be 2 or more, got 1"):
        Ubm(SCHEMA, bins=1)
    with pytest.raises(OptionError, match="regression must be above 0, got 0"):
        Ubm(SCHEMA, regression=0)
