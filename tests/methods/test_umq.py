"""UMQ: what quality measures, what the enhancer and the experts do with it, and where gradients go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream, Target
from polymodal.methods._enhancer import helper_weights
from polymodal.methods.base import Now
from polymodal.methods.umq import UMQ
from polymodal.nn.corruption import corrupt, drawn_corruption, gaussian_like

MakeBatch = Callable[..., Batch]

VIEWS = Schema(tuple(Modality(n, "vector", 10) for n in "abc"), (Target("y", "regression", (-3.0, 3.0)),))
MIXED = Schema(
    (Modality("text", "text"), Modality("audio", "sequence", 5), Modality("face", "vector", 3)),
    (Target("emotion", "classification", classes=("joy", "anger", "fear")),),
)
ROWS = 600


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planted(rows: int, seed: int) -> Batch:
    """Two factors, read by every modality with its own errors; the label is a sum of both."""
    g, directions = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(7)
    factors, here = torch.randn(rows, 2, generator=g), torch.ones(rows, dtype=torch.bool)
    streams = {}
    for name in VIEWS.names:
        reading = factors + 0.6 * torch.randn(rows, 2, generator=g)
        values = reading @ torch.randn(2, 10, generator=directions) + 0.1 * torch.randn(rows, 10, generator=g)
        streams[name] = Stream(values, None, here)
    label = (factors[:, 0] + 0.5 * factors[:, 1]).clamp(-3, 3)
    return Batch(streams, {"y": label}, [str(i) for i in range(rows)])


def take(batch: Batch, rows: Tensor) -> Batch:
    streams = {n: Stream(s.tensor[rows], None, s.present[rows]) for n, s in batch.streams.items()}
    return Batch(streams, {n: t[rows] for n, t in batch.targets.items()}, [batch.ids[i] for i in rows.tolist()])


def train(method: UMQ, batch: Batch, steps: int) -> UMQ:
    """All phases, as the loop runs them, on random 64 of ``batch``."""
    for phase in method.phases():
        method.now = Now(phase.name)
        for name, p in method.named_parameters():
            p.requires_grad_(phase.parameters is None or phase.parameters(name))
        optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 5e-3)
        method.train()
        for _ in range(round(steps * phase.share)):
            part = take(batch, torch.randperm(len(batch))[:64])
            optimiser.zero_grad()
            sum(method.losses(part, method(part)).values()).backward()
            torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
            optimiser.step()
    method.now = Now("train")
    return method.eval()


@pytest.fixture(scope="module")
def trained() -> UMQ:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return train(UMQ(VIEWS, width=24, dropout=0.0), planted(1000, 1), 400)


@pytest.fixture(scope="module")
def held_out() -> Batch:
    return planted(ROWS, 2)


@torch.no_grad()
def vectors(method: UMQ, batch: Batch) -> Tensor:
    found = method(batch).representations
    return torch.stack([found[f"x_{n}"] for n in batch.streams], dim=1)


def error(output: Output, batch: Batch) -> float:
    return (output.predictions["y"] - batch.targets["y"]).abs().mean().item()


@pytest.mark.slow
def test_quality_falls_with_corruption_on_held_out_data(trained: UMQ, held_out: Batch) -> None:
    x = vectors(trained, held_out)
    noise, here = gaussian_like(x, held_out.present), torch.ones(ROWS, 3)
    grid = torch.linspace(0, 1, 11)
    with torch.no_grad():
        steps = torch.stack([trained.estimated(corrupt(x, noise, rho * here)) for rho in grid])
    clean, light, heavy, nothing = steps[0], steps[3], steps[7], steps[10]
    assert ((clean > light) & (light > heavy) & (heavy > nothing)).float().mean() > 0.9
    ranks = steps.argsort(0).argsort(0).float()
    falling = torch.arange(10, -1, -1.0).view(-1, 1, 1)
    spearman = 1 - 6 * (ranks - falling).square().sum(0) / (11 * 120)
    assert spearman.mean() > 0.98


@pytest.mark.slow
def test_both_anchors_hold_on_held_out_data(trained: UMQ, held_out: Batch) -> None:
    x = vectors(trained, held_out)
    with torch.no_grad():
        q, trusted = trained.estimated(x), trained.surprise(x, held_out)[0] < trained.trust
        assert trained.estimated(gaussian_like(x, held_out.present)).mean(0).max() < 0.1
    assert trusted.float().mean() > 0.3
    assert q[trusted].mean() > 0.9


class Told(UMQ):
    """Qualities are said, not estimated: 1 minus the distance to 1 of the first feature."""

    def estimated(self, x: Tensor) -> Tensor:
        return x[..., 0]


def test_the_estimator_loss_is_zero_when_anchors_ranks_and_samples_agree() -> None:
    method = Told(VIEWS, width=4)
    here, surprise = torch.ones(5, 3, dtype=torch.bool), torch.full((5, 3), 0.1)
    levels = torch.tensor([0.0, 0.2, 0.7, 1.0]).view(4, 1, 1).expand(4, 5, 3)
    ladder = (1 - levels).unsqueeze(-1).expand(4, 5, 3, 4)  # q = 1 - rho
    assert method.estimator_loss(ladder, levels, here, surprise) == pytest.approx(0, abs=1e-6)
    worse = torch.tensor([0.1, 0.1, 0.1, 0.1, 2.0])[:, None].expand(5, 3)
    only_margin = torch.tensor(0.1)
    torch.testing.assert_close(method.estimator_loss(ladder, levels, here, worse), only_margin)
    # 0.95 is trusted, 0.5 is not.
    assert method.estimator_loss(0.5 * ladder, levels, here, surprise) == pytest.approx(0.45)
    assert method.estimator_loss(0.5 * ladder, levels, here, surprise + 2) == pytest.approx(0, abs=1e-6)


def spoiled(x: Tensor, kind: str, strength: float) -> Tensor:
    """Noise that no training has seen, around the mean and in units of the deviation of each feature of ``x``."""
    g = torch.Generator().manual_seed(5)
    mean, deviation, uniform = x.mean(0), x.std(0), torch.rand(x.shape, generator=g) - 0.5
    if kind == "uniform":
        return x + 2 * strength * deviation * 12**0.5 * uniform
    if kind == "laplace":
        return x - 2 * strength * deviation * uniform.sign() * torch.log(1 - 2 * uniform.abs()) / 2**0.5
    if kind == "zero-mean":
        return (1 - strength) * x + strength * deviation * torch.randn(x.shape, generator=g)
    jump = mean + 3 * deviation * torch.randn(x.shape, generator=g).sign()
    return torch.where(uniform + 0.5 < strength, jump, x)


def falls(levels: list[Tensor]) -> float:
    """Spearman's correlation of quality with falling noise, mean over samples and modalities."""
    ranks, count = torch.stack(levels).argsort(0).argsort(0).float(), len(levels)
    wanted = torch.arange(count - 1, -1, -1.0).view(-1, 1, 1)
    return (1 - 6 * (ranks - wanted).square().sum(0) / (count**3 - count)).mean().item()


