"""Self-MM: what its card says must be observable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from polymodal.core import Batch, DataError, Modality, OptionError, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.base import View
from polymodal.methods.self_mm import SelfMM
from polymodal.train.checkpoint import restore_buffers, training_buffers

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
PAIR = Schema((Modality("text", "vector", 4), Modality("audio", "vector", 4)), (SCORE,))
SMALL = {"width": 8, "fused": 8, "dropout": 0.0}

BERT_BASE = 109_482_240  # with its pooler, 590,592 parameters that a text encoder here does not have


def samples(rows: int = 60, *, contradicting: float = 0.0, seed: int = 1) -> Batch:
    """Two vectors that show the label; in a share of the samples audio shows its opposite."""
    random = torch.Generator().manual_seed(seed)
    label = 2 * torch.randn(rows, generator=random).clamp(-1.5, 1.5)
    shown = torch.where(torch.arange(rows) < contradicting * rows, -label, label)
    direction, here = torch.tensor([1.0, -1.0, 0.5, 0.0]), torch.ones(rows, dtype=torch.bool)
    noise = 0.3 * torch.randn(2, rows, 4, generator=random)
    streams = {
        "text": Stream(label[:, None] * direction + noise[0], None, here),
        "audio": Stream(shown[:, None] * direction + noise[1], None, here),
    }
    return Batch(streams, {"sentiment": label}, [f"s{i}" for i in range(rows)])


def pick(batch: Batch, rows: Tensor) -> Batch:
    streams = {n: Stream(s.tensor[rows], None, s.present[rows]) for n, s in batch.streams.items()}
    return Batch(streams, {n: t[rows] for n, t in batch.targets.items()}, [batch.ids[i] for i in rows.tolist()])


def cut(batch: Batch, size: int = 20) -> list[Batch]:
    return [pick(batch, rows) for rows in torch.arange(len(batch)).split(size)]


def prepared(batches: Sequence[Batch], schema: Schema = PAIR, **options: float) -> SelfMM:
    torch.manual_seed(0)
    method = SelfMM(schema, **{**SMALL, **options})
    method.prepare(View(train=lambda: batches, valid=lambda: batches))
    return method.train()


def epoch(method: SelfMM, batches: Sequence[Batch], optimiser: torch.optim.Optimizer) -> None:
    for batch in batches:
        optimiser.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimiser.step()


def labels_of(method: SelfMM, batch: Batch) -> Tensor:
    """(batch, streams): fusion, then modalities."""
    known, rows = method.memory.find(batch.ids)
    assert known.all()
    return method.memory.labels[rows, :, 0]


def test_without_bert_the_parameters_are_the_published_ones() -> None:
    method = build(find_method("self-mm"), MOSI, {"widths": {"audio": 16}})
    assert sum(p.numel() for p in method.parameters()) == 109_641_572 - BERT_BASE


def test_before_its_second_visit_a_sample_has_the_label_of_the_whole() -> None:
    data = samples()
    method = prepared(cut(data))
    optimiser = torch.optim.SGD(method.parameters(), 0.01)
    whole = data.targets["sentiment"][:, None].expand(-1, 3)
    assert torch.equal(labels_of(method, data), whole)
    epoch(method, cut(data), optimiser)
    assert torch.equal(labels_of(method, data), whole)
    epoch(method, cut(data), optimiser)
    assert torch.equal(labels_of(method, data)[:, 0], whole[:, 0])
    inside = whole[:, 0].abs() < 2.9  # a label at the end of the scale may be clamped to itself
    assert (labels_of(method, data) != whole)[inside, 1:].all()
    assert labels_of(method, data).abs().max() <= 3


def test_branches_are_not_trained_before_the_third_epoch() -> None:
    data = samples()
    method = prepared(cut(data))
    optimiser = torch.optim.Adam(method.parameters(), 0.01)

    def moved() -> bool:
        return any((p != before[n]).any() for n, p in method.branches.named_parameters())

    before = {n: p.detach().clone() for n, p in method.branches.named_parameters()}
    for _ in range(2):  # the second one makes labels that differ, after the loss has used the equal ones
        epoch(method, cut(data), optimiser)
        assert not moved()
    epoch(method, cut(data), optimiser)
    assert moved()


def test_the_error_of_a_branch_weighs_its_disagreement() -> None:
    data = samples(8)
    method = prepared([data])
    _, rows = method.memory.find(data.ids)
    method.memory.labels[rows[:3], 1] += 1.0
    output = method(data)
    losses = method.losses(data, output)
    own = (data.targets["sentiment"] + 1.0 - output.representations["y_text"][:, 0]).abs()
    assert math.tanh(1) == pytest.approx(0.76159, abs=1e-5)
    assert losses["unimodal_text"].item() == pytest.approx(math.tanh(1) * own[:3].sum().item() / 8, rel=1e-5)
    assert losses["unimodal_audio"] == 0
    assert list(method.eval().losses(data, output)) == ["task"]


@torch.no_grad()
def second_epoch(batches: Sequence[Batch], order: Sequence[int], *, frozen: bool) -> SelfMM:
    """Two visits of every batch by a method that does not learn; frozen centres are those of the first."""
    method = prepared(batches)
    for batch in batches:
        method.losses(batch, method(batch))
    if frozen:
        kept = method.memory.centres()
        method.memory.centres = lambda: kept  # type: ignore[method-assign]
    for i in order:
        method.losses(batches[i], method(batches[i]))
    return method


def test_the_order_of_batches_matters_only_through_the_centres() -> None:
    data = samples(contradicting=0.3)
    batches = cut(data)
    for frozen in (True, False):
        forth, back = (second_epoch(batches, order, frozen=frozen) for order in ([0, 1, 2], [2, 1, 0]))
        assert torch.allclose(labels_of(forth, data), labels_of(back, data), atol=1e-6) == frozen


def test_where_audio_contradicts_text_its_label_moves_away() -> None:
    data = samples(90, contradicting=0.3)
    method = prepared(cut(data))
    optimiser = torch.optim.Adam(method.parameters(), 0.01)
    for _ in range(15):
        epoch(method, cut(data), optimiser)
    whole, text, audio = labels_of(method, data).unbind(1)
    against = torch.arange(90) < 27
    gap = (audio - whole).abs()
    assert gap[against].mean() > 2 * gap[~against].mean()
    assert gap[against].mean() > 2 * (text - whole).abs()[against].mean()
    clear = against & (whole.abs() > 0.5)
    assert ((audio * whole)[clear] < 0).float().mean() > 0.8


def test_without_samples_of_one_sign_labels_stay() -> None:
    data = samples()
    data = replace(data, targets={"sentiment": data.targets["sentiment"].abs() + 0.1})
    method = prepared(cut(data))
    optimiser = torch.optim.SGD(method.parameters(), 0.01)
    for _ in range(3):
        epoch(method, cut(data), optimiser)
    assert torch.equal(labels_of(method, data), data.targets["sentiment"][:, None].expand(-1, 3))


def test_an_absent_modality_keeps_its_label_and_its_features() -> None:
    data = samples()
    gone = torch.arange(60) < 15
    method = prepared(cut(data))
    optimiser = torch.optim.SGD(method.parameters(), 0.01)
    epoch(method, cut(data), optimiser)
    _, rows = method.memory.find(data.ids)
    before = method.memory.features[rows].clone()
    epoch(method, cut(data.without("audio", rows=gone)), optimiser)
    after = method.memory.features[rows]
    assert torch.equal(before[gone, 16:], after[gone, 16:])  # fused and text are 8 wide each
    assert not torch.equal(before[gone, :16], after[gone, :16])
    assert torch.equal(labels_of(method, data)[gone, 2], data.targets["sentiment"][gone])
    assert method.memory.visits[rows, 2].tolist() == [1] * 15 + [2] * 45


@pytest.mark.parametrize("bounds", [(1.0, 7.0), (1, 7), None])
def test_a_scale_is_read_from_its_middle(bounds: tuple[float, float] | None) -> None:
    data = samples()
    low, high = data.targets["sentiment"].aminmax()
    middle, limit = (4.0, 3.0) if bounds else ((low + high).item() / 2 + 4, (high - low).item() / 2)
    data = replace(data, targets={"sentiment": data.targets["sentiment"] + 4})
    method = prepared(cut(data), Schema(PAIR.modalities, (Target("sentiment", "regression", bounds),)))
    assert method.memory.middle.item() == pytest.approx(middle, rel=1e-5)
    assert method.memory.limit.item() == pytest.approx(limit, rel=1e-5)
    assert method.memory.unit.item() == pytest.approx(max(1.0, limit / 3), rel=1e-5)
    shown = (data.targets["sentiment"] - middle) / method.memory.unit
    assert torch.allclose(labels_of(method, data)[:, 0], shown, atol=1e-5)


def test_weights_predict_without_the_memory_and_training_goes_on_with_it() -> None:
    data = samples(contradicting=0.3)
    method = prepared(cut(data))
    epoch(method, cut(data), torch.optim.SGD(method.parameters(), 0.01))
    assert not [n for n in method.state_dict() if n.startswith("memory")]
    other = SelfMM(PAIR, **SMALL)  # knows nothing of the data
    other.load_state_dict(load(save(method.state_dict())))
    assert torch.equal(other.eval()(data).predictions["sentiment"], method.eval()(data).predictions["sentiment"])
    restore_buffers(other, load(save(training_buffers(method))))
    for m in (method, other):
        epoch(m.train(), cut(data), torch.optim.SGD(m.parameters(), 0.01))
    for left, right in ((method.state_dict(), other.state_dict()), (training_buffers(method), training_buffers(other))):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[n], right[n]) for n in left)
    assert method.memory.visits.min() == 2


def test_samples_that_are_not_in_the_memory_train_the_fusion_alone() -> None:
    data = samples()
    method = prepared(cut(data)[:1])
    before = {n: b.clone() for n, b in method.memory.named_buffers()}
    losses = method.losses(cut(data)[1], method(cut(data)[1]))
    assert losses["task"] > 0
    assert losses["unimodal_text"] == losses["unimodal_audio"] == 0
    assert all(torch.equal(b, before[n]) for n, b in method.memory.named_buffers())


def test_text_is_read_from_its_first_step_or_all_of_them() -> None:
    schema = Schema((Modality("text", "sequence", 4),), (SCORE,))
    values, lengths, here = torch.randn(2, 5, 4), torch.tensor([5, 3]), torch.ones(2, dtype=torch.bool)
    values[1, 3:] = 0
    changed = values.clone()
    changed[:, 2] += 1
    for pool in ("first", "mean"):
        method = SelfMM(schema, **SMALL, text_pool=pool).eval()
        left, right = (
            method(Batch({"text": Stream(v, lengths, here)}, {}, ["a", "b"])).representations["fused"]
            for v in (values, changed)
        )
        assert torch.equal(left, right) == (pool == "first")


def test_half_precision_keeps_the_memory_in_full(make_batch: MakeBatch) -> None:
    batch = make_batch(MOSI)
    method = prepared([batch], MOSI)
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = method.losses(batch, method(batch))
        torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in method.parameters())
    assert method.memory.features.dtype == method.memory.labels.dtype == torch.float32
    assert method.memory.labels.isfinite().all()


def test_it_learns_regressions_only_and_wrong_options_are_named() -> None:
    with pytest.raises(DataError, match="cannot learn classification target 'mood'"):
        SelfMM(Schema(PAIR.modalities, (Target("mood", "classification", classes=("a", "b")),)))
    with pytest.raises(OptionError, match="widths names 'vison'; did you mean 'vision'"):
        SelfMM(MOSI, widths={"vison": 8})
    with pytest.raises(OptionError, match="text_pool must be one of first, mean, got 'last'"):
        SelfMM(MOSI, text_pool="last")
    with pytest.raises(OptionError, match="width of audio must be above 0"):
        SelfMM(MOSI, widths={"audio": 0})
