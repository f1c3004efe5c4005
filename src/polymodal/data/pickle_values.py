"""What a pickle may name and call: containers, and what NumPy writes, rebuilt without trusting it."""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict
from math import prod
from typing import Any

import numpy as np

from polymodal.data.ragged import Array


class Refused(Exception):
    """The pickle names something outside the list."""


_ARRAY = object()
"""Stands for ``numpy.ndarray``, which a pickle only ever names; calling it would be unsafe."""


def _plain_bytes(raw: Any) -> bytes:
    """Return array bytes; Python 2 wrote them as a string."""
    if isinstance(raw, str):
        return raw.encode("latin1")
    if isinstance(raw, (bytes, bytearray)):
        return bytes(raw)
    raise TypeError("array bytes expected")


def _make_dtype(code: Any, align: bool = False, copy: bool = True) -> np.dtype[Any]:
    """``numpy.dtype`` of a type code of numbers, text or objects."""
    text = code.decode("ascii") if isinstance(code, bytes) else code
    if not isinstance(text, str):
        raise Refused("numpy.dtype with something else than a type code")
    # Nothing but a code reaches NumPy: a list of fields takes far more memory than its text.
    if not re.fullmatch(r"[<>|=]?[biufcSUO]\d{0,9}", text):
        raise Refused(f"numpy.dtype of {text[:40]!r}")
    # The copy matters: the state set next would otherwise change NumPy's own float64.
    return np.dtype(text, copy=True)


def set_dtype(dtype: np.dtype[Any], state: Any) -> None:
    """Set the byte order, if the state is the one NumPy writes for this type: C code trusts the flags in it."""
    if not isinstance(state, tuple) or len(state) < 8 or state[1] not in ("<", ">", "|", "="):
        raise ValueError("the state of a type is damaged")
    wanted = dtype.newbyteorder(state[1]).__reduce__()[2]
    if state != wanted:
        raise Refused("numpy.dtype with a forged state")
    dtype.__setstate__(state)  # type: ignore[attr-defined]


def new_array(kind: Any, shape: Any, code: Any) -> Array:
    """``_reconstruct``: an empty array, whose state comes next."""
    if kind is not _ARRAY:
        raise Refused("numpy _reconstruct of something else than an array")
    return np.empty((0,), np.int8)


def array_state(array: Array, state: Any) -> tuple[tuple[int, ...], np.dtype[Any], bool, Any]:
    """Return shape, type, order and content that fit each other; ValueError for anything else."""
    # A second state would free memory that something else may look at.
    if array.size or array.base is not None or array.dtype != np.int8:
        raise ValueError("an array gets its state twice")
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise ValueError("the state of an array is damaged")
    shape, dtype, fortran, raw = state[-4:]
    if not isinstance(dtype, np.dtype) or not _is_shape(shape):
        raise ValueError("the shape or type of an array is damaged")
    if dtype.hasobject:
        if not isinstance(raw, list) or len(raw) != prod(shape):
            raise ValueError("an object array without its objects")
    elif not isinstance(raw, (str, bytes, bytearray)) or len(raw) != prod(shape) * dtype.itemsize:
        raise ValueError("an array and its shape disagree")
    return shape, dtype, fortran is True or fortran == 1, raw


def set_array(array: Array, shape: tuple[int, ...], dtype: np.dtype[Any], fortran: bool, raw: Any) -> None:
    """Fill an array with what ``array_state`` found."""
    if not dtype.hasobject:
        raw = _plain_bytes(raw)
        _check_text(raw, dtype)
    array.__setstate__((1, shape, dtype, fortran, raw))  # type: ignore[arg-type]


def _check_text(raw: bytes | bytearray, dtype: np.dtype[Any]) -> None:
    """Refuse characters beyond Unicode: NumPy takes them and fails much later."""
    if dtype.kind == "U" and np.frombuffer(raw, np.dtype("u4").newbyteorder(dtype.byteorder)).max(initial=0) > 0x10FFFF:
        raise ValueError("a string has characters beyond Unicode")


def _is_shape(shape: Any) -> bool:
    """Whether ``shape`` is one that an array can have."""
    return isinstance(shape, tuple) and len(shape) <= 64 and all(type(n) is int and 0 <= n < 2**62 for n in shape)


def _buffer_array(buffer: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> Array:
    """Arrays of protocol 5. Only over plain bytes: a view of another array could outlive its memory."""
    if type(buffer) not in (bytes, bytearray) or not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ValueError("the buffer of an array is damaged")
    turned = axis_order is not None and _is_shape(axis_order)
    if not _is_shape(shape) or type(order) is not str or (axis_order is not None and not turned):
        raise ValueError("the shape or order of an array is damaged")
    _check_text(buffer, dtype)
    array = np.frombuffer(buffer, dtype=dtype)
    if order == "K" and turned:
        return array.reshape(shape, order="C").transpose(axis_order)
    return array.reshape(shape, order=order)  # type: ignore[call-overload]


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    """A single NumPy number or string."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ValueError("a NumPy number of an unknown type")
    content = _plain_bytes(raw)
    _check_text(content, dtype)
    return np.frombuffer(content, dtype, count=1)[0] if dtype.itemsize else dtype.type()


def _encode(text: Any, encoding: Any) -> bytes:
    """``_codecs.encode`` as protocols below 3 use it for bytes; other codecs would import modules."""
    if type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused("_codecs.encode with another codec than latin1")
    return _plain_bytes(text)


def _no_bytes() -> bytes:
    """``bytes`` as protocols below 3 use it, without arguments; with a number it would allocate that much."""
    return b""


def _default_dict(factory: Any = None) -> defaultdict[Any, Any]:
    if not any(factory is known for known in (None, list, dict, int)):
        raise Refused(f"a defaultdict of a {type(factory).__name__}")
    return defaultdict(factory)


_BUILTINS: dict[str, Any] = {
    **{kind.__name__: kind for kind in (list, dict, tuple, set, frozenset, int, complex)},
    "bytes": _no_bytes,
}

ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _make_dtype,
    ("numpy", "ndarray"): _ARRAY,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _default_dict,
    **{(home, name): value for home in ("builtins", "__builtin__") for name, value in _BUILTINS.items()},
}
for _home in ("numpy.core", "numpy._core"):
    ALLOWED[f"{_home}.multiarray", "_reconstruct"] = new_array
    ALLOWED[f"{_home}.multiarray", "scalar"] = _scalar
    ALLOWED[f"{_home}.numeric", "_frombuffer"] = _buffer_array
"""All that a pickle may name: (module, name) -> what stands for it."""

HASHING = (set, frozenset, dict, OrderedDict)
"""What hashes the members of its argument, among them."""


def hashed(make: Any, content: Any) -> list[Any]:
    """Return what ``make``, one of ``HASHING``, is about to hash of its argument; ValueError where that is no list."""
    if type(content) not in (list, tuple, set, frozenset, dict):
        raise ValueError("a set or dictionary of no list")
    if make in (set, frozenset) or isinstance(content, dict):
        return list(content)
    if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in content):
        raise ValueError("a dictionary of no pairs")
    return [pair[0] for pair in content]
