"""What a pickle may ask for, so that a small file can neither hang the reader nor fill the memory.

A pickle names a value again for two bytes. So a few hundred bytes can copy one string a thousand times, or build tuples
that hold one another twice, sixty levels deep: harmless until something hashes, prints or converts them. Three limits
stand against that: bytes copied and values made while reading, the kinds of keys, and the size of the whole once every
shared value is counted as often as it is met.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod
from typing import Any

import numpy as np

DEEPEST = 100
"""Levels of containers in one another; NumPy converts 64 at most."""
_COPIED, _COPIES = 64 << 20, 4
"""Bytes that may be copied whatever the size of the file, and times its size: NumPy's own pickles stay below 2."""
_VALUES, _BYTES_PER_VALUE = 500_000, 4
"""Containers and remembered values whatever the size of the file, and bytes of it for one more."""
_WHOLE, _SHARED = 64 << 20, 64
"""Bytes of the whole, shared values counted every time, whatever the size of the file, and times its size."""
_SLOT = 32
"""Bytes that one value stands for, beside its content."""
_EMPTY = 128
"""Bytes that a row stands for in an array without content: there may still be a billion."""

_CONTAINERS = (dict, list, tuple, set, frozenset)
_HOLDING = (*_CONTAINERS, np.ndarray)
_NUMBERS = {bool, int, float, complex, type(None)}
_PLAIN = (str, bytes, int, float, type(None), np.generic)


class Excess(Exception):
    """The pickle asks for more than a file of its size should; the message goes on after the file's name."""


class Limits:
    """What is left to one pickle of ``size`` bytes.

    Attributes:
        values: how many containers and remembered values.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes = _COPIED + _COPIES * size
        self.values = _VALUES + size // _BYTES_PER_VALUE

    def copy(self, count: int) -> None:
        """Count bytes that are made of others; raises Excess."""
        self._bytes -= count
        if self._bytes < 0:
            raise self._too_much("copies more bytes")

    def make(self, count: int = 1) -> None:
        """Count containers and remembered values; raises Excess."""
        self.values -= count
        if self.values < 0:
            raise self._too_much("makes more values")

    def keys(self, keys: Iterable[Any]) -> None:
        """Count what is about to be hashed; raises Excess unless it is text, a number, or a short tuple of such.

        The hash of a tuple follows all that is in it, each time anew; that of a great number and of a complex one can
        be chosen, so that all keys of a dictionary collide.
        """
        for key in keys:
            self.make()
            parts = key if type(key) is tuple and len(key) <= 16 else (key,)
            for part in parts:
                great = isinstance(part, int) and part.bit_length() > 64
                if not isinstance(part, _PLAIN) or isinstance(part, np.complexfloating) or great:
                    what = "a great number" if great else f"a {type(part).__name__}"
                    raise Excess(
                        f"has {what} {'inside' if parts is key else 'as'} a key, which can only be text, a number or a "
                        "short tuple of such; save it again with such keys"
                    )
                if isinstance(part, (str, bytes)):
                    self.copy(len(part))

    def whole(self, root: Any) -> None:
        """Raise Excess if ``root`` holds itself, is nested too deeply, or grows too large when it is walked through.

        Each container is looked at once, however often it is met.
        """
        most = _WHOLE + _SHARED * self._size
        known: dict[int, tuple[int, int]] = {}  # id -> bytes and levels of what is in it
        path, opened = [root], set[int]()
        while path:
            value = path[-1]
            if id(value) in known:
                path.pop()
                continue
            size, inner = _content(value)
            if id(value) not in opened:
                opened.add(id(value))
                if any(id(v) in opened for v in inner):
                    raise Excess("holds a list that contains itself; save it again as plain NumPy arrays")
                if unknown := [v for v in inner if id(v) not in known]:
                    path += unknown
                    continue
            size += sum(known[id(v)][0] for v in inner)
            level = 1 + max((known[id(v)][1] for v in inner), default=0)
            if size > most:
                raise self._too_much("unfolds to more bytes")
            if level > DEEPEST:
                raise Excess(f"is nested more than {DEEPEST} levels deep; save it again as plain NumPy arrays")
            known[id(value)] = size, level
            opened.discard(id(value))
            path.pop()

    def _too_much(self, what: str) -> Excess:
        return Excess(f"{what} than a file of {self._size:,} bytes should; save it again as plain NumPy arrays")


def extent(arguments: tuple[Any, ...]) -> int:
    """Return the bytes that a call may copy of its ``arguments``; ValueError for arrays, which no call takes."""
    if any(isinstance(a, np.ndarray) for a in arguments):
        raise ValueError("an array as an argument")
    sized = [a for a in arguments if isinstance(a, (str, bytes, bytearray, *_CONTAINERS))]
    return sum(len(a) * (8 if isinstance(a, _CONTAINERS) else 1) for a in sized)


def _content(value: Any) -> tuple[int, list[Any]]:
    """Return the bytes that ``value`` stands for without the containers in it, and those containers."""
    if isinstance(value, dict):
        inside: Collection[Any] = [*value, *value.values()]
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        inside = value.ravel().tolist()
    else:
        inside = value if isinstance(value, _CONTAINERS) else ()
    size, kinds = _SLOT * len(inside) + _weight(value), set(map(type, inside)) - _NUMBERS
    if not kinds:  # lists of numbers are long
        return size, []
    return sum(map(_weight, inside), size), [v for v in inside if isinstance(v, _HOLDING) and not _is_plain(v)]


def _weight(value: Any) -> int:
    """Return the bytes that a value itself stands for, beside its slot."""
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, np.ndarray):
        return value.nbytes or _EMPTY * prod(max(n, 1) for n in value.shape)
    return 0


def _is_plain(value: Any) -> bool:
    """Whether ``value`` is an array of something else than objects."""
    return isinstance(value, np.ndarray) and not value.dtype.hasobject
