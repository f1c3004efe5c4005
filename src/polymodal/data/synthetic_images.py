"""A planted corpus of pixels: small drawn faces whose mouth, and nothing else of them, shows the feeling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from polymodal.core import Target
from polymodal.data.plan import Component, Plan, Sensor
from polymodal.data.ragged import Array

Draw = Callable[..., np.random.Generator]

SIDE = 16
MOUTH = slice(SIDE // 2, SIDE)
"""Rows of pixels that hold the mouth wherever the head is; hidden, a face says nothing."""

FACES = Plan(
    "valence from drawn faces (frames of 3 x 16 x 16 pixels) and a voice; the curve of the mouth carries half of it",
    (
        Sensor("audio", width=12, pace=(2.5, 3.5), noise=0.5, jitter=2.0),
        Sensor("vision", "frames", pace=(0.4, 0.6), noise=0.3, shape=(3, SIDE, SIDE)),
    ),
    {"valence": (Component("smile", 0.5, ("vision",)), Component("voice", 0.25, ("audio",)))},
    Target("valence", "regression", (-3.0, 3.0)),
    {"train": 1000, "valid": 200, "test": 300},
)
"""The best correlation with the score: 0.68 from faces (half of its variance, read with an error of 0.3), 0.45 from the
voice, 0.81 from both, 0.45 from both where the mouth is hidden."""

_BLOCK = 4096
"""Frames that are drawn at a time."""


def faces(sensor: Sensor, read: dict[str, Array], steps: Array, group: int, draw: Draw) -> Array:
    """Return all frames, uint8 ``(steps, 3, side, side)``, of drawn faces whose mouth turns up with what is read.

    Skin, ground and the width of the eyes belong to the speaker; the head moves a pixel at most, eyes blink, the mouth
    flutters around the reading, and every pixel has noise.

    Args:
        sensor: its ``jitter`` is a factor on flutter and pixel noise.
        read: the only factor's reading, ``(rows,)``.
        steps: ``(rows,)`` frames of each clip.
        group: samples in a row that show the same speaker.
    """
    (reading,) = read.values()
    clip = np.repeat(np.arange(len(steps)), steps)
    speaker, count = clip // group, len(clip)
    looks = (draw(what, sensor.name).random((len(steps) // group + 1, 3)) for what in ("skin", "ground", "eyes"))
    skin, ground, apart = looks
    flutter = draw("flutter", sensor.name).standard_normal(count)
    curve = np.clip(reading[clip] + 0.4 * sensor.jitter * flutter, -3, 3)
    head = draw("head", sensor.name).uniform(-1, 1, (count, 2))
    shut = draw("blink", sensor.name).random(count) < 0.1
    noise = draw("jitter", sensor.name)
    values = np.empty((count, 3, SIDE, SIDE), np.uint8)
    for start in range(0, count, _BLOCK):
        part = slice(start, min(start + _BLOCK, count))
        who = speaker[part]
        light = _drawn(curve[part], head[part], shut[part], 140 + 90 * skin[who], 120 * ground[who], apart[who, 0])
        light += 6 * sensor.jitter * noise.standard_normal(light.shape, dtype=np.float32)
        values[part] = np.clip(np.rint(light), 0, 255)
    return values


def _drawn(curve: Array, head: Array, shut: Array, skin: Array, ground: Array, apart: Array) -> Array:
    """Return light from 0 to 255, float32 ``(frames, 3, side, side)``.

    Args:
        curve: ``(frames,)``, of the mouth: above 0 its corners are up.
        head: ``(frames, 2)`` pixels that it is moved down and to the right.
        shut: ``(frames,)`` bool, whether the eyes are.
        skin, ground: ``(frames, 3)`` light of face and background.
        apart: ``(frames,)`` in [0, 1], distance of the eyes.
    """

    def wide(x: Array) -> Array:
        return x.astype(np.float32)[:, None, None]

    down, right = np.mgrid[:SIDE, :SIDE].astype(np.float32) - (SIDE - 1) / 2
    y, x = down - wide(head[:, 0]), right - wide(head[:, 1])
    face = 1 / (1 + np.exp(8 * ((x / 6.2) ** 2 + (y / 7.2) ** 2 - 1)))
    eyes = np.exp(-((np.abs(x) - 2.2 - wide(apart)) ** 2) - ((y + 2) / np.where(wide(shut) > 0, 0.3, 0.9)) ** 2)
    lips = 3 - 0.7 * wide(curve) * ((x / 3.2) ** 2 - 0.4)
    mouth = np.exp(-(((y - lips) / 0.75) ** 2)) * (np.abs(x) < 3.6)
    dark = np.maximum(eyes, mouth)[:, None]
    plain = ground[:, :, None, None] * (1 - face[:, None]) + skin[:, :, None, None] * face[:, None]
    return (plain * (1 - 0.8 * dark)).astype(np.float32)
