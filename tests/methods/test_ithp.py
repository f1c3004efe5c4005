"""ITHP: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.ithp import ITHP, detection_error
from polymodal.nn.bottleneck import kl_to_standard_normal

MakeBatch = Callable[..., Batch]
SCORE = (Target("y", "regression", (-3, 3)),)
WIDTHS = {"text": 6, "audio": 5, "vision": 4}
SMALL = Schema(tuple(Modality(n, "sequence", w) for n, w in WIDTHS.items()), SCORE)
VECTORS = Schema(tuple(Modality(n, "vector", w) for n, w in (("text", 3), ("audio", 1), ("vision", 1))), SCORE)
STILL = {"dropout": 0.0, "output_dropout": 0.0}


def gradient(loss: Tensor, module: torch.nn.Module) -> float:
    """Largest gradient of ``loss`` in ``module``; 0 where there is no path."""
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return max((float(g.abs().max()) for g in found if g is not None), default=0.0)


def test_the_published_sizes() -> None:
    field = {"text": 768, "audio": 74, "vision": 47}
    method = ITHP(Schema(tuple(Modality(n, "sequence", w) for n, w in field.items()), SCORE))
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in method.named_children()}
    first = (768 * 256 + 256) + (256 * 256 + 256) + (128 * 256 + 256) + (256 * 74 + 74)
    second = (128 * 256 + 256) + (256 * 128 + 128) + (64 * 256 + 256) + (256 * 47 + 47)
    assert sizes["levels"] == first + second
    assert sizes["shift"] == 64 * 768 + 768
    assert sizes["pooler"] == 768 * 768 + 768
    assert sizes["heads"] == 768 + 1


def test_remembering_costs_nothing_only_at_the_prior() -> None:
    zero, one = torch.zeros(4), torch.ones(4)
    assert kl_to_standard_normal(zero, zero) == 0
    assert kl_to_standard_normal(one, zero) / 4 == 0.5
    assert kl_to_standard_normal(zero, one) > 0
    assert kl_to_standard_normal(zero, -one) > 0


def test_terms_are_means_over_true_steps_and_features(make_batch: MakeBatch) -> None:
    method = ITHP(SMALL, **STILL)
    with torch.no_grad():
        for level in method.levels.values():
            for linear in (level.bottleneck.mean, level.bottleneck.log_variance):
                linear.weight.zero_()
                linear.bias.zero_()
            level.bottleneck.mean.bias.fill_(1)
    found = method(make_batch(SMALL)).representations
    for name in ("kl_audio", "kl_vision"):
        assert torch.allclose(found[name], torch.full((8,), 0.5))


@pytest.mark.parametrize(("beta", "weight"), [((8.0, 32.0), 0.05), ((1.0, 1.0), 1.0), ((4.0,), 0.25)])
def test_the_bottlenecks_weigh_two_over_beta_plus_gamma(beta: tuple[float, ...], weight: float) -> None:
    assert ITHP(SMALL, beta=beta).weight == pytest.approx(weight)


def test_level_weight_scales_the_second_level_only(make_batch: MakeBatch) -> None:
    batch, seen = make_batch(SMALL), {}
    for level_weight in (0.3, 0.6):
        torch.manual_seed(1)
        method = ITHP(SMALL, level_weight=level_weight)
        seen[level_weight] = method.losses(batch, method(batch))
    for name, loss in seen[0.3].items():
        factor = 2 if name.endswith("vision") else 1
        assert torch.allclose(seen[0.6][name], factor * loss), name


def test_the_loss_is_the_papers_sum(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL)
    method = ITHP(SMALL, **STILL)
    output = method(batch)
    kl0, mse0, kl1, mse1 = (
        output.representations[n].mean() for n in ("kl_audio", "error_audio", "kl_vision", "error_vision")
    )
    bottlenecks = (kl0 + 8 * mse0) + 0.3 * (kl1 + 32 * mse1)
    squared = (output.predictions["y"] - batch.targets["y"]).square().mean()
    total = torch.stack(list(method.losses(batch, output).values())).sum()
    assert torch.allclose(total, squared + 0.05 * bottlenecks)


def test_the_last_code_shifts_the_prime_features(make_batch: MakeBatch) -> None:
    batch, method = make_batch(SMALL), ITHP(SMALL, pool="first").eval()
    assert method.shift is not None
    with torch.no_grad():
        method.shift.weight.zero_()
        method.shift.bias.copy_(torch.arange(6.0))
        wanted = torch.tanh(method.pooler(method.norm(batch["text"].tensor[:, 0] + torch.arange(6.0))))
        assert torch.allclose(method(batch).representations["fused"], wanted)


def test_absent_detectors_do_not_dilute_the_loss(make_batch: MakeBatch) -> None:
    batch, method = make_batch(SMALL), ITHP(SMALL, **STILL)
    some = batch.without("audio", rows=torch.arange(8) > 2).without("text", rows=torch.arange(8) == 0)
    output = method(some)
    losses, found = method.losses(some, output), output.representations
    assert torch.allclose(losses["error_audio"], 0.05 * 8 * found["error_audio"][1:3].mean())
    assert torch.allclose(losses["error_vision"], 0.05 * 0.3 * 32 * found["error_vision"][1:].mean())
    assert torch.allclose(losses["kl_audio"], 0.05 * found["kl_audio"][1:].mean())


def test_gradients_run_down_the_chain_and_not_up(make_batch: MakeBatch) -> None:
    batch = make_batch(SMALL)
    method = ITHP(SMALL)
    losses = method.losses(batch, method(batch))
    first, second = method.levels["audio"], method.levels["vision"]
    assert gradient(losses["error_vision"], first.encoder) > 0
    assert gradient(losses["error_vision"], second.encoder) > 0
    assert gradient(losses["error_audio"], first.encoder) > 0
    assert gradient(losses["error_audio"], second) == 0
    assert gradient(losses["error_vision"], first.detector) == 0
    assert gradient(losses["task"], first.encoder) > 0
    assert gradient(losses["task"], first.detector) == 0


def test_predictions_ignore_the_detectors(make_batch: MakeBatch) -> None:
    batch, other = make_batch(SMALL), make_batch(SMALL, seed=5)
    swapped = replace(batch, streams={**other.streams, "text": batch["text"]})
    for mode in (True, False):
        method = ITHP(SMALL).train(mode)
        results = []
        for given in (batch, swapped, batch.without("audio", "vision")):
            torch.manual_seed(2)
            results.append(method(given).predictions["y"])
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])


def test_codes_are_noisy_in_training_and_means_in_evaluation(make_batch: MakeBatch) -> None:
    batch, method = make_batch(SMALL), ITHP(SMALL, **STILL)
    assert not torch.equal(method(batch).predictions["y"], method(batch).predictions["y"])
    method.eval()
    assert torch.equal(method(batch).predictions["y"], method(batch).predictions["y"])


def test_targets_are_scaled_by_the_true_values_of_the_batch() -> None:
    values = torch.tensor([[[2.0], [4.0], [99.0]], [[6.0], [99.0], [99.0]], [[-50.0], [0.0], [0.0]]])
    stream = Stream(values, torch.tensor([2, 1, 1]), torch.tensor([True, True, False]))
    mask = torch.tensor([[True, True, False], [True, False, False], [True, False, False]])
    zero = detection_error(torch.zeros(3, 3, 1), stream, mask)
    assert torch.allclose(zero, torch.tensor([(0 + 0.25) / 2, 1.0, 0.0]))
    perfect = torch.tensor([[[0.0], [0.5], [9.0]], [[1.0], [9.0], [9.0]], [[9.0], [9.0], [9.0]]])
    assert not detection_error(perfect, stream, mask).any()


def test_a_detector_of_another_rate_is_resampled_to_the_prime_modality() -> None:
    fast = Stream(torch.tensor([[[0.0], [1.0], [2.0], [4.0]]]), torch.tensor([4]), torch.tensor([True]))
    vector = Stream(torch.tensor([[3.0]]), None, torch.tensor([True]))
    mask = torch.tensor([[True, True]])
    assert detection_error(torch.tensor([[[0.0], [1.0]]]), fast, mask) == 0  # means 0.5 and 3
    assert detection_error(torch.zeros(1, 2, 1), vector, mask) == 0  # a constant is scaled to 0


def test_the_order_is_an_option() -> None:
    assert list(ITHP(SMALL, order=("vision",)).levels) == ["text", "audio"]
    assert ITHP(SMALL, order=("vision", "audio")).detectors == ["audio", "text"]
    assert ITHP(SMALL).prime == "text"
    unnamed = Schema((Modality("b", "vector", 3), Modality("a", "vector", 3)), SCORE)
    assert ITHP(unnamed).prime == "b"
    spoken = Schema((Modality("audio", "vector", 3), Modality("transcript", "text")), SCORE)
    assert ITHP(spoken).prime == "transcript"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": ("txt",)}, "order names 'txt'; did you mean 'text'"),
        ({"order": ("text", "audio", "text")}, "order names 'text' twice"),
        ({"widths": ()}, "widths is empty"),
        ({"widths": (8, 0)}, "widths of level 1 must be above 0, got 0"),
        ({"beta": (8.0, -1.0)}, "must not be negative"),
        ({"beta": (0.0,)}, "needs a beta above 0; give one, or set weight"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ITHP(SMALL, **options)


SPOKEN = Schema((Modality("text", "text"), Modality("audio", "vector", 3)), SCORE)


def said(*texts: str) -> Batch:
    here = torch.ones(len(texts), dtype=torch.bool)
    streams = {"text": Stream(list(texts), None, here), "audio": Stream(torch.zeros(len(texts), 3), None, here)}
    return Batch(streams, {"y": torch.zeros(len(texts))}, list(texts))


def test_sentences_that_begin_alike_are_told_apart_without_a_transformer() -> None:
    """A [CLS] has seen the whole sentence, a hashed word itself alone."""
    predictions = ITHP(SPOKEN).eval()(said("the film was good", "the film was not bad", "the end")).predictions["y"]
    assert (predictions[:, None] - predictions).abs().fill_diagonal_(1).min() > 1e-5


def test_the_first_token_is_read_by_default_where_a_transformer_made_it(bert: str) -> None:
    assert ITHP(SPOKEN.with_encoders({"text": bert})).pool == "first"
    assert ITHP(SPOKEN.with_encoders({"text": bert}), pool="mean").pool == "mean"
    assert ITHP(SPOKEN).pool == "mean"


def test_raw_text_is_no_target() -> None:
    schema = Schema((Modality("text", "text"), Modality("audio", "vector", 3)), SCORE)
    with pytest.raises(OptionError, match="put it first in order, or turn it into features with --encode text=minilm"):
        ITHP(schema, order=("audio",))


def test_losses_are_finite_in_half_precision(make_batch: MakeBatch) -> None:
    method, batch = ITHP(SMALL), make_batch(SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method.losses(batch, method(batch))
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in method.parameters())


def factors(rows: int) -> tuple[Batch, Tensor]:
    """X_0 = two factors and noise; the first detector is the first factor, the second one both factors' product."""
    parts = torch.randn(rows, 3)
    values = {"text": parts, "audio": parts[:, :1], "vision": parts[:, :1] * parts[:, 1:2]}
    here = torch.ones(rows, dtype=torch.bool)
    streams = {n: Stream(v, None, here) for n, v in values.items()}
    return Batch(streams, {"y": torch.zeros(rows)}, [str(i) for i in range(rows)]), parts


