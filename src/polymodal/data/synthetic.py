"""Planted corpora: latent factors with stated shares of redundant, unique and synergistic information.

How a sample comes about. Every ``Component`` of the plan is a standard normal factor, or, if synergistic, the product
of two factors of +-1 that sit in different modalities, so that neither says anything alone (XOR), or the product of two
other components, one of them a sign that turns the other around (sarcasm). A score is the sum of the components, each
weighted with the square root of its share of the variance, plus Gaussian noise for the rest; one or more scores make
the label. A modality reads each factor it carries with its own error and writes the reading into a few channels as an
event at a random time or a drift, under white noise (``_sequence``), or into a sentence (``grammar``). A shortcut
channel follows the first score everywhere but in ``test_ood``, where it is reversed.

Every quantity has its own random stream, drawn in row order: row i of a split depends on (name, seed, split, i) only,
so a corpus with a smaller ``n`` is the beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import numpy as np
from scipy.special import ndtr

from polymodal.core import DataError, Modality, OptionError, Schema, nearest, numpy_rng
from polymodal.data import grammar
from polymodal.data.corpus import Corpus
from polymodal.data.plan import LOADINGS, Plan, Sensor
from polymodal.data.plans import PLANS as FEATURES
from polymodal.data.ragged import Array, Ragged
from polymodal.data.split import Column, Split
from polymodal.data.synthetic_images import FACES, faces

Draw = Callable[..., np.random.Generator]

PLANS = {**FEATURES, "faces": FACES}

GROUP = 5
"""Samples per group (speaker); a group talks about one topic."""
SMALLEST = 20
"""A small ``n`` shrinks the other splits in proportion, but not below this."""
_TOPICS = {"train": slice(0, 8), "valid": slice(4, 10), "test": slice(4, 10), "test_ood": slice(8, 12)}


def names() -> dict[str, str]:
    """Return the planted corpora: name -> one line that describes it."""
    return {name: plan.summary for name, plan in PLANS.items()}


def load(
    name: str,
    *,
    n: int | None = None,
    seed: int = 0,
    noise: float = 1.0,
    imbalance: float | None = None,
    absent: float = 0.0,
    label_noise: float | None = None,
    shortcut: float | None = None,
) -> Corpus:
    """Generate a planted corpus.

    ``Corpus.truth`` holds what ``Plan.stated`` says and, per split, under ``splits``: ``factors`` (name -> (rows,)),
    ``readings`` (modality -> factor -> (rows,)), ``clean`` and ``scores`` (score -> (rows,), without and with the
    Gaussian noise), ``relabelled`` (bool, the shape of the labels) and ``shortcut`` ((rows,), or None).

    Args:
        name: one of ``names()``.
        n: training samples; None for the plan's number. A smaller one shrinks the other splits too.
        seed: of the samples; what the channels mean is the same for every seed.
        noise: factor on the noise of every modality.
        imbalance: how many times more frequent the first class is than the last (corpora with unequal classes only).
        absent: share of samples, in [0, 1), that lack a modality; drawn per modality, one is always left.
        label_noise: share of labels, in [0, 1), that are wrong.
        shortcut: correlation of the shortcut channel with the first score, in [0, 1) (corpora with one only).

    Raises:
        DataError: unknown name.
        OptionError: an option outside its range, or one that this corpus does not have.
    """
    if name not in PLANS:
        raise DataError(f"no planted corpus {name!r}{nearest(name, PLANS)}")
    usual = PLANS[name]
    plan = replace(
        usual,
        sizes=usual.sizes if n is None else _sizes(usual.sizes, n),
        sensors=tuple(replace(s, noise=s.noise * noise, jitter=s.jitter * noise) for s in usual.sensors),
        imbalance=usual.imbalance if imbalance is None else imbalance,
        label_noise=usual.label_noise if label_noise is None else label_noise,
        shortcut=usual.shortcut and (usual.shortcut[0], usual.shortcut[1] if shortcut is None else shortcut),
    )
    _check(name, plan, noise, absent, shortcut)
    schema = Schema(tuple(Modality(s.name, s.kind, s.width, shape=s.shape) for s in plan.sensors), (plan.target,))
    splits, known = {}, {}
    for part, rows in plan.sizes.items():
        draw = partial(numpy_rng, "synthetic", name, seed, part)
        splits[part], known[part] = _split(plan, part, rows, absent, draw)
    notes = (f"planted: {plan.summary}",)
    source = _source(name, plan, seed, noise, absent)
    return Corpus(name, source, schema, splits, notes, {**plan.stated, "splits": known})


def _source(name: str, plan: Plan, seed: int, noise: float, absent: float) -> str:
    """Return the string that loads this corpus, with the options that differ from the plan's own."""
    usual = PLANS[name]
    options = {
        "n": (plan.sizes["train"], usual.sizes["train"]),
        "seed": (seed, 0),
        "noise": (noise, 1.0),
        "imbalance": (plan.imbalance, usual.imbalance),
        "absent": (absent, 0.0),
        "label_noise": (plan.label_noise, usual.label_noise),
        "shortcut": (plan.shortcut and plan.shortcut[1], usual.shortcut and usual.shortcut[1]),
    }
    changed = "&".join(f"{option}={value}" for option, (value, default) in options.items() if value != default)
    return f"synthetic:{name}?{changed}" if changed else f"synthetic:{name}"


