"""CyIN: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import product
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream, Target
from polymodal.methods.base import Now
from polymodal.methods.cyin import CyIN
from polymodal.nn.traced import tracing

MakeBatch = Callable[..., Batch]

SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
NAMES = ("text", "audio", "vision")
SCHEMA = Schema(
    (Modality("text", "text"), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (SENTIMENT,)
)
SMALL: dict[str, Any] = {
    "steps": 5,
    "bottleneck": (8, 4),
    "channels": (6, 3),
    "width": 4,
    "heads": 2,
    "layers": 1,
    "dropouts": {},
}
SINGLE, TOTAL, REAL = 1, -1, 0
"""Which of the candidates of a code is drawn: the first single translation, the sum, the real one."""


def small(schema: Schema = SCHEMA, **options: Any) -> CyIN:
    return CyIN(schema, **{**SMALL, **options})


def ran(method: CyIN, batch: Batch, phase: str) -> tuple[dict[str, Tensor], Output]:
    method.now = Now(phase)
    output = method.train()(batch)
    return method.losses(batch, output), output


def touched(method: nn.Module, loss: Tensor) -> set[str]:
    """First two parts of the names of the parameters that ``loss`` reaches with a gradient other than zero."""
    named = dict(method.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    found = [n for n, g in zip(named, gradients, strict=True) if g is not None and g.any()]
    return {".".join(n.split(".")[:2]) for n in found}


def draw(monkeypatch: pytest.MonkeyPatch, choice: int) -> None:
    """Make every code of the fusion the candidate number ``choice``."""
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor(choice % high))


def present(batch: Batch) -> dict[str, Tensor]:
    return {n: s.present for n, s in batch.streams.items()}


@pytest.mark.parametrize(
    ("mean", "log_variance", "kl"), [(0.0, 0.0, 0.0), (1.0, 0.0, 0.5), (0.0, log(4), 0.8069), (1.0, log(4), 1.3069)]
)
def test_with_perfect_decoders_the_information_loss_is_the_mean_kl_over_eta(
    mean: float, log_variance: float, kl: float, make_batch: MakeBatch
) -> None:
    for eta, code in ((4.0, 4), (16.0, 7)):
        method = small(eta=eta, bottleneck=(8, code), quirks=())
        for parameter in method.decoders.parameters():
            nn.init.zeros_(parameter)
        found = {f"x_{n}": torch.zeros(8, 5, m.width) for n, m in method.inputs.modalities.items()}
        for n in NAMES:
            found |= {f"mean_{n}": torch.full((8, 5, code), mean), f"z_{n}": torch.randn(8, 5, code)}
            found[f"log_variance_{n}"] = torch.full((8, 5, code), log_variance)
        loss = method.information_loss(found, present(make_batch(SCHEMA)))
        assert loss.item() == pytest.approx(kl / eta, abs=1e-4)


def test_nine_pairs_of_which_each_encoder_and_each_decoder_has_three(make_batch: MakeBatch) -> None:
    method, batch = small(), make_batch(SCHEMA)
    _, output = ran(method, batch, "space")
    here, found = present(batch), output.representations
    terms = {(i, o): method.pair_loss(found, here, i, o) for i, o in product(NAMES, repeat=2)}
    assert len(terms) == 9
    for (i, o), term in terms.items():
        parts = {p for p in touched(method, term) if p.split(".")[0] in ("encoders", "decoders")}
        assert parts == {f"encoders.{i}", f"decoders.{o}"}
    torch.manual_seed(2)
    total = method.information_loss(found, here)
    torch.manual_seed(2)
    again = [method.pair_loss(found, here, i, o) for i, o in terms]
    assert total.item() == pytest.approx(torch.stack(again).mean().item())


def test_what_is_to_be_decoded_trains_too_unless_told_otherwise(make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA)
    for quirks, reached in ((("moving",), True), ((), False)):
        method = small(quirks=quirks)
        _, output = ran(method, batch, "space")
        loss = method.pair_loss(output.representations, present(batch), "audio", "text")
        assert ("inputs.encoders" in touched(method, loss)) == reached


def test_codes_translated_to_are_moved_by_translation_only_where_told(make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA)
    for quirks, reached in ((("moving",), True), ((), False)):
        method = small(quirks=quirks)
        _, output = ran(method, batch, "bridge")
        found = dict(output.representations)
        target = found["z_text"].detach().requires_grad_()
        found["z_text"] = target
        forth, _ = method.translation_losses(found, present(batch))
        (gradient,) = torch.autograd.grad(forth, target, allow_unused=True)
        assert (gradient is not None) == reached


def test_what_predicts_from_means_reads_both_means_and_samples_in_training(make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA)
    for mode, wanted in (("mean", {True, False}), ("sample", {False})):
        method, seen = small(eval_mode=mode), set()
        for _ in range(12):
            _, output = ran(method, batch, "space")
            found = output.representations
            seen.add(torch.equal(found["z_audio"], found["mean_audio"]))
        assert seen == wanted


def test_a_sigmoid_ends_the_decoders_on_request(make_batch: MakeBatch) -> None:
    z = 100 * torch.randn(8, 5, 4)
    assert small(quirks=("sigmoid",)).decoders["audio"](z).min() >= 0
    assert small(quirks=()).decoders["audio"](z).min() < 0


def test_a_translator_serves_both_directions() -> None:
    method = small().eval()
    assert list(method.translators) == ["text+audio", "text+vision", "audio+vision"]
    codes = {n: torch.randn(3, 5, 4) for n in NAMES}
    found = method.translate(codes)
    assert len(found) == 6
    for m, n in (("text", "vision"), ("vision", "text")):
        torch.testing.assert_close(found[f"{m}->{n}"], method.translators["text+vision"](codes[m]))


def test_the_first_phase_builds_the_space_and_the_second_the_bridges(
    make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = small(stage=0.3), make_batch(SCHEMA)
    space, bridge = method.phases()
    assert (space.name, space.share) == ("space", 0.3)
    assert (bridge.name, bridge.share, bridge.parameters) == ("bridge", 0.7, None)
    assert space.parameters is not None
    frozen = {n.split(".")[0] for n, _ in method.named_parameters() if not space.parameters(n)}
    assert frozen == {"translators"}
    always = {"task", "unimodal/text", "unimodal/audio", "unimodal/vision", "information"}
    losses, _ = ran(method, batch, "space")
    assert losses.keys() == always
    assert not any(p.startswith("translators") for p in touched(method, torch.stack(list(losses.values())).sum()))
    for choice, reached in ((REAL, False), (SINGLE, True), (TOTAL, True)):
        draw(monkeypatch, choice)
        losses, _ = ran(method, batch, "bridge")
        assert losses.keys() == {*always, "forward", "back"}
        assert any(p.startswith("translators") for p in touched(method, losses["task"])) == reached
        for name in ("forward", "back"):
            parts = touched(method, losses[name])
            assert {p for p in parts if p.startswith("translators")} == {f"translators.{p}" for p in method.translators}
            assert {f"encoders.{n}" for n in NAMES} <= parts


def test_the_fusion_sees_what_was_drawn(make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    method = small().train()
    codes = {n: torch.randn(8, 5, 4) for n in NAMES}
    found, everyone = method.translate(codes), torch.ones(8, 3, dtype=torch.bool)
    both = found["text->vision"] + found["audio->vision"]
    wanted = {0: codes["vision"], 1: found["text->vision"], 2: found["audio->vision"], 3: both}
    for choice, code in wanted.items():
        draw(monkeypatch, choice)
        assert torch.equal(method.complete(codes, found, everyone)["vision"], code)
    monkeypatch.undo()
    torch.manual_seed(0)
    seen = [method.complete(codes, found, everyone)["vision"] for _ in range(400)]
    counts = [sum(torch.equal(s, w) for s in seen) for w in wanted.values()]
    assert sum(counts) == 400
    assert min(counts) > 70


def test_a_missing_code_is_the_sum_of_the_translations_from_those_present() -> None:
    method = small().eval()
    codes = {n: torch.randn(8, 5, 4) for n in NAMES}
    there = torch.ones(8, 3, dtype=torch.bool)
    there[0, 2] = there[1, 1:] = there[2, :] = False
    codes = {n: z * there[:, i].view(-1, 1, 1) for i, (n, z) in enumerate(codes.items())}
    found = method.translate(codes)
    completed = method.complete(codes, found, there)
    torch.testing.assert_close(completed["vision"][0], (found["text->vision"] + found["audio->vision"])[0])
    torch.testing.assert_close(completed["vision"][1], found["text->vision"][1])
    assert not completed["vision"][2].any()
    for n in NAMES:
        assert torch.equal(completed[n][3:], codes[n][3:])


def test_the_translation_losses_are_nine_errors_forward_and_nine_back(make_batch: MakeBatch) -> None:
    method, batch = small(translation_weight=10.0), make_batch(SCHEMA)
    losses, output = ran(method, batch, "bridge")
    z = {n: output.representations[f"z_{n}"] for n in NAMES}

    def t(source: str, target: str, x: Tensor) -> Tensor:
        name = f"{source}+{target}"
        return method.translators[name if name in method.translators else f"{target}+{source}"](x)

    forth, back = [], []
    for o in NAMES:
        i, j = (n for n in NAMES if n != o)
        there = [t(i, o, z[i]), t(j, o, z[j])]
        again = [t(i, o, t(o, i, z[o])), t(j, o, t(o, j, z[o]))]
        forth += [(x - z[o]).square().mean() for x in (*there, there[0] + there[1])]
        back += [(x - z[o]).square().mean() for x in (*again, again[0] + again[1])]
    assert len(forth) == len(back) == 9
    assert losses["forward"].item() == pytest.approx(10 * torch.stack(forth).mean().item(), rel=1e-5)
    assert losses["back"].item() == pytest.approx(10 * torch.stack(back).mean().item(), rel=1e-5)


def test_absent_samples_are_in_no_term_that_needs_them(make_batch: MakeBatch) -> None:
    batch, rows = make_batch(SCHEMA), torch.arange(8) < 5
    method = small(quirks=("strided",))
    _, output = ran(method, batch.without("vision", rows=rows), "bridge")
    found, here = output.representations, present(batch.without("vision", rows=rows))
    spoiled = {n: x.clone() for n, x in found.items()}
    for name in ("x_vision", "vision->text", "vision->audio"):
        spoiled[name][:5] += 9
    results = []
    for representations in (found, spoiled):
        torch.manual_seed(0)
        forth, back = method.translation_losses(representations, here)
        results.append((method.information_loss(representations, here).item(), forth.item(), back.item()))
    assert results[0] == pytest.approx(results[1])


def test_absent_modalities_do_not_leak_into_sampled_predictions(make_batch: MakeBatch) -> None:
    method, batch, other = small(eval_mode="sample").eval(), make_batch(SCHEMA), make_batch(SCHEMA, seed=4)
    results = []
    for vision in (batch["vision"], other["vision"]):
        torch.manual_seed(0)
        given = Batch({**batch.streams, "vision": vision}, batch.targets, batch.ids).without("vision")
        results.append(method(given).predictions["sentiment"])
    assert torch.equal(*results)


def test_the_mean_is_deterministic_and_samples_vary(make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA).without("audio", rows=torch.arange(8) < 4)
    for mode, same in (("mean", True), ("sample", False)):
        method = small(eval_mode=mode).eval()
        assert torch.equal(*(method(batch).predictions["sentiment"] for _ in range(2))) == same


def column(values: list[float], padding: int = 0) -> Stream:
    x = torch.tensor([*values, *[0.0] * padding]).view(1, -1, 1)
    return Stream(x, torch.tensor([len(values)]), torch.tensor([True]))


@pytest.mark.parametrize("padding", [0, 1, 20])
def test_frames_are_strided_means_of_true_steps(padding: int) -> None:
    method = small(steps=3)
    wanted = {7: [3, 11 / 3, 13 / 3], 3: [0, 1, 2], 2: [0, 1, 1], 1: [0, 0, 0], 6: [1.5, 2.5, 3.5]}
    for length, frames in wanted.items():
        aligned = method.align(column([float(i) for i in range(length)], padding))
        assert aligned[0, :, 0].tolist() == pytest.approx(frames)
        with tracing():
            again = method.align(column([float(i) for i in range(length)], padding))
        torch.testing.assert_close(again, aligned)


def test_without_the_stride_frames_are_stretches_of_time() -> None:
    method = small(steps=3, quirks=())
    assert method.align(column([0, 1, 2, 3, 4, 5], 9))[0, :, 0].tolist() == pytest.approx([0.5, 2.5, 4.5])
    assert method.align(column([1, 4], 9))[0, :, 0].tolist() == pytest.approx([1, 2.5, 4])
    vector = Stream(torch.tensor([[7.0]]), None, torch.tensor([True]))
    for quirks in ((), ("strided",)):
        assert small(steps=3, quirks=quirks).align(vector)[0, :, 0].tolist() == pytest.approx([7, 7, 7])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_modalities(count: int, make_batch: MakeBatch) -> None:
    modalities = (
        Modality("a", "sequence", 3),
        Modality("b", "vector", 4),
        Modality("c", "text"),
        Modality("d", "text"),
    )
    schema = Schema(modalities[:count], (SENTIMENT,))
    method = small(schema)
    losses, _ = ran(method, make_batch(schema), method.phases()[-1].name)
    assert len(method.translators) == count * (count - 1) // 2
    assert [p.name for p in method.phases()] == (["train"] if count == 1 else ["space", "bridge"])
    assert ("forward" in losses) == (count > 1)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide width, got heads=3 and width=4"),
        ({"steps": 2}, "steps must be at least 3"),
        ({"stage": 0.0}, "stage must be above 0"),
        ({"stage": 1.0}, "stage must be at least 0 and below 1"),
        ({"channels": ()}, "channels must be above 0"),
        ({"dropouts": {"memmory": 0.1}}, "dropouts has no place 'memmory'; did you mean 'memory'"),
        ({"dropouts": {"audio": 1.5}}, "dropout of audio must be at least 0 and below 1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        small(**options)


VIEWS = Schema(tuple(Modality(n, "sequence", 4) for n in NAMES), (SENTIMENT,))
MIXING = {n: torch.randn(4, generator=torch.Generator().manual_seed(i)) for i, n in enumerate(NAMES)}


def views(rows: int) -> Batch:
    """Three noisy views of one factor, which is the label."""
    factor, here, lengths = torch.randn(rows), torch.ones(rows, dtype=torch.bool), torch.full((rows,), 4)
    streams = {}
    for n in NAMES:
        reading = factor + 0.5 * torch.randn(rows)
        streams[n] = Stream(reading.view(-1, 1, 1) * MIXING[n] + 0.3 * torch.randn(rows, 4, 4), lengths, here)
    return Batch(streams, {"sentiment": factor}, [str(i) for i in range(rows)])


def trained(space: int) -> CyIN:
    """Train 300 steps on fresh data, the first ``space`` of them in the first phase."""
    torch.manual_seed(0)
    sizes = {**SMALL, "steps": 4, "bottleneck": (16, 8), "channels": (16, 8), "width": 8}
    method = CyIN(VIEWS, **sizes, quirks=("strided",), eta=16.0)
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    for step in range(300):
        losses, _ = ran(method, views(64), "space" if step < space else "bridge")
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
    return method.eval()


@torch.no_grad()
def errors(method: CyIN) -> list[float]:
    """Mean absolute errors where 0, 30, 50 and 70 % of the modalities are missing; every sample keeps one."""
    found = []
    for rate in (0.0, 0.3, 0.5, 0.7):
        torch.manual_seed(7)
        batch, keep = views(1024), torch.rand(1024, 3) >= rate
        keep[torch.arange(1024), torch.randint(3, (1024,))] = True
        for i, n in enumerate(NAMES):
            batch = batch.without(n, rows=~keep[:, i])
        found.append((method(batch).predictions["sentiment"] - batch.targets["sentiment"]).abs().mean().item())
    return found


@pytest.mark.slow
def test_translations_beat_zeros_the_more_is_missing_and_cost_little_where_nothing_is() -> None:
    method, alone = trained(80), trained(300)
    silent = deepcopy(method)
    for parameter in silent.translators.parameters():
        nn.init.zeros_(parameter)
    full, zeros, plain = errors(method), errors(silent), errors(alone)
    gaps = [b - a for a, b in zip(full, zeros, strict=True)]
    assert gaps[0] == 0
    assert 0.02 < gaps[1] < gaps[2] < gaps[3]
    assert full[0] < plain[0] + 0.06
    assert full[3] < plain[3] - 0.08
