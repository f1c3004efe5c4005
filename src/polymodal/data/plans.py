"""What each planted corpus contains: its modalities, its factors and who carries them, its target."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """A part of a score: the modalities that carry it and its share of the score's variance."""

    name: str
    share: float
    carriers: tuple[str, ...]
    synergy: bool = False

    @property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """Factor name -> modalities that carry it."""
        return {f"{self.name}_{m}": (m,) for m in self.carriers} if self.synergy else {self.name: self.carriers}

    def value(self, factors: dict[str, Array]) -> Array:
        """``(rows,)``: the product of its factors."""
        return np.prod([factors[f] for f in self.factors], axis=0)


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
    def carries(self) -> dict[str, dict[str, float]]:
        """Factor -> modality -> correlation between the factor and the modality's reading of it."""
        errors = {s.name: s.noise for s in self.sensors}
        exact = {s.name for s in self.sensors if s.kind == "text"}  # a tense is never misread
        return {
            factor: {m: 1.0 if c.synergy and m in exact else (1 + errors[m] ** 2) ** -0.5 for m in carriers}
            for c in self.components
            for factor, carriers in c.factors.items()
        }

    def channels(self, sensor: Sensor) -> dict[str, slice]:
        """Factor -> channels of ``sensor``; channel 0 marks the event, about half of the others are noise."""
        factors = [f for f, carriers in self.carries.items() if sensor.name in carriers]
        each = min(len(LOADINGS), max(1, (sensor.width - 2) // (2 * len(factors))))
        return {f: slice(1 + i * each, 1 + (i + 1) * each) for i, f in enumerate(factors)}

    @property
    def stated(self) -> dict[str, Any]:
        """What a corpus says about its making: ``plan``; ``shares`` (score -> component -> share); ``carries``;
        ``channels`` (modality -> factor -> slice); ``shortcut`` (modality, channel, correlation), or None."""
        shortcut = None
        if self.shortcut is not None:
            modality, correlation = self.shortcut
            last = next(s.width for s in self.sensors if s.name == modality) - 1
            shortcut = {"modality": modality, "channel": last, "correlation": correlation}
        return {
            "plan": self,
            "shares": {score: {c.name: c.share for c in parts} for score, parts in self.scores.items()},
            "carries": self.carries,
            "channels": {s.name: self.channels(s) for s in self.sensors if s.width},
            "shortcut": shortcut,
        }


_TEXT = Sensor("text", "text", noise=0.3)
_AUDIO = Sensor("audio", width=12, pace=(2.5, 3.5), noise=0.5, jitter=5.0)
_VISION = Sensor("vision", width=16, pace=(1.3, 1.8), noise=0.6, jitter=4.0)
_ALL = ("text", "audio", "vision")
_SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
_SIZES = {"train": 1000, "valid": 200, "test": 300}
_OOD = {**_SIZES, "test_ood": 300}

PLANS: dict[str, Plan] = {
    "talk": Plan(
        "sentiment of a speaker from text, audio and vision, with a shortcut in vision",
        (_TEXT, _AUDIO, _VISION),
        {
            "sentiment": (
                Component("shared", 0.3, _ALL),
                Component("text_only", 0.3, ("text",)),
                Component("audio_only", 0.12, ("audio",)),
                Component("vision_only", 0.08, ("vision",)),
                Component("tone", 0.15, ("text", "audio"), synergy=True),
            )
        },
        _SENTIMENT,
        _OOD,
        shortcut=("vision", 0.4),
    ),
    "emotions": Plan(
        "six emotions of unequal frequency: sectors of the valence-arousal plane",
        (_TEXT, replace(_AUDIO, jitter=1.5), replace(_VISION, jitter=1.0)),
        {
            "valence": (
                Component("shared", 0.4, _ALL),
                Component("text_only", 0.35, ("text",)),
                Component("vision_only", 0.15, ("vision",)),
            ),
            "arousal": (
                Component("energy", 0.45, ("audio", "vision")),
                Component("audio_only", 0.3, ("audio",)),
                Component("tone", 0.15, ("text", "vision"), synergy=True),
            ),
        },
        Target("emotion", "classification", classes=("happy", "surprised", "angry", "afraid", "sad", "calm")),
        _OOD,
        shortcut=("vision", 0.4),
        imbalance=5.0,
    ),
    "labels": Plan(
        "four labels at once, each carried differently; 'ironic' is pure synergy of text and audio",
        (_TEXT, replace(_AUDIO, jitter=1.5), replace(_VISION, jitter=1.0)),
        {
            "ironic": (Component("irony", 0.9, ("text", "audio"), synergy=True),),
            "happy": (Component("shared", 0.5, _ALL), Component("text_only", 0.4, ("text",))),
            "excited": (Component("energy", 0.6, ("audio", "vision")), Component("audio_only", 0.3, ("audio",))),
            "surprised": (Component("vision_only", 0.9, ("vision",)),),
        },
        Target("labels", "multilabel", classes=("ironic", "happy", "excited", "surprised")),
        _SIZES,
        imbalance=3.0,
    ),
    "xor": Plan(
        "do audio and vision agree? pure synergy: each alone is at chance",
        (Sensor("audio", width=6, pace=(1.5, 2.0), noise=0.3), Sensor("vision", width=8, pace=(0.8, 1.2), noise=0.3)),
        {"agreement": (Component("sign", 1.0, ("audio", "vision"), synergy=True),)},
        Target("agreement", "classification", classes=("clash", "match")),
        {"train": 800, "valid": 200, "test": 400},
    ),
    "redundant": Plan(
        "two factors in every modality, clear in text, under strong independent noise in audio and vision",
        (
            Sensor("text", width=16, pace=(1.0, 1.0), noise=0.2, jitter=0.5),
            Sensor("audio", width=12, pace=(2.5, 3.5), noise=0.3, jitter=8.0),
            Sensor("vision", width=16, pace=(1.3, 1.8), noise=0.3, jitter=6.0),
        ),
        {"sentiment": (Component("shared", 0.6, _ALL), Component("shared_second", 0.3, _ALL))},
        _SENTIMENT,
        _SIZES,
    ),
    "vectors": Plan(
        "five modalities, three of them vectors",
        (
            Sensor("posture", "vector", 8, jitter=0.4),
            Sensor("voice", "vector", 10, jitter=0.4),
            Sensor("gaze", width=6, pace=(1.0, 2.0)),
            Sensor("skin", width=5, pace=(0.5, 1.0)),
            Sensor("scene", "vector", 20, jitter=0.4),
        ),
        {
            "arousal": (
                Component("shared", 0.3, ("posture", "voice", "gaze", "skin", "scene")),
                Component("voice_gaze", 0.15, ("voice", "gaze")),
                Component("posture_only", 0.15, ("posture",)),
                Component("skin_only", 0.1, ("skin",)),
                Component("scene_only", 0.1, ("scene",)),
                Component("context", 0.1, ("posture", "gaze"), synergy=True),
            )
        },
        Target("arousal", "regression", (-1.0, 1.0)),
        _SIZES,
    ),
    "unimodal": Plan(
        "one sequence modality",
        (_AUDIO,),
        {"sentiment": (Component("audio_only", 0.9, ("audio",)),)},
        _SENTIMENT,
        _SIZES,
    ),
    "pair": Plan(
        "sentiment from text and audio only",
        (_TEXT, _AUDIO),
        {
            "sentiment": (
                Component("shared", 0.35, ("text", "audio")),
                Component("text_only", 0.3, ("text",)),
                Component("audio_only", 0.15, ("audio",)),
                Component("tone", 0.1, ("text", "audio"), synergy=True),
            )
        },
        _SENTIMENT,
        _SIZES,
    ),
    "mosi-shaped": Plan(
        "sizes, widths and lengths of the unaligned CMU-MOSI features, for benchmarks",
        (
            Sensor("text", width=768, pace=(1.0, 1.0), noise=0.4),
            Sensor("audio", width=5, pace=(6.0, 7.5), noise=0.8, jitter=3.0),
            Sensor("vision", width=20, pace=(8.0, 10.0), noise=1.0, jitter=3.0),
        ),
        {
            "sentiment": (
                Component("shared", 0.4, _ALL),
                Component("text_only", 0.3, ("text",)),
                Component("audio_only", 0.1, ("audio",)),
                Component("vision_only", 0.1, ("vision",)),
            )
        },
        _SENTIMENT,
        {"train": 1284, "valid": 229, "test": 686},
        words=(6, 49),
    ),
}
