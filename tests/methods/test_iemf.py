"""IEMF: kappa in closed form, whose gradients it reaches, its noise, and what may be around what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Target
from polymodal.methods import find_method, method_ids
from polymodal.methods.agm import AGM
from polymodal.methods.base import Method, Now, Seamed
from polymodal.methods.iemf import IEMF, inverse_effectiveness
from polymodal.nn.gradient import scale_gradient
from polymodal.testing import train_briefly

MakeBatch = Callable[..., Batch]

KIND = Target("kind", "classification", classes=("x", "y", "z"))
SCORE = Target("score", "regression", (-3.0, 3.0))
SCHEMA = Schema((Modality("text", "sequence", 5), Modality("audio", "vector", 4)), (KIND,))
SMALL: dict[str, dict[str, Any]] = {
    "late-fusion": {"width": 8, "dropout": 0.0},
    "mmcl": {"width": 8, "augmentations": ("jitter",), "dropout": 0.0},
    "misa": {"width": 8, "feedforward": 8, "dropout": 0.0},
    "tfn": {"width": 4, "hidden": 6, "head": 4},
    "curriculum-wsmcl": {"width": 8, "layers": 1, "dropout": 0.0},
}


def iemf(base: str = "late-fusion", schema: Schema = SCHEMA, **options: Any) -> IEMF:
    torch.manual_seed(1)
    return IEMF(schema, base=base, base_options=SMALL[base], **options)


def gradients(method: Method, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(5)
    method.train().zero_grad()
    torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
    return {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}


def test_kappa_has_its_closed_form() -> None:
    r = torch.tensor([1.0, 0.5, 1.5])
    torch.testing.assert_close(inverse_effectiveness(r), torch.tensor([1.0, 1.4621, 0.5379]), rtol=1e-4, atol=0)
    torch.testing.assert_close(inverse_effectiveness(r, 3.0), 3 * inverse_effectiveness(r))
    found = inverse_effectiveness(torch.linspace(0, 5, 50))
    assert (found.diff() < 0).all()
    assert 0 < found.min() < found.max() < 2
    assert inverse_effectiveness(torch.tensor(100.0)) > 0


@pytest.mark.parametrize("base", ["late-fusion", "mmcl"])
def test_only_the_fusion_is_modulated_and_by_kappa(base: str, make_batch: MakeBatch) -> None:
    method, batch = iemf(base, noise=False, xi=0.5), make_batch(SCHEMA)
    modulated, kappa = gradients(method, batch), float(method.kappa)
    method.modulate = False
    plain = gradients(method, batch)
    assert 0.3 < kappa < 0.7
    assert modulated.keys() == plain.keys()
    behind = ("base.mix.", "base.heads.", "base.fusion.", "base.projectors.", "base.predictors.")
    assert any(n.startswith(behind) for n in plain)
    for name, grad in plain.items():
        wanted = kappa * grad if name.startswith(behind) else grad
        torch.testing.assert_close(modulated[name], wanted, rtol=1e-4, atol=1e-7, msg=name)


def test_noise_has_the_deviation_of_the_gradient() -> None:
    x, slope = torch.zeros(200, 200, requires_grad=True), 0.3 * torch.randn(200, 200) + 1
    torch.manual_seed(2)
    (scale_gradient(x, torch.tensor(0.5), noise=True) * slope).sum().backward()
    assert x.grad is not None
    noise = x.grad - 0.5 * slope
    assert float(noise.mean()) == pytest.approx(0, abs=0.006)
    assert float(noise.std()) == pytest.approx(float(slope.std()), rel=0.03)
    assert abs(float((noise * (slope - 1)).mean())) < 0.006


def test_weak_modalities_speed_the_fusion_up_and_strong_ones_slow_it_down(make_batch: MakeBatch) -> None:
    method, batch = iemf().train(), make_batch(SCHEMA)
    right = 20 * torch.nn.functional.one_hot(batch.targets["kind"], 3).float()

    class Says(torch.nn.Module):
        def __init__(self, what: Tensor) -> None:
            super().__init__()
            self.what = what

        def forward(self, vector: Tensor) -> dict[str, Tensor]:
            return {"kind": self.what}

    output = method(batch)
    found = {}
    for name, own, fused in (("weak", torch.zeros(8, 3), right), ("strong", right, -right)):
        for n in SCHEMA.names:
            method.unimodal[n] = Says(own)
        output.predictions["kind"] = fused
        found[name] = float(method._factor(batch, output, method.vectors(output)))
    assert found["weak"] == pytest.approx(1 + torch.tanh(torch.tensor(2 / 3)).item(), abs=1e-4)
    assert found["strong"] < 1e-3


def test_loss_of_the_heads_and_modulation_can_be_told_apart(make_batch: MakeBatch) -> None:
    """The heads' loss alone, the modulation alone, and neither: encoders and fusion see what is asked for."""
    batch = make_batch(SCHEMA)
    base = iemf().base
    torch.manual_seed(5)
    base.train()
    torch.stack(list(base.losses(batch, base(batch)).values())).sum().backward()
    plain = {f"base.{n}": p.grad.clone() for n, p in base.named_parameters() if p.grad is not None}
    neither = gradients(iemf(modulate=False, uni=0.0), batch)
    joint = gradients(iemf(modulate=False), batch)
    alone = gradients(iemf(noise=False, uni=0.0), batch)
    for name, grad in plain.items():
        encodes = name.startswith("base.encoders.")
        torch.testing.assert_close(neither[name], grad, rtol=1e-4, atol=1e-7)
        assert torch.allclose(joint[name], grad, rtol=1e-3, atol=1e-6) is not encodes, name
        assert torch.allclose(alone[name], grad, rtol=1e-3, atol=1e-6) is encodes, name
    heads = [n for n in neither if n.startswith("unimodal.")]
    assert heads
    assert all(neither[n].abs().max() > 1e-4 for n in heads)