def _check(name: str, plan: Plan, noise: float, absent: float, shortcut: float | None) -> None:
    if plan.sizes["train"] < 1:
        raise OptionError(f"synthetic:{name} with n={plan.sizes['train']}: give it at least 1 training sample")
    if not 0 <= noise < np.inf:
        raise OptionError(f"synthetic:{name} with noise={noise}: the factor on the noise must be 0 or more")
    for option, value in (("absent", absent), ("label_noise", plan.label_noise)):
        if not 0 <= value < 1:
            raise OptionError(f"synthetic:{name} with {option}={value}: it is a share, at least 0 and below 1")
    if shortcut is not None and not plan.shortcut:
        usable = ", ".join(k for k, p in PLANS.items() if p.shortcut)
        raise OptionError(f"synthetic:{name} has no shortcut channel; use shortcut with {usable}")
    if shortcut is not None and not 0 <= shortcut < 1:
        raise OptionError(f"synthetic:{name} with shortcut={shortcut}: the correlation must be at least 0 and below 1")
    if absent and len(plan.sensors) == 1:
        raise OptionError(f"synthetic:{name} has a single modality, which cannot be absent; leave absent out")
    if plan.imbalance is not None and PLANS[name].imbalance is None:
        usable = ", ".join(k for k, p in PLANS.items() if p.imbalance is not None)
        raise OptionError(f"synthetic:{name} has no classes of chosen frequency; use imbalance with {usable}")
    if plan.imbalance is not None and not 1 <= plan.imbalance < np.inf:
        raise OptionError(f"synthetic:{name} with imbalance={plan.imbalance}: the ratio must be 1 or more")


def _sizes(usual: dict[str, int], n: int) -> dict[str, int]:
    """Return the sizes for ``n`` training samples: a small ``n`` shrinks the other splits, a large one does not grow
    them."""
    ratio = min(1.0, n / usual["train"])
    return {part: n if part == "train" else max(SMALLEST, round(size * ratio)) for part, size in usual.items()}


