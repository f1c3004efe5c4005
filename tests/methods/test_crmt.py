"""CRMT: margins and radius in closed form, a certificate that attacks do not break, and what step 2 moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream, Target
from polymodal.methods.base import Now, Seamed, View
from polymodal.methods.crmt import CRMT, TUNE
from polymodal.methods.mcr import MCR
from polymodal.nn.certified import CertifiedHead, Norm, margin_loss, orthonormal
from polymodal.nn.inputs import Inputs
from polymodal.testing import train_briefly

MakeBatch = Callable[..., Batch]

KIND = Target("kind", "classification", classes=("x", "y", "z"))
SCHEMA = Schema((Modality("a", "sequence", 5), Modality("b", "vector", 4)), (KIND,))
SMALL: dict[str, dict[str, Any]] = {
    "late-fusion": {"width": 8},
    "mmcl": {"width": 8, "augmentations": ("jitter",)},
    "tfn": {"width": 5, "hidden": 6, "head": 4},
    "curriculum-wsmcl": {"width": 8, "layers": 1},
}


def crmt(base: str = "late-fusion", schema: Schema = SCHEMA, **options: Any) -> CRMT:
    torch.manual_seed(1)
    return CRMT(schema, base=base, base_options=SMALL.get(base, {}), **options)


@pytest.mark.parametrize(("classes", "wanted"), [(2, 0.6931), (6, 2.3026), (31, 4.0943)])
def test_the_margin_of_two_modalities_that_say_nothing(classes: int, wanted: float) -> None:
    present, label = torch.ones(4, 2, dtype=torch.bool), torch.arange(4) % classes
    loss = margin_loss(torch.zeros(4, 2, classes), present, label)
    torch.testing.assert_close(loss, torch.full((4,), wanted), rtol=0, atol=1e-4)


def test_the_margin_loss_is_the_sum_of_the_card_and_leaves_out_what_is_absent() -> None:
    scores, label, present = 3 * torch.randn(5, 3, 4), torch.tensor([0, 3, 1, 1, 2]), torch.ones(5, 3, dtype=torch.bool)
    present[2, 0] = False
    wanted = []
    for i, y in enumerate(label.tolist()):
        own = [s for s, here in zip(scores[i], present[i].tolist(), strict=True) if here]
        wanted.append(torch.stack([s.exp().sum() * (-s[y]).exp() - 1 for s in own]).sum().add(1e-5).log())
    torch.testing.assert_close(margin_loss(scores, present, label), torch.stack(wanted), rtol=1e-4, atol=1e-4)
    sure = margin_loss(1e4 * F.one_hot(label, 4).float()[:, None].expand(-1, 3, -1), present, label)
    torch.testing.assert_close(sure, torch.full((5,), math.log(1e-5)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["orthogonal", "rows"])
def test_the_size_of_the_directions_does_not_matter(norm: Norm) -> None:
    torch.manual_seed(0)
    head, vectors = CertifiedHead([9, 7], 5, norm=norm), [torch.randn(6, 9), torch.randn(6, 7)]
    before = head(head.scores(vectors))
    with torch.no_grad():
        for w in head.directions:
            w.mul_(17.0)
    torch.testing.assert_close(head(head.scores(vectors)), before, rtol=1e-4, atol=1e-6)
    for w in head.rows():
        found = w @ w.T
        wanted = torch.eye(5) if norm == "orthogonal" else found.detach().where(~torch.eye(5).bool(), torch.ones(5, 5))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(w.mean(1), torch.zeros(5), rtol=0, atol=1e-5)


def test_the_orthonormal_rows_have_the_gradient_of_their_definition() -> None:
    """Also where all eigenvalues are the same, where the gradient of eigenvectors is infinite."""
    w = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(orthonormal, (w,))
    equal = (2 * torch.eye(3, 7, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(orthonormal, (equal,))


@pytest.mark.parametrize("norm", ["orthogonal", "rows", "none"])
def test_a_settled_head_says_what_it_said(norm: Norm) -> None:
    head, vectors = CertifiedHead((6, 5), 3, norm=norm), [torch.randn(4, 6), torch.randn(4, 5)]
    before, present = head.scores(vectors), torch.ones(4, 2, dtype=torch.bool)
    radius = head.certificate(before, present)
    head.settle()
    torch.testing.assert_close(head.scores(vectors), before)
    torch.testing.assert_close(head.certificate(before, present), radius)


def test_without_margins_and_norm_it_is_late_fusion(make_batch: MakeBatch) -> None:
    method, batch = crmt(rho=0.0, weight=1.0, norm="none", tune_share=0.0).eval(), make_batch(SCHEMA)
    head: Any = method.certified[0]
    vectors = torch.cat(list(method.encode(batch).values()), dim=1)
    linear = F.linear(vectors, torch.cat(list(head.directions), dim=1), head.bias)
    torch.testing.assert_close(method(batch).predictions["kind"], linear)
    losses = method.train().losses(batch, method(batch))
    assert losses.keys() == {"task", "plain"}


def test_the_bases_own_fusion_learns_but_teaches_the_encoders_nothing(make_batch: MakeBatch) -> None:
    method, batch = crmt().train(), make_batch(SCHEMA)
    losses = method.losses(batch, method(batch))
    assert losses.keys() == {"task", "margin", "plain"}
    losses["plain"].backward()
    reached = {n for n, p in method.named_parameters() if p.grad is not None}
    assert reached
    assert all(n.startswith(("base.mix.", "base.heads.")) for n in reached)


class Plain(Seamed):
    """Vectors as they come, b drawn out as steeply as asked: the linear toy."""

    def __init__(self, schema: Schema, *, steep: float = 1.0) -> None:
        super().__init__(schema)
        self.inputs, self.head, self.steep = Inputs(schema), nn.Linear(1, 3), steep

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        size = {"a": 1.0, "b": self.steep}
        return {n: size[n] * s.tensor * s.present[:, None] for n, s in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        fused = torch.cat(list(vectors.values()), dim=1)
        prediction: Tensor = self.head(fused.mean(1, keepdim=True))
        return Output({"kind": prediction}, {"fused": fused})


TOY = Schema((Modality("a", "vector", 6), Modality("b", "vector", 6)), (KIND,))


def attacked(method: CRMT, vectors: dict[str, Tensor], present: Tensor, reach: float, random: int) -> Tensor:
    """Return how many attacks, each of ``reach`` radii, change the class: at random, and straight at each rival."""
    said = method.fuse(vectors, present)
    label, radius = said.predictions["kind"].argmax(1), said.representations["kind/radius"]
    flat = torch.cat(list(vectors.values()), dim=1)
    head: Any = method.certified[0]
    weighted = [head.weights[m].unsqueeze(1) * w for m, w in enumerate(head.rows())]
    toward = torch.cat(weighted, dim=1)  # (classes, all widths): what raises a class most
    there = torch.cat([present[:, [i]].expand(-1, v.shape[1]) for i, v in enumerate(vectors.values())], dim=1)
    straight = [(toward[k] - toward[label]) * there for k in range(3)]
    broken = torch.zeros((), dtype=torch.long)
    for push in (*straight, *(torch.randn_like(flat) * there for _ in range(random))):
        length = push.norm(dim=1, keepdim=True)
        moved = flat + reach * radius[:, None] * push / length.clamp(min=1e-9)
        parts = moved.split([v.shape[1] for v in vectors.values()], dim=1)
        found = method.fuse(dict(zip(vectors, parts, strict=True)), present).predictions["kind"].argmax(1)
        broken += (found != label).sum()
    return broken


@torch.no_grad()
@pytest.mark.parametrize("norm", ["orthogonal", "rows", "none"])
@pytest.mark.parametrize("base", [f"{__file__}:Plain", "late-fusion"])
def test_ten_thousand_attacks_within_the_radius_change_no_class(base: str, norm: Norm, make_batch: MakeBatch) -> None:
    """With weights of both signs, with absent modalities. Twice as far some of them do."""
    schema = TOY if base != "late-fusion" else SCHEMA
    method, batch = crmt(base, schema, norm=norm).eval(), make_batch(schema, 256)
    batch = batch.without("a", rows=torch.arange(256) % 5 == 0)
    head: Any = method.certified[0]
    head.weights.copy_(torch.randn(2, 3))
    head.bias.copy_(0.1 * torch.randn(3))
    vectors = method.encode(batch)
    assert int(attacked(method, vectors, batch.present, 0.999, random=40)) == 0  # 43 times 256: 11,008 attacks
    assert int(attacked(method, vectors, batch.present, 2.0, random=0)) > 50


@torch.no_grad()
def test_the_radius_is_that_of_the_card_and_zero_at_a_tie() -> None:
    head = CertifiedHead([6, 6], 3)
    head.weights.copy_(torch.tensor([[0.5, 1.0, 2.0], [1.0, -1.0, 0.5]]))
    scores, present = torch.tensor([[[2.0, 1.0, 0.0], [1.0, 0.0, -1.0]]]), torch.ones(1, 2, dtype=torch.bool)
    # h = (2, 1, -0.5): rivals at 1 and 2.5, over the lengths of (1.5, 2) and of (2.5, 1.5).
    wanted = min(1.0 / math.hypot(1.5, 2.0), 2.5 / math.hypot(2.5, 1.5))
    assert head.certificate(scores, present).item() == pytest.approx(wanted, abs=1e-5)
    slopes = torch.tensor([[2.0, 2.0, 2.0], [0.5, 0.5, 0.5]])
    steeper = min(1.0 / math.hypot(3.0, 1.0), 2.5 / math.hypot(5.0, 0.75))
    assert head.radius(scores, present, slopes).item() == pytest.approx(steeper, abs=1e-5)
    second = head.radius(scores, present, slopes, torch.tensor([1])).item()
    assert second == pytest.approx(-1.0 / math.hypot(3.0, 1.0), abs=1e-5)
    tie = torch.tensor([[[2.0, 1.0, 0.0], [0.0, 0.0, -9.0]]])
    assert head.certificate(tie, present).item() == pytest.approx(0, abs=1e-6)
    assert head.certificate(tie, torch.zeros_like(present)).item() == pytest.approx(0, abs=1e-6)


def test_slopes_are_the_steepest_of_the_training_split(make_batch: MakeBatch) -> None:
    method, batch = crmt(f"{__file__}:Plain", TOY), make_batch(TOY)
    method.base.steep = 7.0
    method.measure([batch])
    head: Any = method.certified[0]
    torch.testing.assert_close(head.slopes, torch.tensor([[1.0] * 3, [7.0] * 3]), rtol=1e-4, atol=1e-4)
    method = crmt()
    method.measure([make_batch(SCHEMA, seed=s) for s in (0, 1)])
    found = method.certified[0].slopes.clone()
    method.measure([make_batch(SCHEMA, seed=0)])
    assert (method.certified[0].slopes <= found + 1e-6).all()
    assert (method.certified[0].slopes > 0).all()


@pytest.mark.parametrize("base", SMALL)
def test_step_2_moves_the_weights_and_nothing_else(
    base: str, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around other widths, statistics of batches, phases and alternating updates; in step 1 all else trains."""
    method, batch = crmt(base), make_batch(SCHEMA)
    states: list[dict[str, Tensor]] = [{n: t.clone() for n, t in method.state_dict().items()}]

    def measure(self: CRMT, batches: Iterable[Batch]) -> None:
        states.append({n: t.clone() for n, t in self.state_dict().items()})
        original(self, batches)

    original = CRMT.measure
    monkeypatch.setattr(CRMT, "measure", measure)
    told = train_briefly(method, batch, 3, lr=1e-2)
    states.append(method.state_dict())
    assert [p.name for p in method.phases()] == [*(p.name for p in method.base.phases()), TUNE]
    assert told[-1].keys() == {f"{TUNE}/radius"}
    start, between, end = states
    moved = {n for n in end if not torch.equal(between[n], end[n])}
    assert moved == {"certified.0.weights"}
    trained = {n for n, p in method.named_parameters() if p.requires_grad}
    assert {n for n in trained if torch.equal(start[n], between[n])} == set()


