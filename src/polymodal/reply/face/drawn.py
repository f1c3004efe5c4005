"""The face that is shown where no portrait is given: drawn here, and nobody's."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from polymodal.data.ragged import Array

Color = tuple[int, int, int]
_SKIN: Color = (224, 178, 148)
_SHADE: Color = (203, 152, 122)
_HAIR: Color = (62, 46, 40)
_BACK: Color = (214, 222, 228)
_SCALE = 2
"""Drawn larger, then made smaller: its edges become smooth."""


class _Canvas:
    """A picture of 512 units a side."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (512 * _SCALE, 512 * _SCALE), _BACK)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        ImageDraw.Draw(self.image).ellipse(_scaled(x - rx, y - ry, x + rx, y + ry), fill=color)

    def polygon(self, color: Color, *points: float) -> None:
        ImageDraw.Draw(self.image).polygon(_scaled(*points), fill=color)

    def line(self, color: Color, width: float, *points: float) -> None:
        ImageDraw.Draw(self.image).line(_scaled(*points), fill=color, width=round(width * _SCALE))

    def arc(self, x: float, y: float, rx: float, ry: float, ends: tuple[int, int], color: Color, width: float) -> None:
        box = _scaled(x - rx, y - ry, x + rx, y + ry)
        ImageDraw.Draw(self.image).arc(box, *ends, fill=color, width=round(width * _SCALE))

    def tint(self, color: Color, blur: float, *spots: tuple[float, float, float, float, int]) -> None:
        """Lay soft ellipses (x, y, rx, ry, strength) of a colour over the face."""
        layer, face = (Image.new("L", self.image.size, 0) for _ in range(2))
        for x, y, rx, ry, strength in spots:
            ImageDraw.Draw(layer).ellipse(_scaled(x - rx, y - ry, x + rx, y + ry), fill=strength)
        ImageDraw.Draw(face).ellipse(_scaled(134, 92, 378, 408), fill=255)
        soft = layer.filter(ImageFilter.GaussianBlur(blur * _SCALE))
        mask = Image.composite(soft, Image.new("L", soft.size, 0), face)
        self.image = Image.composite(Image.new("RGB", soft.size, color), self.image, mask)

    def soften(self, blur: float) -> None:
        self.image = self.image.filter(ImageFilter.GaussianBlur(blur * _SCALE))


def drawn_face(side: int = 512) -> Array:
    """Return the face, (side, side, 3) uint8; the face landmarker finds its landmarks as those of a photograph."""
    c = _Canvas()
    c.ellipse(256, 215, 150, 170, _HAIR)
    c.polygon(_SHADE, 206, 360, 306, 360, 306, 470, 206, 470)
    c.ellipse(256, 540, 210, 110, (84, 110, 138))
    c.ellipse(256, 418, 52, 40, _SHADE)
    for x in (134, 378):
        c.ellipse(x, 262, 20, 34, _SHADE)
    c.ellipse(256, 250, 122, 158, _SKIN)
    c.soften(2)
    shadows = ((200, 232, 40, 24, 90), (312, 232, 40, 24, 90), (256, 306, 30, 12, 120), (256, 372, 40, 10, 90))
    c.tint((160, 108, 86), 10, *shadows, (146, 300, 24, 70, 60), (366, 300, 24, 70, 60))
    lights = ((256, 265, 12, 44, 110), (256, 296, 18, 12, 140), (256, 160, 60, 30, 80))
    c.tint((245, 208, 182), 9, *lights, (190, 300, 26, 18, 80), (322, 300, 26, 18, 80))
    _hair(c)
    for turn, x in ((1, 202), (-1, 310)):
        _eye(c, x, turn)
    _nose(c)
    _mouth(c)
    c.soften(1.1)
    return np.asarray(c.image.resize((side, side), Image.Resampling.LANCZOS))


def _hair(c: _Canvas) -> None:
    draw = ImageDraw.Draw(c.image)
    draw.pieslice(_scaled(128, 60, 384, 300), 180, 360, fill=_HAIR)
    draw.chord(_scaled(144, 118, 368, 330), 190, 350, fill=_SKIN)


def _eye(c: _Canvas, x: float, turn: int) -> None:
    """Draw an eye and its brow; ``turn`` is 1 for the one on the left of the picture."""
    c.ellipse(x, 236, 25, 11, (246, 244, 240))
    c.ellipse(x, 236, 11, 11, (92, 66, 44))
    c.ellipse(x, 236, 5.5, 5.5, (20, 14, 12))
    c.ellipse(x + 3, 232, 2.4, 2.4, (255, 255, 255))
    c.arc(x, 237, 27, 14, (190, 350), (52, 34, 28), 4)
    c.arc(x, 235, 26, 14, (20, 160), (176, 124, 100), 1.6)
    c.arc(x, 232, 30, 18, (205, 335), (186, 134, 108), 2)
    brow = ((-32, 212), (-8, 200), (26, 206), (26, 213), (-6, 208))
    c.polygon((66, 48, 40), *(v for dx, y in brow for v in (x + dx * turn, y)))


def _nose(c: _Canvas) -> None:
    c.arc(256, 299, 20, 15, (30, 150), (150, 98, 78), 3)
    for x, ends in ((-20, (90, 230)), (20, (-50, 90))):
        c.ellipse(256 + 0.65 * x, 304, 5, 3.4, (140, 88, 70))
        c.arc(256 + x, 300, 10, 14, ends, (170, 118, 94), 3)


def _mouth(c: _Canvas) -> None:
    seam = (212, 345, 232, 347, 256, 348, 280, 347, 300, 345)
    c.polygon((188, 100, 96), 212, 345, 232, 337, 248, 333, 256, 336, 264, 333, 280, 337, *_backwards(seam))
    c.polygon((204, 116, 110), *seam, 284, 358, 268, 364, 256, 365, 244, 364, 228, 358)
    c.line((120, 56, 56), 2.4, *seam)
    c.ellipse(256, 358, 16, 3, (222, 144, 136))


def _backwards(points: tuple[float, ...]) -> list[float]:
    pairs = list(zip(points[::2], points[1::2], strict=True))
    return [v for pair in reversed(pairs) for v in pair]


def _scaled(*values: float) -> list[float]:
    return [v * _SCALE for v in values]
