"""MMPDA: labelled sources and an unlabelled target, aligned more and more in features and decisions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, nearest
from polymodal.methods.base import Method, divides, fraction, positive
from polymodal.nn.crossmodal import CrossModalFusion
from polymodal.nn.discrepancy import coral, multi_kernel_mmd
from polymodal.nn.gradient import ramp
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, utterance_encoder
from polymodal.nn.unimodal import UnimodalHeads

Discrepancy = Literal["mmd", "coral"]

FUSED = "fused"


class MMPDA(Method):
    """Multi-source Multimodal Progressive Domain Adaptation (Lin et al., 2025, arXiv 2508.12842).

    Samples without a label are the target domain, those with one belong to the sources (``mix:a,b,c?unlabelled=c``).
    Every modality becomes a vector f_m, a cross-modal transformer over these single tokens fuses them, and heads on
    each f_m and on the fused vector learn the labels of the sources. Meanwhile the target is drawn to every source,

        L_da = lambda(p) sum_k [ sum_f D(f_k, f_T) + D(decision_k, decision_T) ] / K,

    over the features of all modalities and the fused one, and over the fused decision; ``lambda(p) = 2 / (1 + exp(-10
    p)) - 1`` rises with the share p of training that is done and is 0 throughout the first epoch. D is the squared
    maximum mean discrepancy with five Gaussian kernels, or CORAL. A label of the target is never looked at.

    Departures: what the released archive leaves unreadable is reconstructed as above (the discrepancy, its weights).
    Encoders are this library's, for features rather than pictures, where ``frames`` pass a small patch encoder; p is
    counted in steps, not in epochs; all domains are in every batch (``balance=domain`` in the recipe) instead of one
    after another; the epoch is chosen by the labelled validation split, not by the target's scores. Domains are made
    alike before by ``mix:...?unify=true``.

    Args:
        schema: what the batches hold.
        width: features of each modality's vector; even.
        heads: attention heads; must divide ``width``.
        layers: of the cross-modal transformers.
        dropout: in encoders and transformers.
        discrepancy: D, ``mmd`` or ``coral``.
        strength: factor on L_da; 0 for training on the sources alone.
        silent: modalities whose own head is not trained (the authors' best run left facial behaviour out).
    """

    family = "cause and domains"
    paper = (
        "Lin, Mai, Zeng, He, Xiong & Hu, Multi-source Multimodal Progressive Domain Adaption for Audio-Visual "
        "Deception Detection, SVC workshop at ACM Multimedia 2025, arXiv:2508.12842"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 3,
        dropout: float = 0.1,
        discrepancy: Discrepancy = "mmd",
        strength: float = 1.0,
        silent: tuple[str, ...] = (),
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers)
        fraction(dropout=dropout)
        for name in silent:
            if name not in schema.names:
                raise OptionError(f"silent names {name!r}, which is no modality{nearest(name, schema.names)}")
        if strength < 0:
            raise OptionError(f"strength must not be negative, got {strength}")
        divides(width, heads=heads)
        self.strength = strength
        self.distance = {"mmd": multi_kernel_mmd, "coral": coral}[discrepancy]
        self.inputs = Inputs(schema)
        self.encoders = nn.ModuleDict(
            {n: utterance_encoder(m, width, pool="last", dropout=dropout) for n, m in self.inputs.modalities.items()}
        )
        self.unimodal = UnimodalHeads(schema, [n for n in schema.names if n not in silent], width)
        rates = dict.fromkeys((*schema.names, "memory", "output"), dropout) | {"embed": 0.0}
        self.fusion = CrossModalFusion(
            schema.names, width, width=width, heads=heads, layers=layers, kernel=1, dropouts=rates
        )
        self.heads = Heads(schema, self.fusion.width)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, one vector per modality and the fused one."""
        vectors = {name: self.encoders[name](stream) for name, stream in self.inputs(batch).items()}
        fused = self.fusion({name: v.unsqueeze(1) for name, v in vectors.items()})
        return Output(self.heads(fused), {**vectors, FUSED: fused})

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task loss on the sources, that of each modality alone, and the discrepancy from the target."""
        losses = task_losses(self.schema, batch, output)
        features = output.representations
        losses |= {f"unimodal/{n}": self.unimodal.loss(batch, n, features[n]) for n in self.unimodal}
        weight = self.strength * ramp(self.now.share) if self.training and self.now.epoch else 0.0
        if weight:
            losses["adaptation"] = weight * self.alignment(batch, output)
        return losses

    def alignment(self, batch: Batch, output: Output) -> Tensor:
        """Return the discrepancy between the target and a source, averaged over sources; 0 without either."""
        labelled = batch.labelled(self.schema.joint_targets[0].name)
        domain = labelled.long() if batch.domain is None else batch.domain
        terms = []
        for source in domain[labelled].unique():
            rows = labelled & (domain == source)
            terms += [self.distance(x, x, rows & there, ~labelled & there) for x, there in self._aligned(batch, output)]
        sources = max(1, len(domain[labelled].unique()))
        return torch.stack(terms).sum() / sources if terms else output.representations[FUSED].sum() * 0

    def _aligned(self, batch: Batch, output: Output) -> list[tuple[Tensor, Tensor]]:
        """Return what is aligned, ``(batch, width)``, and who has it, ``(batch,)``."""
        someone = batch.present.any(dim=1)
        parts = [(output.representations[n], batch[n].present) for n in self.schema.names]
        parts.append((output.representations[FUSED], someone))
        for target in self.schema.joint_targets:
            decision = target.spec.columns(output.predictions[target.name].float())[target.spec.averaged]
            parts.append((decision.flatten(1) if decision.dim() > 1 else decision[:, None], someone))
        return parts