STRENGTHS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "laplace", "zero-mean", "impulses"])
def test_quality_falls_with_noise_that_no_training_has_seen(kind: str, trained: UMQ, held_out: Batch) -> None:
    x = vectors(trained, held_out)
    with torch.no_grad():
        assert falls([trained.estimated(spoiled(x, kind, strength)) for strength in STRENGTHS]) > 0.7


def test_quality_is_no_distance_from_the_mean(trained: UMQ, held_out: Batch) -> None:
    """Centred on the mean and as spread as the data, noise is told from data by its shape alone."""
    x = vectors(trained, held_out)
    noise = gaussian_like(x, held_out.present)
    noise = (noise - noise.mean(0)) / noise.std(0) * x.std(0) + x.mean(0)
    with torch.no_grad():
        clean, noisy = trained.estimated(x), trained.estimated(noise)
    assert clean.mean() > 0.85
    assert noisy.mean() < 0.3


def test_specific_content_is_alike_within_a_sample_and_differs_between_samples(trained: UMQ, held_out: Batch) -> None:
    x = vectors(trained, held_out)
    with torch.no_grad():
        s = [module(v) for module, v in zip(trained.enhancer.specific, x.unbind(1), strict=True)]
    one, other = (torch.nn.functional.normalize(part, dim=1) for part in s[:2])
    cosines = one @ other.T
    between = ~torch.eye(ROWS, dtype=torch.bool)
    assert (one @ one.T)[between].mean() < 0.85
    assert cosines.diagonal().mean() > cosines[between].mean() + 0.05


