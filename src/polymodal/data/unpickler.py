"""The unpickler behind ``data.pickles``: Python's own with most of its doors walled up."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

import numpy as np

from polymodal.data.pickle_limits import DEEPEST, Excess, Limits, extent
from polymodal.data.pickle_values import ALLOWED, HASHING, Refused, array_state, hashed, new_array, set_array, set_dtype
from polymodal.data.ragged import Array

_Load = Callable[[Any], None]


class Unpickler(pickle._Unpickler):
    """Python's own, with a list of what may be called, and counted.

    Args:
        stream: the open file.
        size: its bytes.
        limits: what is left to it.
    """

    dispatch: ClassVar[dict[int, _Load]] = dict(pickle._Unpickler.dispatch)
    # Attributes of the standard class, of which the type stubs do not tell.
    stack: list[Any]
    read: Callable[[int], bytes]
    readinto: Callable[[bytearray], int | None]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: BinaryIO, size: int, limits: Limits) -> None:
        super().__init__(stream, encoding="latin1")
        self._size, self.limits = size, limits
        # Arrays without a state yet, and arrays of objects: id -> the array, and how deep such arrays are in it.
        self._levels: dict[int, tuple[Array, int]] = {}

        def read(count: int) -> bytes:
            """Read from the file; room for a length that lies is not even reserved."""
            if count > size:
                raise EOFError
            return stream.read(count)

        self._file_read = read

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; raises Refused."""
        try:
            return ALLOWED[module, name]
        except KeyError:
            pass
        if not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
            raise pickle.UnpicklingError("a name in it is no name")
        raise Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """Raise UnpicklingError."""
        raise pickle.UnpicklingError("it refers to things outside the file, as zipped torch files do")

    def _load_reduce(self) -> None:
        """Call what is allowed, with arguments that are counted."""
        arguments, make = self.stack.pop(), self.stack[-1]
        if type(arguments) is not tuple:
            raise ValueError("a call without arguments")
        self.limits.make()
        self.limits.copy(extent(arguments))
        if arguments and any(make is kind for kind in HASHING):
            self.limits.keys(hashed(make, arguments[0]))
        made = make(*arguments)
        if make is new_array:
            self._levels[id(made)] = made, DEEPEST  # nothing may hold it before it has its state
        self.stack[-1] = made

    def _load_object(self) -> None:
        """Other ways to make an object are for classes, and none is allowed."""
        raise Refused("the constructor of a class")

    def _load_build(self) -> None:
        """Set the state of arrays and dtypes; nothing else that is allowed has one."""
        state = self.stack.pop()
        instance = self.stack[-1]
        if isinstance(instance, np.dtype):
            set_dtype(instance, state)
        elif isinstance(instance, np.ndarray):
            self._set_array(instance, state)
        else:
            raise Refused(f"the state of a {type(instance).__name__}")

    def _set_array(self, array: Array, state: Any) -> None:
        shape, dtype, fortran, raw = array_state(array, state)
        self.limits.copy(len(raw) * (8 if dtype.hasobject else 1))
        self._levels.pop(id(array), None)
        if dtype.hasobject:
            level = 1 + max((self._levels[id(v)][1] for v in raw if id(v) in self._levels), default=0)
            if level > DEEPEST:  # to free a long chain of arrays overflows the stack of the interpreter
                raise Excess("has arrays nested too deeply; save it again as plain NumPy arrays")
            self._levels[id(array)] = array, level
        set_array(array, shape, dtype, fortran, raw)

    def _load_dict(self) -> None:
        items = self.pop_mark()
        made: dict[Any, Any] = {}
        self.append(made)
        self._set_items(made, items)

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items(self._top(dict), [key, value])

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(self._top(dict), items)

    def _set_items(self, mapping: dict[Any, Any], items: list[Any]) -> None:
        keys = items[::2]
        self.limits.keys(keys)
        mapping.update(zip(keys, items[1::2], strict=True))

    def _load_frozenset(self) -> None:
        items = self.pop_mark()
        self.limits.keys(items)
        self.append(frozenset(items))

    def _load_additems(self) -> None:
        items = self.pop_mark()
        self.limits.keys(items)
        self._top(set).update(items)

    def _load_append(self) -> None:
        value = self.stack.pop()
        self._top(list).append(value)

    def _load_appends(self) -> None:
        items = self.pop_mark()
        self._top(list).extend(items)

    def _top(self, kind: type) -> Any:
        """Return the top of the stack: an array there would convert whatever it is given."""
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"what belongs into a {kind.__name__} is given to a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def _load_bytearray8(self) -> None:
        """As the original, but never reserves more memory than the file can fill."""
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self._size:
            raise EOFError
        buffer = bytearray(length)
        if self.readinto(buffer) not in (None, length):
            raise EOFError
        self.append(buffer)

    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray8
    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.DICT[0]] = _load_dict
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.FROZENSET[0]] = _load_frozenset
    dispatch[pickle.ADDITEMS[0]] = _load_additems
    dispatch[pickle.APPEND[0]] = _load_append
    dispatch[pickle.APPENDS[0]] = _load_appends
    for _code in (pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4):
        dispatch[_code[0]] = _load_object


def _counted(load: _Load, count: int) -> _Load:
    """Return ``load`` as an instruction that counts."""

    def counting(unpickler: Unpickler) -> None:
        limits = unpickler.limits
        limits.values -= count  # in place: it is what a file of many small values does most
        if limits.values < 0:
            limits.make()
        load(unpickler)

    return counting


for _code in (
    *(pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.MEMOIZE, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT),
):
    # One byte of the file can take a hundred of memory, and an empty set twice as many.
    Unpickler.dispatch[_code[0]] = _counted(Unpickler.dispatch[_code[0]], 2 if _code == pickle.EMPTY_SET else 1)
