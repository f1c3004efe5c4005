"""TFR-Net: what is dropped, what is rebuilt, and that no sample sees another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.tfr_net import GatedPool, TFRNet, rebuilding_loss

MakeBatch = Callable[..., Batch]
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
SMALL = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (SCORE,)
)
TINY = {"width": 6, "heads": 2, "layers": 1, "pooled": 8, "hidden": 8}


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_published_ones_beside_bert() -> None:
    method = TFRNet(
        MOSI,
        kernel={"text": 1, "audio": 5, "vision": 3},
        pooled={"text": 36, "audio": 20, "vision": 48},
        steps={"text": 50, "audio": 375, "vision": 500},
    )
    assert size(method.convolutions) == 23_040 + 750 + 1_800
    assert size(method.intra) + size(method.crossings) == 9 * 33_630
    networks = {n: size(g.network) for n, g in method.generators.items()}
    assert networks == {"text": 92_050, "audio": 5_077_875, "vision": 9_020_500}
    assert {n: size(g.linear) for n, g in method.generators.items()} == {"text": 69_888, "audio": 455, "vision": 1_820}
    assert {n: size(p) for n, p in method.pools.items()} == {"text": 81_253, "audio": 31_061, "vision": 133_681}
    assert size(method.norm) + size(method.mix) + size(method.heads) == 13_777
    assert size(method) == 124_332_860 - 109_482_240


def long_batch(rows: int = 16, steps: int = 200) -> Batch:
    here, lengths = torch.ones(rows, dtype=torch.bool), torch.randint(steps // 2, steps + 1, (rows,))
    streams = {}
    for m in SMALL.modalities:
        stream = Stream(torch.randn(rows, steps, m.width), lengths, here)
        streams[m.name] = replace(stream, values=stream.tensor * stream.mask.unsqueeze(-1))
    return Batch(streams, {"sentiment": torch.randn(rows)}, [f"clip {i}" for i in range(rows)])


@pytest.mark.parametrize("masks", ["static", "fresh"])
def test_a_fifth_of_the_true_steps_is_dropped_and_becomes_zero(masks: str) -> None:
    torch.manual_seed(0)
    method, batch = TFRNet(SMALL, **TINY, masks=masks), long_batch()
    damaged, dropped = method.damage(batch, dict(batch.streams))
    for name, rows in dropped.items():
        mask = batch[name].mask
        assert not (rows & ~mask).any()
        count = int(mask.sum())
        assert abs(int(rows.sum()) / count - 0.2) < 4 * (0.2 * 0.8 / count) ** 0.5
        assert not damaged[name].tensor[rows].any()
        assert torch.equal(damaged[name].tensor[~rows], batch[name].tensor[~rows])
        assert torch.equal(damaged[name].lengths, batch[name].lengths)


def test_a_sample_loses_the_same_steps_whatever_its_batch_and_epoch() -> None:
    batch, again = long_batch(), TFRNet(SMALL, **TINY)
    first = TFRNet(SMALL, **TINY).damage(batch, dict(batch.streams))[1]
    torch.manual_seed(99)
    rows = [7, 2]
    part = {n: Stream(s.tensor[rows], s.lengths[rows], s.present[rows]) for n, s in batch.streams.items()}
    other = again.damage(Batch(part, {}, [batch.ids[r] for r in rows]), part)[1]
    for name in first:
        assert torch.equal(other[name], first[name][rows]), name
    assert not torch.equal(first["text"], first["audio"]), "modalities would lose the same steps"
    fresh = TFRNet(SMALL, **TINY, masks="fresh")
    one, two = (fresh.damage(batch, dict(batch.streams))[1]["audio"] for _ in range(2))
    assert not torch.equal(one, two)


def test_nothing_is_dropped_in_evaluation_nor_at_rate_zero(make_batch: MakeBatch) -> None:
    method = TFRNet(SMALL, **TINY)
    batch = make_batch(SMALL)
    output = method.eval()(batch)
    assert set(output.representations) == {"fused", "text", "audio", "vision"}
    assert set(method.losses(batch, output)) == {"task"}
    plain = TFRNet(SMALL, **TINY, rate=0.0).train()
    assert not plain.generators
    assert set(plain.losses(batch, plain(batch))) == {"task"}


def test_the_rebuilding_loss_sees_dropped_positions_only() -> None:
    complete, dropped = torch.randn(3, 5, 4), torch.rand(3, 5) < 0.5
    rebuilt = complete + torch.randn(3, 5, 4)
    loss = rebuilding_loss(rebuilt, complete, dropped)
    wild = torch.where(dropped.unsqueeze(-1), rebuilt, torch.full_like(rebuilt, 1e6))
    assert torch.equal(rebuilding_loss(wild, complete, dropped), loss)
    nothing = rebuilding_loss(rebuilt.requires_grad_(), complete, torch.zeros_like(dropped))
    assert nothing == 0
    nothing.backward()
    assert not rebuilt.grad.any()
    assert rebuilding_loss(complete, complete, dropped) == 0


@pytest.mark.parametrize(("error", "smooth"), [(0.5, 0.125), (2.0, 1.5)])
def test_the_rebuilding_loss_is_smooth_l1_plus_the_shift_of_the_mean(error: float, smooth: float) -> None:
    complete, dropped = torch.randn(3, 5, 4), torch.ones(3, 5, dtype=torch.bool)
    # A constant error leaves central moments alone: only the means differ, by error in each of 4 features.
    expected = smooth + 5 * (4 * error**2) ** 0.5 / (3 * 5 * 4)
    assert rebuilding_loss(complete + error, complete, dropped).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("steps", [{}, {"text": 8, "audio": 6, "vision": 4}])
def test_what_is_rebuilt_of_a_sample_depends_on_no_other(steps: dict[str, int], make_batch: MakeBatch) -> None:
    method = TFRNet(SMALL, **TINY, steps=steps, dropout=0.0, attention_dropout=0.0).train()
    batch, other = make_batch(SMALL), make_batch(SMALL)
    for name, stream in other.streams.items():
        values = stream.tensor.clone()
        values[0] = values[0] * -3
        other.streams[name] = replace(stream, values=values)
    found, changed = method(batch).representations, method(other).representations
    for name in SMALL.names:
        torch.testing.assert_close(found[f"rebuilt_{name}"][1:], changed[f"rebuilt_{name}"][1:])
        assert not torch.allclose(found[f"rebuilt_{name}"][0], changed[f"rebuilt_{name}"][0])


def test_a_generator_over_channels_rebuilds_its_length_and_no_more(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL, longest=12)
    method = TFRNet(SMALL, **TINY, steps={"text": 4, "audio": 20, "vision": 5}, masks="fresh", rate=0.9).train()
    output = method(batch)
    found = output.representations
    assert found["rebuilt_text"].shape == found["complete_text"].shape
    assert not found["rebuilt_text"][:, 4:].any()
    assert found["rebuilt_audio"].shape == found["complete_audio"].shape
    losses = method.losses(batch, output)
    beyond = found["complete_text"].clone()
    beyond[:, 4:] += 100
    moved = replace(output, representations={**found, "complete_text": beyond})
    assert torch.equal(method.losses(batch, moved)["rebuild/text"], losses["rebuild/text"])


def test_weights_scale_rebuilding_and_zero_leaves_it_out(make_batch: MakeBatch) -> None:
    batch, losses = make_batch(SMALL), []
    for weight in (1.0, 4.0):
        torch.manual_seed(0)
        method = TFRNet(SMALL, **TINY, weights={"text": weight, "audio": 1.0, "vision": 0.0})
        losses.append(method.train().losses(batch, method(batch)))
        assert set(losses[-1]) == {"task", "rebuild/text", "rebuild/audio"}
    torch.testing.assert_close(losses[1]["rebuild/text"], 4 * losses[0]["rebuild/text"])
    torch.testing.assert_close(losses[1]["rebuild/audio"], losses[0]["rebuild/audio"])


def test_the_pool_reads_true_steps_only() -> None:
    pool = GatedPool(4, 3).eval()
    lengths, here = torch.tensor([5, 2, 0]), torch.tensor([True, True, False])
    x = torch.randn(3, 5, 4)
    x = x * (torch.arange(5) < lengths[:, None]).unsqueeze(-1)
    pooled = pool(Stream(x, lengths, here))
    torch.testing.assert_close(pooled[1:2], pool(Stream(x[1:2, :2], lengths[1:2], here[1:2])))
    assert not pooled[2].any()
    assert (pooled.abs() <= 1).all()


def spoken(*texts: str) -> tuple[Schema, Batch]:
    schema = Schema((Modality("text", "text"), SMALL.modalities[1]), (SCORE,))
    here, lengths = torch.tensor([bool(t) for t in texts]), torch.full((len(texts),), 4)
    audio = Stream(torch.randn(len(texts), 4, 5), lengths, torch.ones(len(texts), dtype=torch.bool))
    labels = {"sentiment": torch.randn(len(texts))}
    return schema, Batch(
        {"text": Stream(list(texts), None, here), "audio": audio}, labels, list("abcdefg")[: len(texts)]
    )


def read_ids(method: TFRNet, batch: Batch) -> list[Tensor]:
    """Token ids of every pass through the transformer."""
    seen: list[Tensor] = []
    model = method.inputs.encoders["text"].model
    handle = model.embeddings.word_embeddings.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    method(batch)
    handle.remove()
    return seen


def test_dropped_tokens_are_unknown_ones_but_never_the_first_and_last(bert: str) -> None:
    schema, batch = spoken("a badly good film .", "not good", "")
    method = TFRNet(schema.with_encoders({"text": bert}), **TINY, rate=0.95, masks="fresh").train()
    complete, damaged = read_ids(method, batch)
    assert complete[0].tolist() == [2, 10, 6, 8, 5, 9, 12, 3]
    assert (damaged == 1).sum() > 4
    assert torch.equal(damaged[:, 0], complete[:, 0])
    assert damaged[0, 7] == complete[0, 7] == 3
    assert damaged[1, 3] == 3
    assert torch.equal(damaged[1, 4:], complete[1, 4:]), "padding must stay padding"
    assert len(read_ids(method.eval(), batch)) == 1


@pytest.mark.parametrize("fixed", [True, False])
def test_the_target_moves_the_text_encoder_only_if_it_is_not_fixed(fixed: bool, bert: str) -> None:
    schema, batch = spoken("a badly good film .", "not very good film")
    method = TFRNet(schema.with_encoders({"text": bert}), **TINY, rate=0.6, masks="fresh", fixed_targets=fixed).train()
    output = method(batch)
    target, loss = output.representations["complete_text"], method.losses(batch, output)["rebuild/text"]
    assert target.requires_grad == (not fixed)  # a fixed target costs no graph of a whole transformer
    assert fixed or torch.autograd.grad(loss, target, retain_graph=True)[0].any()
    loss.backward()
    assert all(p.grad is not None for n, p in method.named_parameters() if n.startswith("inputs."))


def twins(rows: int, seed: int) -> Batch:
    """Audio and text are one step each: the same signal in other channels."""
    random = torch.Generator().manual_seed(seed)
    signal = torch.randn(rows, 1, 2, generator=random)
    here, lengths = torch.ones(rows, dtype=torch.bool), torch.ones(rows, dtype=torch.long)
    streams = {"text": Stream(signal, lengths, here), "audio": Stream(signal.flip(2), lengths, here)}
    return Batch(streams, {"y": signal.mean((1, 2))}, [f"{seed} {i}" for i in range(rows)])


def test_without_rebuilding_steps_are_dropped_all_the_same(make_batch: MakeBatch) -> None:
    batch, found = make_batch(SMALL), {}
    for weight in (1.0, 0.0):
        torch.manual_seed(0)
        method = TFRNet(SMALL, **TINY, rate=0.5, weights=weight).train()
        found[weight] = method(batch).representations
        assert any(f"rebuilt_{n}" in found[weight] for n in SMALL.names) == (weight > 0)
    for name in SMALL.names:
        assert found[0.0][f"dropped_{name}"].any()
        assert torch.equal(found[0.0][f"dropped_{name}"], found[1.0][f"dropped_{name}"])


@pytest.mark.slow
def test_what_another_modality_determines_is_rebuilt_better_than_by_its_mean() -> None:
    torch.manual_seed(0)
    schema = Schema((Modality("text", "sequence", 2), Modality("audio", "sequence", 2)), (Target("y", "regression"),))
    options = {"width": 16, "heads": 2, "layers": 1, "kernel": 1, "pooled": 4, "hidden": 8, "dropout": 0.0}
    method = TFRNet(schema, **options, attention_dropout=0.0, rate=0.3, masks="fresh").train()
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for seed in range(70):
        batch = twins(32, seed)
        losses = method.losses(batch, method(batch))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found = method(twins(256, 1000)).representations
    heard = ~found["dropped_text"]
    rows = found["dropped_audio"] & heard
    error = (found["rebuilt_audio"] - found["complete_audio"])[rows].square().mean()
    # The mean of the signal is zero in every sample, so imputing it errs by the variance.
    assert error < 0.5 * found["complete_audio"][rows].square().mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, "heads must divide width, got heads=4 and width=10"),
        ({"rate": 1.0}, "rate must be at least 0 and below 1, got 1.0"),
        ({"masks": "random"}, "masks must be 'static' or 'fresh', got 'random'"),
        ({"steps": {"text": 3}}, "steps has no value for audio, vision"),
        ({"steps": {"text": 0, "audio": 1, "vision": 1}}, "steps of text must be above 0, got 0"),
        ({"weights": -1.0}, "weights must not be negative, got -1.0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TFRNet(SMALL, **options)
