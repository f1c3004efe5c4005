"""Signals that are there but wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, OptionError, Stream
from polymodal.core.options import NotNegative, Positive, Rule, Share
from polymodal.stress.draw import Array, Draw, chosen, steps, with_values

Color = Literal["white", "pink", "brown"]
EXPONENTS: dict[Color, float] = {"white": 0.0, "pink": 1.0, "brown": 2.0}
Delay = Annotated[float, Rule("a share of the length from -1 to 1", lambda by: -1 <= by <= 1)]
Kept = Annotated[float, Rule("a share above 0, up to 1", lambda keep: 0 < keep <= 1)]


def noise(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, snr: float, color: Color = "white") -> Batch:
    """Add Gaussian noise at ``snr`` decibels below the sample's own power.

    ``color`` says how its power falls with frequency over time: white (flat), pink (1/f), brown (1/f^2). Text is left
    as it is: see ``words``.
    """

    def disturb(values: Array, rng: np.random.Generator) -> Array:
        power = np.sqrt(np.mean(np.square(values)))
        return values + power * 10 ** (-snr / 20) * _coloured(rng, values.shape, EXPONENTS[color])

    return _each(batch, draw, modalities, disturb)


def _coloured(rng: np.random.Generator, shape: tuple[int, ...], exponent: float) -> Array:
    """Return noise of unit power whose spectrum over axis 0 falls as ``f ** -exponent``."""
    raw = rng.standard_normal(shape)
    if exponent == 0 or shape[0] < 4:
        return raw
    spectrum = np.fft.rfft(raw, axis=0)
    frequency = np.arange(len(spectrum))
    frequency[0] = 1
    falling = (frequency ** (-exponent / 2)).reshape(-1, *[1] * (raw.ndim - 1))
    shaped = np.fft.irfft(spectrum * falling, n=shape[0], axis=0)
    return shaped / np.sqrt(np.mean(np.square(shaped)))


def channels(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, rate: Share) -> Batch:
    """Set a share ``rate`` of the channels (of features, or colours) of each sample to zero over its whole length."""

    def mute(values: Array, rng: np.random.Generator) -> Array:
        return values * (rng.random(values.shape[1]) >= rate).reshape(-1, *[1] * (values.ndim - 2))

    return _each(batch, draw, modalities, mute)


def clip(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, at: Positive) -> Batch:
    """Saturate features at ``+-at`` (standard deviations, where the loader standardises)."""
    return _each(batch, draw, modalities, lambda values, rng: np.clip(values, -at, at))


def shift(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, by: Delay) -> Batch:
    """Delay a modality against the others by a share ``by`` of its length (negative: advance); zeros fill the gap."""

    def move(values: Array, rng: np.random.Generator) -> Array:
        count = round(by * len(values))
        moved = np.zeros_like(values)
        if count >= 0:
            moved[count:] = values[: len(values) - count]
        else:
            moved[:count] = values[-count:]
        return moved

    return _each(batch, draw, modalities, move)


def rate(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, keep: Kept) -> Batch:
    """Keep a share ``keep`` of the steps, evenly spaced: a lower frame rate. Sequences become shorter."""

    def thin(values: Array, rng: np.random.Generator) -> Array:
        count = max(1, round(keep * len(values)))
        return values[np.floor(np.arange(count) * len(values) / count).astype(int)]

    return _each(batch, draw, modalities, thin)


def words(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, rate: Share) -> Batch:
    """Errors of a speech recogniser: each word (or step of text) is hit with probability ``rate``.

    A hit is a substitution (60 %), a deletion (25 %) or an insertion (15 %) of another word of the same sample. At
    least one word stays. Applies to ``text`` unless modalities are named.
    """
    names = modalities or [n for n in batch.streams if n == "text"]

    def confuse(values: list[object] | Array, rng: np.random.Generator) -> list[int]:
        order: list[int] = []
        for position in range(len(values)):
            luck, kind, other = rng.random(), rng.random(), int(rng.integers(len(values)))
            if luck >= rate:
                order.append(position)
            elif kind < 0.6:
                order.append(other)
            elif kind >= 0.85:
                order += [position, other]
        return order or [0]

    streams = dict(batch.streams)
    for name in chosen(batch, names) if names else []:
        stream = streams[name]
        if isinstance(stream.values, Tensor):
            streams[name] = _rows(batch, stream, lambda v, rng: v[confuse(v, rng)], draw, name)
            continue
        texts = []
        for sample, text in zip(batch.ids, stream.texts, strict=True):
            spoken = text.split()
            texts.append(" ".join(spoken[i] for i in confuse(list(spoken), draw.rng(sample, name))) if spoken else "")
        streams[name] = Stream(texts, None, stream.present)
    return replace(batch, streams=streams)


def occlude(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, share: Share) -> Batch:
    """Hide a share ``share`` of the area of images and frames behind a grey rectangle of the picture's proportions.

    It lies at a random place, the same in all frames of a clip, as a hand or a microphone would. Its pixels are zero:
    the mean of the training split, where the loader standardises.
    """

    def hide(values: Array, rng: np.random.Generator) -> Array:
        hidden = values.copy()
        sides = values.shape[2:]
        sizes = [round(share**0.5 * side) for side in sides]
        top, left = (int(rng.integers(side - size + 1)) for side, size in zip(sides, sizes, strict=True))
        hidden[:, :, top : top + sizes[0], left : left + sizes[1]] = 0
        return hidden

    return _each(batch, draw, _pictures(batch, modalities, "occlude"), hide)


def blur(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, sigma: NotNegative) -> Batch:
    """Blur images and frames with a Gaussian of ``sigma`` pixels; beyond its border a picture goes on as it ends."""
    from scipy.ndimage import gaussian_filter

    def smear(values: Array, rng: np.random.Generator) -> Array:
        return np.asarray(gaussian_filter(values, sigma, mode="nearest", axes=(2, 3)))

    return _each(batch, draw, _pictures(batch, modalities, "blur"), smear)


def _pictures(batch: Batch, modalities: Sequence[str], protocol: str) -> list[str]:
    """Return ``modalities``, or all images and frames of the batch; OptionError where there are none to act on."""
    pictures = [n for n, s in batch.streams.items() if isinstance(s.values, Tensor) and s.values.dim() > 3]
    others = [n for n in chosen(batch, modalities) if n not in pictures]
    if others and (modalities or not pictures):
        raise OptionError(f"{protocol} acts on images and frames, which {others[0]} is not; leave it out")
    return list(modalities) or pictures


def swap(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, p: Share) -> Batch:
    """With probability ``p`` replace a modality by that of another sample of the split: modalities in conflict."""
    population = list(draw.population)
    streams = dict(batch.streams)
    for name in chosen(batch, modalities):
        hit = draw.uniform(batch.ids, name, "hit") < p
        givers = [population[int(draw.rng(i, name, "giver").integers(len(population)))] for i in batch.ids]
        needed = [giver for giver, taken in zip(givers, hit.tolist(), strict=True) if taken]
        if not needed:
            continue
        given = (draw.donors(needed) if draw.donors else picked(batch, needed))[name]
        streams[name] = exchanged(streams[name], hit, given)
    return replace(batch, streams=streams)


def picked(batch: Batch, ids: list[str]) -> Batch:
    """Return the samples ``ids`` of ``batch``."""
    rows = torch.tensor([batch.ids.index(i) for i in ids])
    streams = {
        n: Stream(
            s.tensor[rows] if isinstance(s.values, Tensor) else [s.texts[int(r)] for r in rows],
            None if s.lengths is None else s.lengths[rows],
            s.present[rows],
        )
        for n, s in batch.streams.items()
    }
    return Batch(streams, {n: t[rows] for n, t in batch.targets.items()}, ids)


def exchanged(stream: Stream, hit: Tensor, given: Stream) -> Stream:
    """Return the stream with the rows ``hit`` (batch,) bool replaced by those of ``given``, in order."""
    rows = hit.nonzero()[:, 0]
    present = stream.present.clone()
    present[rows] = given.present
    if not isinstance(stream.values, Tensor):
        texts = list(stream.texts)
        for row, text in zip(rows.tolist(), given.texts, strict=True):
            texts[row] = text
        return Stream(texts, None, present)
    values, new = stream.values, given.tensor
    if stream.lengths is None or given.lengths is None:
        values = values.clone()
        values[rows] = new
        return Stream(values, None, present)
    steps = max(values.shape[1], new.shape[1])
    out = values.new_zeros(len(values), steps, *values.shape[2:])
    out[:, : values.shape[1]] = values
    out[rows] = 0
    out[rows, : new.shape[1]] = new
    lengths = stream.lengths.clone()
    lengths[rows] = given.lengths
    return Stream(out, lengths, present)


def _each(
    batch: Batch, draw: Draw, modalities: Sequence[str], change: Callable[[Array, np.random.Generator], Array]
) -> Batch:
    """Apply ``change`` to the true steps of every present sample of the named modalities (all but text strings)."""
    streams = dict(batch.streams)
    for name in chosen(batch, modalities):
        if isinstance(streams[name].values, Tensor):
            streams[name] = _rows(batch, streams[name], change, draw, name)
        elif modalities:
            raise OptionError(f"{name} is text in words; use words:rate=... or drop:{name},rate=... instead")
    return replace(batch, streams=streams)


def _rows(
    batch: Batch, stream: Stream, change: Callable[[Array, np.random.Generator], Array], draw: Draw, name: str
) -> Stream:
    values, lengths = steps(stream)
    rows = [
        torch.from_numpy(np.asarray(change(row[:length].numpy(), draw.rng(sample, name)), dtype=np.float32))
        if length
        else row[:0]
        for sample, row, length in zip(batch.ids, values.cpu(), lengths.tolist(), strict=True)
    ]
    new = torch.tensor([len(r) for r in rows])
    out = values.new_zeros(len(rows), max(1, int(new.max())), *values.shape[2:])
    for row, value in enumerate(rows):
        out[row, : len(value)] = value
    return with_values(stream, out, new.to(values.device))
