"""HyCon: pairs within modalities, across modalities, and of the modalities of one sample."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Literal

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.core.tasks import ClassRule
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.contrast import cosines
from polymodal.nn.fusion import ConcatFusion
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, vector_encoders
from polymodal.nn.masking import mean_where

PairLoss = Literal["exponential", "ratio", "difference"]


class HyCon(Seamed):
    """Hybrid Contrastive learning of tri-modal representations (Mai et al., IEEE Transactions on Affective Computing
    2022, arXiv 2109.01797).

    With s_ij^mn the cosine of modality m of sample i and modality n of sample j, the task is learned beside

    1. ``intra``: in one modality, samples of one class attract each other, those of others repel; and their cosines
       are refined, ``refine * mean (s - 1)^2``, as the contrast alone is blind to a shift of all of them;
    2. ``inter``: the same across modalities, for every ordered pair of them, refined towards ``margin``;
    3. ``semi``: modalities of one sample attract each other, with no negatives: ``mean (s_ii^mn - margin)^2``.

    ``margin`` below 1 leaves modalities room to differ. For an anchor with positives P and negatives N the contrast is
    ``-log(sum_P w e^(s/t) / (sum_P w e^(s/t) + sum_N w e^(s/t)))`` over hard pairs: negatives above the worst positive
    less ``slack``, positives below the best negative plus ``slack``; w grows with hardness, ``exp(+-sharpness * s)``,
    with mean 1. Anchors without a positive or without a negative are left out of it; the refinement is of all
    positives. Pairs come from the batch.

    The three families, refinement, margin and the choice of pairs are the paper's; the form of the contrast, of the
    choice and of the weights, and all values, are reconstructed. Departures: sequences are averaged after their
    transformer (text without one); any number of modalities; what is absent or has no label is in no pair that needs
    it; a scale has three sides or seven classes where the paper may have two; across modalities, cosines of
    positives are compared with those of negatives as if the margin were 1.

    Args:
        schema: what the batches hold.
        width: features of every vector.
        layers: of the transformer that reads a sequence other than text.
        semi: weight of the term of one sample; 0 leaves it out.
        intra: weight of the term within modalities; 0 leaves it out.
        inter: weight of the term across modalities; 0 leaves it out.
        margin: ideal cosine of different modalities, in (0, 1]; 1 for no margin.
        refine: weight of the refinement in ``intra`` and ``inter``.
        temperature: t.
        pair_loss: ``exponential`` as above; ``ratio`` of mean similarities mapped to [0, 1]; ``difference`` 2 - mean
            of positives + mean of negatives.
        sharpness: of the weights of pairs; 0 for equal weights.
        slack: of the choice of hard pairs; 4 and more for all pairs.
        classes: of a regression: ``sign`` around the middle, or ``round`` on [-3, 3] (7 classes).
        dropout: inside the encoders.

    Output: ``fused``, and each modality's vector under its name, zero where it is absent.
    """

    family = "contrast"
    paper = (
        "Mai, Zeng, Zheng & Hu, Hybrid Contrastive Learning of Tri-Modal Representation for Multimodal Sentiment "
        "Analysis, IEEE Transactions on Affective Computing 2022, arXiv:2109.01797"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 50,
        layers: int = 3,
        semi: float = 0.05,
        intra: float = 0.05,
        inter: float = 0.05,
        margin: float = 0.9,
        refine: float = 0.3,
        temperature: float = 0.1,
        pair_loss: PairLoss = "exponential",
        sharpness: float = 1.0,
        slack: float = 0.1,
        classes: ClassRule = "sign",
        dropout: float = 0.1,
    ) -> None:
        super().__init__(schema)
        positive(width=width, layers=layers, margin=margin, temperature=temperature)
        fraction(dropout=dropout)
        for name, value in {"semi": semi, "intra": intra, "inter": inter, "refine": refine}.items():
            if value < 0:
                raise OptionError(f"{name} is a weight and must not be negative, got {value}")
        if margin > 1 or sharpness < 0 or slack < 0:
            raise OptionError(
                f"margin must not exceed 1, sharpness and slack not be negative, got {margin}, {sharpness} and {slack}"
            )
        self.semi, self.intra, self.inter, self.margin, self.refine = semi, intra, inter, margin, refine
        self.temperature, self.pair_loss, self.sharpness, self.slack = temperature, pair_loss, sharpness, slack
        self.classes = classes
        self.inputs = Inputs(schema)
        self.encoders = vector_encoders(self.inputs.modalities, schema.language, width, layers=layers, dropout=dropout)
        self.drop = nn.Dropout(dropout)
        self.fusion = ConcatFusion([width] * len(schema.names), width)
        self.heads = Heads(schema, width)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {n: self.encoders[n](s) for n, s in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, the vectors and the fused one."""
        fused = self.drop(self.fusion(list(vectors.values()), present))
        return Output(self.heads(fused), {**vectors, "fused": fused})

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``semi``, ``intra`` and ``inter``, weighted."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        vectors = torch.stack([output.representations[n] for n in self.schema.names])
        cosine = cosines(vectors.unsqueeze(1), vectors.unsqueeze(0))  # (modality, other modality, batch, batch)
        if self.semi:
            losses["semi"] = self.semi * self.semi_loss(cosine, batch.present)
        if self.intra:
            losses["intra"] = self.intra * self.class_loss(cosine, batch, across=False)
        if self.inter:
            losses["inter"] = self.inter * self.class_loss(cosine, batch, across=True)
        return losses

    def semi_loss(self, cosine: Tensor, present: Tensor) -> Tensor:
        """Return the mean over samples and pairs of modalities that they have of the squared distance from the margin.

        Args:
            cosine: ``(modalities, modalities, batch, batch)``.
            present: ``(batch, modalities)`` bool.
        """
        pairs = (
            torch.tensor([*combinations(range(len(cosine)), 2)], dtype=torch.long, device=cosine.device).view(-1, 2).T
        )
        own = cosine.diagonal(dim1=2, dim2=3)[pairs[0], pairs[1]]  # (pairs, batch)
        return mean_where((own - self.margin).square(), (present[:, pairs[0]] & present[:, pairs[1]]).T)

    def class_loss(self, cosine: Tensor, batch: Batch, *, across: bool) -> Tensor:
        """Return the contrast of classes and its refinement, within or ``across`` modalities, averaged over targets."""
        count = len(cosine)
        chosen = [*permutations(range(count), 2)] if across else [(m, m) for m in range(count)]
        m, n = torch.tensor(chosen, dtype=torch.long, device=cosine.device).view(-1, 2).T
        s, ideal, terms = cosine[m, n], self.margin if across else 1.0, []
        for target in self.schema.joint_targets:
            positives, negatives = pair_masks(
                target.spec.kinds(batch.targets[target.name], self.classes), batch.labelled(target.name), batch.present
            )
            positives, negatives = positives[m, n], negatives[m, n]
            contrast = self.contrast(s, positives, negatives, shift=1 - ideal)
            terms.append(contrast + self.refine * mean_where((s - ideal).square(), positives))
        return torch.stack(terms).mean()

    def contrast(self, s: Tensor, positives: Tensor, negatives: Tensor, shift: float = 0.0) -> Tensor:
        """Return the mean of the pair loss over anchors, the rows of ``s``, that have hard pairs of both kinds; else 0.

        Args:
            s: cosines ``(..., anchors, others)``.
            positives: the same shape, bool.
            negatives: the same shape, bool.
            shift: added to positives where they are compared with negatives.
        """
        positives, negatives = hard_pairs(s, positives, negatives, self.slack, shift)
        ours = weights(s, positives, -self.sharpness)
        theirs = weights(s, negatives, self.sharpness)
        anchors = positives.any(-1) & negatives.any(-1)
        if self.pair_loss == "exponential":
            lowest = torch.finfo(s.dtype).min
            near, far = (
                (s / self.temperature + w.clamp(min=1e-30).log()).masked_fill(~chosen, lowest)
                for w, chosen in ((ours, positives), (theirs, negatives))
            )
            return mean_where(torch.cat([near, far], dim=-1).logsumexp(-1) - near.logsumexp(-1), anchors)
        plus, minus = (
            (w * s).sum(-1) / chosen.sum(-1).clamp(min=1) for w, chosen in ((ours, positives), (theirs, negatives))
        )
        if self.pair_loss == "difference":
            return mean_where(2 - plus + minus, anchors)
        plus, minus = (1 + plus) / 2, (1 + minus) / 2
        return mean_where(-plus / (plus + minus).clamp(min=1e-6), anchors)


