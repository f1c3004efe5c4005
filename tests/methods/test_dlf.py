"""DLF: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.dlf import DLF, margin_triplet, overlap
from polymodal.nn.attention import CrossModalStack

MakeBatch = Callable[..., Batch]
SCORE = Target("y", "regression", (-3.0, 3.0))
WIDTHS = {"text": 6, "audio": 5, "vision": 4}
SMALL = Schema(tuple(Modality(n, "sequence", w) for n, w in WIDTHS.items()), (SCORE,))
STILL = dict.fromkeys(("focus_dropout", "attention_dropout", "embed_dropout", "output_dropout"), 0.0)
TINY = {"width": 8, "heads": 2, "layers": 1, "kernel": 1, **STILL}


def field_schema(audio: int, vision: int) -> Schema:
    widths = {"text": 768, "audio": audio, "vision": vision}
    return Schema(tuple(Modality(n, "sequence", w) for n, w in widths.items()), (SCORE,))


def gradient(loss: Tensor, module: nn.Module) -> float:
    """Largest gradient of ``loss`` in ``module``; 0 where there is no path."""
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return max((float(g.abs().max()) for g in found if g is not None), default=0.0)


@pytest.mark.parametrize(("schema", "kernel", "steps"), [((5, 20), 5, 46), ((74, 35), 3, 48)])
def test_the_convolution_leaves_the_published_steps(schema: tuple[int, int], kernel: int, steps: int) -> None:
    method = DLF(field_schema(*schema), kernel=kernel)
    here = torch.ones(2, dtype=torch.bool)
    low = method.convolve("audio", Stream(torch.randn(2, 50, schema[0]), torch.tensor([50, 3]), here))
    assert low.tensor.shape == (2, steps, 50)
    assert low.lengths is not None
    assert low.lengths.tolist() == [steps, 1]
    assert not low.tensor[1, 1:].any()
    assert method.aligners["audio"].in_features == 2300


def test_the_published_sizes() -> None:
    def transformer(layers: int) -> int:
        return layers * (12 * 50 * 50 + 13 * 50) + 2 * 50

    method = DLF(field_schema(5, 20))
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in method.named_children()}
    assert sizes["convolutions"] == (768 + 5 + 20) * 50 * 5
    assert sizes["specific"] == sizes["gatherers"] == sizes["attractors"] == 3 * transformer(2)
    assert sizes["common"] == transformer(2)
    assert sizes["memories"] == 2 * transformer(3)
    assert sizes["decoders"] == 3 * 100 * 50
    assert sizes["aligners"] == 3 * (2300 * 50 + 50)
    assert sizes["shared_residual"] == 2 * (150 * 150 + 150)
    assert sizes["residual"] == 2 * (300 * 300 + 300)
    assert sizes["heads"] == 301


def test_orthogonality_is_zero_for_orthogonal_and_opposed_steps_and_one_for_equal_ones() -> None:
    mask = torch.tensor([[True, True, False]])
    x = torch.randn(1, 3, 4)
    turned = torch.stack([-x[..., 1], x[..., 0], -x[..., 3], x[..., 2]], dim=-1)
    assert overlap(x, turned, mask, 4).item() == pytest.approx(0, abs=1e-6)
    assert overlap(x, -x, mask, 4) == 0
    assert overlap(x, 3 * x, mask, 4).item() == pytest.approx(1)
    half = torch.cat([x[..., :2], -x[..., 2:]], dim=-1)
    assert overlap(x, half, mask, 2).item() == pytest.approx(0.5)


def test_a_split_into_twice_the_same_costs_three(make_batch: MakeBatch) -> None:
    method, batch = DLF(SMALL, **TINY), make_batch(SMALL)
    for encoder in method.specific.values():
        encoder.load_state_dict(method.common.state_dict())
    weighted = method.losses(batch, method(batch))["orthogonality"]
    assert weighted.item() == pytest.approx(0.1 * 0.1 * 3, rel=1e-4)


def test_the_triplet_loss_is_what_its_definition_says() -> None:
    vectors, labels = torch.randn(7, 3), torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 2.6, 0.0])
    mask = torch.tensor([True, True, True, True, True, True, False])
    cosine = torch.nn.functional.normalize(vectors, dim=1)
    cosine = cosine @ cosine.T
    anchors = []
    for i in range(6):
        equal = [j for j in range(6) if j != i and labels[j] == labels[i]]
        other = [k for k in range(6) if labels[k] != labels[i]]
        gaps = [0.15 * abs(labels[i] - labels[k]) - cosine[i, j] + cosine[i, k] for j in equal for k in other]
        if gaps:
            anchors.append(torch.stack(gaps).clamp(min=0).mean())
    assert len(anchors) == 5
    found = margin_triplet(vectors, SCORE.spec.distance(labels), mask)
    assert torch.allclose(found, torch.stack(anchors).mean())


def test_the_triplet_loss_vanishes_with_one_label_and_where_margins_are_kept() -> None:
    vectors = torch.randn(6, 4)
    everyone = torch.ones(6, dtype=torch.bool)
    assert margin_triplet(vectors, torch.zeros(6, 6), everyone) == 0
    # Two modalities of three samples: equal within a sample, at angles whose cosines keep the margins between samples.
    labels = torch.tensor([0.0, 1.0, 2.0])
    distance = SCORE.spec.distance(labels).repeat(2, 2)
    angles = torch.tensor([0.0, 0.6, 1.2]).repeat(2)
    kept = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert (0.15 * distance <= 1 - torch.cos(angles[:, None] - angles) + 1e-6).all()
    assert margin_triplet(kept, distance, everyone).item() == pytest.approx(0, abs=1e-6)
    closer = torch.stack([(angles / 4).cos(), (angles / 4).sin()], dim=1)
    assert margin_triplet(closer, distance, everyone) > 0.01


class Perfect(nn.Module):
    """A decoder that knows the answer."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer


def test_a_perfect_decoder_closes_the_cycle(make_batch: MakeBatch) -> None:
    method = DLF(SMALL, **TINY).eval()
    low = method.convolve("audio", make_batch(SMALL)["audio"])
    own, common = (replace(low, values=e(low)) for e in (method.specific["audio"], method.common))
    before = method.refinement("audio", low, own, common)
    assert before["cycle_audio"].min() > 0
    assert before["reconstruction_audio"].min() > 0
    method.decoders["audio"] = Perfect(low.tensor)
    after = method.refinement("audio", low, own, common)
    assert after["cycle_audio"].max() < 1e-8
    assert after["reconstruction_audio"].max() < 1e-8


def test_language_asks_and_the_others_answer(make_batch: MakeBatch) -> None:
    method, batch = DLF(SMALL, **TINY), make_batch(SMALL)
    losses = method.losses(batch, method(batch))
    reached = {head: {n: gradient(losses[f"own_{head}"], method.specific[n]) > 0 for n in WIDTHS} for head in WIDTHS}
    assert reached == {
        "text": {"text": True, "audio": False, "vision": False},
        "audio": {"text": True, "audio": True, "vision": False},
        "vision": {"text": True, "audio": False, "vision": True},
    }
    assert gradient(losses["shared"], method.specific) == 0
    assert gradient(losses["shared"], method.common) > 0
    assert gradient(losses["task"], method.own_heads) == 0
    assert gradient(losses["task"], method.gatherers) > 0
    assert gradient(losses["task"], method.shared_residual) == 0  # of the shared head alone


def test_features_of_language_alone_are_dropped(make_batch: MakeBatch) -> None:
    method, batch = DLF(SMALL, **{**TINY, "focus_dropout": 0.5}), make_batch(SMALL)
    twice = {n: [method.convolve(n, s).tensor for _ in range(2)] for n, s in batch.streams.items()}
    assert {n: torch.equal(*pair) for n, pair in twice.items()} == {"text": False, "audio": True, "vision": True}


def test_each_transformer_has_its_dropout() -> None:
    rates = {"text": 0.3, "audio": 0.2, "vision": 0.1}
    method = DLF(SMALL, attention_dropout=rates)

    def dropout(stack: CrossModalStack) -> float:
        (rate,) = {layer.attention.dropout for layer in stack.layers}
        return rate

    for stacks in (method.specific, method.gatherers, method.attractors):
        assert {n: dropout(s) for n, s in stacks.items()} == rates
    assert dropout(method.common) == 0.3
    assert {n: dropout(s) for n, s in method.memories.items()} == {"audio": 0.3, "vision": 0.3}


def test_the_focus_is_an_option(make_batch: MakeBatch) -> None:
    assert DLF(SMALL).focus == "text"
    unnamed = Schema((Modality("b", "vector", 3), Modality("a", "vector", 3)), (SCORE,))
    assert DLF(unnamed).focus == "b"
    spoken = Schema((Modality("audio", "vector", 3), Modality("transcript", "text")), SMALL.targets)
    assert DLF(spoken).focus == "transcript"
    method, batch = DLF(SMALL, focus="audio", **TINY), make_batch(SMALL)
    assert set(method.memories) == {"text", "vision"}
    losses = method.losses(batch, method(batch))
    assert gradient(losses["own_text"], method.specific["audio"]) > 0
    assert gradient(losses["own_audio"], method.specific["text"]) == 0


def test_without_language_only_the_shared_vector_says_anything(make_batch: MakeBatch) -> None:
    method, batch = DLF(SMALL, **TINY).eval(), make_batch(SMALL)
    lone = method(batch.without("text")).representations
    assert all(lone[f"h_{n}"].std(0).max() < 1e-6 for n in WIDTHS)
    assert lone["shared"].std(0).max() > 0
    mute = method(batch.without("audio")).representations
    assert mute["h_audio"].std(0).max() > 0  # language passes on alone


def test_absent_modalities_take_no_part_in_the_refinement(make_batch: MakeBatch) -> None:
    method, batch = DLF(SMALL, **TINY), make_batch(SMALL)
    some = batch.without("audio", rows=torch.arange(8) > 4)
    output = method(some)
    terms = method.losses(some, output)
    disturbed = {n: t.clone() for n, t in output.representations.items()}
    for name in ("reconstruction_audio", "cycle_audio", "orthogonality_audio", "aligned_audio"):
        disturbed[name][5:] += 10
    changed = method.losses(some, replace(output, representations=disturbed))
    for name in ("reconstruction", "cycle", "orthogonality", "triplet"):
        assert torch.equal(changed[name], terms[name]), name