@pytest.mark.slow
def test_taught_on_features_quality_falls_with_unseen_noise_of_features(held_out: Batch) -> None:
    torch.manual_seed(0)
    method = train(UMQ(VIEWS, width=24, dropout=0.0, noise="features"), planted(1000, 1), 400)
    raw = torch.stack([s.tensor for s in held_out.streams.values()], dim=1)
    for kind in ("uniform", "laplace", "zero-mean"):
        levels = []
        for strength in STRENGTHS:
            columns = zip(held_out.streams.items(), spoiled(raw, kind, strength).unbind(1), strict=True)
            streams = {n: Stream(x, None, s.present) for (n, s), x in columns}
            with torch.no_grad():
                levels.append(method(Batch(streams, held_out.targets, held_out.ids)).representations["quality"])
        assert falls(levels) > 0.5, kind


def test_helper_weights_sum_to_one_and_skip_itself_and_the_worthless() -> None:
    weights = helper_weights(torch.tensor([[0.9, 0.3, 0.0], [0.0, 0.0, 0.5]]))
    torch.testing.assert_close(weights[0], torch.tensor([[0, 1, 0], [1, 0, 0], [0.75, 0.25, 0]]), rtol=0, atol=1e-5)
    assert not weights[:, range(3), range(3)].any()
    torch.testing.assert_close(weights[1].sum(1), torch.tensor([1.0, 1.0, 0.0]), rtol=0, atol=1e-5)


def test_the_enhancer_keeps_what_is_good_and_rebuilds_what_is_not() -> None:
    enhancer = UMQ(VIEWS, width=8).enhancer
    x, other = torch.randn(2, 4, 3, 8).unbind()
    assert torch.equal(enhancer(x, torch.ones(4, 3)), x)
    worthless = torch.tensor([0.0, 0.7, 0.4]).expand(4, 3)
    swapped = torch.cat([other[:, :1], x[:, 1:]], dim=1)
    assert torch.equal(enhancer(x, worthless)[:, 0], enhancer(swapped, worthless)[:, 0])
    assert not torch.equal(enhancer(x, worthless)[:, 1], x[:, 1])
    alone = torch.tensor([0.0, 0.0, 0.0]).expand(4, 3)
    assert torch.equal(enhancer(x, alone), enhancer(other, alone))
    assert enhancer(x, alone)[:, 0].std(0).max() < 1e-6  # the baseline is all there is, for every sample the same
    with torch.no_grad():
        before = enhancer(x, alone)
        enhancer.baseline[0] += 1
    assert not torch.equal(enhancer(x, alone)[:, 0], before[:, 0])
    assert torch.equal(enhancer(x, alone)[:, 1:], before[:, 1:])


def test_quality_decides_which_experts_read_the_same_vectors(trained: UMQ, held_out: Batch) -> None:
    z = vectors(trained, held_out).flatten(1)
    chosen = []
    for pattern in ([0.95, 0.95, 0.0], [0.0, 0.0, 0.95]):
        with torch.no_grad():
            probabilities = trained.mixture(z, torch.tensor(pattern).expand(ROWS, 3))[1]
        chosen.append(probabilities.topk(2, dim=1).indices.sort(1).values)
    assert (chosen[0] != chosen[1]).any(1).float().mean() > 0.1


def test_no_expert_is_left_out(trained: UMQ, held_out: Batch) -> None:
    probabilities = trained(held_out).representations["experts"]
    assert probabilities.topk(2, dim=1).indices.flatten().bincount(minlength=4).min() > 0.05 * ROWS