def test_outside_its_window_nothing_is_modulated(make_batch: MakeBatch) -> None:
    method, batch = iemf(noise=False, starts=1, ends=2), make_batch(SCHEMA)
    found = {}
    for epoch in range(4):
        method.now = Now(epoch=epoch)
        found[epoch] = gradients(method, batch)["base.heads.linears.0.weight"]
    torch.testing.assert_close(found[0], found[3])
    torch.testing.assert_close(found[1], found[2])
    assert not torch.allclose(found[0], found[1], rtol=1e-3)


def test_a_number_is_scored_on_the_usual_scale(make_batch: MakeBatch) -> None:
    wide = Schema(SCHEMA.modalities, (Target("score", "regression", (0.0, 12.0)),))
    batch = make_batch(wide)
    method = iemf(schema=wide)
    score, there = method._score(batch, {"score": batch.targets["score"] + 2}, batch.present[:, 0])
    assert there
    assert float(score) == pytest.approx(torch.tensor(-1.0).exp().item(), abs=1e-5)


def test_predictions_are_the_bases(make_batch: MakeBatch) -> None:
    method, batch = iemf(), make_batch(SCHEMA)
    for mode in (True, False):
        method.train(mode)
        torch.testing.assert_close(method(batch).predictions["kind"], method.base(batch).predictions["kind"])


@pytest.mark.parametrize("base", SMALL)
def test_it_trains_around_bases_of_many_kinds(base: str, make_batch: MakeBatch) -> None:
    """Other widths per modality, losses on representations, phases and alternating updates: all train."""
    method, batch = iemf(base), make_batch(SCHEMA)
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    told = train_briefly(method, batch, 2)
    assert [p.name for p in method.phases()] == [p.name for p in method.base.phases()]
    assert any(n.rpartition("/")[2] == "unimodal" for losses in told for n in losses)
    still = {n for n, p in method.named_parameters() if p.requires_grad and torch.equal(p, before[n])}
    assert not still


def test_what_has_no_seam_is_refused_in_a_sentence() -> None:
    for base, words in (("mult", "has no seam"), ("agm", "turn them round"), ("mug", "more in training")):
        with pytest.raises(OptionError, match=words):
            IEMF(SCHEMA, base=base)


@pytest.mark.slow
def test_every_other_method_with_a_seam_can_be_its_base(make_batch: MakeBatch) -> None:
    pair = Schema(SCHEMA.modalities, (SCORE,))
    seamed = [n for n in method_ids() if issubclass(find_method(n), Seamed)]
    taken = set()
    for name in set(seamed) - {"linear", "camib", "mug", "crmt"}:  # crmt learns classes
        method = IEMF(pair, base=name)
        vectors = method.encode(make_batch(pair))
        assert {n: v.shape[1] for n, v in vectors.items()} == method.widths
        taken.add(name)
    assert {"late-fusion", "mmcl", "misa", "self-mm", "iemf", "mcr"} <= taken


def test_it_may_stand_inside_a_wrapper_that_asks_for_subsets(make_batch: MakeBatch) -> None:
    inside = {"base": "late-fusion", "base_options": SMALL["late-fusion"]}
    method, batch = AGM(SCHEMA, base="iemf", base_options=inside), make_batch(SCHEMA)
    told = train_briefly(method, batch, 2)
    assert {"task", "unimodal"} <= told[0].keys()
