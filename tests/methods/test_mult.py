"""MulT: what its paper, its code and their corrections make observable."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.mult import MulT

MakeBatch = Callable[..., Batch]
SCORE = (Target("y", "regression", (-3, 3)),)
NO_DROPOUT = dict.fromkeys(
    ("text_dropout", "embed_dropout", "attention_dropout", "layer_dropout", "output_dropout"), 0.0
)


def field_schema(audio: int, vision: int, text: int = 768) -> Schema:
    names = {"text": text, "audio": audio, "vision": vision}
    return Schema(tuple(Modality(n, "sequence", w) for n, w in names.items()), SCORE)


def parameters(method: nn.Module) -> int:
    return sum(p.numel() for p in method.parameters())


def test_has_exactly_the_parameters_of_the_published_settings() -> None:
    mosi = MulT(field_schema(5, 20), width=50, heads=10, layers=4, kernel=5)
    assert parameters(mosi) == 2_571_551
    assert parameters(mosi.crossings["audio_to_text"]) == 122_700
    assert parameters(mosi.memories["text"]) == 485_400
    mosei = MulT(field_schema(74, 35), width=30, heads=6, layers=4, kernel={"text": 5, "audio": 1, "vision": 3})
    assert parameters(mosei) == 982_951
    assert parameters(MulT(field_schema(74, 35, 300), width=30, heads=5, layers=5, kernel=1)) == 1_073_731


def test_the_convolution_shortens_true_lengths(make_batch: MakeBatch) -> None:
    schema = field_schema(5, 20, text=6)
    method = MulT(schema, width=8, heads=2, layers=1, kernel=5).eval()
    there = torch.ones(3, dtype=torch.bool)
    for name, steps, width in (("text", 50, 6), ("audio", 375, 5), ("vision", 500, 20)):
        low = method.convolve(name, Stream(torch.randn(3, steps, width), torch.tensor([steps, 7, 2]), there))
        assert low.tensor.shape == (3, steps - 4, 8)
        assert low.lengths is not None
        assert low.lengths.tolist() == [steps - 4, 3, 1]
        assert not low.tensor[1, 3:].any()


def test_a_sequence_shorter_than_the_kernel_is_padded_to_it(make_batch: MakeBatch) -> None:
    schema = field_schema(5, 4, text=6)
    method = MulT(schema, kernel=9).eval()
    assert torch.isfinite(method(make_batch(schema, longest=3)).predictions["y"]).all()


def test_one_to_many_modalities(make_batch: MakeBatch) -> None:
    names = "abcd"
    for count in range(1, 5):
        schema = Schema(tuple(Modality(n, "sequence", 3) for n in names[:count]), SCORE)
        method = MulT(schema, width=8, heads=2, layers=1)
        assert len(method.crossings) == count * (count - 1)
        output = method(make_batch(schema))
        assert output.predictions["y"].shape == (8,)
        assert output.representations["a"].shape == (8, 8 * max(1, count - 1))


def test_an_absent_target_is_read_as_zeros_and_a_lone_modality_still_predicts(make_batch: MakeBatch) -> None:
    schema = field_schema(5, 4, text=6)
    method = MulT(schema).eval()
    lone = method(make_batch(schema).without("audio", "vision"))
    assert not lone.representations["audio"].any()
    assert lone.representations["text"].any()
    assert lone.predictions["y"].std() > 1e-3


def test_the_last_true_step_is_read(make_batch: MakeBatch) -> None:
    """Under the causal mask only the last step of a memory transformer sees the last frame of its target."""
    schema = Schema((Modality("a", "sequence", 3),), SCORE)
    method = MulT(schema, kernel=1).eval()
    batch = make_batch(schema)
    stream = batch["a"]
    assert stream.lengths is not None
    values = stream.tensor.clone().requires_grad_()
    output = method(Batch({"a": Stream(values, stream.lengths, stream.present)}, batch.targets, batch.ids))
    (gradient,) = torch.autograd.grad(output.predictions["y"].sum(), values)
    reached = gradient.abs().sum(2) > 0
    assert torch.equal(reached, stream.mask)


def test_dropout_is_a_number_or_named_per_modality() -> None:
    schema = field_schema(5, 4, text=6)
    method = MulT(schema, attention_dropout={"text": 0.3, "audio": 0.2, "vision": 0.0, "depth": 0.9})
    rates = {n: s.layers[0].attention.dropout for n, s in method.crossings.items()}
    assert rates["text_to_audio"] == rates["text_to_vision"] == 0.3
    assert rates["audio_to_text"] == rates["audio_to_vision"] == 0.2
    assert rates["vision_to_text"] == 0.0
    assert {s.layers[0].attention.dropout for s in method.memories.values()} == {0.3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, "heads must divide width, got heads=4 and width=10"),
        ({"kernel": {"text": 3}}, "kernel has no value for audio, vision"),
        ({"kernel": 0}, "kernel of text must be above 0, got 0"),
        ({"attention_dropout": 1.5}, "attention_dropout of text must be at least 0 and below 1"),
        ({"layers": 0}, "layers must be above 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MulT(field_schema(5, 4, text=6), **options)


STEPS = 4


def retrieval(size: int, seed: int) -> Batch:
    """Audio frames carry their name and a value; text names a frame; the label is that frame's value."""
    random = torch.Generator().manual_seed(seed)
    marked = torch.randint(STEPS, (size,), generator=random)
    values = torch.randint(2, (size, STEPS), generator=random) * 2.0 - 1
    frames = torch.cat([torch.eye(STEPS).expand(size, -1, -1), values.unsqueeze(2)], dim=2)
    question = torch.nn.functional.one_hot(marked, STEPS).float().unsqueeze(1)
    here = torch.ones(size, dtype=torch.bool)
    streams = {
        "text": Stream(question, torch.full((size,), 1), here),
        "audio": Stream(frames, torch.full((size,), STEPS), here),
    }
    return Batch(streams, {"y": values[torch.arange(size), marked]}, [str(i) for i in range(size)])


def test_text_retrieves_a_value_from_audio_through_cross_modal_attention_alone() -> None:
    schema = Schema((Modality("text", "sequence", STEPS), Modality("audio", "sequence", STEPS + 1)), SCORE)
    method = MulT(schema, width=16, heads=2, layers=1, kernel=1, causal=False, positions=False, **NO_DROPOUT)
    head = nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*method.parameters(), *head.parameters()], 5e-3)

    def error(batch: Batch) -> torch.Tensor:
        # The text branch alone: what it knows of audio came through audio_to_text.
        return (head(method(batch).representations["text"])[:, 0] - batch.targets["y"]).abs().mean()

    for seed in range(100):
        optimizer.zero_grad()
        error(retrieval(64, seed)).backward()
        optimizer.step()
    with torch.no_grad():
        assert error(retrieval(256, 1000)) < 0.15
        assert error(retrieval(256, 1000).without("audio")) > 0.7