def test_several_targets_have_a_certificate_each(make_batch: MakeBatch) -> None:
    mood = Target("mood", "classification", classes=("low", "high"))
    both = Schema(SCHEMA.modalities, (KIND, mood))
    method, batch = crmt(schema=both), make_batch(both)
    told = train_briefly(method, batch, 2)
    assert told[0].keys() == {"task/kind", "task/mood", "margin/kind", "margin/mood", "plain"}
    assert told[-1].keys() == {f"{TUNE}/radius/kind", f"{TUNE}/radius/mood"}
    found = method.eval()(batch).representations
    assert found["kind/radius"].shape == found["mood/radius"].shape == (8,)


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    with pytest.raises(OptionError, match="norm=rows"):
        CRMT(SCHEMA, base_options={"width": 2})
    with pytest.raises(OptionError, match="has no seam"):
        CRMT(SCHEMA, base="mult")
    assert CRMT(SCHEMA, base_options={"width": 2}, norm="rows")


def test_another_plug_in_may_stand_around_it(make_batch: MakeBatch) -> None:
    inside = {"base": "late-fusion", "base_options": SMALL["late-fusion"]}
    method, batch = MCR(SCHEMA, base="crmt", base_options=inside, permutations=2), make_batch(SCHEMA)
    told = train_briefly(method, batch, 2)
    assert {"task", "margin", "plain", "competition", "alone", "contrast"} == told[0].keys()
    assert told[-1].keys() == {f"{TUNE}/radius"}
    assert "kind/radius" in method.eval()(batch).representations


