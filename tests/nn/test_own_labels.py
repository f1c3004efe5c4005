"""Labels of single modalities: the arithmetic of Self-MM, on any scale."""

from __future__ import annotations

import math

import pytest
import torch

from polymodal.core import Batch, Modality, Schema, Stream, Target
from polymodal.nn.own_labels import OwnLabels, generate_label, relative_position
from polymodal.nn.sample_memory import momentum

LIMIT = torch.tensor(3.0)


def rows_of(labels: dict[str, list[float]], modalities: int) -> Batch:
    here = torch.ones(len(labels), dtype=torch.bool)
    streams = {f"m{i}": Stream(torch.zeros(len(labels), 1), None, here) for i in range(modalities)}
    columns = torch.tensor(list(labels.values())).T
    return Batch(streams, {f"y{i}": column for i, column in enumerate(columns)}, list(labels))


def filled(
    widths: list[int], labels: dict[str, list[float]], bounds: tuple[float, float] | None = (-3.0, 3.0)
) -> OwnLabels:
    """A memory of samples ``labels``, one number per target."""
    targets = tuple(Target(f"y{i}", "regression", bounds) for i in range(len(next(iter(labels.values())))))
    memory = OwnLabels(Schema(tuple(Modality(f"m{i}", "vector", 1) for i in range(len(widths) - 1)), targets), widths)
    memory.fill([rows_of(labels, len(widths) - 1)])
    return memory


def test_the_relative_position_compares_two_distances() -> None:
    centres = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])
    places = relative_position(torch.tensor([[1.5, 2.0], [3.0, 4.0], [0.6, 0.8]]), centres)
    assert places[:, 0].tolist() == pytest.approx([0.0, -1.0, 3.0])


@pytest.mark.parametrize(
    ("label", "own", "fused", "expected"),
    [
        (1.0, 1.0, 0.5, 1.75),  # half of ratio 2 and difference 1.5
        (-2.3, 0.7, 0.7, -2.3),  # the geometry of the fusion gives the label of the fusion
        (0.0, 0.9, 0.3, 0.3),  # half the difference of positions
        (2.0, 5.0, 0.5, 3.0),
        (-2.0, 5.0, 0.5, -3.0),
        (1.0, 0.4, 0.0, 1.4),  # no ratio
        (1.0, 0.0, 0.0, 1.0),
    ],
)
def test_a_generated_label_is_the_mean_of_ratio_and_difference(
    label: float, own: float, fused: float, expected: float
) -> None:
    found = generate_label(torch.tensor(label), torch.tensor(own), torch.tensor(fused), LIMIT)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_labels_settle_with_the_visits() -> None:
    found = momentum(torch.ones(3), torch.full((3,), 2.0), torch.tensor([2, 3, 99]))
    assert found.tolist() == pytest.approx([5 / 3, 1.5, 1.02])


def test_centres_are_means_by_the_streams_own_labels_without_zeros_and_unseen_samples() -> None:
    memory = filled([1, 2], {"a": [1.0], "b": [2.0], "c": [-1.0], "d": [0.0], "e": [3.0]})
    _, rows = memory.find(["a", "b", "c", "d"])
    features = torch.tensor([[1.0, 10, 0], [3, 20, 0], [5, 30, 1], [100, 100, 100]])
    memory.features[rows] = features
    memory.visits[rows] = 1
    memory.labels[memory.find(["b"])[1], 1] = -2.0
    (fused, _), (own, both) = memory.centres()
    assert fused[:, 0].tolist() == [[2.0], [5.0]]
    assert own[:, 0].tolist() == [[10.0, 0.0], [25.0, 0.5]]
    assert both.all()


def test_two_targets_are_two_memories_of_the_same_features() -> None:
    ids, here = [f"s{i}" for i in range(12)], torch.ones(12, 3, dtype=torch.bool)
    labels, features = torch.randn(12, 2), [torch.randn(12, w) for w in (3, 4, 2)]
    joint = filled([3, 4, 2], dict(zip(ids, labels.tolist(), strict=True)))
    alone = [filled([3, 4, 2], dict(zip(ids, labels[:, i : i + 1].tolist(), strict=True))) for i in range(2)]
    for memory in (joint, *alone):
        for _ in range(3):
            memory.update(memory.find(ids)[1], features, here)
    assert torch.allclose(joint.labels, torch.cat([m.labels for m in alone], dim=2), atol=1e-6)
    assert not torch.allclose(joint.labels[:, 1], joint.labels[:, 0], atol=1e-2)