def trained(steps: int, **options: object) -> ITHP:
    """Fit the bottlenecks of small vectors; the task term, constant 0, is left out."""
    torch.manual_seed(0)
    method = ITHP(VECTORS, widths=(4, 4), hidden=32, weight=1.0, level_weight=1.0, **STILL, **options)
    optimizer = torch.optim.Adam(method.parameters(), 5e-3)
    for _ in range(steps):
        batch, _ = factors(256)
        optimizer.zero_grad()
        losses = method.losses(batch, method(batch))
        torch.stack([loss for name, loss in losses.items() if name != "task"]).sum().backward()
        optimizer.step()
    return method


def figures(method: ITHP, batch: Batch) -> dict[str, float]:
    with torch.no_grad():
        return {n: float(x.mean()) for n, x in method.train()(batch).representations.items() if x.dim() == 1}


def recovered(codes: Tensor, factor: Tensor) -> float:
    """R^2 on the second half of a cubic ridge probe fitted on the first."""
    columns = [codes, codes**2, codes**3, codes[:, :, None] * codes[:, None, :]]
    x = torch.cat([c.flatten(1) for c in columns] + [torch.ones(len(codes), 1)], dim=1).double()
    half, y = len(x) // 2, factor.double()
    weights = torch.linalg.solve(x[:half].T @ x[:half] + 1e-3 * torch.eye(x.shape[1]).double(), x[:half].T @ y[:half])
    left = (x[half:] @ weights - y[half:]).square().mean()
    return float(1 - left / y[half:].var())