def uneven(seed: int, rows: int) -> Batch:
    """Two modalities that tell the class equally well, b in an amplitude twenty times smaller: easily disturbed."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 3, (rows,), generator=generator)
    streams = {}
    for name, size in (("a", 1.0), ("b", 0.05)):
        values = size * (torch.eye(3, 6)[kind] + 0.25 * torch.randn(rows, 6, generator=generator))
        streams[name] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"kind": kind}, [str(i) for i in range(rows)])


def moved(method: CRMT, batch: Batch, name: str, size: float) -> Batch:
    """Return the batch with one modality moved by ``size`` in the direction that raises the loss most."""
    values = batch[name].tensor.clone().requires_grad_()
    disturbed = Batch({**batch.streams, name: Stream(values, None, batch[name].present)}, batch.targets, batch.ids)
    (slope,) = torch.autograd.grad(method.losses(disturbed, method(disturbed))["task"], values)
    stream = Stream(batch[name].tensor + size * F.normalize(slope, dim=1), None, batch[name].present)
    return Batch({**batch.streams, name: stream}, batch.targets, batch.ids)


def looked_at(method: CRMT, batch: Batch) -> tuple[float, float, float]:
    """Return b's share of the weight, the mean radius over the input, and the accuracy under an attack on b."""
    head: Any = method.eval().certified[0]
    method.now = Now("train")
    method.measure([batch])
    hurt = method(moved(method, batch, "b", 0.1)).predictions["kind"].argmax(1) == batch.targets["kind"]
    radius = method._radius(batch, method(batch), "kind", head)
    share = head.weights[1].abs().sum() / head.weights.abs().sum()
    return share.item(), radius.item(), hurt.float().mean().item()


