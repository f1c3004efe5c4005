"""ALMT: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.almt import ALMT, Compressor, Guide

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
SMALL = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (SCORE,)
)
TINY = {"width": 16, "tokens": 2, "heads": 2, "head_width": 8, "scales": 2, "layers": 1}
PAPER = {"width": 128, "head_width": 64, "steps": {"text": 50, "audio": 375, "vision": 500}}

BERT_BASE = 109_482_240


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def prediction(method: ALMT, batch: Batch) -> Tensor:
    with torch.no_grad():
        return method(batch).predictions["sentiment"]


def test_without_bert_and_the_norms_of_the_hyper_modality_the_parameters_are_the_published_ones() -> None:
    method = build(find_method("almt"), MOSI, PAPER)
    counts = {n: parameters(m) for n, m in method.compressors.items()}
    assert counts == {"text": 403_200, "audio": 347_136, "vision": 365_056}
    assert parameters(method.crossings) == 2 * 296_320
    unused = 3 * 2 * 128  # norms before the addition to the hyper-modality, which the equations do not have
    assert parameters(method.guides) == 298_368 - unused
    assert parameters(method) == 112_085_889 - BERT_BASE - unused


def test_every_modality_reaches_the_prediction_through_the_guides_alone(make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    method = ALMT(SMALL, **TINY).eval()
    batch, other = make_batch(SMALL), make_batch(SMALL, seed=9)
    for name in SMALL.names:
        disturbed = replace(batch, streams={**batch.streams, name: other[name]})
        assert not torch.allclose(prediction(method, disturbed), prediction(method, batch), atol=1e-4)
    for guide in method.guides:
        torch.nn.init.zeros_(guide.out.weight)
    assert torch.equal(prediction(method, other), prediction(method, batch))


def test_where_all_tokens_of_a_modality_are_equal_the_question_does_not_matter() -> None:
    torch.manual_seed(0)
    guide = Guide(16, 4, ["audio"], 0.0)
    equal = {"audio": torch.randn(3, 1, 16).expand(-1, 8, -1)}
    various = {"audio": torch.randn(3, 8, 16)}
    one, two = torch.randn(2, 3, 8, 16)
    torch.testing.assert_close(guide(one, equal), guide(two, equal))
    assert not torch.allclose(guide(one, various), guide(two, various), atol=1e-3)


def test_the_increment_is_the_sum_over_modalities_of_what_each_head_finds() -> None:
    torch.manual_seed(0)
    guide = Guide(8, 2, ["audio", "vision"], 0.0)
    language, audio, vision = torch.randn(3, 2, 4, 8)
    query, found = guide.query(guide.norm(language)), torch.zeros(2, 4, 8)
    for name, x in (("audio", audio), ("vision", vision)):
        key, value = (maps[name](guide.norms[name](x)) for maps in (guide.keys, guide.values))
        for head in (slice(0, 4), slice(4, 8)):
            weights = torch.softmax(query[..., head] @ key[..., head].transpose(1, 2) / 4**0.5, dim=-1)
            found[..., head] += weights @ value[..., head]
    torch.testing.assert_close(guide(language, {"audio": audio, "vision": vision}), guide.out(found))


def test_nothing_after_the_compression_costs_more_for_longer_sequences(make_batch: MakeBatch) -> None:
    method = ALMT(SMALL, **TINY).eval()
    total, compression = [], []
    for steps in (20, 80):
        here = torch.ones(2, dtype=torch.bool)
        streams = {
            m.name: Stream(torch.randn(2, steps, m.width), torch.tensor([steps, steps]), here) for m in SMALL.modalities
        }
        with FlopCounterMode(display=False) as counter:
            prediction(method, Batch(streams, {}, ["a", "b"]))
        flops = {name: sum(kinds.values()) for name, kinds in counter.get_flop_counts().items()}
        total.append(flops["Global"])
        compression.append(sum(flops[f"ALMT.compressors.{n}"] for n in streams))
    assert 0 < total[0] - compression[0] == total[1] - compression[1]
    assert compression[1] > 2 * compression[0]


def test_tokens_that_ask_alone_are_those_of_full_self_attention() -> None:
    torch.manual_seed(0)
    block = ALMT(SMALL, **TINY).crossings[0]
    compressor = Compressor(5, block, 16, 3, 10)
    torch.nn.init.normal_(compressor.tokens)
    stream = Stream(torch.randn(2, 6, 5), torch.tensor([6, 6]), torch.ones(2, dtype=torch.bool))
    x = torch.cat([compressor.tokens.expand(2, -1, -1), compressor.linear(stream.tensor)], dim=1)
    x = x + compressor.positions[:9]
    torch.testing.assert_close(compressor(stream), block(x, x)[:, :3])


def test_language_scales_are_the_input_and_every_layers_output(make_batch: MakeBatch) -> None:
    method = ALMT(SMALL, **{**TINY, "scales": 3}).eval()
    assert len(method.language) == 2
    assert len(method.guides) == 3
    tokens = torch.randn(2, 2, 16)
    first, second, third = method.scales(tokens)
    assert torch.equal(first, tokens + method.positions)
    assert torch.equal(second, method.language[0](first, first))
    assert torch.equal(third, method.language[1](second, second))


def test_the_error_of_a_regression_is_squared_and_classes_have_entropy(make_batch: MakeBatch) -> None:
    mood = Target("mood", "classification", classes=("a", "b", "c"))
    schema = Schema(SMALL.modalities, (SCORE, mood))
    method, batch = ALMT(schema, **TINY).eval(), make_batch(schema)
    output = method(batch)
    losses = method.losses(batch, output)
    squares = (output.predictions["sentiment"] - batch.targets["sentiment"]).square()
    torch.testing.assert_close(losses["task/sentiment"], squares.mean() / 2)
    entropy = torch.nn.functional.cross_entropy(output.predictions["mood"], batch.targets["mood"])
    torch.testing.assert_close(losses["task/mood"], entropy / 2)


def spoken(rows: int, seed: int, *, told: str) -> Batch:
    """The label is shown at one of three steps of the modality ``told``; everything else is noise."""
    random = torch.Generator().manual_seed(seed)
    here, lengths = torch.ones(rows, dtype=torch.bool), torch.full((rows,), 3)
    label = torch.randint(2, (rows,), generator=random) * 2.0 - 1
    streams = {}
    for m in SMALL.modalities:
        values = torch.randn(rows, 3, m.width, generator=random)
        if m.name == told:
            values[torch.arange(rows), torch.randint(3, (rows,), generator=random)] += 3 * label.unsqueeze(1)
        streams[m.name] = Stream(values, lengths, here)
    return Batch(streams, {"sentiment": label}, [str(i) for i in range(rows)])


def restricted(batch: Batch, schema: Schema) -> Batch:
    return replace(batch, streams={n: batch[n] for n in schema.names})


def trained(schema: Schema, told: str) -> ALMT:
    torch.manual_seed(0)
    method = ALMT(schema, **TINY)
    optimizer = torch.optim.Adam(method.parameters(), 3e-3)
    for seed in range(120):
        batch = restricted(spoken(32, seed, told=told), schema)
        optimizer.zero_grad()
        method.losses(batch, method(batch))["task"].backward()
        optimizer.step()
    return method.eval()


def error(method: ALMT, batch: Batch) -> float:
    return (prediction(method, batch) - batch.targets["sentiment"]).square().mean().item()


def test_what_only_audio_knows_is_learned() -> None:
    method, fresh = trained(SMALL, "audio"), spoken(256, 1000, told="audio")
    assert error(method, fresh) < 0.3
    assert error(method, fresh.without("audio")) > 0.8


def test_noise_in_the_others_leaves_the_error_near_that_of_text_alone() -> None:
    fresh, schema = spoken(512, 1000, told="text"), Schema(SMALL.modalities[:1], (SCORE,))
    alone = error(trained(schema, "text"), restricted(fresh, schema))
    assert error(trained(SMALL, "text"), fresh) < alone + 0.1


def test_wrong_options_are_named() -> None:
    with pytest.raises(OptionError, match="heads must divide width, got heads=3 and width=16"):
        ALMT(SMALL, width=16, heads=3)
    with pytest.raises(OptionError, match="steps has no value for vision"):
        ALMT(SMALL, steps={"text": 3, "audio": 3})
    with pytest.raises(OptionError, match="steps of audio must be above 0, got 0"):
        ALMT(SMALL, steps={"text": 3, "audio": 0, "vision": 3})
