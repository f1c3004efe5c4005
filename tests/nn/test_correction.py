"""Labels as codes: there and back, losses of labels in between, corruption, and a corrector that learns to mend."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, Schema, Target
from polymodal.nn.correction import Corrector, LabelCode
from polymodal.testing import random_batch

NUMBER = Target("score", "regression", (1.0, 7.0))
CLASS = Target("kind", "classification", classes=("x", "y", "z"))
CLASSES = Target("tags", "multilabel", classes=("p", "q"))
SCHEMA = Schema((Modality("a", "vector", 2),), (NUMBER, CLASS, CLASSES))


@pytest.fixture
def batch() -> Batch:
    return random_batch(SCHEMA, 200)


def test_a_number_is_a_code_from_minus_1_to_1_and_back(batch: Batch) -> None:
    code = LabelCode(NUMBER)
    batch.targets["score"][:2] = torch.tensor([1.0, 7.0])
    values, known = code(batch)
    assert known.all()
    assert values[:2, 0].tolist() == [-1.0, 1.0]
    torch.testing.assert_close(code.labels(values), batch.targets["score"])


@pytest.mark.parametrize("target", SCHEMA.targets, ids=lambda t: t.name)
def test_the_loss_of_a_code_that_is_a_label_is_the_tasks_own(target: Target, batch: Batch) -> None:
    code, label = LabelCode(target), batch.targets[target.name]
    prediction = target.spec.prediction(torch.randn(200, target.spec.width))
    torch.testing.assert_close(code.loss(prediction, code(batch)[0]), target.spec.loss(prediction, label))


def test_the_distance_of_codes_is_on_the_targets_scale_or_a_cross_entropy(batch: Batch) -> None:
    number, kind = LabelCode(NUMBER), LabelCode(CLASS)
    apart = number.distance(torch.tensor([[0.5], [1.0]]), torch.tensor([[0.5], [-1.0]]))
    torch.testing.assert_close(apart, torch.tensor([0.0, 6.0]))
    sure = kind.distance(torch.tensor([[0.25, 0.5, 0.25]]), torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(sure, torch.tensor([2.0]).log())


@pytest.mark.parametrize("target", SCHEMA.targets, ids=lambda t: t.name)
def test_corruption_takes_the_share_it_is_given_and_leaves_labels(target: Target, batch: Batch) -> None:
    code = LabelCode(target)
    clean, known = code(batch)
    assert torch.equal(code.corrupted(clean, known, 0.0, 1.0), clean)
    assert torch.equal(code.corrupted(clean, ~known, 1.0, 1.0), clean)  # nobody to take a label from
    changed = (code.corrupted(clean, known, 0.5, 1.0) != clean).any(1).float().mean()
    assert 0.15 < changed < 0.6  # half of them, less those that drew what they were
    drawn = code.corrupted(clean, known, 1.0, 1.0)
    assert drawn.abs().max() <= 1
    if target is CLASS:
        torch.testing.assert_close(drawn.sum(1), torch.ones(200))


def trained(target: Target, tell: Callable[[Tensor], Tensor]) -> tuple[float, float, float]:
    """Return the distance of corrupted labels from clean ones, the same when they are corrected, and how far clean
    labels are moved; the features ``tell`` the code, with noise."""
    torch.manual_seed(0)
    code, schema = LabelCode(target), Schema(SCHEMA.modalities, (target,))
    corrector = Corrector(code, 8)
    optimizer = torch.optim.AdamW(corrector.parameters(), 5e-3)
    for seed in range(301):
        clean, known = code(random_batch(schema, 64 if seed < 300 else 500, seed=seed))
        features = tell(clean) + 0.1 * torch.randn(len(clean), 8)
        bad = code.corrupted(clean, known, 0.5 if seed < 300 else 1.0, 1.0)
        if seed < 300:
            optimizer.zero_grad()
            code.distance(corrector(features, bad), clean).mean().backward()
            optimizer.step()
    mended, kept = corrector(features, bad), corrector(features, clean)
    return tuple(code.distance(x, clean).mean().item() for x in (bad, mended, kept))  # type: ignore[return-value]


@pytest.mark.parametrize("target", [NUMBER, CLASS], ids=lambda t: t.name)
def test_a_corrector_learns_to_mend_labels_and_to_leave_good_ones(target: Target) -> None:
    mixed = torch.randn(target.spec.width, 8, generator=torch.Generator().manual_seed(1))
    bad, mended, kept = trained(
        target, lambda clean: torch.cat([clean, 1 - clean], dim=1) @ torch.cat([mixed, mixed.flip(1)])
    )
    assert mended < 0.5 * bad
    assert kept < 0.25 * bad


def test_lengths_of_features_correct_nothing() -> None:
    code = LabelCode(NUMBER)
    corrector = Corrector(code, 8)
    torch.nn.init.normal_(corrector.body[-1].weight)  # type: ignore[arg-type]
    features, label = torch.randn(5, 8), torch.rand(5, 1)
    torch.testing.assert_close(corrector(features, label), corrector(7 * features, label))
    assert not torch.allclose(corrector(features, label), label)