@pytest.fixture(scope="module")
def bound() -> ITHP:
    """Bottlenecks under a strong pull to predict."""
    return trained(400, beta=(1000.0, 1000.0))


@pytest.mark.slow
def test_without_prediction_codes_forget_everything_and_with_it_they_predict(bound: ITHP) -> None:
    free, (batch, _) = trained(150, beta=(0.0, 0.0)), factors(1024)
    forgot, kept = figures(free, batch), figures(bound, batch)
    assert forgot["kl_audio"] < 1e-2
    assert forgot["kl_vision"] < 1e-2
    assert kept["kl_audio"] > 0.2
    assert kept["error_audio"] < 0.2 * forgot["error_audio"]
    codes = {name: m.eval()(batch).representations["code_audio"] for name, m in (("free", free), ("bound", bound))}
    assert codes["free"].std(0).max() < 0.2 < codes["bound"].std(0).max()


def test_the_last_code_keeps_what_detectors_confirm_and_drops_noise(bound: ITHP) -> None:
    batch, parts = factors(4000)
    with torch.no_grad():
        # The code is a sample: of what its mean still holds of the noise, nothing survives the draw.
        code = bound.train()(batch).representations["code_vision"]
    wanted = {"first": parts[:, 0], "product": parts[:, 0] * parts[:, 1], "noise": parts[:, 2]}
    found = {n: recovered(code, f) for n, f in wanted.items()}
    whole = {n: recovered(parts, f) for n, f in wanted.items()}
    assert min(whole.values()) > 0.99
    assert found["product"] > 0.8
    assert found["first"] > 0.2
    assert found["noise"] < 0.05