def test_shuffled_qualities_hurt(trained: UMQ, held_out: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    x, present = vectors(trained, held_out), held_out.present
    worse = corrupt(x, gaussian_like(x, present), drawn_corruption(present, noisy=0.25, missing=0.25))
    with torch.no_grad():
        right, true = error(trained.read(worse, present), held_out), trained.quality(worse, present)
        order = torch.randperm(ROWS)
        monkeypatch.setattr(trained, "quality", lambda x, present: true[order])
        assert error(trained.read(worse, present), held_out) > 1.15 * right


class Plain(UMQ):
    """The same network, corrupted as much in training, without enhancer (quality 1) and with one expert."""

    def quality(self, x: Tensor, present: Tensor) -> Tensor:
        return torch.ones_like(x[..., 0])


@pytest.mark.slow
def test_a_lost_modality_costs_less_than_without_enhancer_and_experts(held_out: Batch) -> None:
    """Only a lost one: at moderate noise (rho 0.7) the plain network, trained on the same corruptions, is no worse."""
    errors: dict[str, list[float]] = {"umq": [], "plain": []}
    for seed in (0, 1):
        torch.manual_seed(seed)
        umq = train(UMQ(VIEWS, width=24, dropout=0.0), planted(1000, 1), 400)
        torch.manual_seed(seed)
        options: dict[str, Any] = {"experts": 1, "top": 1, "enhance": 0.0, "decouple": 0.0}
        plain = train(Plain(VIEWS, width=24, dropout=0.0, **options), planted(1000, 1), 400)
        for name, method in (("umq", umq), ("plain", plain)):
            x, present = vectors(method, held_out), held_out.present
            rho = torch.tensor([1.0, 0.0, 0.0]).expand(ROWS, 3)
            with torch.no_grad():
                lost = method.read(corrupt(x, gaussian_like(x, present), rho), present)
            errors[name].append(error(lost, held_out))
    assert sum(errors["umq"]) < 0.97 * sum(errors["plain"])


def test_an_absent_modality_has_no_quality_and_is_rebuilt(trained: UMQ, held_out: Batch) -> None:
    lost = held_out.without("b", rows=torch.arange(ROWS) < 10)
    with torch.no_grad():
        quality = trained(lost).representations["quality"]
        assert not quality[:10, 1].any()
        assert quality[10:, 1].min() > 0
        assert error(trained(held_out.without("b")), held_out) < 1.4 * error(trained(held_out), held_out)


def gradients(method: UMQ, loss: Tensor) -> set[str]:
    """First part of the name of every parameter that ``loss`` moves."""
    method.zero_grad()
    loss.backward(retain_graph=True)
    moved = {n for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    return {n.split(".")[0] for n in moved}


@pytest.mark.parametrize("noise", ["vectors", "features"])
def test_every_loss_trains_its_own_part(noise: Any, make_batch: MakeBatch) -> None:
    method = UMQ(VIEWS, width=16, noise=noise).train()
    method.now = Now("joint")
    batch = make_batch(VIEWS, 32)
    losses = method.losses(batch, method(batch))
    assert list(losses) == ["task", "uni", "est", "dec", "enh", "route"]
    assert gradients(method, losses["est"]) == {"estimators"}
    assert gradients(method, losses["task"]) == {"encoders", "enhancer", "mixture", "heads"}
    assert gradients(method, losses["enh"]) == {"enhancer"}
    assert gradients(method, losses["uni"]) == {"encoders", "unimodal"}
    assert "estimators" not in gradients(method, losses["dec"] + losses["route"])


def test_phases_train_what_they_say(make_batch: MakeBatch) -> None:
    method, batch = UMQ(VIEWS, width=16).train(), make_batch(VIEWS)
    found = {}
    for phase in method.phases():
        method.now = Now(phase.name)
        output = method(batch)
        found[phase.name] = list(method.losses(batch, output))
        assert bool(output.representations["rho"].any()) == (phase.name == "joint")
        assert bool((output.representations["quality"] == 1).all()) == (phase.name == "clean")
    assert found["clean"] == ["task", "uni"]
    assert found["quality"] == ["task", "est"]


def test_the_joint_phase_is_validated_on_complete_missing_and_noisy_inputs(trained: UMQ, held_out: Batch) -> None:
    plain = trained.losses(held_out, trained(held_out))["task"].item()
    trained.now = Now("joint")
    try:
        losses = [trained.losses(held_out, trained(held_out))["task"].item() for _ in range(2)]
    finally:
        trained.now = Now("train")
    assert losses[0] == losses[1]
    assert 1.05 * plain < losses[0] < 3 * plain


def test_other_tasks_and_kinds_learn(make_batch: MakeBatch) -> None:
    method, batch = UMQ(MIXED, width=16, layers=1, dropout=0.0), make_batch(MIXED, 24)
    method.now = Now("joint")
    optimiser = torch.optim.AdamW(method.parameters(), 5e-3)
    first = method(batch).predictions["emotion"]
    for _ in range(40):
        optimiser.zero_grad()
        sum(method.losses(batch, method(batch)).values()).backward()
        optimiser.step()
    last = method.eval()(batch).predictions["emotion"]
    hits = [(p.argmax(1) == batch.targets["emotion"]).float().mean() for p in (first, last)]
    assert hits[1] > max(0.9, hits[0])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"top": 5}, "top must not exceed experts"),
        ({"rank": -1.0}, "weights"),
        ({"trust": 0.0}, "trust must be above 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        UMQ(VIEWS, **options)