def _split(plan: Plan, part: str, rows: int, absent: float, draw: Draw) -> tuple[Split, dict[str, Any]]:
    """Return the split and what ``Corpus.truth`` says about it."""
    factors = {
        factor: draw("factor", factor).integers(2, size=rows) * 2.0 - 1.0
        if factor in plan.signs
        else draw("factor", factor).standard_normal(rows)
        for factor in plan.carries
    }
    clean, scores = {}, {}
    for name, parts in plan.scores.items():
        clean[name] = np.sum([c.share**0.5 * c.value(factors) for c in parts], axis=0)
        rest = max(0.0, 1 - sum(c.share for c in parts))
        scores[name] = clean[name] + rest**0.5 * draw("rest", name).standard_normal(rows)
    labels, relabelled = _labels(plan, list(scores.values()), draw)
    shortcut = _shortcut(plan, part, next(iter(scores.values())), draw)
    there = _present(len(plan.sensors), rows, absent, draw)
    readings = {s.name: _readings(plan, s, factors, draw) for s in plan.sensors}
    columns = _columns(plan, part, readings, shortcut, there, draw)
    split = Split(
        [f"{part}-{i:05d}" for i in range(rows)],
        columns,
        {s.name: there[:, i] for i, s in enumerate(plan.sensors)},
        {plan.target.name: labels},
        [f"{part}-speaker-{i // GROUP:04d}" for i in range(rows)],
    )
    known = {
        "factors": factors,
        "readings": readings,
        "clean": clean,
        "scores": scores,
        "relabelled": relabelled,
        "shortcut": shortcut,
    }
    return split, known


def _labels(plan: Plan, scores: list[Array], draw: Draw) -> tuple[Array, Array]:
    """Return the labels and which of them label noise has replaced."""
    target, rows = plan.target, len(scores[0])
    wrong = draw("wrong").random((rows, len(scores))) < plan.label_noise
    if target.spec.answer == "number":
        assert target.range is not None
        score = np.where(wrong[:, 0], draw("other").standard_normal(rows), scores[0])
        high = target.range[1]
        # As CMU-MOSI: half of the range is about 1.9 standard deviations, in 30 steps.
        labels = np.clip(np.rint(score / 1.9 * 15), -15, 15) * (high / 15) + 0.0  # no -0.0
        return labels.astype(np.float32), wrong[:, 0]
    classes = len(target.classes)
    frequency = (plan.imbalance or 1.0) ** (-np.arange(classes) / max(1, classes - 1))
    if target.spec.answer == "classes":
        bits = ndtr(np.stack(scores, axis=1)) > 1 - frequency / 2
        return (bits ^ wrong).astype(np.float32), wrong
    # Where the sample lies among all, 0 .. 1: along the only score, or around the circle of two.
    place = ndtr(scores[0]) if len(scores) == 1 else np.arctan2(scores[1], scores[0]) / (2 * np.pi) % 1
    edges = np.cumsum(frequency / frequency.sum())[:-1]
    number = np.searchsorted(edges, place, side="right")
    other = (number + draw("other").integers(1, classes, rows)) % classes
    return np.where(wrong[:, 0], other, number).astype(np.int64), wrong[:, 0]


def _shortcut(plan: Plan, part: str, score: Array, draw: Draw) -> Array | None:
    """Return the value of the shortcut channel, (rows,), standard normal."""
    if plan.shortcut is None:
        return None
    correlation = plan.shortcut[1]
    sign = -1 if part == "test_ood" else 1
    other = draw("shortcut").standard_normal(len(score))
    return sign * correlation * score + (1 - correlation**2) ** 0.5 * other


def _present(modalities: int, rows: int, absent: float, draw: Draw) -> Array:
    """Return (rows, modalities) bool; every sample keeps one modality."""
    there = draw("absent").random((rows, modalities)) >= absent
    there[np.arange(rows), draw("kept").integers(modalities, size=rows)] |= ~there.any(axis=1)
    return there


def _columns(
    plan: Plan, part: str, readings: dict[str, dict[str, Array]], shortcut: Array | None, there: Array, draw: Draw
) -> dict[str, Column]:
    """Return the columns of all modalities; lengths follow the number of words."""
    rows = len(there)
    columns: dict[str, Column] = {}
    words = draw("words").integers(plan.words[0], plan.words[1] + 1, rows)
    for i, sensor in enumerate(plan.sensors):
        if sensor.kind == "text":
            texts = _texts(plan, part, readings[sensor.name], draw)
            words = np.array([len(t.split()) for t in texts])
            columns[sensor.name] = [t if here else "" for t, here in zip(texts, there[:, i], strict=True)]
    for i, sensor in enumerate(plan.sensors):
        if sensor.kind != "text":
            tempo = draw("tempo", sensor.name).uniform(*sensor.pace, rows)
            steps = np.maximum(1, np.rint(words * tempo)).astype(np.int64)
            own = shortcut if plan.shortcut and plan.shortcut[0] == sensor.name else None
            values = (
                faces(sensor, readings[sensor.name], steps, GROUP, draw)
                if sensor.shape
                else _sequence(plan, sensor, readings[sensor.name], own, steps, draw)
            )
            kept = np.repeat(there[:, i], steps)
            offsets = np.concatenate([[0], np.cumsum(steps * there[:, i])])
            columns[sensor.name] = Ragged([(values if kept.all() else values[kept], offsets)])
    return {s.name: columns[s.name] for s in plan.sensors}