def test_labels_move_by_the_centres_that_the_batch_before_left() -> None:
    memory = filled([1, 1], {"a": [1.0], "b": [-1.0]})
    here = torch.ones(1, 2, dtype=torch.bool)
    for name, place in (("a", 4.0), ("b", 0.0)):
        memory.update(memory.find([name])[1], [torch.tensor([[place]])] * 2, here)
    _, rows = memory.find(["a"])
    memory.update(rows, [torch.tensor([[3.0]]), torch.tensor([[2.0]])], here)
    # Centres 4 and 0: a_m = (3 - 1) / 1, a_s = 0, so y_s = (0 + (1 + 0 - 2)) / 2; with momentum 1 / 3 - 2 / 3 * 0.5.
    assert memory.labels[rows, :, 0][0].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert memory.features[rows].tolist() == [[3.0, 2.0]]


@pytest.mark.parametrize(("half", "reach"), [(3.0, 3.0), (1.0, 1.0), (2.0, 2.0), (50.0, 3.0), (0.1, 1.0)])
def test_scales_beyond_those_of_the_field_are_brought_to_them(half: float, reach: float) -> None:
    """Labels of 0 to 100 move as those of -3 to 3 do, and their errors count in their own unit."""
    shares, features = [0.5, -0.25, 1.0, -0.75], [[0.1, 2.0], [0.4, 1.0], [2.0, 3.0], [0.7, 0.2]]
    found = {}
    for scale, middle in ((reach, 0.0), (half, half)):
        samples = {f"s{i}": [middle + scale * share] for i, share in enumerate(shares)}
        memory = filled([1, 1], samples, (middle - scale, middle + scale))
        batch = rows_of(samples, 1)
        rows, here = memory.find(batch.ids)[1], torch.ones(4, 2, dtype=torch.bool)
        for turn in (0, 1):  # other features at the second visit: now there are centres, and labels move
            columns = torch.tensor(features).roll(turn, 0).split(1, dim=1)
            memory.update(rows, list(columns), here)
        guesses = torch.tensor(list(samples.values()))
        named = {"fused": torch.ones(4, 1), "m0": torch.ones(4, 1), "y_m0": guesses}
        found[middle] = memory.labels[rows, 1, 0], memory.losses(batch, named)["unimodal_m0"] / scale
    plain, scaled = found.values()
    assert (plain[0] - reach * torch.tensor(shares)).abs().min() > 1e-3
    torch.testing.assert_close(scaled, plain, rtol=1e-4, atol=1e-5)


def test_a_label_one_unit_away_weighs_the_same_on_a_wide_scale() -> None:
    memory = filled([1, 1], {"a": [50.0], "b": [90.0]}, (0.0, 100.0))
    memory.labels[:, 1] += 1
    named = {"fused": torch.ones(2, 1), "m0": torch.ones(2, 1), "y_m0": torch.tensor([[50.0], [90.0]])}
    loss = memory.losses(rows_of({"a": [50.0], "b": [90.0]}, 1), named)["unimodal_m0"]
    assert loss.item() == pytest.approx(math.tanh(1) * 50 / 3, rel=1e-5)


def test_samples_without_a_label_are_neither_remembered_nor_learned_from() -> None:
    samples = {"a": [1.0], "b": [math.nan], "c": [-2.0]}
    memory = filled([1, 1], samples)
    assert memory.labels[:, 0, 0].sort().values.tolist() == [-2.0, 1.0]
    memory.labels[:, 1] += 1
    guess = torch.zeros(3, 1, requires_grad=True)
    named = {"fused": torch.ones(3, 1), "m0": torch.ones(3, 1), "y_m0": guess}
    loss = memory.losses(rows_of(samples, 1), named)["unimodal_m0"]
    (gradient,) = torch.autograd.grad(loss, guess)
    assert gradient.isfinite().all()
    assert gradient[:, 0].bool().tolist() == [True, False, True]
