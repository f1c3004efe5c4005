"""MCR: every encoder tries to make its own part of the input matter."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Target
from polymodal.methods._seam import SeamedWrapper
from polymodal.methods._subsets import all_subsets, evaluating
from polymodal.methods._wrapper import task_names
from polymodal.methods.base import positive
from polymodal.nn.contrast import pairwise_contrastive
from polymodal.nn.discrepancy import jensen_shannon
from polymodal.nn.masking import mean_where
from polymodal.nn.unimodal import UnimodalHeads

Strategy = Literal["greedy", "independent", "collaborative"]


class MCR(SeamedWrapper):
    """Multimodal Competition Regularizer (Kontras et al., NeurIPS 2025, arXiv 2411.07335), around any method with a
    seam.

    What only the modalities S know is how far the prediction p moves when their vectors are those of other samples:
    D(p_S, p), the Jensen-Shannon divergence (squared error for numbers), over several permutations of the batch.
    Encoders are players, each paid for the sets it is in:

        greedy         -D(fuse(z_S permuted, sg z_rest), p) + D(fuse(sg z_S permuted, z_rest), p), summed over S,
        independent    the first term alone,
        collaborative  -D(p_S, p) with no gradient stopped.

    Beside it a head for each vector learns the task, a supervised contrast draws samples of one class together across
    modalities and within, and, with ``bottleneck``, vectors may not hold what the prediction cannot tell. Encoding is
    done once per step, whatever the permutations; predictions are the base's. In ``greedy`` the two terms are of one
    value: they reach encoders alone, and the logged loss is 0.

    Departures: encoders begin untrained; for D the fusion is put into evaluation mode, p included, or its dropout would
    pass for influence; samples change places only with such that have all of S; numbers on a scale from -3 to 3 are of
    one class where they round alike; vectors of unequal widths are mapped to the smallest for the contrast. Phases and
    updates of the base without a task loss are left as they are.

    Args:
        schema: what the batches hold.
        base: the method, an id or ``file.py:Class``.
        base_options: its options; what is not given has its default.
        strategy: who is paid for what, see above.
        competition: weight of the game; 0 leaves it out. The paper has 0.001 to 0.1.
        permutations: of a batch for each set.
        alone: weight of the heads' losses.
        contrast: weight of the contrast; 0 leaves it out.
        bottleneck: weight of the squared distance between the vectors and what a small network makes of p.
        temperature: of the contrast.
    """

    family = "around any method"
    paper = (
        "Kontras, Strypsteen, Chatzichristos, Liang, Blaschko & De Vos, Balancing Multimodal Training Through "
        "Game-Theoretic Regularization, NeurIPS 2025, arXiv:2411.07335"
    )
    modality_counts = (2, 6)

    def __init__(
        self,
        schema: Schema,
        *,
        base: str = "late-fusion",
        base_options: dict[str, Any] = {},  # noqa: B006 (never changed)
        strategy: Strategy = "greedy",
        competition: float = 0.1,
        permutations: int = 32,
        alone: float = 0.1,
        contrast: float = 1.0,
        bottleneck: float = 0.0,
        temperature: float = 0.5,
    ) -> None:
        super().__init__(schema, base, base_options)
        positive(permutations=permutations, temperature=temperature)
        if min(competition, alone, contrast, bottleneck) < 0:
            raise OptionError("competition, alone, contrast and bottleneck are weights; none may be negative")
        self.strategy, self.competition, self.permutations = strategy, competition, permutations
        self.alone, self.contrast, self.bottleneck, self.temperature = alone, contrast, bottleneck, temperature
        self.heads = UnimodalHeads(schema, schema.names if alone else (), self.widths)
        least, sizes = min(self.widths.values()), self.widths.items()
        unequal = {n: w for n, w in sizes if w != least and contrast}
        self.maps = nn.ModuleDict({n: nn.Linear(w, least, bias=False) for n, w in unequal.items()})
        if bottleneck:
            told, total = sum(t.spec.width for t in schema.joint_targets), sum(self.widths.values())
            layers = nn.Linear(told, least, bias=False), nn.ReLU(), nn.Linear(least, total, bias=False)
            self.restore = nn.Sequential(*layers)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the base's losses and, in training, ``competition``, ``alone``, ``contrast`` and ``bottleneck``."""
        losses = super().losses(batch, output)
        if not self.training or not task_names(losses):
            return losses
        vectors = self.vectors(output)
        if self.competition:
            losses["competition"] = self.competition * self.game(vectors, batch.present)
        if self.alone:
            own = [self.heads.loss(batch, n, v) for n, v in vectors.items()]
            losses["alone"] = self.alone * torch.stack(own).sum()
        if self.contrast:
            losses["contrast"] = self.contrast * self.contrast_loss(batch, vectors)
        if self.bottleneck:
            losses["bottleneck"] = self.bottleneck * self.bottleneck_loss(batch, output)
        return losses

    def game(self, vectors: dict[str, Tensor], present: Tensor) -> Tensor:
        """Return the sum of the terms of all sets, by the strategy; vectors as from ``encode``."""
        still = {n: v.detach() for n, v in vectors.items()}
        terms = []
        with evaluating(self.base):
            whole = self.base.fuse(vectors, present).predictions
            for chosen in all_subsets(self.schema.names)[1:-1]:
                order = self.order(present, chosen)
                others = vectors if self.strategy == "collaborative" else still
                terms.append(-self.influence(vectors, others, present, chosen, order, whole))
                if self.strategy == "greedy":
                    terms.append(self.influence(still, vectors, present, chosen, order, whole))
        return torch.stack(terms).sum()

    def order(self, present: Tensor, chosen: Collection[str]) -> Tensor:
        """Return where each sample gets the vectors ``chosen`` from: ``(permutations * batch,)``.

        A sample that lacks one of them keeps its own.
        """
        columns = [i for i, n in enumerate(self.schema.names) if n in chosen]
        rows = present[:, columns].all(1).nonzero()[:, 0]
        order = torch.arange(len(present), device=present.device).repeat(self.permutations, 1)
        drawn = torch.rand(self.permutations, len(rows), device=present.device).argsort(1)
        order[:, rows] = rows[drawn]
        return order.flatten()

    def influence(
        self,
        moved: dict[str, Tensor],
        others: dict[str, Tensor],
        present: Tensor,
        chosen: Collection[str],
        order: Tensor,
        whole: dict[str, Tensor],
    ) -> Tensor:
        """Return D: how far predictions are from ``whole`` where ``chosen`` of ``moved`` come in ``order`` and the rest
        of ``others`` stays, the mean over samples, permutations and targets."""
        times = len(order) // len(present)
        vectors = {n: moved[n][order] if n in chosen else others[n].repeat(times, 1) for n in others}
        found = self.base.fuse(vectors, present.repeat(times, 1)).predictions
        terms = [
            discrepancy(t, found[t.name], whole[t.name].repeat(times, *[1] * (whole[t.name].dim() - 1))).mean()
            for t in self.schema.joint_targets
        ]
        return torch.stack(terms).mean()

    def contrast_loss(self, batch: Batch, vectors: dict[str, Tensor]) -> Tensor:
        """Return the supervised contrast over the vectors of all modalities, averaged over targets."""
        same = [self.maps[n](v) if n in self.maps else v for n, v in vectors.items()]
        pooled, there, terms = torch.cat(same), batch.present.T.flatten(), []
        for target in self.schema.joint_targets:
            classes = target.spec.kinds(batch.targets[target.name]).repeat(len(same))
            rows = there & batch.labelled(target.name).repeat(len(same))
            terms.append(pairwise_contrastive(pooled, classes, self.temperature, rows))
        return torch.stack(terms).mean()

    def bottleneck_loss(self, batch: Batch, output: Output) -> Tensor:
        """Return how far the vectors that are there are from what the prediction, without gradient, tells of them."""
        told = torch.cat([output.predictions[t.name].reshape(len(batch), -1) for t in self.schema.joint_targets], dim=1)
        vectors = torch.cat(list(self.vectors(output).values()), dim=1)
        sizes = torch.tensor(list(self.widths.values()), device=vectors.device)
        there = batch.present.repeat_interleave(sizes, dim=1)
        return mean_where(F.mse_loss(self.restore(told.detach()), vectors, reduction="none"), there)


def discrepancy(target: Target, x: Tensor, y: Tensor) -> Tensor:
    """Return how far apart two predictions of each sample are, ``(batch,)``: the Jensen-Shannon divergence of classes,
    its mean over labels, or the squared difference of numbers on a scale from -3 to 3."""
    if target.spec.answer == "number":
        return (target.spec.unit * (x - y)).float().square()
    if target.spec.answer == "class":
        return jensen_shannon(x, y)
    return jensen_shannon(*(torch.stack([p, torch.zeros_like(p)], dim=-1) for p in (x, y))).mean(1)
