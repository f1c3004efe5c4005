"""Ensemble selection on planted answers: closed forms, and that an ensemble is never worse than its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from polymodal.best.selection import MOST, Answers, Jury
from polymodal.core import Batch, Schema, Stream, Target
from polymodal.core.schema import Modality
from polymodal.methods.ensemble import Ensemble, averaged

SCORE = Target("score", "regression", (-3.0, 3.0))
MOOD = Target("mood", "classification", classes=("calm", "angry", "glad"))
TAGS = Target("tags", "multilabel", classes=("loud", "fast"))


def _numbers(*errors: float, label: Tensor | None = None) -> Jury:
    """Candidates that are wrong by the same number everywhere."""
    true = torch.linspace(-1, 1, 12) if label is None else label
    answers = [Answers({"score": true + error}, torch.ones(12, dtype=torch.bool)) for error in errors]
    return Jury([SCORE], {"score": true}, answers)


@pytest.mark.parametrize(
    ("errors", "weights"),
    [
        ((1.0, -1.0, 3.0), [0.5, 0.5, 0.0]),
        ((1.0, -2.0), [2 / 3, 1 / 3]),
        ((3.0, 1.0, -3.0), [0.0, 0.75, 0.25]),
        ((0.5, 0.5, 2.0), [1.0, 0.0, 0.0]),
    ],
)
def test_candidates_whose_errors_cancel_are_chosen_together(errors: tuple[float, ...], weights: list[float]) -> None:
    jury = _numbers(*errors)
    assert jury.choose() == pytest.approx(weights)
    if errors[-1] < 0 or errors[1] < 0:
        assert jury.loss(jury.choose()) == pytest.approx(0.0, abs=1e-6)


def _random(seed: int, count: int = 9) -> Jury:
    drawn = torch.Generator().manual_seed(seed)
    rows = 40
    labels = {
        "score": torch.randn(rows, generator=drawn),
        "mood": torch.randint(3, (rows,), generator=drawn),
        "tags": torch.randint(2, (rows, 2), generator=drawn).float(),
    }
    labels["score"][3], labels["mood"][5] = torch.nan, -1
    answers = []
    for _ in range(count):
        said = {
            "score": labels["score"].nan_to_num() + torch.randn(rows, generator=drawn),
            "mood": torch.randn(rows, 3, generator=drawn).softmax(1),
            "tags": torch.rand(rows, 2, generator=drawn),
        }
        answers.append(Answers(said, torch.rand(rows, generator=drawn) < 0.8))
    return Jury([SCORE, MOOD, TAGS], labels, answers)


@pytest.mark.parametrize("seed", range(8))
def test_weights_sum_to_one_and_are_never_worse_than_the_best_alone(seed: int) -> None:
    jury = _random(seed)
    rows = torch.arange(seed, 40, 2)
    for chosen_on in (None, rows):
        weights = jury.choose(chosen_on)
        alone = [[float(n == m) for m in range(9)] for n in range(9)]
        assert sum(weights) == pytest.approx(1.0)
        assert min(weights) >= 0
        assert 1 <= sum(map(bool, weights)) <= MOST
        assert jury.loss(weights, chosen_on) <= min(jury.loss(one, chosen_on) for one in alone) + 1e-9


def test_rows_that_are_left_out_do_not_count() -> None:
    true = torch.zeros(12)
    first, last = torch.arange(12) < 6, torch.arange(12) >= 6
    everyone = torch.ones(12, dtype=torch.bool)
    jury = Jury([SCORE], {"score": true}, [Answers({"score": part * 2.0}, everyone) for part in (first, last)])
    assert jury.choose(first.nonzero()[:, 0]) == [0.0, 1.0]
    assert jury.choose(last.nonzero()[:, 0]) == [1.0, 0.0]


def test_the_method_says_what_the_weights_were_chosen_for() -> None:
    schema = Schema((Modality("left", "vector", 3), Modality("right", "vector", 2)), (SCORE, MOOD, TAGS))
    torch.manual_seed(0)
    members = [
        {"method": "linear", "modalities": ["left"]},
        {"method": "late-fusion", "modalities": ["right"], "options": {"width": 4}},
        {"method": "late-fusion", "options": {"width": 4}},
    ]
    method = Ensemble(schema, members=members).eval()
    weights, offset = [0.25, 0.75, 0.0], torch.tensor([0.0, 0.5, 2.0])
    method.load_state_dict(method.state_dict() | {"weight": torch.tensor(weights), "bias": offset})
    rows = 10
    sees = {name: torch.rand(rows) < 0.6 for name in schema.names}
    streams = {
        m.name: Stream(torch.randn(rows, m.width) * sees[m.name][:, None], None, sees[m.name])
        for m in schema.modalities
    }
    labels = {"score": torch.randn(rows), "mood": torch.randint(3, (rows,)), "tags": torch.ones(rows, 2)}
    batch = Batch(streams, labels, [str(i) for i in range(rows)])
    with torch.no_grad():
        said, answers = method(batch).predictions, []
        for member, kept in zip(method.members, method.reads, strict=True):
            output = member(batch.only(kept))
            each = {t.name: averaged(t, output.predictions[t.name]) for t in schema.targets}
            answers.append(Answers(each, batch.only(kept).present.any(dim=1)))
    wanted = Jury(schema.targets, labels, answers).mean(weights)
    wanted["mood"] = wanted["mood"] + offset
    assert not sees["left"].all()
    for name, values in wanted.items():
        torch.testing.assert_close(said[name], values, rtol=1e-4, atol=1e-5)
    assert method.heard == [0, 1]


def _rare(labels: Tensor, seed: int = 0) -> Jury:
    """A candidate whose evidence is right, and that has learned too well how often each class occurs."""
    drawn = torch.Generator().manual_seed(seed)
    frequency = torch.bincount(labels, minlength=3) / len(labels)
    logits = 2.0 * torch.eye(3)[labels] + torch.randn(len(labels), 3, generator=drawn) + 2 * frequency.log()
    return Jury(
        [MOOD], {"mood": labels}, [Answers({"mood": logits.softmax(1)}, torch.ones(len(labels), dtype=torch.bool))]
    )


def _f1(said: Tensor, labels: Tensor) -> float:
    measures = MOOD.spec.measures(labels.numpy(), said.argmax(1).numpy(), said.softmax(1).numpy())
    return float(measures["f1"].value(np.ones((1, len(labels))))[0])


def test_rare_classes_are_lifted_where_that_serves_the_metric_and_only_there() -> None:
    labels = torch.tensor([0] * 240 + [1] * 48 + [2] * 12)
    jury = _rare(labels)
    plain, decided, offsets = jury.mean([1.0])["mood"], jury.decided([1.0])["mood"], jury.offsets([1.0])["mood"]
    assert _f1(decided, labels) > _f1(plain, labels) + 0.02
    assert 0 == offsets[0] < offsets[1] < offsets[2]
    # On other rows of the same kind too.
    fresh, rows = _rare(labels, seed=1), torch.arange(0, 300, 2)
    half = fresh.offsets([1.0], rows)["mood"]
    assert _f1((fresh.mean([1.0])["mood"] + half)[1::2], labels[1::2]) > _f1(
        fresh.mean([1.0])["mood"][1::2], labels[1::2]
    )
    torch.testing.assert_close(fresh.decided([1.0], rows)["mood"], fresh.mean([1.0])["mood"] + half)


def test_classes_that_are_alike_frequent_keep_their_probabilities() -> None:
    jury = _rare(torch.arange(300) % 3)
    torch.testing.assert_close(jury.decided([1.0])["mood"].softmax(1), jury.mean([1.0])["mood"].softmax(1))


def test_labels_that_are_not_known_and_classes_that_nobody_has_do_not_disturb_offsets() -> None:
    labels = torch.tensor([0] * 40 + [1] * 10 + [-1] * 10)
    said = torch.rand(60, 3, generator=torch.Generator().manual_seed(3)).softmax(1)
    jury = Jury([MOOD], {"mood": labels}, [Answers({"mood": said}, torch.ones(60, dtype=torch.bool))])
    offsets = jury.offsets([1.0])["mood"]
    assert bool(offsets.isfinite().all())
    known = Jury([MOOD], {"mood": labels[:50]}, [Answers({"mood": said[:50]}, torch.ones(50, dtype=torch.bool))])
    torch.testing.assert_close(offsets, known.offsets([1.0])["mood"])


def test_numbers_have_no_offset_and_weights_of_older_versions_load() -> None:
    assert _random(0).offsets([1.0] + [0.0] * 8).keys() == {"mood"}
    method = Ensemble(Schema((Modality("left", "vector", 3),), (MOOD,)), members=[{"method": "linear"}])
    older = {name: x for name, x in method.state_dict().items() if name != "bias"}
    method.load_state_dict(older)
    assert method.bias.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match="weight"):
        method.load_state_dict({name: x for name, x in older.items() if name != "weight"})
