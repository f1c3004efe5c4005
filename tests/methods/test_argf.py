"""ARGF: what each update moves, what the adversary does to the codes, and the weights of the graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.argf import ARGF, CLASSIFY, DISCRIMINATE, FUSE, GENERATE
from polymodal.methods.base import Now
from polymodal.nn.fusion import InteractionGraph

MakeBatch = Callable[..., Batch]

KIND = Target("kind", "classification", classes=("x", "y"))
THREE = Schema(
    (Modality("text", "vector", 6), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (KIND,)
)
VIEWS = Schema((Modality("text", "vector", 8), Modality("audio", "vector", 8)), (KIND,))
WIDTH = 50


def update(method: ARGF, batch: Batch, name: str, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Tensor]:
    """Take one update as the loop does; return what moved or would move: the gradients."""
    (chosen,) = [u for u in method.phases()[0].updates if u.name == name]
    for n, p in method.named_parameters():
        p.requires_grad_(chosen.parameters(n))
        p.grad = None
    method.now = Now(update=name)
    torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
    if optimizer is not None:
        optimizer.step()
    return {n: p.grad for n, p in method.named_parameters() if p.grad is not None}


def alternate(method: ARGF, make: Callable[[int], Batch], steps: int) -> ARGF:
    """Train by the four updates in their order, each with an Adam of its own."""
    named = dict(method.named_parameters())
    updates = method.phases()[0].updates
    optimizers = {
        u.name: torch.optim.Adam([p for n, p in named.items() if u.parameters(n)], 3e-3, betas=(0.5, 0.999))
        for u in updates
    }
    method.train()
    for step in range(steps):
        batch = make(step)
        for u in updates:
            update(method, batch, u.name, optimizers[u.name])
    method.now = Now()
    return method.eval()


@pytest.fixture
def graph() -> InteractionGraph:
    return InteractionGraph(3, WIDTH)


def test_weights_of_each_order_sum_to_one_and_importance_lies_between_0_and_1(graph: InteractionGraph) -> None:
    _, weights = graph.vertices([torch.randn(4, WIDTH).tanh() for _ in range(3)])
    assert weights.shape == (4, 12)
    assert ((weights[:, :3] > 0) & (weights[:, :3] < 1)).all()
    torch.testing.assert_close(weights[:, 3:6].sum(1), torch.ones(4))
    torch.testing.assert_close(weights[:, 6:].sum(1), torch.ones(4))


def test_equal_codes_have_equal_pairs_and_two_kinds_of_triples(graph: InteractionGraph) -> None:
    code = torch.randn(2, WIDTH).tanh()
    _, weights = graph.vertices([code] * 3)
    torch.testing.assert_close(weights[:, 3:6], torch.full((2, 3), 1 / 3))
    pairs, mixed = weights[:, 6:9], weights[:, 9:]
    torch.testing.assert_close(pairs, pairs[:, :1].expand(2, 3))
    torch.testing.assert_close(mixed, mixed[:, :1].expand(2, 3))


def test_scores_of_uniform_codes_have_their_closed_form(graph: InteractionGraph) -> None:
    nn.init.zeros_(graph.importance.weight)
    nn.init.zeros_(graph.importance.bias)
    scores: list[Tensor] = []
    join = graph.join

    def spy(*args: object) -> object:
        out = join(*args)  # type: ignore[arg-type]
        scores.append(out[0].scores)
        return out

    graph.join = spy  # type: ignore[method-assign, assignment]
    graph.vertices([torch.zeros(1, WIDTH)] * 3)
    torch.testing.assert_close(scores[0], torch.full((1, 3), 1 / (1 / 50 + 0.5)))


def test_what_is_less_alike_joins_with_more_weight(graph: InteractionGraph) -> None:
    nn.init.zeros_(graph.importance.weight)
    a, b, c = (torch.zeros(1, WIDTH) for _ in range(3))
    a[0, 0] = b[0, 0] = c[0, 0] = 1.0
    before = graph.vertices([a, b, c])[1][0, 3:6]
    far = c.clone()
    far[0, 0], far[0, 1] = -1.0, 1.0
    after = graph.vertices([a, b, far])[1][0, 3:6]  # (a, b), (a, c), (b, c)
    assert after[1] > before[1]
    assert after[2] > before[2]
    assert after[0] < before[0]


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        (GENERATE, {"encoders", "decoders"}),
        (CLASSIFY, {"encoders", "shared", "shared_heads"}),
        (DISCRIMINATE, {"discriminator"}),
        (FUSE, {"graph", "readout", "heads"}),
    ],
)
def test_each_update_moves_its_own_parts_and_no_other(name: str, moves: set[str], make_batch: MakeBatch) -> None:
    method = ARGF(THREE, width=8).train()
    moved = update(method, make_batch(THREE), name)
    assert {n.split(".")[0] for n in moved} == moves
    assert all(g.abs().sum() > 0 for n, g in moved.items() if n.endswith("weight"))


def test_the_fusion_loss_reaches_the_encoders_only_where_asked(make_batch: MakeBatch) -> None:
    moved = update(ARGF(THREE, width=8, end_to_end=True).train(), make_batch(THREE), FUSE)
    assert {n.split(".")[0] for n in moved} == {"encoders", "graph", "readout", "heads"}


def test_the_target_is_never_asked_to_fool_the_discriminator(make_batch: MakeBatch) -> None:
    method, batch = ARGF(THREE, width=8, target="audio").train(), make_batch(THREE)
    method.now = Now(update=GENERATE)
    method.losses(batch, method(batch))["adversary"].backward()
    reached = {n.split(".")[1] for n, p in method.encoders.named_parameters(prefix="e") if p.grad is not None}
    assert reached == {"text", "vision"}


def test_losses_are_those_of_the_paper(make_batch: MakeBatch) -> None:
    method, batch = ARGF(THREE, width=8, alpha=0.3).eval(), make_batch(THREE).without("audio", rows=torch.arange(8) < 3)
    output = method(batch)
    e = {n: output.representations[n] for n in THREE.names}
    real = {n: torch.sigmoid(method.discriminator(c))[:, 0] for n, c in e.items()}
    there = {n: batch[n].present for n in e}
    one_hot = torch.nn.functional.one_hot(batch.targets["kind"], 2)
    x = method.vectors(batch)

    def step(name: str) -> dict[str, Tensor]:
        method.now = Now(update=name)
        return method.losses(batch, output)

    rec = sum((method.decoders[n](e[n], there[n]) - x[n])[there[n]].abs().sum() for n in e)
    torch.testing.assert_close(step(GENERATE)["reconstruct"], 0.7 * rec)
    fooled = sum(-real[n][there[n]].log().mean() for n in ("audio", "vision"))
    torch.testing.assert_close(step(GENERATE)["adversary"], 0.3 * fooled)
    told = -real["text"].log().mean() + sum(-(1 - real[n][there[n]]).log().mean() for n in ("audio", "vision"))
    torch.testing.assert_close(step(DISCRIMINATE)["discriminate"], 0.5 * told)
    k = {n: method.shared_heads(method.shared(c, there[n]))["kind"].softmax(1) for n, c in e.items()}
    classify = sum((k[n] - one_hot)[there[n]].abs().sum() for n in e)
    torch.testing.assert_close(step(CLASSIFY)["classify"], classify)
    fused = (output.predictions["kind"].softmax(1) - one_hot).abs().sum()
    torch.testing.assert_close(step(FUSE)["task"], fused / 8)


def test_without_labels_a_sample_is_in_the_adversary_but_in_no_label_loss(make_batch: MakeBatch) -> None:
    method, batch = ARGF(THREE, width=8).eval(), make_batch(THREE)
    batch.targets["kind"][:4] = -1
    half = batch.select(torch.arange(8) >= 4)
    for name, loss in ((CLASSIFY, "classify"), (FUSE, "task")):
        method.now = Now(update=name)
        whole, part = (method.losses(b, method(b))[loss] for b in (batch, half))
        torch.testing.assert_close(whole, part)


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(OptionError, match="target is 'adio', which is no modality; did you mean 'audio'"):
        ARGF(THREE, target="adio")


def views(seed: int, rows: int = 64) -> Batch:
    """Two modalities that are different affine maps of one latent; the class is the sign of its first entry."""
    fixed, drawn = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1000 + seed)
    latent = torch.randn(rows, 4, generator=drawn)
    streams = {}
    for name, shift in (("text", 1.0), ("audio", -1.0)):
        values = latent @ torch.randn(4, 8, generator=fixed) * 0.5 + shift
        streams[name] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"kind": (latent[:, 0] > 0).long()}, [str(i) for i in range(rows)])


def separability(method: ARGF) -> tuple[float, float]:
    """Return the accuracy of a fresh domain classifier on codes of new samples, and the distance of the mean codes."""
    with torch.no_grad():
        codes = [method(views(seed, 300)).representations for seed in (-1, -2)]
    train, test = (np.concatenate([c["text"].numpy(), c["audio"].numpy()]) for c in codes)
    domain = np.repeat([0, 1], 300)
    probe = LogisticRegression(max_iter=1000).fit(train, domain)
    distance = (codes[1]["text"].mean(0) - codes[1]["audio"].mean(0)).norm()
    return float(probe.score(test, domain)), float(distance)


@pytest.mark.slow
def test_the_adversary_makes_modalities_harder_to_tell_apart() -> None:
    result = {}
    for alpha in (0.0, 0.99):
        torch.manual_seed(1)
        result[alpha] = separability(alternate(ARGF(VIEWS, width=8, alpha=alpha, dropout=0.0), views, 400))
    assert result[0.0][0] > 0.95
    assert result[0.99][0] < result[0.0][0] - 0.1
    assert result[0.99][1] < 0.5 * result[0.0][1]
