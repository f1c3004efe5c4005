"""GRAM: what belongs together spans a small volume."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, DataError, OptionError, Output, Schema, nearest
from polymodal.methods.base import Method, Phase, fraction, positive
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, utterance_encoder
from polymodal.nn.volume import volume

COLDEST = 0.01
"""Lowest temperature."""


class GRAM(Method):
    """Gramian Representation Alignment Measure (Cicchetti, Grassucci, Sigillo & Comminiello, ICLR 2025, arXiv
    2412.11959).

    Every modality becomes a unit vector. V_ij is the volume that the anchor of sample i spans with the other vectors of
    sample j: 0 where all agree, 1 where all are orthogonal. With a learned temperature tau,

        L_vol = (CE(-V / tau, i) + CE(-V^T / tau, i)) / 2   (label smoothing 0.1),

    so that all modalities of a sample count at once. L_DAM adds the binary cross entropy of a match head on matching
    pairs, on anchors with the tuple of another sample and on tuples with the anchor of another, these drawn from
    softmax(-V / tau); its weight is 0.1. On planted views the volume of a match falls although the cosine of audio and
    vision, which the paper sees rise, does not: three vectors in one plane are enough.

    For a retrieval (``?match=sample``) the vectors are the prediction and -V the similarity; L_vol chooses the epoch.
    For any other task heads on the vectors side by side are trained with the same alignment beside them. An absent
    modality leaves the volume of the others; a sample without its anchor, or with nothing else, is in no alignment.

    Departures: small encoders in the place of VAST's; the match head reads the vectors, not the states of a BERT over
    them; negatives come from the process's own batch; a small constant under the root keeps the gradient finite.
    Reconstructed: the temperature does not fall below 0.01, weight of the alignment beside another task.

    Args:
        schema: what the batches hold.
        width: features of a unit vector (paper: 512).
        hidden: features of each encoder's vector; even.
        dropout: in the encoders.
        temperature: tau at first.
        smoothing: of the labels of the contrast.
        match: weight of L_DAM.
        align: weight of L_vol and L_DAM beside another task than retrieval.
        anchor: modality in the place of the text; empty for ``Schema.anchor``.
    """

    family = "contrast"
    paper = (
        "Cicchetti, Grassucci, Sigillo & Comminiello, Gramian Multimodal Representation Learning and Alignment, "
        "ICLR 2025, arXiv:2412.11959"
    )
    tasks = frozenset({"regression", "classification", "multilabel", "retrieval"})
    modality_counts = (2, 99)

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        hidden: int = 64,
        dropout: float = 0.1,
        temperature: float = 0.07,
        smoothing: float = 0.1,
        match: float = 0.1,
        align: float = 0.1,
        anchor: str = "",
    ) -> None:
        super().__init__(schema)
        positive(width=width, hidden=hidden, temperature=temperature)
        fraction(dropout=dropout, smoothing=smoothing)
        if anchor and anchor not in schema.names:
            raise OptionError(f"anchor is {anchor!r}, which is no modality{nearest(anchor, schema.names)}")
        self.retrieves = any(t.spec.answer == "match" for t in schema.joint_targets)
        if self.retrieves and len(schema.joint_targets) > 1:
            raise DataError("GRAM learns a retrieval alone or other targets, not both; keep one of them")
        self.smoothing, self.match = smoothing, match
        self.align = 1.0 if self.retrieves else align
        self.anchor = schema.names.index(anchor or schema.anchor)
        self.others = [i for i in range(len(schema.names)) if i != self.anchor]
        self.inputs = Inputs(schema)
        modalities = self.inputs.modalities
        self.encoders = nn.ModuleDict({n: utterance_encoder(m, hidden, dropout=dropout) for n, m in modalities.items()})
        self.projections = nn.ModuleDict({n: nn.Linear(hidden, width, bias=False) for n in modalities})
        self.temperature = nn.Parameter(torch.tensor(temperature))
        total = width * len(modalities)
        if match:
            self.matcher = nn.Sequential(nn.Linear(total, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, 2))
        if not self.retrieves:
            self.heads = Heads(schema, total)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, the unit vector of every modality (zero where absent), and all of them side by side."""
        vectors = {}
        for name, stream in self.inputs(batch).items():
            unit = F.normalize(self.projections[name](self.encoders[name](stream)), dim=1)
            vectors[name] = torch.where(stream.present[:, None], unit, unit.new_zeros(()))
        fused = torch.cat(list(vectors.values()), dim=1)
        if self.retrieves:
            tuples = torch.stack(list(vectors.values()), dim=1)
            return Output({self.schema.joint_targets[0].name: tuples}, {**vectors, "fused": fused})
        return Output(self.heads(fused), {**vectors, "fused": fused})

    def similarity(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Return minus the volume of each query's anchor with the other modalities of each candidate."""
        others = candidates[:, self.others]
        return -volume(queries[:, self.anchor], others, others.abs().sum(-1) > 0)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the loss of the task where it has one, L_vol, and in training L_DAM."""
        losses = {} if self.retrieves else task_losses(self.schema, batch, output)
        tuples = torch.stack([output.representations[n] for n in self.schema.names], dim=1)
        whole = batch.present[:, self.anchor] & batch.present[:, self.others].any(dim=1)
        tuples = tuples[whole]
        if len(tuples) < 2:
            zero = output.representations["fused"].sum() * 0 + self.temperature * 0
            return losses | {"volume": zero}
        logits = self.similarity(tuples, tuples) / self.temperature.clamp(min=COLDEST)
        own = torch.arange(len(tuples), device=logits.device)
        both = [F.cross_entropy(x, own, label_smoothing=self.smoothing) for x in (logits, logits.T)]
        losses["volume"] = self.align * torch.stack(both).mean()
        if self.match and self.training:
            losses["match"] = self.align * self.match * self._matching(tuples, logits.detach())
        return losses

    def _matching(self, tuples: Tensor, logits: Tensor) -> Tensor:
        """Return L_DAM: who belongs together, told from hard negatives of both kinds."""
        wrong_tuple, wrong_anchor = hard_negatives(logits), hard_negatives(logits.T)
        pairs = torch.cat(
            [tuples, self._joined(tuples, tuples[wrong_tuple]), self._joined(tuples[wrong_anchor], tuples)]
        )
        label = torch.zeros(len(pairs), dtype=torch.long, device=pairs.device)
        label[: len(tuples)] = 1
        return F.cross_entropy(self.matcher(pairs.flatten(1)), label)

    def _joined(self, anchors: Tensor, others: Tensor) -> Tensor:
        """Return tuples with the anchor of one and the rest of another."""
        chosen = torch.zeros(others.shape[1], dtype=torch.bool, device=others.device)
        chosen[self.anchor] = True
        return torch.where(chosen[:, None], anchors, others)

    def phases(self) -> list[Phase]:
        """One phase; a retrieval is chosen by L_vol."""
        return [Phase(select=("volume",) if self.retrieves else ("task",))]


def hard_negatives(logits: Tensor) -> Tensor:
    """Draw for each row another column, the likelier the higher its logit: ``(n, n)`` -> ``(n,)``."""
    odds = logits.softmax(dim=1) + 1e-4
    return torch.multinomial(odds.fill_diagonal_(0.0), 1)[:, 0]
