"""SensitiveNets: the form of Delta, who learns what, and that the answers tell less of whom they are about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from planted_people import people
from polymodal import fit
from polymodal.core import Batch, DataError, Modality, OptionError, Schema, Target
from polymodal.data.about import with_domains
from polymodal.methods.base import Method
from polymodal.methods.sensitive_nets import SensitiveNets, delta

MakeBatch = Callable[..., Batch]

KIND = Target("kind", "classification", classes=("x", "y", "z"))
SCHEMA = Schema((Modality("a", "vector", 4), Modality("b", "sequence", 3)), (KIND,), ("north", "south"))
SMALL = {"width": 8, "dropout": 0.0}


def gradients(method: Method, losses: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    method.zero_grad()
    torch.stack(losses).sum().backward()
    return {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


def domains(batch: Batch) -> Batch:
    return Batch(batch.streams, batch.targets, batch.ids, torch.arange(len(batch)) % 2)


def test_delta_is_that_of_the_paper() -> None:
    found = delta(torch.tensor([0.9, 0.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.6419, 0.0953]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("hiding", ["delta", "reversal"])
def test_the_detector_learns_and_the_base_hides_neither_moves_the_other(hiding: str, make_batch: MakeBatch) -> None:
    method = SensitiveNets(SCHEMA, base_options=SMALL, hiding=hiding).train()  # type: ignore[arg-type]
    batch = domains(make_batch(SCHEMA))
    losses = method.losses(batch, method(batch))
    assert {"detector", "hidden"} < set(losses)
    assert all(n.startswith("detector.") for n in gradients(method, [losses["detector"]]))
    losses = method.losses(batch, method(batch))
    moved = gradients(method, [losses["hidden"]])
    assert moved
    assert all(n.startswith("base.") and "heads" not in n for n in moved)


def test_without_strength_the_base_trains_as_it_does_alone(make_batch: MakeBatch) -> None:
    method = SensitiveNets(SCHEMA, base_options=SMALL, strength=0.0).train()
    batch = domains(make_batch(SCHEMA))
    alone = gradients(method.base, list(method.base.losses(batch, method.base(batch)).values()))
    both = gradients(method, list(method.losses(batch, method(batch)).values()))
    for name, gradient in alone.items():
        torch.testing.assert_close(both[f"base.{name}"], gradient)


def test_validation_and_prediction_need_no_domain(make_batch: MakeBatch) -> None:
    method, batch = SensitiveNets(SCHEMA, base_options=SMALL).eval(), make_batch(SCHEMA)
    bare = Batch(batch.streams, batch.targets, batch.ids)
    assert set(method.losses(bare, method(bare))) == {"task"}


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(DataError, match=r"learns from domains, the corpus has none; .*\?domain=COLUMN"):
        SensitiveNets(Schema(SCHEMA.modalities, (KIND,)))
    with pytest.raises(OptionError, match="several updates per batch"):
        SensitiveNets(SCHEMA, base="argf")
    with pytest.raises(OptionError, match="must not be negative"):
        SensitiveNets(SCHEMA, strength=-1)


@pytest.mark.slow
@pytest.mark.parametrize(("hiding", "wanted"), [("delta", 3.0), ("reversal", 1.0)])
def test_the_answers_hold_less_against_whom_the_labels_are_biased(hiding: str, wanted: float, tmp_path: Path) -> None:
    corpus = with_domains(people(seed=1), "sex")
    female = np.asarray(corpus["test"].about["sex"]) == "f"
    gaps = {}
    for strength in (0.0, wanted):
        options = {"base_options": {"width": 16, "dropout": 0.0}, "strength": strength, "hiding": hiding}
        training = {"epochs": 25, "lr": 3e-3, "batch_size": 64, "patience": 25}
        run = fit("sensitive-nets", corpus, options=options | training, seeds=[1], out=tmp_path / f"{strength}")
        said = run.predict(run.corpus(corpus), "test")
        known = dict(zip(said["id"].tolist(), said["score/predicted"].tolist(), strict=True))
        scores = np.array([known[i] for i in corpus["test"].ids])
        gaps[strength] = scores[~female].mean() - scores[female].mean()
    assert gaps[0.0] > 0.14  # the malus is 0.2
    assert gaps[wanted] < 0.75 * gaps[0.0]
