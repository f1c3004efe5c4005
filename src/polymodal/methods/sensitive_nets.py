"""SensitiveNets: what a model keeps of a sample must not tell whom it is of."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from polymodal.core import Batch, Kind, OptionError, Output, Schema, Stream
from polymodal.methods._wrapper import Wrapper
from polymodal.methods.base import Method, positive

Hiding = Literal["delta", "reversal"]

WANTED = 0.9
"""The probability of the first domain that ``delta`` asks for, whatever the sample."""


class SensitiveNets(Wrapper):
    """SensitiveNets (Morales et al., TPAMI 2021, arXiv 1902.00334; FairCVtest, Pena et al., 2020), around any method.

    A detector P reads the base's fused vector f(x) and learns the domain (sex, age band, site) of every sample; the
    base learns its own losses and, against the detector as it stands, to leave it nothing to read: with ``delta``

        strength * mean log(1 + |0.9 - P(d_1 | f(x))|),

    which asks for the same answer d_1 for everybody; with ``reversal``, minus the detector's cross entropy (Ganin &
    Lempitsky, ICML 2015). On FairCVtest the first hid more from a probe, the second made fairer answers
    (``benchmarks/results/fairness.md``). Domains are needed in training alone: ``SOURCE?domain=COLUMN``.

    Departures: the paper projects the embedding of a face network that is finished; here what is hidden from is the
    representation that all answers are made of, while it is learned, so the task's own losses stand in the place of
    the triplets. The detector learns on beside the base, from the same batches, instead of from scratch in turns.

    Args:
        schema: what the batches hold; with domains.
        base: the method, an id or ``file.py:Class``.
        base_options: its options; what is not given has its default.
        strength: factor on what is asked of the base; 0 for plain training.
        hiding: ``delta`` or ``reversal``.
        hidden: units of the detector's inner layer.
    """

    family = "around any method"
    paper = (
        "Morales, Fierrez, Vera-Rodriguez & Tolosana, SensitiveNets: Learning Agnostic Representations with "
        "Application to Face Images, IEEE TPAMI 2021, arXiv:1902.00334"
    )
    needs_domains = True

    def __init__(
        self,
        schema: Schema,
        *,
        base: str = "late-fusion",
        base_options: dict[str, Any] = {},  # noqa: B006 (never changed)
        strength: float = 3.0,
        hiding: Hiding = "delta",
        hidden: int = 64,
    ) -> None:
        super().__init__(schema, base, base_options)
        positive(hidden=hidden)
        if strength < 0:
            raise OptionError(f"strength must not be negative, got {strength}")
        if any(phase.updates for phase in self.base.phases()):
            raise OptionError(f"base {base!r} takes several updates per batch; choose one that takes a single one")
        self.strength, self.hiding = strength, hiding
        self.detector = nn.Sequential(
            nn.Linear(_fused_width(self.base), hidden), nn.ReLU(), nn.Linear(hidden, len(schema.domains))
        )

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the base's losses; in training also the detector's, and what is asked of the base against it."""
        losses = super().losses(batch, output)
        if not self.training or batch.domain is None:
            return losses
        fused = output.representations["fused"].flatten(1)
        losses["detector"] = F.cross_entropy(self.detector(fused.detach()), batch.domain)
        frozen = {name: p.detach() for name, p in self.detector.named_parameters()}
        logits = functional_call(self.detector, frozen, (fused,))
        if self.hiding == "delta":
            losses["hidden"] = self.strength * delta(logits.softmax(1)[:, 0]).mean()
        else:
            losses["hidden"] = -self.strength * F.cross_entropy(logits, batch.domain)
        return losses


def delta(share: Tensor) -> Tensor:
    """Return log(1 + |0.9 - p|) of probabilities p: 0 where they are 0.9, 0.6419 at 0."""
    return torch.log1p((WANTED - share).abs())


def _fused_width(base: Method) -> int:
    """Return how many numbers the base's fused vector has."""
    with torch.no_grad():
        output = base.eval()(_blank(base.schema))
    base.train()
    return int(output.representations["fused"].flatten(1).shape[1])


def _blank(schema: Schema) -> Batch:
    """Return one sample of zeros."""
    there, one = torch.ones(1, dtype=torch.bool), torch.ones(1, dtype=torch.long)
    streams = {}
    for modality in schema.modalities:
        timed: dict[Kind, bool] = {"sequence": True, "frames": True}
        steps = (1,) if timed.get(modality.kind) else ()
        values: Tensor | list[str] = [""]
        if modality.kind != "text":
            values = torch.zeros(1, *steps, *(modality.shape or (modality.width,)))
        streams[modality.name] = Stream(values, one if steps else None, there)
    return Batch(streams, {}, ["blank"])