def _readings(plan: Plan, sensor: Sensor, factors: dict[str, Array], draw: Draw) -> dict[str, Array]:
    """Return what the modality takes each factor it carries to be, (rows,), variance 1."""
    found = {}
    for factor, carriers in plan.carries.items():
        if sensor.name in carriers:
            strength = carriers[sensor.name]  # 1 for a tense, which is never misread
            error = draw("reading", sensor.name, factor).standard_normal(len(factors[factor]))
            found[factor] = strength * (factors[factor] + (strength < 1) * sensor.noise * error)
    return found


def _texts(plan: Plan, part: str, readings: dict[str, Array], draw: Draw) -> list[str]:
    """Return sentences: the first graded factor is the feeling, the second the opinion, a sign the tense."""
    graded = [reading for factor, reading in readings.items() if factor not in plan.signs]
    feeling, opinion = (np.clip(np.rint(1.5 * g), -3, 3).astype(int) for g in graded)
    rows = len(feeling)
    signs = [readings[f] for f in plan.signs if f in readings] or [draw("tense").standard_normal(rows)]
    (past,) = (sign > 0 for sign in signs)
    topics = list(grammar.TOPICS)[_TOPICS[part]]
    chosen = draw("topic").integers(len(topics), size=rows // GROUP + 1)
    seed = int(draw("sentence").integers(2**62))
    return [
        grammar.sentence(int(opinion[i]), int(feeling[i]), bool(past[i]), topics[chosen[i // GROUP]], Random(seed + i))
        for i in range(rows)
    ]


def _sequence(
    plan: Plan, sensor: Sensor, read: dict[str, Array], shortcut: Array | None, steps: Array, draw: Draw
) -> Array:
    """Return the features of all steps; a vector is a sequence of one step.

    Channel 0 holds the course of the event alone, a factor's channels its reading times that course, the last channel
    a shortcut all the time, and all of them white noise. The course has mean 1 over time, so that the mean over time
    estimates the reading; weighing the steps by channel 0 estimates it better.
    """
    offsets = np.concatenate([[0], np.cumsum(steps)])
    values = draw("jitter", sensor.name).standard_normal((int(offsets[-1]), sensor.width), dtype=np.float32)
    values *= sensor.jitter
    course = _course(steps, offsets, draw, sensor.name)
    values[:, 0] = values[:, 0] / 4 + course
    for factor, channels in plan.channels(sensor).items():
        signal = np.repeat(read[factor], steps) * course
        values[:, channels] += signal[:, None] * LOADINGS[: channels.stop - channels.start]
    if shortcut is not None:
        values[:, -1] += np.repeat(shortcut, steps)
    return values


def _course(steps: Array, offsets: Array, draw: Draw, modality: str) -> Array:
    """Return (all steps,), per sample of mean 1: a bump around a random moment, or a ramp from a random onset on."""
    kind, moment, width = draw("course", modality).random((len(steps), 3)).T
    time = (np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], steps) + 0.5) / np.repeat(steps, steps)
    centre = np.repeat(0.1 + 0.8 * moment, steps)
    bump = np.exp(-0.5 * ((time - centre) / np.repeat(0.03 + 0.03 * width, steps)) ** 2)
    ramp = np.clip(time - 0.7 * centre, 0.01, None)
    course = np.where(np.repeat(kind < 0.8, steps), bump, ramp)
    return course / np.repeat(np.add.reduceat(course, offsets[:-1]) / steps, steps)
