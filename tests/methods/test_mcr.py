"""MCR: divergences and contrast in closed form, whom the game reaches, and what it does to the weaker modality."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream, Target
from polymodal.methods.base import Seamed
from polymodal.methods.mcr import MCR, Strategy, discrepancy
from polymodal.nn.contrast import pairwise_contrastive
from polymodal.nn.discrepancy import jensen_shannon
from polymodal.testing import train_briefly

MakeBatch = Callable[..., Batch]

KIND = Target("kind", "classification", classes=("x", "y", "z"))
SMALL: dict[str, dict[str, Any]] = {
    "late-fusion": {"width": 8},
    "mmcl": {"width": 8, "augmentations": ("jitter",)},
    "tfn": {"width": 4, "widths": {"a": 6}, "hidden": 6, "head": 4},
    "curriculum-wsmcl": {"width": 8, "layers": 1},
}
OFF = {"competition": 0.0, "alone": 0.0, "contrast": 0.0}


def schema(count: int = 2, target: Target = KIND) -> Schema:
    return Schema(tuple(Modality(n, "vector", 4) for n in "abc"[:count]), (target,))


class Split(Seamed):
    """The sum of one linear map of each modality's vector."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.maps = nn.ModuleDict({n: nn.Linear(4, 6) for n in schema.names})
        self.heads = nn.ModuleDict({n: nn.Linear(6, 3, bias=False) for n in schema.names})
        self.encoded = 0

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        self.encoded += 1
        return {n: m(batch[n].tensor).tanh() * batch[n].present[:, None] for n, m in self.maps.items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        parts = [self.heads[n](x) for n, x in vectors.items()]
        return Output({"kind": torch.stack(parts).sum(0)}, {"fused": torch.cat(list(vectors.values()), dim=1)})


def split(count: int = 2, **options: Any) -> MCR:
    return MCR(schema(count), base=f"{__file__}:Split", **options)


def test_divergences_have_their_bounds() -> None:
    x, y = torch.randn(50, 3), torch.randn(50, 3)
    torch.testing.assert_close(jensen_shannon(x, x + 4), torch.zeros(50), rtol=0, atol=1e-6)
    torch.testing.assert_close(jensen_shannon(x, y), jensen_shannon(y, x))
    apart = jensen_shannon(torch.tensor([[40.0, 0.0]]), torch.tensor([[0.0, 40.0]]))
    assert float(apart) == pytest.approx(math.log(2), abs=1e-5)
    p, q = x.softmax(1), y.softmax(1)
    middle = (p + q) / 2
    wanted = 0.5 * ((p * (p / middle).log()).sum(1) + (q * (q / middle).log()).sum(1))
    torch.testing.assert_close(jensen_shannon(x, y), wanted, rtol=1e-4, atol=1e-6)


def test_what_is_compared_depends_on_the_task() -> None:
    number = Target("score", "regression", (0.0, 12.0))
    torch.testing.assert_close(discrepancy(number, torch.tensor([4.0]), torch.tensor([0.0])), torch.tensor([4.0]))
    tags = Target("tags", "multilabel", classes=("u", "v"))
    found = discrepancy(tags, torch.tensor([[40.0, 1.0]]), torch.tensor([[-40.0, 1.0]]))
    assert float(found) == pytest.approx(math.log(2) / 2, abs=1e-5)


@pytest.mark.parametrize("target", [KIND, Target("kind", "regression", (0.0, 12.0))])
def test_without_a_change_of_places_there_is_no_influence(target: Target, make_batch: MakeBatch) -> None:
    method, batch = MCR(schema(2, target), base_options={"width": 8}).eval(), make_batch(schema(2, target))
    vectors, still = method.encode(batch), torch.arange(8).repeat(3)
    whole = method.base.fuse(vectors, batch.present).predictions
    found = [
        method.influence(vectors, vectors, batch.present, "a", order, whole).item()
        for order in (still, method.order(batch.present, "a"))
    ]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] > 1e-4


@pytest.mark.parametrize("count", [2, 3])
def test_samples_change_places_only_with_such_that_have_the_set(count: int) -> None:
    method = split(count, permutations=200)
    present = torch.ones(6, count, dtype=torch.bool)
    present[1, 0] = present[4, 1] = False
    order = method.order(present, "ab").view(200, 6)
    assert (order[:, [1, 4]] == torch.tensor([1, 4])).all()
    rest = order[:, [0, 2, 3, 5]]
    assert (rest.sort(1).values == torch.tensor([0, 2, 3, 5])).all()
    assert len(rest.unique(dim=0)) == len(list(permutations(range(4))))


