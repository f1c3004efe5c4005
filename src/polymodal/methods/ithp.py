"""ITHP: one prime modality, compressed level by level into what the others confirm."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream, nearest
from polymodal.methods.base import Method, fraction, positive
from polymodal.nn.axis import resample
from polymodal.nn.bottleneck import GaussianBottleneck, kl_to_standard_normal
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import masked_error, masked_mean, mean_where
from polymodal.nn.sequence import TextPool, pool_steps

Read = Literal["shift", "code"]
Number = TypeVar("Number", int, float)


class ITHP(Method):
    """Information-Theoretic Hierarchical Perception (Xiao et al., ICLR 2024, arXiv 2404.09403).

    At every step of the prime modality X_0 a chain of bottlenecks makes Gaussian codes: B_0 of X_0, then B_i of
    B_(i-1). Code B_i must predict X_(i+1), its "detector", and pays for what it remembers, so that the last code keeps
    what the other modalities confirm. It is added back to the prime features, or read alone.

    Loss: task (squared error for a regression) + ``weight`` * sum_i ``level_weight``^i (KL_i + ``beta``_i MSE_i): KL_i
    is the mean over steps and code features, MSE_i that of predicting X_(i+1), scaled to [0, 1] by the lowest and
    highest value of the batch. Nothing is detached: every level's terms train the levels before it.

    Only the prime modality is read: the others are targets in training and decide nothing in a prediction. Where the
    prime modality is absent zeros are read; absent detectors are left out of the loss.

    Departures from the code: predictions are made with the codes' means, not samples; KL and MSE see true steps only;
    a detector is averaged or repeated to the steps of the prime modality (there, rows repeat per sub-token and special
    tokens have zeros); no dropout after the detector's sigmoid. Reconstructed: chains of other lengths, with ``weight``
    1 / mean beta (2 / (beta + gamma) for two levels), and the sizes of the sarcasm variant, ``read="code"``.

    Args:
        schema: what the batches hold; at least two modalities.
        order: the prime modality, then the detectors; those not named follow in the corpus's order. Empty: ``text``,
            else the first modality of kind text, else the first one is the prime one.
        widths: features of each level's code; a longer chain repeats the last one.
        hidden: units of the hidden layer of encoders and detectors.
        beta: weight of each level's prediction (the paper's beta and gamma); a longer chain repeats the last one.
        level_weight: weight of a level relative to the one before it.
        weight: of all bottleneck terms; null for 1 / mean beta.
        read: ``shift`` the prime features by the last code, or the ``code`` alone.
        pool: the step that is read: ``first`` (the paper's [CLS]), or the ``mean`` of all; null for ``first`` where a
            transformer reads the prime modality, else ``mean``.
        dropout: in encoders and detectors.
        output_dropout: on the sequence that is read and before the prediction heads.

    Output: ``fused``, and per detector modality n the mean over time of the code that predicts it, ``code_<n>``; in
    training also its terms ``kl_<n>`` and ``error_<n>`` of each sample (batch,).
    """

    family = "information bottleneck"
    paper = (
        "Xiao et al., Neuro-Inspired Information-Theoretic Hierarchical Perception for Multimodal Learning, ICLR 2024, "
        "arXiv:2404.09403"
    )
    kinds = frozenset({"sequence", "vector", "text"})  # what is detected is features, not what an encoder learns
    handles_absence = False
    modality_counts = (2, 99)

    def __init__(
        self,
        schema: Schema,
        *,
        order: tuple[str, ...] = (),
        widths: tuple[int, ...] = (128, 64),
        hidden: int = 256,
        beta: tuple[float, ...] = (8.0, 32.0),
        level_weight: float = 0.3,
        weight: float | None = None,
        read: Read = "shift",
        pool: TextPool | None = None,
        dropout: float = 0.3,
        output_dropout: float = 0.5,
    ) -> None:
        super().__init__(schema)
        self.prime, *self.detectors = chain(order, schema)
        count = len(self.detectors)
        widths, self.beta = per_level("widths", widths, count), per_level("beta", beta, count)
        positive(hidden=hidden, **{f"widths of level {i}": w for i, w in enumerate(widths)})
        fraction(dropout=dropout, output_dropout=output_dropout)
        if min(*self.beta, level_weight, weight or 0.0) < 0:
            raise OptionError(
                f"beta, level_weight and weight must not be negative, got {beta}, {level_weight}, {weight}"
            )
        if weight is None and not any(self.beta):
            raise OptionError("a weight of 1 / mean beta needs a beta above 0; give one, or set weight")
        self.weight = count / sum(self.beta) if weight is None else weight
        self.level_weight = level_weight
        self.inputs = Inputs(schema)
        self.pool = pool or ("first" if self.inputs.transformer(self.prime) else "mean")
        sizes = {n: m.width for n, m in self.inputs.modalities.items()}
        self.levels = nn.ModuleDict()
        for name, (below, width) in zip(self.detectors, pairwise([sizes[self.prime], *widths]), strict=True):
            self.levels[name] = _Level(below, hidden, width, sizes[name], dropout)
        size = sizes[self.prime] if read == "shift" else widths[-1]
        self.shift = nn.Linear(widths[-1], size) if read == "shift" else None
        self.norm = nn.LayerNorm(size) if read == "shift" else nn.Identity()
        self.drop = nn.Dropout(output_dropout)
        self.pooler = nn.Linear(size, size)
        self.heads = Heads(schema, size)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, the vector they are made of, and the codes."""
        streams = self.inputs(batch)
        prime, mask = every_step(streams[self.prime])
        found, code = {}, prime
        for name, level in self.levels.items():
            assert isinstance(level, _Level)
            code, mean, log_variance = level(code)
            found[f"code_{name}"] = masked_mean(code, mask)
            if self.training:
                kl = kl_to_standard_normal(mean.float(), log_variance.float()) / mean.shape[-1]
                found[f"kl_{name}"] = masked_mean(kl.unsqueeze(-1), mask)[:, 0]
                found[f"error_{name}"] = detection_error(level.detector(code), streams[name], mask)
        x = code if self.shift is None else self.norm(self.shift(code) + prime)
        x = self.drop(x) * mask.unsqueeze(-1)
        fused = self.drop(torch.tanh(self.pooler(pool_steps(x, mask, self.pool))))
        return Output(self.heads(fused), {**found, "fused": fused})

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, each level's ``kl_<n>`` and ``error_<n>``, weighted."""
        losses = task_losses(self.schema, batch, output, squared=True)
        if not self.training:
            return losses
        here = batch[self.prime].present
        for level, (name, beta) in enumerate(zip(self.detectors, self.beta, strict=True)):
            weight = self.weight * self.level_weight**level
            found = output.representations
            losses[f"kl_{name}"] = weight * mean_where(found[f"kl_{name}"], here)
            losses[f"error_{name}"] = weight * beta * mean_where(found[f"error_{name}"], here & batch[name].present)
        return losses


class _Level(nn.Module):
    """A bottleneck at every step and the detector that reads its code: ``(batch, time, below)`` -> code, mean,
    log-variance, each ``(batch, time, width)``; ``detector`` makes ``(batch, time, detected)`` in (0, 1) of a code."""

    def __init__(self, below: int, hidden: int, width: int, detected: int, dropout: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(below, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.bottleneck = GaussianBottleneck(hidden, width)
        self.detector = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, detected), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.bottleneck(self.encoder(x))


def every_step(stream: Stream) -> tuple[Tensor, Tensor]:
    """Return values ``(batch, time, width)`` and mask ``(batch, time)``; a vector is one step, also where it is absent,
    as this method does not look at presence."""
    if stream.lengths is None:
        return stream.tensor.unsqueeze(1), torch.ones_like(stream.present).unsqueeze(1)
    return stream.tensor, stream.mask


def detection_error(detected: Tensor, stream: Stream, mask: Tensor) -> Tensor:
    """Return ``(batch,)``: each sample's mean squared error of ``detected`` (batch, time, width) against ``stream``.

    The stream is resampled to the true steps of ``mask`` (batch, time) and scaled to [0, 1] by the lowest and highest
    value of the batch, padding and absent samples apart.
    """
    wanted = resample(as_sequence(stream), mask.sum(1), mask.shape[1])
    real = mask & stream.present.unsqueeze(1)
    low = wanted.where(real.unsqueeze(-1), torch.inf).amin()
    high = wanted.where(real.unsqueeze(-1), -torch.inf).amax()
    scaled = (wanted - low) / (high - low).clamp(min=1e-6)
    return masked_error(detected, scaled, real)


def chain(order: tuple[str, ...], schema: Schema) -> list[str]:
    """Return all modalities, the prime one first.

    Raises:
        OptionError: a name that is unknown or given twice, or raw text that is not the prime modality.
    """
    names = schema.names
    for name in order:
        if name not in names:
            raise OptionError(f"order names {name!r}{nearest(name, names)}")
        if order.count(name) > 1:
            raise OptionError(f"order names {name!r} twice; give every modality once")
    start = list(order) or [schema.anchor]
    found = start + [n for n in names if n not in start]
    for name in found[1:]:
        if schema.modality(name).kind == "text":
            raise OptionError(
                f"raw text modality {name!r} is no target for a detector; put it first in order, or turn it into "
                f"features with --encode {name}=minilm"
            )
    return found


def per_level(option: str, values: tuple[Number, ...], count: int) -> tuple[Number, ...]:
    """Return ``count`` values: the last one repeats, those beyond the chain are left out."""
    if not values:
        raise OptionError(f"{option} is empty; give one number per level of the chain")
    return (values + values[-1:] * count)[:count]