def pair_masks(classes: Tensor, known: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs are of one class and which are of two, ``(modalities, modalities, batch, batch)`` bool each.

    A sample is no partner of itself, in none of its modalities.

    Args:
        classes: ``(batch,)``, comparable.
        known: ``(batch,)`` bool, samples with a label.
        present: ``(batch, modalities)`` bool.
    """
    here = (present & known.unsqueeze(1)).T  # (modalities, batch)
    pairs = here[:, None, :, None] & here[None, :, None, :]
    same = classes.unsqueeze(1) == classes.unsqueeze(0)
    others = ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    return pairs & same & others, pairs & ~same & others


def hard_pairs(
    s: Tensor, positives: Tensor, negatives: Tensor, slack: float, shift: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the pairs of each row that still teach something (Wang et al., CVPR 2019, section 4.1).

    Negatives whose cosine exceeds the row's lowest positive one less ``slack``, positives below its highest negative
    one plus ``slack``, with ``shift`` added to all positives: a row has both or none. Arguments as in
    ``HyCon.contrast``.
    """
    worst = (s + shift).masked_fill(~positives, torch.inf).amin(-1, keepdim=True)
    best = s.masked_fill(~negatives, -torch.inf).amax(-1, keepdim=True)
    return positives & (s + shift < best + slack), negatives & (s > worst - slack)


def weights(s: Tensor, chosen: Tensor, sharpness: float) -> Tensor:
    """Return ``exp(sharpness * s)`` scaled to mean 1 over the ``chosen`` of each row, 0 elsewhere; no gradient."""
    raw = (sharpness * s.detach()).exp() * chosen
    return raw * chosen.sum(-1, keepdim=True) / raw.sum(-1, keepdim=True).clamp(min=1e-30)