def test_each_term_reaches_the_encoders_it_should(make_batch: MakeBatch) -> None:
    method, batch = split(permutations=4), make_batch(schema())
    still, free = ({n: v.detach().requires_grad_() for n, v in method.encode(batch).items()} for _ in range(2))
    whole = {k: p.detach() for k, p in method.base.fuse(free, batch.present).predictions.items()}
    order = method.order(batch.present, "a")
    method.influence(free, {n: v.detach() for n, v in still.items()}, batch.present, "a", order, whole).backward()
    assert free["a"].grad is not None
    assert free["a"].grad.abs().max() > 1e-5
    assert free["b"].grad is None
    own, cross = ({n: v.detach().requires_grad_() for n, v in still.items()} for _ in range(2))
    method.influence({n: v.detach() for n, v in own.items()}, cross, batch.present, "a", order, whole).backward()
    assert cross["a"].grad is None
    assert cross["b"].grad is not None


@pytest.mark.parametrize("strategy", ["greedy", "independent"])
def test_an_encoder_raises_the_influence_of_its_own_sets_and_if_greedy_lowers_that_of_the_others(
    strategy: Strategy, make_batch: MakeBatch
) -> None:
    """Three modalities, every set of one or two; the gradient of the game is that of the divergences written out."""
    method, batch = split(3, permutations=4, strategy=strategy), make_batch(schema(3))
    vectors = {n: v.detach().requires_grad_() for n, v in method.encode(batch).items()}
    torch.manual_seed(2)
    found = torch.autograd.grad(method.game(vectors, batch.present), list(vectors.values()))
    heads: Any = method.base.heads
    for player, gradient in zip(vectors, found, strict=True):
        torch.manual_seed(2)
        mine = {n: v if n == player else v.detach() for n, v in vectors.items()}
        whole, loss = torch.stack([heads[n](v) for n, v in mine.items()]).sum(0).repeat(4, 1), torch.zeros(())
        for chosen in ("a", "b", "c", "ab", "ac", "bc"):
            order, rest = method.order(batch.present, chosen), torch.arange(8).repeat(4)
            moved = torch.stack([heads[n](v[order if n in chosen else rest]) for n, v in mine.items()]).sum(0)
            sign = 1.0 if player in chosen else -1.0
            if strategy == "greedy":  # what reaches p from both terms of a set cancels
                loss = loss - sign * jensen_shannon(moved, whole.detach()).mean()
            else:
                moved = moved if player in chosen else moved.detach()
                loss = loss - jensen_shannon(moved, whole).mean()
        (wanted,) = torch.autograd.grad(loss, vectors[player])
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-6)
        assert wanted.abs().max() > 1e-4


def test_the_greedy_game_is_worth_nothing_and_the_others_are_gains(make_batch: MakeBatch) -> None:
    method, batch = split(permutations=4), make_batch(schema())
    vectors = {n: v.detach() for n, v in method.encode(batch).items()}
    worth = {}
    for strategy in get_args(Strategy):
        method.strategy = strategy
        worth[strategy] = float(method.game(vectors, batch.present).detach())
    assert worth["greedy"] == pytest.approx(0, abs=1e-6)
    assert max(worth["independent"], worth["collaborative"]) < -1e-4


def test_in_the_greedy_game_the_fusion_is_no_player(make_batch: MakeBatch) -> None:
    batch = make_batch(schema())
    for strategy, moves in (("greedy", False), ("independent", True)):
        method = split(permutations=4, strategy=strategy)
        method.game(method.encode(batch), batch.present).backward()
        head, encoder = method.base.heads["a"].weight.grad, method.base.maps["a"].weight.grad  # type: ignore[index]
        assert bool(head.abs().max() > 1e-5) is moves
        assert encoder.abs().max() > 1e-5


