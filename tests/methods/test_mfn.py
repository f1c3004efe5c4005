"""MFN: what its card says must be observable. The memory itself is tested in tests/nn/test_memory.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.nn.memory import aligned

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
PUBLISHED = {
    "hidden": {"text": 256, "audio": 32, "vision": 256},
    "memory": 400,
    "units": {"attention": 32, "proposal": 64, "retain": 256, "update": 32, "head": 128},
}
ORDER = Schema(
    (Modality("text", "sequence", 1), Modality("audio", "sequence", 1)),
    (Target("first", "classification", classes=("text", "audio")),),
)


def make(method: str, schema: Schema, **options) -> nn.Module:
    torch.manual_seed(0)
    return build(find_method(method), schema, options)


def test_the_parameter_count_is_the_published_configurations():
    assert sum(p.numel() for p in make("mfn", MOSI, **PUBLISHED).parameters()) == 2_172_657


def events(rows: int, seed: int, steps: int = 8) -> Batch:
    """One event per modality, at different steps; the label says which comes first."""
    random = torch.Generator().manual_seed(seed)
    when = torch.stack([torch.randperm(steps, generator=random)[:2] for _ in range(rows)])
    lengths, here = torch.full((rows,), steps), torch.ones(rows, dtype=torch.bool)
    values = nn.functional.one_hot(when, steps).float().unsqueeze(-1)  # (rows, 2, steps, 1)
    streams = {n: Stream(values[:, i], lengths, here) for i, n in enumerate(("text", "audio"))}
    return Batch(streams, {"first": (when[:, 0] > when[:, 1]).long()}, [str(i) for i in range(rows)])


def accuracy(method: nn.Module, steps: int) -> float:
    """On new events, after full-batch Adam."""
    train, test = events(128, 1), events(256, 2)
    optimiser = torch.optim.Adam(method.parameters(), 0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(method.losses(train, method(train)).values()).backward()
        optimiser.step()
    with torch.no_grad():
        guess = method.eval()(test).predictions["first"].argmax(1)
    return (guess == test.targets["first"]).float().mean().item()


def test_which_event_came_first_is_learnt_and_is_chance_for_means():
    small = {"hidden": 12, "memory": 8, "units": 12, "dropout": 0.0}
    assert accuracy(make("mfn", ORDER, **small), 60) > 0.95
    assert accuracy(make("lf-dnn", ORDER, recurrent=(), width=16), 60) < 0.6


def cells(method: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Cells of every step by modality."""
    with torch.no_grad():
        found = method.fusion.cells(aligned(method.inputs(batch), 50))[1]
    return dict(zip(batch.streams, found.split(method.fusion.cells.widths, 2), strict=True))


def test_audio_that_varies_in_time_moves_the_audio_lstm_and_no_other():
    batch, method = events(8, 3), make("mfn", ORDER)
    audio = batch["audio"]
    flat = Stream(audio.tensor.mean(1, keepdim=True).expand_as(audio.tensor), audio.lengths, audio.present)
    varied, constant = cells(method, batch), cells(method, Batch({**batch.streams, "audio": flat}, {}, batch.ids))
    assert torch.equal(varied["text"], constant["text"])
    assert ((varied["audio"] - constant["audio"]).abs().amax((0, 2)) > 1e-3).all()


def test_the_memory_does_not_feed_back_into_the_lstms():
    batch, method = events(4, 3), make("mfn", ORDER).eval()
    with torch.no_grad():
        before = method(batch).representations["fused"]
        for parameter in method.fusion.memory.parameters():
            parameter.normal_()
        after = method(batch).representations["fused"]
    states = sum(method.fusion.cells.widths)
    assert torch.equal(before[:, :states], after[:, :states])
    assert not torch.allclose(before[:, states:], after[:, states:], atol=1e-3)


def test_the_axis_is_no_longer_than_asked():
    batch = events(4, 3)
    short, long = (make("mfn", ORDER, max_steps=n).eval() for n in (4, 8))
    assert aligned(batch.streams, 4)["text"].tensor.shape[1] == 4
    with torch.no_grad():
        assert not torch.equal(short(batch).predictions["first"], long(batch).predictions["first"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": {"text": 8}}, "hidden has no value for audio"),
        ({"units": {"head": 8}}, "units has no value for attention"),
        ({"units": 0}, "units of attention must be above 0"),
        ({"dropout": 1.0}, "dropout of attention must be at least 0 and below 1"),
        ({"window": 0}, "window must be above 0"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(OptionError, match=message):
        make("mfn", ORDER, **options)
