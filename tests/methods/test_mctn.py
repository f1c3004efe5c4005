"""MCTN: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.mctn import MCTN, ordered

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
SMALL = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (SCORE,)
)
ORDER = ("text", "vision", "audio")


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def method_of(**options: object) -> MCTN:
    torch.manual_seed(0)
    return MCTN(SMALL, **{"hidden": 8, "order": ORDER, **options})


def losses_of(method: MCTN, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(1)  # teacher forcing is drawn
    return method.losses(batch, method(batch))


def reached(method: MCTN, loss: Tensor) -> set[str]:
    method.zero_grad()
    loss.backward(retain_graph=True)
    return {".".join(n.split(".")[:2]) for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}


def test_parameters_are_the_published_ones_but_for_what_decoders_do_not_need() -> None:
    method = build(find_method("mctn"), MOSI, {"order": list(ORDER)})
    # MMSA's decoders read each single step in both directions, and the second one has 768 features instead of 5.
    backward = 4 * 32 * (768 + 32 + 32) + 2 * 4 * 32
    padding = (768 - 5) * (4 * 32 + 64 + 1)
    assert parameters(method) == 763_778 - 2 * backward - padding
    assert [parameters(e) for e in method.encoders] == [206_336 - 32 * 32, 17_920 - 32 * 32]
    regressor = parameters(method.rnn) + parameters(method.score) + parameters(method.heads)
    assert regressor == 8_514


def test_audio_and_vision_are_not_needed_to_predict_and_change_what_is_learned(make_batch: MakeBatch) -> None:
    method, batch, other = method_of(), make_batch(SMALL), make_batch(SMALL, seed=9)
    disturbed = replace(other, streams={**other.streams, "text": batch["text"]}, targets=batch.targets)
    for b in (disturbed, batch.without("audio", "vision")):
        assert torch.equal(method.eval()(b).predictions["sentiment"], method(batch).predictions["sentiment"])
    method.train()
    gradients = []
    for b in (batch, disturbed):
        method.zero_grad()
        torch.stack(list(losses_of(method, b).values())).sum().backward()
        gradients.append(method.encoders[0].forth[0].weight_ih_l0.grad.clone())
    assert not torch.allclose(*gradients, atol=1e-6)


def test_both_directions_train_the_same_encoder_and_decoder(make_batch: MakeBatch) -> None:
    method, batch = method_of(teacher=0.0).train(), make_batch(SMALL)
    losses = losses_of(method, batch)
    assert set(losses) == {"task", "translation/vision", "translation/audio", "cycle"}
    assert reached(method, losses["cycle"]) == reached(method, losses["translation/vision"])
    assert reached(method, losses["cycle"]) == {"encoders.0", "decoders.vision"}
    assert reached(method, losses["translation/audio"]) == {"encoders.0", "encoders.1", "decoders.audio"}
    assert reached(method, losses["task"]) >= {"encoders.0", "encoders.1", "rnn.weight_ih_l0"}


def test_without_weight_there_is_no_way_back(make_batch: MakeBatch) -> None:
    method, batch = method_of(cycle=0.0).train(), make_batch(SMALL)
    output = method(batch)
    assert set(output.representations) == {"fused", "error_vision", "error_audio"}
    assert "cycle" not in method.losses(batch, output)
    assert list(method.eval()(batch).representations) == ["fused"]


def test_teacher_forcing_changes_losses_and_not_predictions(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL)
    batch = replace(batch, streams={n: replace(s, values=3 * s.tensor) for n, s in batch.streams.items()})
    found = []
    for teacher in (0.0, 1.0):
        method = method_of(teacher=teacher).train()
        found.append((losses_of(method, batch), method(batch).predictions["sentiment"]))
    (free, left), (forced, right) = found
    assert torch.equal(left, right)
    for name in ("translation/vision", "translation/audio", "cycle"):
        assert not torch.isclose(free[name], forced[name], rtol=1e-4)


def test_a_decoder_is_told_the_truth_of_the_step_before_or_nothing() -> None:
    decoder = method_of().decoders["audio"]
    states, last, truth = torch.randn(2, 6, 8), torch.randn(2, 8), torch.randn(2, 4, 5)
    mask = torch.arange(6) < torch.tensor([[6], [3]])
    changed = truth.clone()
    changed[:, 1] += 1

    def told(truth: Tensor, teacher: float, states: Tensor = states) -> Tensor:
        return decoder(states, last, mask, truth, teacher)

    moved = (told(changed, 1.0) - told(truth, 1.0)).abs().amax((0, 2)) > 0
    assert moved.tolist() == [False, False, True, True]
    assert torch.equal(told(changed, 0.0), told(truth, 0.0))
    padded = torch.where(mask.unsqueeze(2), states, 9.0)
    torch.testing.assert_close(told(truth, 0.0, padded), told(truth, 0.0, torch.where(mask.unsqueeze(2), states, 0.0)))
    assert not torch.allclose(told(truth, 0.0, states + 1), told(truth, 0.0), atol=1e-3)


def test_an_error_is_the_mean_over_true_steps_and_the_features_of_the_narrower_modality() -> None:
    method = method_of(cycle=0.5, translation=2.0, teacher=0.0).train()
    here, lengths = torch.ones(2, dtype=torch.bool), torch.tensor([3, 2])
    real = (torch.arange(3) < lengths[:, None]).unsqueeze(2)
    streams = {m.name: Stream(torch.randn(2, 3, m.width) * real, lengths, here) for m in SMALL.modalities}
    codes = method.encode(streams["text"].tensor, lengths)
    told = method.translate(streams["text"], {n: s.tensor for n, s in streams.items()}, codes)
    assert {n: tuple(x.shape) for n, x in told.items()} == {n: (2, 3, s.tensor.shape[2]) for n, s in streams.items()}
    batch = Batch(streams, {"sentiment": torch.zeros(2)}, ["a", "b"])
    output = method(batch)
    losses = method.losses(batch, output)
    for name, weight in (("text", 0.5), ("vision", 2.0), ("audio", 2.0)):
        squares = (told[name] - streams[name].tensor).square().mean(2)
        errors = torch.stack([squares[0].mean(), squares[1, :2].mean()])
        torch.testing.assert_close(output.representations[f"error_{name}"], errors)
        torch.testing.assert_close(losses["cycle" if name == "text" else f"translation/{name}"], weight * errors.mean())


def test_samples_without_one_of_both_modalities_are_not_in_the_error(make_batch: MakeBatch) -> None:
    method, batch, rows = method_of(teacher=0.0).train(), make_batch(SMALL), torch.arange(8) < 3
    some = batch.without("vision", rows=rows)
    output = method(some)
    losses, found = method.losses(some, output), output.representations
    torch.testing.assert_close(losses["translation/vision"], 0.1 * found["error_vision"][3:].mean())
    torch.testing.assert_close(losses["cycle"], 0.1 * found["error_text"][3:].mean())
    torch.testing.assert_close(losses["translation/audio"], 0.1 * found["error_audio"].mean())
    mute = batch.without("text")
    assert all(losses_of(method, mute)[f"translation/{n}"] == 0 for n in ("vision", "audio"))


def mapped(rows: int, seed: int, matrix: Tensor) -> Batch:
    """Vision is a linear map of text, and wider: the shared network must see which way it is to tell."""
    random = torch.Generator().manual_seed(seed)
    here, lengths = torch.ones(rows, dtype=torch.bool), torch.full((rows,), 2)
    text = torch.randn(rows, 2, 2, generator=random)
    streams = {"text": Stream(text, lengths, here), "vision": Stream(text @ matrix, lengths, here)}
    return Batch(streams, {"sentiment": text[:, :, 0].mean(1)}, [str(i) for i in range(rows)])


def test_a_linear_map_of_the_source_is_told_and_so_is_the_way_back() -> None:
    torch.manual_seed(0)
    matrix = torch.tensor([[1.0, 0.5, 0.0], [-0.5, 1.0, 1.0]])
    schema = Schema((Modality("text", "sequence", 2), Modality("vision", "sequence", 3)), (SCORE,))
    method = MCTN(schema, hidden=24, translation=1.0, cycle=1.0).train()
    optimizer = torch.optim.Adam(method.parameters(), 2e-2)
    seen = []
    for seed in range(100):
        batch = mapped(32, seed, matrix)
        losses = method.losses(batch, method(batch))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        seen.append(losses)
    spread = mapped(1000, 9999, matrix)["vision"].tensor.var().item()
    last = {n: torch.stack([x[n] for x in seen[-10:]]).mean().item() for n in ("translation/vision", "cycle")}
    assert last["translation/vision"] < 0.1 * spread
    assert last["cycle"] < 0.15  # of a variance of 1
    assert seen[0]["translation/vision"] > 0.8 * spread


def test_the_order_starts_with_the_source() -> None:
    assert ordered(SMALL, None) == ("text", "audio", "vision")
    assert ordered(SMALL, ("vision",)) == ("vision", "text", "audio")
    spoken = Schema((Modality("audio", "sequence", 3), Modality("words", "text")), (SCORE,))
    assert ordered(spoken, None) == ("words", "audio")
    assert ordered(spoken, ORDER) == ("audio", "words")  # a preset also serves a subset
    assert set(method_of().decoders) == {"vision", "audio"}
    assert method_of().decoders["vision"].width == 6
    assert method_of().decoders["audio"].width == 5


def test_long_sources_are_averaged_down(make_batch: MakeBatch) -> None:
    method, batch = method_of(max_steps=4).train(), make_batch(SMALL, longest=30)
    assert batch["text"].tensor.shape[1] > 4
    assert all(torch.isfinite(x) for x in losses_of(method, batch).values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": ("text", "visoin")}, "order names 'visoin'; did you mean 'vision'"),
        ({"teacher": 1.5}, "teacher must be 0 to 1, got 1.5"),
        ({"cycle": -1.0}, "translation and cycle must not be negative, got 0.1 and -1.0"),
        ({"hidden": 0}, "hidden must be above 0, got 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MCTN(SMALL, **options)
