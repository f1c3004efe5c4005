"""Soft labels of single modalities: prototypes, their temperature, and who is moved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Stream, Target
from polymodal.nn.own_classes import OwnClasses

MOOD = Target("mood", "classification", classes=("low", "mid", "high"))
TAGS = Target("tags", "multilabel", classes=("humour", "sarcasm"))
HERE = torch.ones(4, dtype=torch.bool)


def rows_of(targets: dict[str, Tensor], present: Tensor = HERE) -> Batch:
    return Batch({"m": Stream(torch.zeros(4, 1), None, present)}, targets, list("abcd"))


def moods(*labels: int) -> Batch:
    return rows_of({"mood": torch.tensor(labels)})


def visited(memory: OwnClasses, batch: Batch, places: list[float], *shares: float) -> list[Tensor]:
    """Losses of one visit after another, features of one modality at ``places`` on a line."""
    width = memory.labels.shape[2]
    found = {"m": torch.tensor(places)[:, None], "y_m": torch.zeros(len(batch), width, requires_grad=True)}
    return [memory.losses(batch, found, share)["unimodal_m"] for share in shares]


def filled(batch: Batch, *targets: Target) -> OwnClasses:
    memory = OwnClasses(targets, [1])
    memory.fill([batch])
    return memory


def test_prototypes_are_means_and_distances_are_in_units_of_their_spread() -> None:
    batch = moods(0, 0, 2, 2)
    memory = filled(batch, MOOD)
    visited(memory, batch, [0.0, 2.0, 4.0, 6.0], 0.0)
    # Prototypes 1 and 5, mean square within a class 1: at 2 the logits are -1 and -9; no sample has the second class.
    q, usable = memory.posterior(torch.tensor([[2.0], [3.0]]), 1)
    wanted = torch.tensor([[-1.0, -torch.inf, -9.0], [-4.0, -torch.inf, -4.0]]).softmax(-1)
    torch.testing.assert_close(q, wanted)
    assert usable.tolist() == [True]


def test_a_sample_moves_from_its_second_visit_on_by_its_share_and_momentum() -> None:
    batch = moods(0, 0, 2, 2)
    memory = filled(batch, MOOD)
    places = [0.0, 5.0, 4.0, 6.0]
    (first,) = visited(memory, batch, places, 1.0)
    assert first.item() == pytest.approx(0, abs=1e-6)
    truth = torch.eye(3)[batch.targets["mood"]]
    torch.testing.assert_close(memory.own(batch)[1][:, 1], truth)
    q = memory.posterior(torch.tensor(places)[:, None], 1)[0]
    (second,) = visited(memory, batch, places, 1.0)
    doubt = 1 - q[torch.arange(4), batch.targets["mood"]]
    # The loss has used the labels of before; untrained logits cost ln 3.
    torch.testing.assert_close(second, (doubt * torch.tensor(3.0).log()).mean())
    new = truth / 3 + 2 / 3 * (truth + q) / 2
    own = memory.own(batch)[1]
    torch.testing.assert_close(own[:, 1], new)
    torch.testing.assert_close(own[:, 0], truth)
    assert own[1, 1, 2] > 0.1  # where the features are those of another class
    torch.testing.assert_close(own.sum(-1), torch.ones(4, 2))


def test_without_a_share_or_a_second_class_labels_stay() -> None:
    for batch, share in ((moods(0, 0, 2, 2), 0.0), (moods(1, 1, 1, 1), 1.0)):
        memory = filled(batch, MOOD)
        visited(memory, batch, [0.0, 5.0, 4.0, 6.0], share, share, share)
        torch.testing.assert_close(memory.own(batch)[1][:, 1], torch.eye(3)[batch.targets["mood"]])


def test_any_of_several_classes_have_two_prototypes_each() -> None:
    batch = rows_of({"tags": torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])})
    memory = filled(batch, TAGS)
    visited(memory, batch, [0.0, 2.0, 4.0, 6.0], 0.0)
    q, usable = memory.posterior(torch.tensor([[2.0]]), 1)
    assert usable.tolist() == [False]  # nobody is sarcastic
    assert q[0, 0].item() == pytest.approx(torch.tensor(8.0).sigmoid().item())


def test_the_unlabelled_are_neither_remembered_nor_moved() -> None:
    batch = moods(0, -1, 2, 2)
    memory = filled(batch, MOOD)
    assert len(memory.keys) == 3
    visited(memory, batch, [0.0, 2.0, 1.0, 6.0], 1.0, 1.0)
    judged, own = memory.own(batch)
    assert judged.tolist() == [True, False, True, True]
    assert own[1, 1, 2] < 0.9


def test_the_absent_are_not_moved() -> None:
    batch = rows_of({"mood": torch.tensor([0, 0, 2, 2])}, torch.tensor([True, False, True, True]))
    memory = filled(batch, MOOD)
    visited(memory, batch, [0.0, 5.0, 1.0, 6.0], 1.0, 1.0, 1.0)
    own = memory.own(batch)[1]
    assert own[2, 1, 2] < 0.9
    torch.testing.assert_close(own[1, 1], torch.eye(3)[0])
    assert memory.visits[:, 1].sort().values.tolist() == [0, 3, 3, 3]


def test_labels_are_alike_as_far_as_they_are_probably_the_same() -> None:
    memory = OwnClasses([MOOD, TAGS], [1])
    one, other = [1.0, 0, 0, 1, 0], [0.5, 0.5, 0, 1, 0.5]
    found = memory.alike(torch.tensor([one, other]))
    assert found[0, 0].item() == pytest.approx(1.0)
    assert found[0, 1].item() == pytest.approx((0.5 + 0.5) / 2)
