"""Cross-modal fusion of equally long codes."""

from __future__ import annotations

import pytest
import torch

from polymodal.core import Modality, Schema, Target
from polymodal.methods.mult import MulT
from polymodal.nn.crossmodal import CrossModalFusion

SIZES = {"width": 8, "heads": 2, "layers": 2, "kernel": 3}
NAMES = ("text", "audio", "vision")


def fusion(names: tuple[str, ...] = NAMES, **rates: float) -> CrossModalFusion:
    return CrossModalFusion(
        names, 5, **SIZES, dropouts={**dict.fromkeys((*names, "memory", "embed", "output"), 0.0), **rates}
    )


def test_has_the_parameters_of_mult_without_its_head() -> None:
    schema = Schema(tuple(Modality(n, "sequence", 5) for n in NAMES), (Target("y", "regression"),))
    mult = MulT(schema, **SIZES)
    head = sum(p.numel() for p in mult.heads.parameters())
    ours = sum(p.numel() for p in fusion().parameters())
    assert ours == sum(p.numel() for p in mult.parameters()) - head


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_reads_every_modality_and_every_step(count: int) -> None:
    names = tuple("abcd"[:count])
    net = fusion(names).eval()
    codes = {n: torch.randn(3, 6, 5, requires_grad=True) for n in names}
    out = net(codes)
    assert out.shape == (3, net.width) == (3, 8 * max(1, count - 1) * count)
    for gradient in torch.autograd.grad(out.square().sum(), list(codes.values())):
        assert (gradient.abs().sum(2) > 0).all()


def test_each_rate_is_where_it_belongs() -> None:
    net = fusion(text=0.1, audio=0.2, memory=0.4, embed=0.5, output=0.6)
    assert {net.crossings[f"{s}_to_audio"].layers[0].attention.dropout for s in ("text", "vision")} == {0.2}
    assert net.crossings["text_to_vision"].layers[0].attention.dropout == 0.0
    assert {m.layers[0].attention.dropout for m in net.memories.values()} == {0.4}
    assert {m.drop.p for m in (*net.memories.values(), *net.crossings.values())} == {0.5}
    assert net.residual[2].p == 0.6
