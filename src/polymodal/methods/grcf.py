"""GRCF: first rank samples of different groups, the worst pairs most; then calibrate what was ranked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.core import Batch, OptionError, Output, Schema, Target
from polymodal.methods._wrapper import Wrapper, task_names
from polymodal.methods.base import Now, Phase, positive

Scope = Literal["anchor", "group_pair", "batch"]
Margin = Literal["dynamic", "constant"]
Centres = Literal["bins", "means"]

RANK, CALIBRATE = "rank:", "calibrate:"

EDGES = (-0.7, -0.1, 0.1, 0.7)
"""Between the five groups of a scale from -1 to 1, as CH-SIMS has them."""


class GRCF(Wrapper):
    """Two-Stage Groupwise Ranking and Calibration Framework (Gao et al., 2026, arXiv 2601.09606), around any method.

    Samples belong to groups: steps of a scale, or classes. A comparison is an ordered pair (i, j) whose first sample is
    of the higher group; with score s and centre mu of a group its slack is ``r = s_i - s_j - m``, the margin
    ``m = alpha (mu_i - mu_j)``. Stage 1, ``rank``, replaces the task loss of the base by

        L_rank = mean over pairs of w_ij max(0, -r_ij),  w_ij = |C| softmax over C of (-A_ij / tau),

    where A is the slack standardised within its set of comparisons C (all that share the upper sample): hard pairs
    weigh more, weights have mean 1 in each C and no gradient. Stage 2, ``calibrate``, goes on from the weights of stage
    1 with a fresh optimiser and the base's own losses + ``keep`` * L_rank. Other losses of the base stay in both.

    Certain are groups, a margin that grows with their distance, weights by a group-relative advantage and the two
    stages; their formulas, shares and weights are reconstructed. The ranked score is a number itself, the log-odds of
    the second of two classes, and of each class or label against the rest, averaged, where there are more.

    Departures: a base with several phases goes through all of them in stage 1 and through its last one in stage 2. The
    epoch of stage 1 is chosen by L_rank, not by a correlation; nothing is frozen in stage 2; batches are not balanced
    by group; margins have no cap, weights no bounds, and predictions are not cut to the scale. A base that makes no
    predictions in some phase keeps its own loss there. On planted linear signals the weights did not clearly
    raise the final correlation.

    Args:
        schema: what the batches hold.
        base: the method, an id or ``file.py:Class``.
        base_options: its options; what is not given has its default.
        alpha: margin per unit of the scale, or between two classes; above 0.
        margin: ``dynamic`` as above, or ``constant``: alpha for every pair.
        tau: sharpness of the weights, above 0; a large one, such as 1e6, weighs all pairs alike.
        scope: pairs that make up C: with the same upper sample (``anchor``), of the same two groups
            (``group_pair``), or all of a ``batch``. A group ranked too low as a whole weighs more only by ``batch``:
            with ``anchor`` all pairs of an upper sample are equally bad.
        centres: mu is the middle of the group's ``bins``, or its ``means`` in the batch, as always without a range.
        rank_share: share of the epochs for stage 1, in (0, 1).
        keep: weight of L_rank in stage 2; 0 for the base's losses alone.
    """

    family = "around any method"
    paper = (
        "Gao, Zhang, Han, Hu, Jiang & Mai, GRCF: Two-Stage Groupwise Ranking and Calibration Framework for Multimodal "
        "Sentiment Analysis, 2026, arXiv:2601.09606"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        base: str = "late-fusion",
        base_options: dict[str, Any] = {},  # noqa: B006 (never changed)
        alpha: float = 0.5,
        margin: Margin = "dynamic",
        tau: float = 1.0,
        scope: Scope = "anchor",
        centres: Centres = "bins",
        rank_share: float = 1 / 3,
        keep: float = 0.1,
    ) -> None:
        super().__init__(schema, base, base_options)
        positive(alpha=alpha, tau=tau)
        if not 0 < rank_share < 1:
            raise OptionError(f"rank_share must lie between 0 and 1, got {rank_share}; either stage needs epochs")
        if keep < 0:
            raise OptionError(f"keep must not be negative, got {keep}")
        self.alpha, self.margin, self.tau, self.scope, self.centres = alpha, margin, tau, scope, centres
        self.rank_share, self.keep = rank_share, keep

    def inner(self, now: Now) -> Now:
        """Return the base's own phase."""
        return replace(now, phase=now.phase.removeprefix(RANK).removeprefix(CALIBRATE))

    def phases(self) -> list[Phase]:
        """The base's phases, selected by the ranks, then the last of them again as it is."""
        own = super().phases()
        ranked = [
            replace(
                p,
                name=RANK + p.name,
                share=self.rank_share * p.share,
                select=tuple("rank" + n.removeprefix("task") if n in task_names(p.select) else n for n in p.select),
            )
            for p in own
        ]
        return [*ranked, replace(own[-1], name=CALIBRATE + own[-1].name, share=1 - self.rank_share)]

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the base's losses: in stage 1 ``rank`` in the place of ``task``, later both."""
        losses = super().losses(batch, output)
        replaced = task_names(losses)
        if not replaced or not output.predictions:
            return losses
        if self.now.phase.startswith(RANK):
            return {n: x for n, x in losses.items() if n not in replaced} | self.ranks(batch, output)
        if self.keep:
            losses |= {n: self.keep * x for n, x in self.ranks(batch, output).items()}
        return losses

    def ranks(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return L_rank as ``rank``, or as ``rank/<target>`` over the number of joint targets where there are more."""
        targets, found = self.schema.joint_targets, {}
        for target in targets:
            rows = batch.labelled(target.name)
            prediction = output.predictions[target.name][rows].float()
            columns = ranked_columns(target, prediction, batch.targets[target.name][rows], self.centres)
            terms = [self.rank_loss(score, group, centre) for score, group, centre in columns]
            found[target.name] = torch.stack(terms).mean() / len(targets)
        return {"rank": found[targets[0].name]} if len(targets) == 1 else {f"rank/{n}": x for n, x in found.items()}

    def rank_loss(self, score: Tensor, group: Tensor, centre: Tensor) -> Tensor:
        """Return L_rank of one score; all ``(samples,)``. 0, still part of the graph, where all are of one group."""
        upper, lower = (group[:, None] > group).nonzero(as_tuple=True)
        distance = centre[upper] - centre[lower]
        wanted = self.alpha * (distance if self.margin == "dynamic" else torch.ones_like(distance))
        slack = score[upper] - score[lower] - wanted
        cells = {"anchor": upper, "group_pair": _numbered(group[upper], group[lower]), "batch": 0 * upper}
        weights = advantage_weights(slack.detach(), cells[self.scope], self.tau)
        return (weights * F.relu(-slack)).sum() / max(1, len(slack)) + 0 * score.sum()


def advantage_weights(slack: Tensor, cell: Tensor, tau: float) -> Tensor:
    """Return the weights of comparisons: in each cell ``size * softmax(-A / tau)``, A the slack standardised in it.

    Args:
        slack: ``(pairs,)``, without gradient.
        cell: ``(pairs,)`` long, which comparisons belong together.
        tau: above 0.
    """
    if not len(slack):
        return slack
    names, cell = cell.unique(return_inverse=True)
    size = torch.bincount(cell).to(slack)
    nothing = slack.new_zeros(len(names))

    def mean(x: Tensor) -> Tensor:
        return (nothing.index_add(0, cell, x) / size)[cell]

    centred = slack - mean(slack)
    hardness = -centred / (mean(centred.square()).sqrt() + 1e-6) / tau
    highest = nothing.scatter_reduce(0, cell, hardness, "amax", include_self=False)[cell]
    shares = (hardness - highest).exp()
    return shares / mean(shares)


def ranked_columns(
    target: Target, prediction: Tensor, labels: Tensor, centres: Centres = "bins"
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return what is ranked: scores, numbers of their groups and centres of these, each ``(samples,)``.

    Args:
        target: what is predicted.
        prediction: of samples with a known label, as in ``Output.predictions``.
        labels: theirs.
        centres: as in ``GRCF``; classes are one unit apart.
    """
    if target.spec.answer == "number":
        group, centre = groups_of(target, labels)
        if centres == "means" or target.range is None:
            _, place = group.unique(return_inverse=True)
            sums = labels.new_zeros(len(labels) + 1).index_add(0, place, labels)
            centre = (sums / torch.bincount(place, minlength=len(sums)).clamp(min=1))[place]
        return [(prediction, group, centre)]
    if target.spec.answer == "class":
        others = ~torch.eye(prediction.shape[1], dtype=torch.bool, device=prediction.device)
        rest = prediction.unsqueeze(1).masked_fill(~others, -torch.inf).logsumexp(2)
        prediction, labels = prediction - rest, F.one_hot(labels, prediction.shape[1])
        if prediction.shape[1] == 2:
            prediction, labels = prediction[:, 1:], labels[:, 1:]
    pairs = zip(prediction.unbind(1), labels.to(prediction).unbind(1), strict=True)
    return [(score, member, member) for score, member in pairs]


def groups_of(target: Target, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the group of each known label of a number, and the middle of the group: ``(samples,)``.

    Five groups on a scale from -1 to 1, seven on others, which on one from -3 to 3 are the rounded labels.
    """
    if target.range == (-1, 1):
        edges = labels.new_tensor(EDGES)
        ends = torch.cat([edges.new_tensor([-1.0]), edges, edges.new_tensor([1.0])])
        group = torch.bucketize(labels, edges)
        return group, ((ends[1:] + ends[:-1]) / 2)[group]
    group = target.spec.kinds(labels)
    low, high = target.range or (-3.0, 3.0)
    return group, low + (group + 3) * (high - low) / 6


def _numbered(a: Tensor, b: Tensor) -> Tensor:
    """Return one number for each pair of values."""
    return torch.stack([a, b], 1).unique(dim=0, return_inverse=True)[1] if len(a) else a.long()
