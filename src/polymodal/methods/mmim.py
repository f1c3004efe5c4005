"""MMIM: keep what modalities share with text and what the fusion vector knows of each of them."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polymodal.core import Batch, OptionError, Output, Schema, Stream, Target
from polymodal.core.batch import known_labels
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.contrast import info_nce
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import mean_where
from polymodal.nn.sequence import BiRecurrent, TextPool, pool_steps

RIDGE = 1e-6
"""Added to variances before a log-determinant: points on a plane must not be minus infinitely sure."""

BOUND = 2.0
"""Log-variances lie in (-BOUND, BOUND). At 5, training shrinks vectors to a third; at 1, noise in them costs little."""

Read = Literal["first", "mean", "lstm"]


class MMIM(Seamed):
    """MultiModal InfoMax (Han, Chen & Poria, EMNLP 2021, arXiv 2109.00412).

    One vector ``h`` per modality; a perceptron fuses them to ``Z``. Two levels of mutual information are maximised:

    1. between text and each other modality, by the Barber-Agakov bound ``E[log q(h_m | h_text)] + H(h_m)`` with a
       Gaussian ``q`` and a mixture of one Gaussian per class for ``H``;
    2. between ``Z`` and each modality: each ``h`` finds, by cosine, its own prediction from ``Z`` among the batch's.

    Loss: task + ``alpha`` * nce - ``beta`` * (likelihood + entropy) + density, the fit of ``q``.

    Departures:

    - ``q`` has the Gaussian's normaliser, which the released code lacks (a huge variance then explains anything). Its
      log-variance is bounded (``BOUND``): the likelihood has more dimensions than the entropy that answers it, so the
      sum could grow forever by shrinking ``h``.
    - The stages do not alternate by passes: each step fits ``q`` on detached vectors and trains everything else with
      ``q`` held fixed. No gradient crosses, only the norm that clipping sees is common.
    - The memory of the entropy holds the newest samples per class instead of one batch, over epoch boundaries; a class
      counts once it has more points than ``code`` dimensions, and log-determinants have a ridge.
    - Beyond sentiment: classes are the sides of the middle of a regression's range (of the batch's mean without one),
      the classes of a classification; a multilabel target has one Gaussian. Without a modality called ``text``, the
      first one of kind text, else the first one takes its place. Vectors are sequences of one step.
    - An absent modality is a zero vector and takes no part in either level.

    Args:
        schema: what the batches hold.
        width: features of each vector but the text's, and of the hidden layers of ``q``.
        hidden: units of the bidirectional LSTM per direction.
        fused: features of ``Z``.
        code: dimensions in which the entropy is measured.
        learn_code: train the projection to them; the released code measures through a fixed random one.
        alpha: weight of the second level; 0 leaves it out.
        beta: weight of the first level; 0 leaves it out.
        memory: samples of each class that the entropy keeps from batches before.
        dropout: on the concatenated vectors.
        text_pool: the text's vector: its ``first`` state (a transformer's [CLS], the paper's), the ``mean`` of its
            states, or that of an ``lstm`` as for the others.

    Output: ``fused`` is ``Z``; ``h_<name>`` per modality, ``(batch, width)``, zero where absent.
    """

    family = "contrast"
    paper = (
        "Han et al., Improving Multimodal Fusion with Hierarchical Mutual Information Maximization for Multimodal "
        "Sentiment Analysis, EMNLP 2021, arXiv:2109.00412"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 16,
        hidden: int = 16,
        fused: int = 128,
        code: int = 4,
        learn_code: bool = False,
        alpha: float = 0.1,
        beta: float = 0.1,
        memory: int = 16,
        dropout: float = 0.1,
        text_pool: Read = "mean",
    ) -> None:
        super().__init__(schema)
        positive(width=width, hidden=hidden, fused=fused, code=code, memory=memory)
        fraction(dropout=dropout)
        if min(alpha, beta) < 0:
            raise OptionError(f"alpha and beta must not be negative, got {alpha} and {beta}")
        if text_pool not in get_args(Read):
            raise OptionError(f"text_pool must be 'first', 'mean' or 'lstm', got {text_pool!r}")
        self.alpha, self.beta = alpha, beta
        self.inputs = Inputs(schema)
        self.anchor = schema.anchor
        self.encoders, sizes = nn.ModuleDict(), {}
        for name, modality in self.inputs.modalities.items():
            if text_pool == "lstm" or name not in schema.language:
                sizes[name], self.encoders[name] = width, _Recurrent(modality.width, hidden, width)
            else:
                sizes[name], self.encoders[name] = modality.width, _Pooled(text_pool)
        components = _components(schema.joint_targets[0])
        others = [n for n in sizes if n != self.anchor]
        self.bounds = nn.ModuleDict(
            {n: BarberAgakov(sizes[self.anchor], sizes[n], width, code, components, memory) for n in others if beta}
        )
        self.predictors = nn.ModuleDict({n: nn.Linear(fused, size) for n, size in sizes.items() if alpha})
        self.mix = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(sum(sizes.values()), fused),
            nn.Tanh(),
            nn.Linear(fused, fused),
            nn.Tanh(),
        )
        self.heads = Heads(schema, fused)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and not name.startswith("inputs."):
                nn.init.xavier_normal_(parameter)
        for bound in self.bounds.values():
            bound.entropy.project.requires_grad_(learn_code)  # type: ignore[union-attr]

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {name: self.encoders[name](stream) for name, stream in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, ``Z`` and one vector per modality."""
        fused = self.mix(torch.cat(list(vectors.values()), dim=1))
        return Output(self.heads(fused), {"fused": fused, **{f"h_{n}": h for n, h in vectors.items()}})

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``nce``, ``likelihood``, ``entropy`` (weighted) and ``density``."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        h = {n: output.representations[f"h_{n}"] for n in batch.streams}
        if self.alpha:
            fused = output.representations["fused"]
            terms = [info_nce(h[n], p(fused), 1.0, batch[n].present) for n, p in self.predictors.items()]
            losses["nce"] = self.alpha * torch.stack(terms).sum()
        if self.bounds:
            target = self.schema.joint_targets[0]
            component = components_of(target, batch.targets[target.name])
            found = []
            for name, bound in self.bounds.items():
                both = batch[self.anchor].present & batch[name].present
                found.append(torch.stack(bound(h[self.anchor], h[name], both, component)))
            likelihood, entropy, density = torch.stack(found).sum(0)
            losses["likelihood"], losses["entropy"] = -self.beta * likelihood, -self.beta * entropy
            losses["density"] = -density
        return losses