def test_the_loss_is_the_papers_sum(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL)
    totals = {}
    for weight in (3.0, 6.0):
        torch.manual_seed(1)
        method = DLF(SMALL, focus_weight=weight, **TINY)
        output = method(batch)
        losses = method.losses(batch, output)
        totals[weight] = torch.stack(list(losses.values())).sum()
    found, label = output.representations, batch.targets["y"]

    def head(module: nn.Module, vector: Tensor) -> Tensor:
        return (module(vector)["y"] - label).abs().mean()

    own = {n: head(method.own_heads[n], found[f"h_{n}"]) for n in WIDTHS}
    task = (output.predictions["y"] - label).abs().mean() + head(
        method.shared_heads, method.shared_residual(found["shared"])
    )
    rebuilt, cycle, apart = (
        sum(found[f"{term}_{n}"].mean() for n in WIDTHS) for term in ("reconstruction", "cycle", "orthogonality")
    )
    vectors = torch.cat([found[f"aligned_{n}"] for n in WIDTHS])
    triplet = margin_triplet(vectors, SCORE.spec.distance(label).repeat(3, 3), torch.ones(24, dtype=torch.bool))
    paper = task + 3 * own["text"] + own["audio"] + own["vision"] + 0.1 * (cycle + rebuilt + 0.1 * (triplet + apart))
    assert torch.allclose(totals[3.0], paper)
    assert torch.allclose(totals[6.0] - totals[3.0], 3 * own["text"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, "heads must divide width, got heads=4 and width=10"),
        ({"cosine_width": 7}, "cosine_width must divide width, got cosine_width=7 and width=50"),
        ({"cosine_width": -10}, "cosine_width must be above 0"),
        ({"focus": "txet"}, "focus names 'txet'; did you mean 'text'"),
        ({"attention_dropout": {"text": 0.3}}, "attention_dropout has no value for audio, vision"),
        ({"attention_dropout": 1.0}, "attention_dropout of text must be at least 0 and below 1"),
        ({"refine": -1.0}, "must not be negative"),
        ({"kernel": 0}, "kernel must be above 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        DLF(SMALL, **options)


def test_losses_are_finite_in_half_precision(make_batch: MakeBatch) -> None:
    method, batch = DLF(SMALL, **TINY), make_batch(SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method.losses(batch, method(batch))
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in method.parameters())


def corrected(rows: int, seed: int) -> Batch:
    """The label is what language says, corrected by audio; vision has nothing to add."""
    random = torch.Generator().manual_seed(seed)
    values = {n: torch.randn(rows, 4, w, generator=random) for n, w in WIDTHS.items()}
    said, correction = torch.randn(2, rows, generator=random)
    values["text"][..., 0] = said.unsqueeze(1) + 0.3 * values["text"][..., 0]
    values["audio"][..., 0] = correction.unsqueeze(1) + 0.3 * values["audio"][..., 0]
    label = ((said + 0.7 * correction).clamp(-3, 3) * 5).round() / 5
    here = torch.ones(rows, dtype=torch.bool)
    streams = {n: Stream(v, torch.full((rows,), 4), here) for n, v in values.items()}
    return Batch(streams, {"y": label}, [str(i) for i in range(rows)])


def identified(vectors: dict[str, Tensor]) -> float:
    """Accuracy, on the second half, of a linear probe that names the modality a vector comes from."""
    x, names = torch.cat(list(vectors.values())), torch.arange(3).repeat_interleave(len(vectors["text"]))
    x, order = torch.cat([x, torch.ones(len(x), 1)], dim=1), torch.randperm(len(x))
    first, second = order.chunk(2)
    weights = torch.linalg.lstsq(x[first], torch.eye(3)[names[first]]).solution
    return float(((x[second] @ weights).argmax(1) == names[second]).float().mean())


@pytest.mark.slow
def test_audio_corrects_language_through_the_attractor_and_the_split_separates() -> None:
    method = DLF(SMALL, **{**TINY, "width": 16})
    optimizer = torch.optim.Adam(method.parameters(), 5e-3)
    for seed in range(60):
        batch = corrected(16, seed)
        optimizer.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimizer.step()
    test, method = corrected(512, 1000), method.eval()
    with torch.no_grad():
        found, label = method(test).representations, test.targets["y"]
        error = {n: float((method.own_heads[n](found[f"h_{n}"])["y"] - label).abs().mean()) for n in WIDTHS}
        low = {n: method.convolve(n, s) for n, s in test.streams.items()}
        own = identified({n: method.specific[n](s).mean(1) for n, s in low.items()})
        common = identified({n: method.common(s).mean(1) for n, s in low.items()})
    # The head of audio reads language's last step: only the attraction can have told it of the correction.
    assert error["audio"] < 0.75 * min(error["text"], error["vision"])
    assert own > 0.9
    assert common < own - 0.15
