"""Curriculum WS-MCL: how well modalities of different samples go together, learned from easy pairs to hard ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods._subsets import evaluating
from polymodal.methods.base import Phase, Seamed, Update, View, fraction, named, positive
from polymodal.nn.curriculum import Feed, Feeding, Rule, easiest
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, vector_encoders
from polymodal.nn.masking import mean_where
from polymodal.nn.mismatches import label_distance, mismatches, target_scores

PRETRAIN, MAIN = "pretrain", "main"
CORRELATE, TASK = "correlate", "task"

Together = Literal["pairs", "triples"]
Blend = Literal["ramp", "half"]


class CurriculumWSMCL(Seamed):
    """Weakly supervised modality correlation learning with a curriculum (Mai, Sun & Hu, EMNLP 2022, arXiv 2212.07619).

    A predictor scores how badly modalities go together: 0 for those of one sample; for those of samples i and j, whose
    labels are ``d`` apart on a scale from -3 to 3, ``s = (d + 0.1) / (6 + 0.1)``; ``triples`` have the root of the sum
    of the three squared distances in the place of d, and sqrt(3) times the span.

    1. ``pretrain``: encoders and predictors learn ``mean |C - s|`` on all matches and on mismatches drawn at random; a
       frozen copy of both is the teacher.
    2. ``main``: two updates of every batch. ``correlate`` is the same at ``rate`` times the learning rate, on matches
       and on the mismatches that are fed; ``task`` moves encoders and heads. The difficulty of a mismatch is
       ``(1 - w) |C_teacher - s| + w |C - s|``. The hardest share ``discard`` is taken for noise, the others are cut
       into ``levels`` by difficulty, and what is fed goes forward, stays or goes back by the change of the loss.

    The weak labels, the teacher, the two roles of the curriculum and its three steps are the paper's; w, levels,
    discard and what decides are reconstructed. Departures: predictors have a hidden layer, since a linear map of
    vectors side by side is a sum of what it says of each, and cannot tell matches from mismatches on average; each
    combination of modalities has a predictor of its own, at the encoders' rate; mismatches alone are ranked; no
    score exceeds 1, where the code of the paper's relative divides by 1.1 on CMU-MOSEI; classes are 0 or 6 apart, sets
    of classes in proportion; sequences are averaged after their transformer. What is absent is in no pair, and what has
    no label in matches only. In several processes each feeds by its own loss.

    Args:
        schema: what the batches hold.
        width: features of every vector.
        layers: of the transformer that reads a sequence other than text.
        dropout: inside the encoders.
        together: what is scored, ``pairs`` of modalities or ``triples``.
        supervised: scores follow labels; otherwise every mismatch has 1.
        levels: parts of increasing difficulty; 1 for no curriculum.
        discard: share of mismatches that is never fed.
        blend: w, ``ramp`` from 0 to 1 over the phase, or ``half``.
        feed: all levels up to the current one (``cumulative``), or that one alone (``single``).
        rule: what leads forward: ``success``, a loss that falls, or ``failure``, one that rises.
        tolerance: change of the loss at which the level stays.
        window: steps after which it is decided; 0 for an epoch.
        rate: factor on the learning rate of the update ``correlate``.
        pretrain: share of the epochs for the first phase.

    Output: ``fused``, the vectors side by side, and each modality's vector under its name.
    """

    family = "contrast"
    paper = (
        "Mai, Sun & Hu, Curriculum Learning Meets Weakly Supervised Multimodal Correlation Learning, EMNLP 2022, "
        "arXiv:2212.07619"
    )
    modality_counts = (2, 99)

    teacher: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 50,
        layers: int = 3,
        dropout: float = 0.1,
        together: Together = "pairs",
        supervised: bool = True,
        levels: int = 5,
        discard: float = 0.1,
        blend: Blend = "ramp",
        feed: Feed = "cumulative",
        rule: Rule = "success",
        tolerance: float = 1e-3,
        window: int = 0,
        rate: float = 0.05,
        pretrain: float = 0.1,
    ) -> None:
        super().__init__(schema)
        positive(width=width, layers=layers, levels=levels, rate=rate, pretrain=pretrain)
        fraction(dropout=dropout, discard=discard, pretrain=pretrain)
        if tolerance < 0 or window < 0:
            raise OptionError(f"tolerance and window must not be negative, got {tolerance} and {window}")
        size = 2 if together == "pairs" else 3
        if len(schema.names) < size:
            raise OptionError(f"together 'triples' needs three modalities, the corpus has {len(schema.names)}")
        self.supervised, self.levels, self.discard, self.blend = supervised, levels, discard, blend
        self.feed, self.window, self.rate, self.share = feed, window, rate, pretrain
        self.correlator = Correlator(schema, width, layers, dropout, size)
        self.heads = Heads(schema, width * len(schema.names))
        self.feeding = Feeding(levels, tolerance, rule)
        self.register_buffer("teacher", torch.zeros(0), persistent=False)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return self.correlator.encode(batch)

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, the vectors and all of them side by side."""
        fused = torch.cat(list(vectors.values()), dim=1)
        return Output(self.heads(fused), {**vectors, "fused": fused})

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms, or ``correlation``, or both, as the phase and the update ask for."""
        phase, update = self.now.phase, self.now.update
        if update == TASK or (phase == MAIN and not self.training):
            return task_losses(self.schema, batch, output)
        correlation = {"correlation": self.correlation_loss(batch, output)}
        if self.training and (phase == PRETRAIN or update == CORRELATE):
            return correlation
        return task_losses(self.schema, batch, output) | correlation

    def correlation_loss(self, batch: Batch, output: Output) -> Tensor:
        """Return the mean error of what is fed; outside of training, of the same pairs each time."""
        device = output.representations["fused"].device
        random = None if self.training else torch.Generator(device).manual_seed(0)
        pool = self.pool(batch, random)
        found = self.correlator.scores({n: output.representations[n] for n in self.schema.names}, pool)
        wanted, match = torch.cat([p.score for p in pool]), torch.cat([p.match for p in pool])
        errors, fed = (found - wanted).abs(), torch.ones_like(match)
        if self.training and self.now.phase == MAIN:
            difficulty = self.difficulty(batch, pool, errors.detach(), wanted)[~match]
            fed[~match] = easiest(difficulty, self.feeding.level, self.levels, self.discard, self.feed)
        loss = mean_where(errors, fed)
        if self.training and self.now.update == CORRELATE:
            self.feeding.note(loss)
        return loss

    def pool(self, batch: Batch, random: torch.Generator | None = None) -> list[Pairs]:
        """Return matches and drawn mismatches for each combination of modalities."""
        distance, known = label_distance(self.schema.joint_targets, batch)
        own = torch.arange(len(batch), device=known.device)
        found = []
        for names in self.correlator.combinations:
            other = mismatches(len(batch), len(names), known.device, random)
            other = other[known[other].all(1)]
            rows = torch.cat([own.unsqueeze(1).expand(-1, len(names)), other])
            there = torch.stack([batch[n].present[r] for n, r in zip(names, rows.unbind(1), strict=True)]).all(0)
            score = (
                target_scores(distance, other)
                if self.supervised
                else torch.ones_like(distance[0, 0]).expand(len(other))
            )
            score = torch.cat([score.new_zeros(len(own)), score])
            match = torch.arange(len(rows), device=rows.device) < len(own)
            found.append(Pairs(names, rows[there], score[there], match[there]))
        return found

    @torch.no_grad()
    def difficulty(self, batch: Batch, pool: list[Pairs], errors: Tensor, wanted: Tensor) -> Tensor:
        """Return how hard each pair of the pool is; ``errors`` are those of the predictor as it is."""
        share = self.now.share if self.blend == "ramp" else 0.5
        if not len(self.teacher):
            return errors
        old, parts = {}, iter(self.teacher.split([p.numel() for p in self.correlator.parameters()]))
        for name, parameter in self.correlator.named_parameters():
            old[name] = next(parts).view_as(parameter)
        with evaluating(self.correlator):
            said: Tensor = functional_call(self.correlator, old, (batch, pool))
        return (1 - share) * (said - wanted).abs() + share * errors

    def begin(self, view: View) -> None:
        """Take the teacher where the second phase begins; end the window where it is an epoch."""
        if self.now.phase != MAIN:
            return
        if not self.now.epoch:
            self.teacher = torch.cat([p.detach().flatten() for p in self.correlator.parameters()])
            self.feeding.restart()
        elif not self.window:
            self.feeding.decide()

    def stepped(self) -> None:
        """End the window where it is a number of steps."""
        if self.now.phase == MAIN and self.window and int(self.feeding.count) >= self.window:
            self.feeding.decide()

    def phases(self) -> list[Phase]:
        """The correlation alone, which chooses the epoch; then two updates."""
        correlate = Update(CORRELATE, named("correlator."), rate=self.rate)
        task = Update(TASK, lambda name: not name.startswith("correlator.predictors."), shares=(CORRELATE,))
        return [
            Phase(PRETRAIN, self.share, named("correlator."), select=("correlation",)),
            Phase(MAIN, 1 - self.share, updates=(correlate, task)),
        ]


@dataclass(frozen=True)
class Pairs:
    """Matches and mismatches of some modalities.

    Attributes:
        names: the modalities.
        rows: ``(n, modalities)`` long, the sample that each modality is taken from.
        score: ``(n,)``, what the predictor should say.
        match: ``(n,)`` bool, all of one sample.
    """

    names: tuple[str, ...]
    rows: Tensor
    score: Tensor
    match: Tensor


class Correlator(nn.Module):
    """Encoders, and predictors of how badly vectors go together."""

    def __init__(self, schema: Schema, width: int, layers: int, dropout: float, size: int) -> None:
        super().__init__()
        self.inputs = Inputs(schema)
        self.encoders = vector_encoders(self.inputs.modalities, schema.language, width, layers=layers, dropout=dropout)
        self.combinations = [*combinations(schema.names, size)]
        self.predictors = nn.ModuleList(
            nn.Sequential(nn.Linear(size * width, width), nn.ReLU(), nn.Linear(width, 1)) for _ in self.combinations
        )

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {n: self.encoders[n](s) for n, s in self.inputs(batch).items()}

    def scores(self, vectors: dict[str, Tensor], pool: list[Pairs]) -> Tensor:
        """Return what the predictors say of all pairs, in their order, float32."""
        found = []
        for pairs, predict in zip(pool, self.predictors, strict=True):
            parts = [vectors[n][rows] for n, rows in zip(pairs.names, pairs.rows.unbind(1), strict=True)]
            found.append(predict(torch.cat(parts, dim=1))[:, 0].float())
        return torch.cat(found)

    def forward(self, batch: Batch, pool: list[Pairs]) -> Tensor:
        """Return the scores of pairs of ``batch``."""
        return self.scores(self.encode(batch), pool)
