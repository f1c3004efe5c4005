"""What a planted corpus is made of: modalities, factors and who carries them, a target; and what can be known of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.core import Kind, Target
from polymodal.data.ragged import Array

LOADINGS = np.array([1.0, -0.8, 0.6, -0.9], np.float32)
"""How strongly a factor shows in each of its channels (as many as it has)."""


@dataclass(frozen=True)
class Sensor:
    """How a modality observes the factors it carries.

    Attributes:
        pace: fewest and most steps per word of a sequence; a vector has one step.
        noise: standard deviation of the error of a reading, one per sample and factor (a factor's own is 1).
        jitter: standard deviation of the white noise on every channel and step; unused for text.
        shape: (channels, height, width) of each of the frames.
    """

    name: str
    kind: Kind = "sequence"
    width: int = 0
    pace: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.5
    jitter: float = 1.0
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Component:
    """A part of a score: the modalities that carry it and its share of the score's variance.

    Attributes:
        synergy: the product of a sign per carrier, +1 or -1.
        sign: its factor is a sign, else standard normal.
        product: names of two other components of one factor each, a sign at least one of them: it is their product.
    """

    name: str
    share: float
    carriers: tuple[str, ...] = ()
    synergy: bool = False
    sign: bool = False
    product: tuple[str, str] | tuple[()] = ()

    @property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """Factor of its own -> modalities that carry it."""
        if self.product:
            return {}
        return {f"{self.name}_{m}": (m,) for m in self.carriers} if self.synergy else {self.name: self.carriers}

    def value(self, factors: dict[str, Array]) -> Array:
        """``(rows,)``: the product of its factors."""
        return np.prod([factors[f] for f in self.product or self.factors], axis=0)


@dataclass(frozen=True)
class Plan:
    """A planted corpus.

    Attributes:
        scores: score name -> components; what the shares leave is Gaussian noise.
        target: a regression is the only score, clipped; classes are slices of the only score or, with two, sectors of
            the plane; each label of a multilabel target has its own score.
        words: fewest and most words per sample, where no text decides it.
        shortcut: modality and correlation of its last channel with the first score.
        imbalance: how many times more frequent the first class is than the last; None where it cannot be chosen.
        label_noise: share of labels drawn anew (regression) or changed (classes).
    """

    summary: str
    sensors: tuple[Sensor, ...]
    scores: dict[str, tuple[Component, ...]]
    target: Target
    sizes: dict[str, int]
    words: tuple[int, int] = (6, 24)
    shortcut: tuple[str, float] | None = None
    imbalance: float | None = None
    label_noise: float = 0.0

    @property
    def components(self) -> list[Component]:
        """Components of all scores."""
        return [c for parts in self.scores.values() for c in parts]

    @property
    def signs(self) -> set[str]:
        """Factors that are +1 or -1, else standard normal."""
        return {f for c in self.components if c.synergy or c.sign for f in c.factors}

    @property
    def carries(self) -> dict[str, dict[str, float]]:
        """Factor -> modality -> correlation between the factor and the modality's reading of it."""
        errors = {s.name: s.noise for s in self.sensors}
        exact = {s.name for s in self.sensors if s.kind == "text"}  # a tense is never misread
        return {
            factor: {m: 1.0 if factor in self.signs and m in exact else (1 + errors[m] ** 2) ** -0.5 for m in carriers}
            for c in self.components
            for factor, carriers in c.factors.items()
        }

    def channels(self, sensor: Sensor) -> dict[str, slice]:
        """Factor -> channels of ``sensor``; channel 0 marks the event, about half of the others are noise."""
        factors = [f for f, carriers in self.carries.items() if sensor.name in carriers]
        each = min(len(LOADINGS), max(1, (sensor.width - 2) // (2 * len(factors))))
        return {f: slice(1 + i * each, 1 + (i + 1) * each) for i, f in enumerate(factors)}

    @property
    def limits(self) -> dict[str, dict[str, float]]:
        """Score -> the share of its variance that the readings of all modalities explain, without the shortcut.

        ``linear``: linear functions of the readings; a product of two modalities is beyond any sum of functions of one.
        ``bayes``: any function. Words round a reading, and samples are finite: what is learned stays below both.
        """
        known = {c.name: (self._known(c, linear=True), self._known(c, linear=False)) for c in self.components}
        return {
            score: {name: sum(c.share * known[c.name][i] for c in parts) for i, name in enumerate(("linear", "bayes"))}
            for score, parts in self.scores.items()
        }

    def _known(self, component: Component, *, linear: bool) -> float:
        """Return the share of the component's variance that the readings of its factors explain."""
        if linear and (component.synergy or component.product):
            return 0.0
        if component.product:
            return math.prod(self._known(c, linear=False) for c in self.components if c.name in component.product)
        return math.prod(
            _explained(self.carries[factor].values(), tanh=factor in self.signs and not linear)
            for factor in component.factors
        )

    @property
    def stated(self) -> dict[str, Any]:
        """What a corpus says about its making: ``plan``; ``shares`` (score -> component -> share); ``limits``;
        ``carries``; ``channels`` (modality -> factor -> slice); ``shortcut`` (modality, channel, correlation), or None.
        """
        shortcut = None
        if self.shortcut is not None:
            modality, correlation = self.shortcut
            last = next(s.width for s in self.sensors if s.name == modality) - 1
            shortcut = {"modality": modality, "channel": last, "correlation": correlation}
        return {
            "plan": self,
            "shares": {score: {c.name: c.share for c in parts} for score, parts in self.scores.items()},
            "limits": self.limits,
            "carries": self.carries,
            "channels": {s.name: self.channels(s) for s in self.sensors if s.width},
            "shortcut": shortcut,
        }


def _explained(strengths: Iterable[float], *, tanh: bool) -> float:
    """Return the share of a factor's variance that readings of it explain, given their correlations with it.

    Readings with independent Gaussian errors are as good as one whose precision is the sum of theirs, p. The best
    linear estimate explains p / (1 + p), of a standard normal factor all there is to know. A sign s read as x with
    precision p has mean tanh(p x), and as much variance explained as E[tanh(p + p^(1/2) z)], z standard normal.
    """
    precision = sum(r**2 / (1 - r**2) if r < 1 else math.inf for r in strengths)
    if math.isinf(precision):
        return 1.0
    if not tanh:
        return precision / (1 + precision)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    return float(weights @ np.tanh(precision + precision**0.5 * nodes) / weights.sum())