def in_turn(seed: int, test: Batch, **options: float) -> list[tuple[float, float, float]]:
    """Train; return what ``looked_at`` finds after each phase."""
    torch.manual_seed(seed)
    method = CRMT(TOY, base=f"{__file__}:Plain", base_options={"steep": 20.0}, **options)  # type: ignore[arg-type]
    train, found = uneven(seed, 256), []
    view = View(train=lambda: [train], valid=list)
    for phase in method.phases():
        method.now = Now(phase.name)
        method.begin(view)
        chosen = [p for n, p in method.named_parameters() if phase.name != TUNE or n.endswith(".weights")]
        optimizer = torch.optim.AdamW(chosen, 1e-2)
        for _ in range(120 if phase.name == TUNE else 200):
            optimizer.zero_grad()
            torch.stack(list(method.train().losses(train, method(train)).values())).sum().backward()
            optimizer.step()
        found.append(looked_at(method, test))
    return found


@pytest.mark.slow
def test_step_2_takes_weight_from_a_fragile_modality() -> None:
    """And raises the mean radius, and the accuracy under an attack on it: over step 1 and over plain joint training."""
    test = uneven(99, 1000)
    for seed in (1, 2, 3):
        (share, radius, accuracy), (later_share, later_radius, later_accuracy) = in_turn(seed, test, rho=1.0)
        ((_, _, joint),) = in_turn(seed, test, rho=0.0, tune_share=0.0)
        assert later_share < 0.3 * share
        assert later_radius > 3 * radius
        assert later_accuracy > max(accuracy, joint) + 0.3
