"""TETFN: what its card says must be observable; the arithmetic of its labels is tested with Self-MM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, DataError, Modality, OptionError, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.base import View
from polymodal.methods.tetfn import TETFN

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
SMALL = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (SCORE,)
)
TINY = {"width": 16, "heads": 2, "layers": 1, "hidden": 8, "own": 8, "fused": 8, "dropout": 0.0}
MMSA = {
    "hidden": {"audio": 16, "vision": 64},
    "own": {"text": 32, "audio": 32, "vision": 16},
    "fused": 64,
}

BERT_BASE = 109_482_240


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def method_of(schema: Schema = SMALL, **options: object) -> TETFN:
    torch.manual_seed(0)
    return TETFN(schema, **{**TINY, **options})


def prepared(batch: Batch, schema: Schema = SMALL) -> TETFN:
    method = method_of(schema)
    method.prepare(View(train=lambda: [batch], valid=lambda: [batch]))
    return method.train()


def seen_steps(method: TETFN, batch: Batch) -> dict[str, Stream]:
    return {n: method.steps[n](s) for n, s in batch.streams.items()}


def labels_of(method: TETFN, batch: Batch) -> Tensor:
    """(batch, streams): fusion, then modalities."""
    known, rows = method.memory.find(batch.ids)
    assert known.all()
    return method.memory.labels[rows, :, 0]


def test_without_bert_the_parameters_are_the_published_ones() -> None:
    method = build(find_method("tetfn"), MOSI, MMSA)
    assert {n: parameters(m) for n, m in method.steps.items()} == {"text": 38_400, "audio": 2_272, "vision": 25_216}
    direct, met = ["audio_to_text", "text_to_vision"], "audio_to_vision"
    assert [parameters(method.crossings[n]) for n in direct] == [61_400, 61_400]
    assert parameters(method.enhancers[met]) + parameters(method.crossings[met]) == 92_150
    assert parameters(method.memories["text"]) == 242_800
    assert parameters(method) == 110_736_464 - BERT_BASE


def test_only_pairs_without_text_meet_by_way_of_it() -> None:
    method = method_of()
    assert set(method.enhancers) == {"audio_to_vision", "vision_to_audio"}
    assert len(method.crossings) == 6
    spoken = Schema(
        (Modality("audio", "sequence", 3), Modality("words", "text"), Modality("face", "vector", 2)), (SCORE,)
    )
    assert method_of(spoken).anchor == "words"
    assert set(method_of(spoken).enhancers) == {"audio_to_face", "face_to_audio"}


def test_text_changes_what_audio_finds_in_vision_and_its_order_matters(make_batch: MakeBatch) -> None:
    method, batch, other = method_of().eval(), make_batch(SMALL), make_batch(SMALL, seed=9)
    streams = seen_steps(method, batch)
    text, lengths = streams["text"], batch["text"].lengths
    assert lengths is not None
    found = method.cross("vision", "audio", streams)
    replaced = {**streams, "text": method.steps["text"](other["text"])}
    assert not torch.allclose(method.cross("vision", "audio", replaced), found, atol=1e-3)
    turned = text.tensor.clone()
    for row, length in enumerate(lengths.tolist()):
        turned[row, :length] = turned[row, :length].flip(0)
    moved = method.cross("vision", "audio", {**streams, "text": replace(text, values=turned)}) - found
    rows = moved.abs().amax((1, 2)) > 1e-4
    assert torch.equal(rows, lengths > 1)
    without = {**streams, "text": method.steps["text"](batch["text"].absent(torch.ones(8, dtype=torch.bool)))}
    assert method.cross("vision", "audio", without).abs().amax((1, 2)).min() > 0.1


def test_constant_text_adds_the_same_to_every_step_of_the_source() -> None:
    method = method_of().eval()
    here, lengths = torch.ones(2, dtype=torch.bool), torch.tensor([5, 5])
    constant, various = torch.randn(2, 1, 16).expand(-1, 5, -1), torch.randn(2, 5, 16)
    source, enhancer = Stream(torch.randn(2, 5, 16), lengths, here), method.enhancers["vision_to_audio"]
    enhancer.positions = False
    added: list[Tensor] = []
    enhancer.layers[0].attention.register_forward_hook(lambda module, given, out: added.append(out))
    for text in (constant, various):
        enhancer(source, Stream(text, lengths, here))
    spread = [x.std(1).amax().item() for x in added]
    assert spread[0] < 1e-6 < 1e-2 < spread[1]


def test_the_last_true_step_of_every_modality_is_read(make_batch: MakeBatch) -> None:
    """Under the causal masks nothing but the last step of a memory sees the last frame of its target."""
    schema = Schema((Modality("text", "sequence", 3),), (SCORE,))
    method, batch = method_of(schema).eval(), make_batch(schema)
    stream = batch["text"]
    values = stream.tensor.clone().requires_grad_()
    vector = method.read("text", {"text": method.steps["text"](replace(stream, values=values))})
    (gradient,) = torch.autograd.grad(vector.square().sum(), values)
    assert torch.equal(gradient.abs().sum(2) > 0, stream.mask)


def test_the_loss_of_the_fusion_trains_no_branch_and_that_of_a_branch_no_fusion(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL)
    method = prepared(batch)
    _, rows = method.memory.find(batch.ids)
    method.memory.labels[rows, 1:] += 1.0
    losses = method.losses(batch, method(batch))

    def reached(name: str) -> set[str]:
        method.zero_grad()
        losses[name].backward(retain_graph=True)
        return {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}

    assert reached("task") == {"steps", "enhancers", "crossings", "memories", "fusion"}
    assert reached("unimodal_audio") == {"steps", "branches"}


def test_labels_start_as_those_of_the_whole_and_move_at_the_second_visit(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL, 32)
    method = prepared(batch)
    whole = batch.targets["sentiment"][:, None].expand(-1, 4)
    for visit in (1, 2):
        losses = method.losses(batch, method(batch))
        assert all(losses[f"unimodal_{n}"] == 0 for n in SMALL.names)
        labels = labels_of(method, batch)
        assert torch.equal(labels[:, 0], whole[:, 0])
        assert torch.allclose(labels, whole) == (visit == 1)
    assert labels.abs().max() <= 3
    assert all(method.losses(batch, method(batch))[f"unimodal_{n}"] > 0 for n in SMALL.names)


def test_the_error_of_a_branch_weighs_its_disagreement(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL)
    method = prepared(batch)
    _, rows = method.memory.find(batch.ids)
    method.memory.labels[rows[:3], 2] += 1.0
    output = method(batch)
    losses = method.losses(batch, output)
    off = (batch.targets["sentiment"] + 1.0 - output.representations["y_audio"][:, 0]).abs()
    assert losses["unimodal_audio"].item() == pytest.approx(math.tanh(1) * off[:3].sum().item() / 8, rel=1e-5)
    assert losses["unimodal_text"] == losses["unimodal_vision"] == 0
    assert list(method.eval().losses(batch, output)) == ["task"]


STEPS = 3


def recalled(rows: int, seed: int) -> Batch:
    """Text says which step counts, by its own content there; audio shows the label at that step, noise elsewhere."""
    random = torch.Generator().manual_seed(seed)
    marked = torch.randint(STEPS, (rows,), generator=random)
    values = torch.randint(2, (rows, STEPS), generator=random) * 2.0 - 1
    text = torch.nn.functional.one_hot(marked, STEPS).float().unsqueeze(2)
    here, lengths = torch.ones(rows, dtype=torch.bool), torch.full((rows,), STEPS)
    streams = {"text": Stream(text, lengths, here), "audio": Stream(values.unsqueeze(2), lengths, here)}
    return Batch(streams, {"sentiment": values[torch.arange(rows), marked]}, [f"{seed}_{i}" for i in range(rows)])


@pytest.mark.slow
def test_a_value_that_text_points_at_is_found_in_audio() -> None:
    schema = Schema((Modality("text", "sequence", 1), Modality("audio", "sequence", 1)), (SCORE,))
    method = method_of(schema)
    optimizer = torch.optim.Adam(method.parameters(), 5e-3)
    for seed in range(120):
        batch = recalled(64, seed)
        optimizer.zero_grad()
        method.losses(batch, method(batch))["task"].backward()
        optimizer.step()
    fresh = recalled(256, 1000)
    with torch.no_grad():
        method.eval()
        errors = [method.losses(b, method(b))["task"].item() for b in (fresh, fresh.without("text"))]
    assert errors[0] < 0.2
    assert errors[1] > 0.5


def test_it_learns_regressions_only_and_wrong_options_are_named() -> None:
    with pytest.raises(DataError, match="cannot learn classification target 'mood'"):
        TETFN(Schema(SMALL.modalities, (Target("mood", "classification", classes=("a", "b")),)))
    with pytest.raises(OptionError, match="heads must divide width, got heads=3 and width=16"):
        TETFN(SMALL, width=16, heads=3)
    with pytest.raises(OptionError, match="hidden has no value for vision"):
        TETFN(SMALL, hidden={"audio": 8})
    with pytest.raises(OptionError, match="own of text must be above 0, got 0"):
        TETFN(SMALL, own={"text": 0, "audio": 8, "vision": 8})
