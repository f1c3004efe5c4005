"""MISA: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.misa import MISA, overlap
from polymodal.nn.discrepancy import moment_discrepancy

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
VECTORS = Schema(tuple(Modality(n, "vector", 8) for n in ("text", "audio", "vision")), (SCORE,))
SMALL = {"width": 16, "feedforward": 32, "dropout": 0.0}

BERT_BASE = 109_482_240  # with its pooler, 590,592 parameters that a text encoder here does not have


def overlaps(x: Tensor, y: Tensor) -> Tensor:
    return overlap(x, y, torch.ones(len(x), dtype=torch.bool))


def size(method: torch.nn.Module) -> int:
    return sum(p.numel() for p in method.parameters())


def test_without_bert_the_parameters_are_the_published_ones_but_for_two_idle_modules() -> None:
    norm, discriminator = 2 * 1536, 128 * 4 + 4  # neither is used in MMSA's forward pass or gets a gradient
    assert size(build(find_method("misa"), MOSI, {})) == 110_620_273 - BERT_BASE - norm - discriminator


def test_the_overlap_ignores_scale_and_offset_and_is_zero_for_orthogonal_codes() -> None:
    x, y = torch.randn(32, 8), torch.randn(32, 8)
    assert overlaps(3 * x, y).item() == pytest.approx(overlaps(x, y).item(), rel=1e-4)
    assert overlaps(x + 5 * torch.randn(8), y).item() == pytest.approx(overlaps(x, y).item(), rel=1e-4)
    assert overlaps(x, x) > 0
    # Unit columns after centring: X^T Y of one column each is the sum of products, here 4 of equal sign, then 0.
    signs, crossed = torch.tensor([[1.0], [1], [-1], [-1]]), torch.tensor([[1.0], [-1], [1], [-1]])
    assert overlaps(signs, signs).item() == pytest.approx(16, rel=1e-4)
    assert overlaps(signs, crossed).item() == pytest.approx(0, abs=1e-6)


def test_no_gradient_of_the_overlap_passes_through_the_lengths_of_rows() -> None:
    x, y = torch.randn(32, 8, requires_grad=True), torch.randn(32, 8)
    loss = overlaps(x, y)
    loss.backward()
    # Quadratic in x while lengths are constants (Euler's theorem); with them it does not depend on the scale.
    assert x.grad is not None
    assert (x * x.grad).sum().item() == pytest.approx(2 * loss.item(), rel=1e-4)


def test_the_reconstruction_moves_what_it_reconstructs_too(make_batch: MakeBatch) -> None:
    method, batch = MISA(MOSI, **SMALL), make_batch(MOSI)
    found = {n: x.detach().requires_grad_(n == "u_audio") for n, x in method(batch).representations.items()}
    method.reconstruction_loss(batch, Output({}, found)).backward()
    assert found["u_audio"].grad is not None


def test_rows_that_do_not_count_change_no_loss() -> None:
    x, y, junk = torch.rand(6, 4), torch.rand(6, 4), 1e3 * torch.rand(3, 4)
    rows = torch.tensor([True] * 6 + [False] * 3)
    long_x, long_y = torch.cat([x, junk]), torch.cat([y, -junk])
    assert torch.allclose(overlap(long_x, long_y, rows), overlaps(x, y))


def test_only_samples_that_have_both_modalities_are_compared(make_batch: MakeBatch) -> None:
    method, batch = MISA(MOSI, **SMALL).eval(), make_batch(MOSI, 12)
    rows = torch.arange(12)
    some = batch.without("audio", rows=rows < 4).without("vision", rows=rows > 8)
    found = {n: x.detach() for n, x in method(some).representations.items()}
    pairs = [(f"private_{n}", f"shared_{n}") for n in MOSI.names]
    pairs += combinations([f"private_{n}" for n in MOSI.names], 2)
    terms = []
    for a, b in pairs:
        both = found[a].any(1) & found[b].any(1)
        terms.append(overlaps(found[a][both], found[b][both]))
    assert torch.allclose(method.difference_loss(some, Output({}, found)), torch.stack(terms).sum())


def test_the_task_reaches_every_module_but_the_decoders(make_batch: MakeBatch) -> None:
    schema = Schema((Modality("text", "text"), *MOSI.modalities[1:]), (SCORE,))
    method, batch = MISA(schema, **SMALL), make_batch(schema)
    method.losses(batch, method(batch))["task"].backward()
    still = {n.split(".")[0] for n, p in method.named_parameters() if p.grad is None}
    assert still == {"decoders"}
    for part in ("inputs", "utterances", "projections", "private", "shared", "attention"):
        assert all(p.grad.any() for n, p in method.named_parameters() if n.startswith(f"{part}.") and "bias" not in n)


def test_the_extra_losses_are_weighted_and_absent_in_evaluation(make_batch: MakeBatch) -> None:
    method, batch = MISA(MOSI, **SMALL, alpha=0.5, beta=2.0, gamma=3.0), make_batch(MOSI)
    output = method.eval()(batch)
    assert list(method.losses(batch, output)) == ["task"]
    losses = method.train().losses(batch, output)
    error = (output.predictions["sentiment"] - batch.targets["sentiment"]).square().mean()
    assert torch.allclose(losses["task"], error)
    assert torch.allclose(losses["similarity"], 0.5 * method.similarity_loss(batch, output))
    assert torch.allclose(losses["difference"], 2 * method.difference_loss(batch, output))
    assert torch.allclose(losses["reconstruction"], 3 * method.reconstruction_loss(batch, output))


def test_a_late_frame_counts_and_padding_does_not() -> None:
    method = MISA(MOSI, **SMALL).double().eval()
    with torch.no_grad():
        for name, parameter in method.utterances["audio"].named_parameters():
            if "bias_ih" in name:
                parameter[5:10] = 6  # forget gates open: fresh LSTMs have lost what was 100 steps ago
    here = torch.ones(1, dtype=torch.bool)
    text, audio, vision = (torch.randn(1, steps, width).double() for steps, width in ((20, 768), (375, 5), (60, 20)))

    def predict(frames: Tensor) -> Tensor:
        streams = {
            "text": Stream(text, torch.tensor([20]), here),
            "audio": Stream(frames, torch.tensor([375]), here),
            "vision": Stream(vision, torch.tensor([60]), here),
        }
        with torch.no_grad():
            return method(Batch(streams, {}, ["a"])).predictions["sentiment"]

    changed = audio.clone()
    changed[0, 100] += 3
    assert (predict(changed) - predict(audio)).abs() > 1e-6
    assert (predict(torch.cat([audio, torch.zeros(1, 50, 5)], dim=1)) - predict(audio)).abs() < 1e-12


def factors(rows: int, seed: int) -> Batch:
    """One factor in all three modalities, which is the label, and one in each alone."""
    fixed, random = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    shared, here = torch.randn(rows, 1, generator=random), torch.ones(rows, dtype=torch.bool)
    streams = {}
    for name in VECTORS.names:
        both = torch.cat([shared, torch.randn(rows, 1, generator=random)], dim=1)
        streams[name] = Stream(both @ torch.randn(2, 8, generator=fixed), None, here)
    return Batch(streams, {"sentiment": shared[:, 0].clamp(-3, 3)}, [str(i) for i in range(rows)])


@cache
def spaces(alpha: float, beta: float, steps: int = 100) -> tuple[float, float]:
    """Overlap of private and shared vectors, and discrepancy of the shared ones, of unseen samples after training."""
    torch.manual_seed(0)
    method = MISA(VECTORS, **SMALL, alpha=alpha, beta=beta)
    optimiser = torch.optim.Adam(method.parameters(), 0.003)
    for i in range(steps):
        batch = factors(64, seed=1 + i)
        optimiser.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimiser.step()
    with torch.no_grad():
        found = method.eval()(factors(256, seed=0)).representations
    same = [overlaps(found[f"private_{n}"], found[f"shared_{n}"]) for n in VECTORS.names]
    apart = [moment_discrepancy(found[f"shared_{a}"], found[f"shared_{b}"]) for a, b in combinations(VECTORS.names, 2)]
    return torch.stack(same).mean().item(), torch.stack(apart).mean().item()


def test_the_difference_loss_separates_private_from_shared_and_nothing_else_does() -> None:
    before = spaces(0.0, 0.0, steps=0)[0]
    assert spaces(0.0, 0.3)[0] < 0.5 * before
    assert spaces(0.0, 0.0)[0] > before


def test_the_similarity_loss_brings_the_shared_vectors_together_and_nothing_else_does() -> None:
    before = spaces(0.0, 0.0, steps=0)[1]
    assert spaces(1.0, 0.0)[1] < 0.2 * before
    assert spaces(0.0, 0.0)[1] > before


def test_losses_are_finite_in_half_precision(make_batch: MakeBatch) -> None:
    method, batch = MISA(MOSI, **SMALL), make_batch(MOSI)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method.losses(batch, method(batch))
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide width, got heads=3 and width=128"),
        ({"beta": -1.0}, "must not be negative"),
        ({"hidden": 0}, "hidden must be above 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(find_method("misa"), MOSI, options)
