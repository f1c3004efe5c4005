"""Whose face is described: the largest that persists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PATIENCE = 0.5
"""Seconds that the subject may be out of sight, or another face much larger, before another becomes the subject."""

LARGER = 1.5
"""How many times as large another face must be to take over."""

SAME = 0.1
"""Intersection over union from which two boxes are the same face; a face may move by four fifths of its width."""

TWICE = 0.5
"""Intersection over union from which two boxes of one look are one face found twice."""

LOOK, LOOK_ALONE = 0.5, 1.0
"""Seconds between two looks for other faces: with others in sight, and without."""


@dataclass(frozen=True)
class Box:
    """A rectangle in shares of the picture's width and height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Share of the picture."""
        return (self.right - self.left) * (self.bottom - self.top)

    def overlap(self, other: Box) -> float:
        """Return the intersection over union, in [0, 1]."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (self.area + other.area - width * height)

    def grown(self, share: float) -> Box:
        """Return the box with ``share`` of its width and height added on every side."""
        x, y = share * (self.right - self.left), share * (self.bottom - self.top)
        return Box(self.left - x, self.top - y, self.right + x, self.bottom + y)


def distinct(boxes: Sequence[Box]) -> list[Box]:
    """Return ``boxes``, largest first, without those of faces that were found twice."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: -b.area):
        if all(box.overlap(k) < TWICE for k in kept):
            kept.append(box)
    return kept


class Subject:
    """Remembers where the subject is, and decides who it is.

    A look sees all faces and comes now and then; between looks the subject alone is followed. The largest face
    becomes the subject, and stays it until it has been out of sight for ``PATIENCE`` seconds, or until another one has
    been ``LARGER`` times as large for as long.

    Attributes:
        box: where the subject was seen last; None while there is none.
        others: where the last look saw other faces.
        held: whether the subject was in sight in the last frame.
    """

    def __init__(self) -> None:
        self.box: Box | None = None
        self.others: tuple[Box, ...] = ()
        self.held = False
        self._seen = self._looked = -float("inf")
        self._outgrown: float | None = None

    def due(self, now: float) -> bool:
        """Whether a look is needed at time ``now``."""
        if self.box is None or (not self.held and now - self._seen > PATIENCE):
            return True
        return now - self._looked >= (LOOK if self.others else LOOK_ALONE)

    def look(self, now: float, boxes: Sequence[Box]) -> None:
        """Take the boxes of all faces in sight."""
        self._looked = now
        boxes = distinct(boxes)
        mine = self._mine(now, boxes)
        self.others = tuple(b for b in boxes if b is not mine)
        if mine is None:
            if now - self._seen > PATIENCE:
                self.box = None
            return
        if not self.held:
            self.box = mine
        largest = self.others[0] if self.others else None
        if largest is None or largest.area <= LARGER * mine.area:
            self._outgrown = None
        elif self._outgrown is None:
            self._outgrown = now
        elif now - self._outgrown >= PATIENCE:
            self._choose(now, largest)
            self.others = tuple(b for b in boxes if b is not largest)

    def _mine(self, now: float, boxes: Sequence[Box]) -> Box | None:
        """Return the subject's box among ``boxes``; the largest where there is no subject any more."""
        if self.box is not None and now - self._seen <= PATIENCE:
            nearest = max(boxes, key=self.box.overlap, default=None)
            return nearest if nearest is not None and nearest.overlap(self.box) >= SAME else None
        if not boxes:
            return None
        self._choose(now, boxes[0])
        return boxes[0]

    def _choose(self, now: float, box: Box) -> None:
        self.box, self.held, self._seen, self._outgrown = box, False, now, None

    def follow(self, now: float, box: Box | None) -> bool:
        """Take what was followed in this frame; return whether it is the subject."""
        self.held = box is not None and self.box is not None and box.overlap(self.box) >= SAME
        if self.held:
            self.box, self._seen = box, now
        elif box is not None:
            self._looked = -float("inf")  # somebody who was not seen yet: look at once, so that he can be told apart
        return self.held
