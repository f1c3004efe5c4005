"""MMPDA: when and by what the target is drawn to the sources, and what that is worth on shifted domains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import Now
from polymodal.methods.mmpda import MMPDA
from polymodal.nn.gradient import ramp

MakeBatch = Callable[..., Batch]

KIND = Target("kind", "classification", classes=("lie", "truth"))
AV = Schema((Modality("audio", "vector", 6), Modality("vision", "vector", 6)), (KIND,), ("a", "b", "c"))
SMALL = {"width": 8, "heads": 2, "layers": 1}
LATER = Now(epoch=3, share=0.5)


def domains(batch: Batch, *, unlabelled: int = 3) -> Batch:
    """The batch with two sources and, as its last samples, an unlabelled target."""
    domain = torch.tensor([i % 2 for i in range(len(batch) - unlabelled)] + [2] * unlabelled)
    kind = torch.where(domain == 2, -1, batch.targets["kind"])
    return replace(batch, domain=domain, targets={"kind": kind})


def gradients(method: MMPDA, batch: Batch) -> dict[str, Tensor]:
    method.zero_grad()
    torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
    return {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}


def test_the_ramp_has_its_closed_form() -> None:
    assert [ramp(p) for p in (0.0, 0.1, 0.5)] == pytest.approx([0.0, 0.4621, 0.9866], abs=1e-4)


def test_in_the_first_epoch_the_target_changes_nothing(make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    method, batch = MMPDA(AV, **SMALL, dropout=0.0).train(), domains(make_batch(AV))
    method.now = Now(epoch=0, share=0.05)
    assert "adaptation" not in method.losses(batch, method(batch))
    alone = gradients(method, batch.select(torch.arange(5)))
    for name, grad in gradients(method, batch).items():
        torch.testing.assert_close(grad, alone[name], msg=name)


def test_later_the_inputs_of_the_target_count_but_never_its_labels(make_batch: MakeBatch) -> None:
    method, batch = MMPDA(AV, **SMALL, dropout=0.0).train(), domains(make_batch(AV))
    method.now = LATER
    before = gradients(method, batch)
    audio = batch["audio"].tensor.clone()
    audio[5:] += 1.0
    moved = gradients(method, replace(batch, streams={**batch.streams, "audio": replace(batch["audio"], values=audio)}))
    assert any(not torch.allclose(moved[n], g, atol=1e-6) for n, g in before.items())
    # A target is a domain without labels: its order is all that could be permuted, and that changes nothing.
    order = torch.tensor([0, 1, 2, 3, 4, 7, 5, 6])
    for name, grad in gradients(method, batch.select(order)).items():
        torch.testing.assert_close(grad, before[name], rtol=1e-3, atol=1e-4, msg=name)


def test_the_loss_is_the_mean_over_sources_of_all_features_and_the_decision(make_batch: MakeBatch) -> None:
    method, batch = MMPDA(AV, **SMALL).eval(), domains(make_batch(AV))
    output = method(batch)
    parts = [output.representations[n] for n in ("audio", "vision", "fused")] + [output.predictions["kind"].softmax(1)]
    assert batch.domain is not None
    target = batch.domain == 2
    wanted = sum(method.distance(x, x, batch.domain == k, target) for x in parts for k in (0, 1)) / 2
    torch.testing.assert_close(method.alignment(batch, output), wanted)


def test_without_a_target_or_without_a_source_there_is_nothing_to_align(make_batch: MakeBatch) -> None:
    method, batch = MMPDA(AV, **SMALL).train(), domains(make_batch(AV))
    method.now = LATER
    for rows in (torch.arange(5), torch.arange(5, 8)):
        part = batch.select(rows)
        losses = method.losses(part, method(part))
        assert losses["adaptation"].abs() < 1e-6
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_silent_modality_has_no_head_and_still_learns_through_the_fusion(make_batch: MakeBatch) -> None:
    method, batch = MMPDA(AV, **SMALL, silent=("vision",)).train(), domains(make_batch(AV))
    assert set(method.unimodal) == {"audio"}
    moved = gradients(method, batch)
    assert any(n.startswith("encoders.vision") and g.abs().sum() > 0 for n, g in moved.items())
    with pytest.raises(OptionError, match="silent names 'visio', which is no modality; did you mean 'vision'"):
        MMPDA(AV, silent=("visio",))


def shifted(seed: int, domain: int, rows: int, *, labelled: bool) -> Batch:
    """Both modalities show the class in their first two features, and the domain as an offset along the same way."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 2, (rows,), generator=generator)
    streams = {}
    for name, way in (("audio", 1.0), ("vision", -1.0)):
        values = 0.5 * torch.randn(rows, 6, generator=generator)
        values[:, 0] += way * (2.0 * kind - 1.0) + (0.0, 0.3, 2.5)[domain] * way
        values[:, 1] += 2.0 * kind - 1.0
        values[:, 2:] += (0.0, 1.0, -2.0)[domain]
        streams[name] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    target = kind if labelled else torch.full_like(kind, -1)
    return Batch(streams, {"kind": target}, [str(i) for i in range(rows)], torch.full((rows,), domain))


def joined(*parts: Batch) -> Batch:
    streams = {
        n: Stream(torch.cat([p[n].tensor for p in parts]), None, torch.cat([p[n].present for p in parts]))
        for n in parts[0].streams
    }
    kind = torch.cat([p.targets["kind"] for p in parts])
    domain = torch.cat([p.domain for p in parts if p.domain is not None])
    return Batch(streams, {"kind": kind}, [str(i) for i in range(len(kind))], domain)


def target_accuracy(strength: float, seed: int, steps: int = 150) -> float:
    torch.manual_seed(seed)
    method = MMPDA(AV, width=16, heads=2, layers=1, strength=strength).train()
    optimizer = torch.optim.Adam(method.parameters(), 2e-3)
    for step in range(steps):
        batch = joined(
            shifted(3 * step + 10_000 * seed, 0, 16, labelled=True),
            shifted(3 * step + 1 + 10_000 * seed, 1, 16, labelled=True),
            shifted(3 * step + 2 + 10_000 * seed, 2, 32, labelled=False),
        )
        method.now = Now(epoch=step // 15, share=step / steps)
        optimizer.zero_grad()
        torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
        optimizer.step()
    test = shifted(77, 2, 500, labelled=True)
    with torch.no_grad():
        return float((method.eval()(test).predictions["kind"].argmax(1) == test.targets["kind"]).float().mean())


@pytest.mark.slow
def test_alignment_recovers_a_shifted_target() -> None:
    for seed in (1, 2):
        alone, adapted = target_accuracy(0.0, seed), target_accuracy(1.0, seed)
        assert adapted > alone + 0.1, (alone, adapted)
        assert not math.isnan(adapted)