def test_an_ignored_modality_has_no_influence_until_the_fusion_looks_at_it(make_batch: MakeBatch) -> None:
    """At weights of exactly zero D is least and flat; from next to zero on, paying for D makes them grow."""
    method, batch = split(permutations=8, strategy="independent"), make_batch(schema())
    ignored = method.base.heads["a"].weight  # type: ignore[index]
    with torch.no_grad():
        ignored.zero_()
    vectors = {n: v.detach() for n, v in method.encode(batch).items()}

    def influence() -> Tensor:
        whole, order = method.base.fuse(vectors, batch.present).predictions, method.order(batch.present, "a")
        return method.influence(vectors, vectors, batch.present, "a", order, whole)

    assert influence().item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        ignored.add_(1e-2 * torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
    before = ignored.norm().item()
    for _ in range(20):
        (gradient,) = torch.autograd.grad(influence(), ignored)
        with torch.no_grad():
            ignored.add_(gradient)
    assert ignored.norm().item() > 1.5 * before


def test_the_contrast_has_its_reference_value() -> None:
    for samples in (4, 9):
        same, classes = torch.ones(2 * samples, 5), torch.arange(samples).repeat(2)
        for temperature in (0.1, 0.5):
            loss = pairwise_contrastive(same, classes, temperature)
            assert float(loss) == pytest.approx(math.log(2 * samples - 1), abs=1e-5)
    vectors, classes = torch.eye(4)[[0, 0, 1, 2]], torch.tensor([0, 0, 0, 1])
    one, other = 1 + math.exp(-2), 2.0  # of the pairs (0, 1) and (0, 2): e^s / (e^s + e^0) with cosines 1 and 0
    wanted = (2 * math.log(one) + 4 * math.log(other)) / 6
    assert float(pairwise_contrastive(vectors, classes, 0.5)) == pytest.approx(wanted, abs=1e-5)
    alone = pairwise_contrastive(vectors, torch.arange(4), 0.5)
    assert float(alone) == pytest.approx(0, abs=1e-6)
    hidden = pairwise_contrastive(vectors, classes, 0.5, torch.tensor([True, True, True, False]))
    assert float(hidden) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("drawn", [1, 32])
def test_encoders_run_once_whatever_the_permutations(drawn: int, make_batch: MakeBatch) -> None:
    method, batch = split(3, permutations=drawn).train(), make_batch(schema(3))
    base: Any = method.base
    base.encoded = 0
    told = method.losses(batch, method(batch))
    assert {"task", "competition", "alone", "contrast"} == told.keys()
    assert base.encoded == 1


def test_the_bottleneck_forbids_what_the_prediction_cannot_tell(make_batch: MakeBatch) -> None:
    method, batch = split(bottleneck=1.0), make_batch(schema())
    output = method.train()(batch)
    loss = method.bottleneck_loss(batch, output)
    reached = torch.autograd.grad(
        loss, [method.base.maps["a"].weight, method.base.heads["a"].weight], allow_unused=True
    )  # type: ignore[index]
    assert reached[0] is not None
    assert reached[1] is None
    with pytest.raises(OptionError, match="none may be negative"):
        split(bottleneck=-1.0)


@pytest.mark.parametrize("base", SMALL)
def test_it_trains_around_bases_of_many_kinds(base: str, make_batch: MakeBatch) -> None:
    """Other widths per modality, losses on representations, phases and alternating updates: all train."""
    method, batch = MCR(schema(), base=base, base_options=SMALL[base], permutations=2), make_batch(schema())
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    told = train_briefly(method, batch, 2)
    assert any(n.rpartition("/")[2] == "competition" for losses in told for n in losses)
    assert not {n for n, p in method.named_parameters() if p.requires_grad and torch.equal(p, before[n])}


def test_one_plug_in_stands_around_another(make_batch: MakeBatch) -> None:
    """MCR around IEMF around late fusion: every loss, the seam, and the gradients of the base of both."""
    inside = {"base": "late-fusion", "base_options": SMALL["late-fusion"], "noise": False}
    method, batch = MCR(schema(), base="iemf", base_options=inside, permutations=2), make_batch(schema())
    told = train_briefly(method, batch, 2)
    assert told[0].keys() == {"task", "unimodal", "competition", "alone", "contrast"}
    kappa = method.base.kappa
    assert abs(float(kappa) - 1) > 1e-3
    names = {n for g in method.parameter_groups() for n in g.parameters}
    assert {"base.base.mix.1.weight", "base.unimodal.a.linears.0.weight", "heads.a.linears.0.weight"} <= names


def two_speeds(seed: int, rows: int) -> Batch:
    """Two modalities that tell the class equally well, one of them ten times weaker in amplitude: slow to learn."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 3, (rows,), generator=generator)
    streams = {}
    for name, size in (("a", 3.0), ("b", 0.3)):
        values = size * (torch.eye(3, 4)[kind] + 0.45 * torch.randn(rows, 4, generator=generator))
        streams[name] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"kind": kind}, [str(i) for i in range(rows)])


def drop(seed: int, **options: Any) -> float:
    """Train; return the accuracy that is lost where the vectors of the weaker modality are those of others."""
    torch.manual_seed(seed)
    method = split(**options).train()
    optimizer = torch.optim.SGD(method.parameters(), 0.3)
    for step in range(100):
        batch = two_speeds(100 * seed + step, 64)
        optimizer.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimizer.step()
    test, method = two_speeds(7, 2000), method.eval()
    other = test.select(torch.randperm(2000, generator=torch.Generator().manual_seed(1)))
    mixed = Batch({**test.streams, "b": other["b"]}, test.targets, test.ids)
    right = [(method(x).predictions["kind"].argmax(1) == test.targets["kind"]).float().mean() for x in (test, mixed)]
    return float(right[0] - right[1])


@pytest.mark.slow
def test_the_weaker_modality_gains_influence() -> None:
    """By the game alone, and by the contrast alone."""
    plain = [drop(seed, **OFF) for seed in (1, 2, 3)]
    for options in ({"competition": 20.0, "permutations": 4}, {"contrast": 1.0}):
        gains = [drop(seed, **{**OFF, **options}) - off for seed, off in zip((1, 2, 3), plain, strict=True)]
        assert min(gains) > 0.02, gains