class ConditionalGaussian(nn.Module):
    """``q(y | x) = N(mean(x), diag exp(log_variance(x)))``: ``(batch, width_in)`` -> both ``(batch, width)``."""

    def __init__(self, width_in: int, width: int, hidden: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(width_in, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.log_variance = nn.Sequential(nn.Linear(width_in, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance."""
        return self.mean(x), BOUND * torch.tanh(self.log_variance(x) / BOUND)


class ClassEntropy(nn.Module):
    """Entropy of a mixture of one Gaussian per class, in ``code`` dimensions, with a memory of earlier batches.

    ``y`` (batch, width), class (batch,) or -1 for none -> scalar. In training the batch is remembered, detached.
    """

    memory: Tensor
    filled: Tensor

    def __init__(self, width: int, code: int, components: int, memory: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, code)
        # Codes of training samples, sorted by their labels: not for those the weights are given to.
        self.register_buffer("memory", torch.zeros(components, memory, code), persistent=False)
        self.register_buffer("filled", torch.zeros(components, dtype=torch.long), persistent=False)

    def forward(self, y: Tensor, component: Tensor) -> Tensor:
        """Return the entropy, 0 while no class has enough points."""
        z = torch.tanh(self.project(y)).float()
        points, classes = [z], [component]
        for number, count in enumerate(self.filled.tolist()):
            points.append(self.memory[number, :count].clone())
            classes.append(component.new_full((count,), number))
        if self.training:
            self._remember(z.detach(), component)
        return mixture_entropy(torch.cat(points), torch.cat(classes), len(self.memory))

    def _remember(self, z: Tensor, component: Tensor) -> None:
        for number, count in enumerate(self.filled.tolist()):
            newest = torch.cat([z[component == number], self.memory[number, :count]])[: self.memory.shape[1]]
            self.memory[number, : len(newest)] = newest
            self.filled[number] = len(newest)


class BarberAgakov(nn.Module):
    """A lower bound on I(x; y) up to a constant: ``E[log q(y | x)] + H(y)`` (Barber & Agakov, NeurIPS 2003)."""

    def __init__(self, width_x: int, width_y: int, hidden: int, code: int, components: int, memory: int) -> None:
        super().__init__()
        self.density = ConditionalGaussian(width_x, width_y, hidden)
        self.entropy = ClassEntropy(width_y, code, components, memory)

    def forward(self, x: Tensor, y: Tensor, rows: Tensor, component: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the likelihood under the fixed ``q``, the entropy, and the likelihood that fits ``q`` alone.

        Args:
            x: ``(batch, width_x)``.
            y: ``(batch, width_y)``.
            rows: ``(batch,)`` bool, the samples that have both.
            component: ``(batch,)`` class, or -1 for none.
        """
        fixed = {name: p.detach() for name, p in self.density.named_parameters()}
        mean, log_variance = functional_call(self.density, fixed, (x,))
        likelihood = log_likelihood(mean, log_variance, y, rows)
        mean, log_variance = self.density(x.detach())
        fit = log_likelihood(mean, log_variance, y.detach(), rows)
        return likelihood, self.entropy(y, component.masked_fill(~rows, -1)), fit


class _Recurrent(nn.Module):
    """Final states of a bidirectional LSTM, then a linear map: -> ``(batch, width)``, zero where absent."""

    def __init__(self, width_in: int, hidden: int, width: int) -> None:
        super().__init__()
        self.rnn = BiRecurrent("lstm", width_in, hidden, layers=1, dropout=0.0)
        self.linear = nn.Linear(2 * hidden, width)

    def forward(self, stream: Stream) -> Tensor:
        stream = as_sequence(stream)
        assert stream.lengths is not None
        return self.linear(self.rnn(stream.tensor, stream.lengths)[1]) * stream.present.unsqueeze(1)


class _Pooled(nn.Module):
    """One step or the mean of all: a stream -> ``(batch, width)``, zero where absent."""

    def __init__(self, pool: TextPool) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, stream: Stream) -> Tensor:
        stream = as_sequence(stream)
        return pool_steps(stream.tensor, stream.mask, self.pool)


def log_likelihood(mean: Tensor, log_variance: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    """Return log N(y; mean, exp(log_variance)) summed over features, averaged over ``rows``; 0 where there is none."""
    mean, log_variance, y = mean.float(), log_variance.float(), y.float()
    terms = (mean - y).square() * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi)
    return mean_where(-0.5 * terms.sum(1), rows)


def mixture_entropy(points: Tensor, component: Tensor, count: int) -> Tensor:
    """Return the mean over ``count`` classes of ``0.5 log det covariance`` (biased), up to a constant.

    Args:
        points: ``(number, code)``.
        component: ``(number,)`` class of each point; -1 for none.
        count: classes. One with no more points than dimensions is left out, and one without a gradient changes nothing.
    """
    total = 0.0 * points.sum()
    ridge = RIDGE * torch.eye(points.shape[1], device=points.device)
    for number in range(count):
        mine = points[component == number]
        if len(mine) > points.shape[1]:
            centred = mine - mine.mean(0)
            with torch.autocast(points.device.type, enabled=False):  # determinants exist in full precision only
                covariance = centred.T @ centred / len(mine) + ridge
            total = total + 0.5 * torch.linalg.slogdet(covariance)[1] / count
    return total


def _components(target: Target) -> int:
    return {"number": 2, "class": len(target.classes), "classes": 1}[target.spec.answer]


def components_of(target: Target, labels: Tensor) -> Tensor:
    """Return the class of each sample in the mixture: ``(batch,)`` long, -1 for none (the middle of a scale, and a
    label that is not known)."""
    answer, known = target.spec.answer, known_labels(labels)
    if answer == "class":
        return labels
    if answer == "classes":
        return known.long() - 1
    middle = sum(target.range) / 2 if target.range else labels[known].mean()
    return torch.where(known & (labels != middle), (labels > middle).long(), -1)
