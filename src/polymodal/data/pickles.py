"""Reading other people's pickles without running what is in them.

A list of allowed names is not enough. ``numpy.ndarray`` called with a buffer, or a ``numpy.dtype`` whose flags are
rewritten by its state, turns bytes of the file into object pointers (both crash the interpreter, and can do worse).
So NumPy's names are mapped to functions of this file that rebuild only what NumPy itself writes, and the instruction
that sets an object's state is taken over. That needs the unpickler written in Python; arrays are single instructions,
so it costs nothing for the files of the field.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array

_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
)
"""What the unpickler raises on bytes that are not a pickle; it promises no common type."""


class _Refused(Exception):
    """The pickle names something outside the list."""


def read_pickle(path: str | Path) -> Any:
    """Return the arrays, numbers, strings and containers in the pickle ``path``; nothing in it can run.

    Protocols 0 to 5 and Python 2 (strings decoded as latin1). Arrays of numbers, strings and objects; no structured
    arrays, no dates, no tensors, no data frames.

    Raises:
        DataError: the file is missing, empty, damaged, no pickle, or asks for anything else than the above.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            if not size:
                raise DataError(f"{file} is empty; copy or download it again")
            return _Unpickler(stream, size).load()
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{file} is a folder, not a pickle; name a file in it") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
    except _Refused as refused:
        raise DataError(
            f"the pickle {file} wants to run {_one_line(refused)}; it was not loaded, because only arrays, "
            "numbers, strings and containers are accepted: save it again as plain NumPy arrays"
        ) from None
    except EOFError:
        raise DataError(f"the pickle {file} ends in the middle; copy or download it again") from None
    except _DAMAGE as error:
        if "exhausted" in str(error):  # inside a frame, the standard class does not raise EOFError
            raise DataError(f"the pickle {file} ends in the middle; copy or download it again") from None
        reason = _one_line(error) or type(error).__name__
        raise DataError(f"{file} is damaged or not a pickle ({reason}); copy or download it again") from None


def _one_line(error: Exception) -> str:
    """Return the message without what the file could slip into a terminal."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in str(error))[:120]


def _bytes(raw: Any) -> bytes:
    """Return array bytes; Python 2 wrote them as a string."""
    if isinstance(raw, str):
        return raw.encode("latin1")
    if isinstance(raw, (bytes, bytearray)):
        return bytes(raw)
    raise TypeError("array bytes expected")


def _encode(text: str, encoding: str) -> bytes:
    """``_codecs.encode`` as protocols below 3 use it for bytes; other codecs would import modules."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode with {encoding!r}")
    return _bytes(text)


def _no_bytes() -> bytes:
    """``bytes`` as protocols below 3 use it, without arguments; with a number it would allocate that much."""
    return b""


def _default_dict(factory: Any = None) -> defaultdict[Any, Any]:
    if factory not in (None, list, dict, int):
        raise _Refused(f"a defaultdict of {factory!r}")
    return defaultdict(factory)


def _dtype(code: Any, align: bool = False, copy: bool = True) -> np.dtype[Any]:
    text = code.decode("ascii") if isinstance(code, bytes) else code
    if not isinstance(text, str):
        raise _Refused("numpy.dtype with something else than a type code")
    # The copy matters: the state set next would otherwise change NumPy's own float64.
    dtype = np.dtype(text, copy=True)
    if dtype.fields or dtype.subdtype or dtype.kind not in "biufcSUO":
        raise _Refused(f"numpy.dtype of {text!r}")
    return dtype


def _set_dtype(dtype: np.dtype[Any], state: Any) -> None:
    """Set the byte order, if the state is the one NumPy writes for this type: C code trusts the flags in it."""
    if not isinstance(state, tuple) or len(state) < 8 or state[1] not in ("<", ">", "|", "="):
        raise ValueError("the state of a type is damaged")
    wanted = dtype.newbyteorder(state[1]).__reduce__()[2]
    if state != wanted:
        raise _Refused("numpy.dtype with a forged state")
    dtype.__setstate__(state)  # type: ignore[attr-defined]


def _new_array(kind: Any, shape: Any, code: Any) -> Array:
    """``_reconstruct``: an empty array, whose state comes next."""
    if kind is not _ARRAY:
        raise _Refused("numpy _reconstruct of something else than an array")
    return np.empty((0,), np.int8)


def _set_array(array: Array, state: Any) -> None:
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
    else:
        raw = _bytes(raw)
        if len(raw) != prod(shape) * dtype.itemsize:
            raise ValueError("an array and its shape disagree")
        _check_text(raw, dtype)
    array.__setstate__((1, shape, dtype, bool(fortran), raw))  # type: ignore[arg-type]


def _check_text(raw: bytes | bytearray, dtype: np.dtype[Any]) -> None:
    """Refuse characters beyond Unicode: NumPy takes them and fails much later."""
    if dtype.kind == "U" and np.frombuffer(raw, np.dtype("u4").newbyteorder(dtype.byteorder)).max(initial=0) > 0x10FFFF:
        raise ValueError("a string has characters beyond Unicode")


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)


def _buffer_array(buffer: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> Array:
    """Arrays of protocol 5. Only over plain bytes: a view of another array could outlive its memory."""
    if type(buffer) not in (bytes, bytearray) or not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ValueError("the buffer of an array is damaged")
    _check_text(buffer, dtype)
    array = np.frombuffer(buffer, dtype=dtype)
    if order == "K" and axis_order is not None:
        return array.reshape(shape, order="C").transpose(axis_order)
    return array.reshape(shape, order=order)


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ValueError("a NumPy number of an unknown type")
    content = _bytes(raw)
    _check_text(content, dtype)
    return np.frombuffer(content, dtype, count=1)[0] if dtype.itemsize else dtype.type()


_ARRAY = object()
"""Stands for ``numpy.ndarray``, which a pickle only ever names; calling it would be unsafe."""

_BUILTINS: dict[str, Any] = {
    **{kind.__name__: kind for kind in (list, dict, tuple, set, frozenset, int, complex)},
    "bytes": _no_bytes,
}

_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _ARRAY,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _default_dict,
    **{(home, name): value for home in ("builtins", "__builtin__") for name, value in _BUILTINS.items()},
}
for _home in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_home}.multiarray", "_reconstruct"] = _new_array
    _ALLOWED[f"{_home}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_home}.numeric", "_frombuffer"] = _buffer_array


class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    # Attributes of the standard class, of which the type stubs do not tell.
    stack: list[Any]
    read: Callable[[int], bytes]
    readinto: Callable[[bytearray], int | None]
    append: Callable[[Any], None]

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(stream, encoding="latin1")
        self._size = size

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            pass
        if not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
            raise pickle.UnpicklingError("a name in it is no name")
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to things outside the file, as zipped torch files do")

    def load_build(self) -> None:
        """Set the state of arrays and dtypes; nothing else that is allowed has one."""
        state = self.stack.pop()
        instance = self.stack[-1]
        if isinstance(instance, np.dtype):
            _set_dtype(instance, state)
        elif isinstance(instance, np.ndarray):
            _set_array(instance, state)
        else:
            raise _Refused(f"the state of a {type(instance).__name__}")

    def load_bytearray8(self) -> None:
        """As the original, but never reserves more memory than the file can fill."""
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self._size:
            raise EOFError
        buffer = bytearray(length)
        if self.readinto(buffer) not in (None, length):
            raise EOFError
        self.append(buffer)

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
