"""UMQ: how good is each modality of this sample? Mend what is poor, and let experts specialise on what is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods._enhancer import Enhancer
from polymodal.methods.base import Method, Phase, fraction, positive
from polymodal.nn.corruption import corrupt, corrupt_stream, drawn_corruption, gaussian_like, rank_loss
from polymodal.nn.experts import ConditionedExperts, consistency, load_balance
from polymodal.nn.heads import Heads, scaled_losses, task_losses
from polymodal.nn.inputs import Inputs, vector_encoders
from polymodal.nn.masking import mean_where

HIGH = 0.95  # the paper's constant: quality that a trusted sample must reach

CLEAN, QUALITY, JOINT = "clean", "quality", "joint"

Place = Literal["vectors", "features"]


class UMQ(Method):
    """Unified Modality-Quality framework for missing and noisy modalities (Mai, Han & Hu, 2026, arXiv 2603.02695).

    1. A quality estimator per modality learns from two anchors (Gaussian noise has quality 0, a sample that its own
       modality predicts well at least 0.95) and from ranks: more corruption, less quality.
    2. A quality enhancer: ``x^_m = q_m x_m + (1 - q_m) MLP([mean of S_n(x_n), n != m, weighted with q_n; B_m])``, with
       sample-specific parts S of the other modalities and a baseline vector B of this one.
    3. A mixture of experts on all x^, routed by them and by the qualities; similar qualities use similar experts.

    Corruption acts on the modalities' vectors, or on their features before the encoder: ``(1 - rho) x + rho e``, e
    Gaussian with the batch's mean and deviation; missing is rho = 1. Phases: ``clean`` (all qualities 1), ``quality``
    (estimators alone), ``joint`` (validated by the mean loss over complete, missing and noisy inputs).

    Only the three modules, anchors, ranks, baseline vectors and consistent routing are certain: equations, sizes and
    weights are reconstructed. Departures: an absent modality is known to be absent and has quality 0, what pure noise
    is taught; noise has the mean of the data, not zero, or quality is the distance from that mean; S is contrasted with
    that of other samples (InfoNCE), as being alike across modalities alone makes it one vector for all; unimodal losses
    are taken as if labels lay in [-3, 3]; a head per 32 features, not five. Detached: what the estimators read,
    qualities in enhancer and router (the task must not inflate them), vectors in the enhancement.

    Args:
        schema: what the batches hold.
        width: features of every vector.
        layers: of the transformer that reads a sequence; text is averaged over its steps.
        experts: number of experts.
        top: experts that each sample uses.
        trust: unimodal loss below which the quality of a sample is taken to be high; also the gap between two samples
            whose qualities must be ranked.
        margin: by which quality falls over half of the way to pure noise.
        rank: weight of the ranks.
        uni: weight of the unimodal heads' losses.
        decouple: weight of the split in sample- and modality-specific parts.
        enhance: weight of the enhancer's reconstruction and gain of quality.
        route: weight of the router's consistency and load balance.
        dropout: inside the encoders.
        noise: where corruption acts: on the ``vectors``, which no noise of the features need resemble once encoded, or
            on the ``features``, at up to five passes of each encoder (not of a transformer that reads raw text).

    Output: ``fused``; ``x_<modality>`` as encoded; ``quality`` (batch, modalities); ``experts`` (batch, experts)
    the router's probabilities. In training also ``vectors`` and ``corrupted`` (batch, modalities, width), ``rho`` and,
    after the first phase, ``levels`` (4, batch, modalities) from 0 to 1 and vectors corrupted by them, ``ladder``.
    """

    family = "missing and noisy input"
    paper = "Mai, Han & Hu, Addressing Missing and Noisy Modalities in One Solution, 2026, arXiv:2603.02695"
    drops = True

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 100,
        layers: int = 3,
        experts: int = 4,
        top: int = 2,
        trust: float = 0.5,
        margin: float = 0.1,
        rank: float = 1.0,
        uni: float = 0.1,
        decouple: float = 0.1,
        enhance: float = 0.1,
        route: float = 0.01,
        dropout: float = 0.1,
        noise: Place = "vectors",
    ) -> None:
        super().__init__(schema)
        positive(width=width, layers=layers, experts=experts, top=top, trust=trust, margin=margin)
        fraction(dropout=dropout)
        if top > experts:
            raise OptionError(f"top must not exceed experts, got top={top} and experts={experts}")
        if min(rank, uni, decouple, enhance, route) < 0:
            raise OptionError("rank, uni, decouple, enhance and route are weights; none may be negative")
        self.trust, self.margin, self.top, self.noise = trust, margin, top, noise
        self.rank, self.uni, self.decouple, self.enhance, self.route = rank, uni, decouple, enhance, route
        self.inputs = Inputs(schema)
        self.encoders = vector_encoders(self.inputs.modalities, schema.language, width, layers=layers, dropout=dropout)
        count = len(schema.names)
        self.estimators = nn.ModuleList(_Estimator(width) for _ in range(count))
        self.unimodal = nn.ModuleList(Heads(schema, width) for _ in range(count))
        self.enhancer = Enhancer(count, width)
        self.mixture = ConditionedExperts(count * width, width, count, experts, top)
        self.heads = Heads(schema, width)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and every representation named above; in the joint training phase of corrupted vectors."""
        streams = self.inputs(batch)
        x, present = self.encode(streams), batch.present
        named = {f"x_{n}": v for n, v in zip(streams, x.unbind(1), strict=True)}
        used = x
        if self.training:
            rho = torch.zeros_like(x[..., 0])
            if self.now.phase not in (CLEAN, QUALITY):
                rho = drawn_corruption(present, noisy=0.25, missing=0.25).to(x)
                used = self.corrupted(streams, x, rho)
            named |= {"vectors": x, "corrupted": used, "rho": rho}
            if self.now.phase != CLEAN:
                named["levels"], named["ladder"] = self.ladder(streams, x)
        output = self.read(used, present)
        return Output(output.predictions, {**named, **output.representations})

    def encode(self, streams: Mapping[str, Stream]) -> Tensor:
        """Return the modalities' vectors (batch, modalities, width), zero where absent."""
        return torch.stack([self.encoders[n](s) for n, s in streams.items()], dim=1)

    def corrupted(
        self, streams: Mapping[str, Stream], x: Tensor, rho: Tensor, random: torch.Generator | None = None
    ) -> Tensor:
        """Return the vectors ``x`` of ``streams`` as they are after corruption by ``rho`` (batch, modalities)."""
        if self.noise == "vectors":
            present = torch.stack([s.present for s in streams.values()], dim=1)
            return corrupt(x, gaussian_like(x, present, random), rho)
        shares = zip(streams.items(), rho.unbind(1), strict=True)
        return self.encode({n: corrupt_stream(s, share, random) for (n, s), share in shares})

    @torch.no_grad()
    def ladder(self, streams: Mapping[str, Stream], x: Tensor) -> tuple[Tensor, Tensor]:
        """Return levels from clean to noise, drawn for each sample and modality, and ``x`` corrupted by them."""
        steps = torch.rand(2, *x.shape[:2], device=x.device).sort(0).values
        levels = torch.cat([torch.zeros_like(steps[:1]), steps, torch.ones_like(steps[:1])]).to(x)
        return levels, torch.stack([x, *(self.corrupted(streams, x, level) for level in levels[1:])])

    def read(self, x: Tensor, present: Tensor) -> Output:
        """Return the output for modality vectors ``x`` (batch, modalities, width)."""
        quality = self.quality(x, present)
        mended = self.enhancer(x, quality.detach())
        fused, probabilities = self.mixture(mended.flatten(1), quality.detach())
        return Output(self.heads(fused), {"fused": fused, "quality": quality, "experts": probabilities})

    def quality(self, x: Tensor, present: Tensor) -> Tensor:
        """Return q (batch, modalities), 0 where absent; all present are perfect while nothing but clean data trains."""
        if self.now.phase == CLEAN:
            return present.to(x.dtype)
        return self.estimated(x) * present

    def estimated(self, x: Tensor) -> Tensor:
        """Return the estimators' q (..., modalities) of ``x`` (..., modalities, width), which gets no gradient."""
        columns = x.detach().unbind(-2)
        return torch.cat([q(c) for q, c in zip(self.estimators, columns, strict=True)], dim=-1)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, those of the phase: ``uni``, ``est``, ``dec``, ``enh``, ``route``."""
        task = task_losses(self.schema, batch, output)
        if not self.training:
            return self._selection(batch, task, output) if self.now.phase == JOINT else task
        x, present = output.representations["vectors"], batch.present
        surprise, judged = self.surprise(x, batch)
        known = judged & present
        uni = self.uni * (surprise * known).sum(0).div(known.sum(0).clamp(min=1)).sum()
        if self.now.phase == CLEAN:
            return task | {"uni": uni}
        named = output.representations
        # What has no label surprises nobody: NaN is neither below nor above another one.
        est = self.estimator_loss(named["ladder"], named["levels"], present, surprise.detach().where(judged, torch.nan))
        if self.now.phase == QUALITY:
            return task | {"est": est}
        routed = consistency(named["experts"], named["quality"].detach()) + load_balance(named["experts"], self.top)
        return task | {
            "uni": uni,
            "est": est,
            "dec": self.decouple * self.enhancer.decoupling_loss(x, present),
            "enh": self.enhance * self.enhancement_loss(x, named["corrupted"], present, named["rho"]),
            "route": self.route * routed,
        }

    def _selection(self, batch: Batch, task: dict[str, Tensor], output: Output) -> dict[str, Tensor]:
        """Return the mean of the task terms over the batch as it is, with missing and with noisy modalities."""
        streams, settings = self.inputs(batch), [task]
        x = torch.stack([output.representations[f"x_{n}"] for n in streams], dim=1)
        random = torch.Generator(x.device).manual_seed(0)
        for noisy, missing in ((0.0, 0.5), (1.0, 0.0)):
            rho = drawn_corruption(batch.present, noisy=noisy, missing=missing, random=random).to(x)
            spoiled = self.read(self.corrupted(streams, x, rho, random), batch.present)
            settings.append(task_losses(self.schema, batch, spoiled))
        return {name: torch.stack([s[name] for s in settings]).mean() for name in task}

    def surprise(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss (batch, modalities) of each modality's own prediction, averaged over targets with a known
        label and as if scales were [-3, 3], and whether there is such a target, ``(batch, 1)`` bool."""
        found = [
            scaled_losses(self.schema.joint_targets, head(vector), batch)
            for head, vector in zip(self.unimodal, x.unbind(1), strict=True)
        ]
        return torch.stack([losses for losses, _ in found], dim=1), found[0][1].unsqueeze(1)

    def estimator_loss(self, ladder: Tensor, levels: Tensor, present: Tensor, surprise: Tensor) -> Tensor:
        """Return anchors and ranks on vectors from clean to noise; it reaches the estimators only."""
        q = self.estimated(ladder).float()  # (4, batch, modalities)
        low = mean_where(q[-1].square(), present)
        high = mean_where(F.relu(HIGH - q[0]), present & (surprise < self.trust))
        ranks = mean_where(rank_loss(q, levels, self.margin).mean(0), present)
        clearer = (surprise.unsqueeze(0) - surprise.unsqueeze(1) > self.trust) & present & present.unsqueeze(1)
        ranks = ranks + mean_where(F.relu(q[0].unsqueeze(0) - q[0].unsqueeze(1) + self.margin), clearer)
        return low + high + self.rank * ranks

    def enhancement_loss(self, x: Tensor, corrupted: Tensor, present: Tensor, rho: Tensor) -> Tensor:
        """Return how far corrupted vectors, enhanced, are from the clean ones and from a better quality.

        It trains the enhancer alone: with the encoders in its reach, their vectors grow without bound.
        """
        quality = self.quality(corrupted, present).detach()
        mended = self.enhancer(corrupted.detach(), quality)
        distance = (mended - x.detach()).square().mean(-1)
        after = torch.cat([_frozen(q, m) for q, m in zip(self.estimators, mended.unbind(1), strict=True)], dim=1)
        return mean_where(distance + F.relu(quality + self.margin - after), present & (rho > 0))

    def phases(self) -> list[Phase]:
        """Everything but the estimators on clean data; the estimators; everything together."""
        return [
            Phase(CLEAN, 0.2, lambda name: not name.startswith("estimators.")),
            Phase(QUALITY, 0.1, lambda name: name.startswith("estimators.")),
            Phase(JOINT, 0.7),
        ]


class _Estimator(nn.Module):
    """``(..., width)`` -> quality ``(..., 1)`` in (0, 1); a learned offset absorbs errors of the estimate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(0.02 * torch.randn(width))
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x + self.offset)


def _frozen(module: nn.Module, x: Tensor) -> Tensor:
    """Apply ``module`` with gradients to ``x`` alone."""
    out: Tensor = functional_call(module, {n: p.detach() for n, p in module.named_parameters()}, (x,))
    return out
