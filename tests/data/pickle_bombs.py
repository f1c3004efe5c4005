"""Pickles assembled by hand that ask for more time or memory than their size deserves."""

from __future__ import annotations

import struct

PROTO = b"\x80\x04"
MEMO, POP, STOP, REDUCE, BUILD, EMPTY_TUPLE = b"\x94", b"0", b".", b"R", b"b", b")"


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def binary(value: bytes) -> bytes:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def get(index: int) -> bytes:
    """LONG_BINGET."""
    return b"j" + struct.pack("<I", index)


def whole(value: int) -> bytes:
    """LONG1."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def doubled(times: int = 60) -> bytes:
    """A tuple of which both halves are the same tuple of which both halves are ...: 2 to the ``times`` numbers."""
    return b"K\x01K\x02\x86" + b"2\x86" * times


def doubled_lists(times: int = 40) -> bytes:
    """The same of lists."""
    return b"]K\x01a" + b"".join(MEMO + POP + b"](" + get(i) * 2 + b"e" for i in range(times))


def dtype(code: str) -> bytes:
    """A NumPy type with its state."""
    made = name("numpy", "dtype") + text(code) + b"\x89\x88\x87R"
    if code[0] == "O":
        return made + b"(K\x03" + text("|") + b"NNN" + whole(-1) * 2 + b"K\x3ftb"
    if code[0] == "S":
        return made + b"(K\x03" + text("|") + b"NNN" + whole(int(code[1:])) + b"K\x01K\x00tb"
    return made + b"(K\x03" + text("|" if code == "u1" else "<") + b"NNN" + whole(-1) * 2 + b"K\x00tb"


def array(shape: tuple[int, ...], kind: bytes, content: bytes) -> bytes:
    """An array of ``shape``, whose type and content are instructions."""
    empty = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85" + binary(b"b")
    state = b"(K\x01(" + b"".join(map(whole, shape)) + b"t" + kind + b"\x89" + content + b"tb"
    return empty + b"\x87R" + state


def _repeated(made: bytes, times: int) -> bytes:
    """A list of ``times`` results of ``made``."""
    return b"](" + made * times + b"e"


def _copied(builtin: str, content: bytes, times: int = 3000) -> bytes:
    """Copies of ``content`` (memo 0), made by a builtin (memo 1)."""
    made = get(1) + get(0) + b"\x85R"
    return content + MEMO + POP + name("builtins", builtin) + MEMO + POP + _repeated(made, times)


_MEGA = "x" * (1 << 20)
_LONG = b"](" + b"K\x01" * (1 << 17) + b"e"
_OBJECTS = dtype("O8")
_CODEC = name("_codecs", "encode")


def _chain(length: int) -> bytes:
    """Arrays of objects, each of which holds the one before."""
    content = array((1,), _OBJECTS, b"]Na") + MEMO + POP
    for i in range(length):
        content += array((1,), _OBJECTS, b"]" + get(i) + b"a") + MEMO + POP
    return content + get(length)


def _hollow_chain(length: int) -> bytes:
    """The same from outside: each array is put into the one before while it has no state yet."""
    empty = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85" + binary(b"b")
    content = (empty + b"\x87R" + MEMO + POP) * (length + 1)
    for i in range(length):
        content += get(i) + b"(K\x01K\x01\x85" + _OBJECTS + b"\x89]" + get(i + 1) + b"atb0"
    return content + get(0)


_BODIES = {
    "a tuple inside a key": {
        "tuple as a key": b"}" + doubled() + b"Ns",
        "tuple as one of several keys": b"}(" + doubled() + b"Nu",
        "tuple in a dictionary made at once": b"(" + doubled() + b"Nd",
        "tuple in a set": b"\x8f(" + doubled() + b"\x90",
        "tuple in a frozen set": b"(" + doubled() + b"\x91",
        "tuple given to set": name("builtins", "set") + b"](" + doubled() + b"e\x85R",
        "tuple given to dict": name("builtins", "dict") + b"](" + doubled() + b"N\x86e\x85R",
        "tuple given to OrderedDict": name("collections", "OrderedDict") + b"](](" + doubled() + b"Nee\x85R",
    },
    "a great number": {
        "great number as a key": b"}\x8b" + struct.pack("<i", 1 << 20) + b"\x01" * (1 << 20) + b"Ns",
    },
    "wants to run": {
        "tuple as a codec": _CODEC + text("x") + doubled() + b"\x86R",
        "tuple as a factory": name("collections", "defaultdict") + doubled() + b"\x85R",
        "tuple as a type code": name("numpy", "dtype") + doubled() + b"\x85R",
        "tuple with a state": doubled() + b"}b",
        "bytearray of a number": name("builtins", "bytearray") + whole(1 << 40) + b"\x85R",
        "numpy.zeros": name("numpy", "zeros") + whole(1 << 40) + b"\x85R",
        "type of many fields": name("numpy", "dtype") + text("f8," * 200_000 + "f8") + b"\x89\x88\x87R",
        "type of a giant subarray": name("numpy", "dtype") + text("(1000000000,)f8") + b"\x89\x88\x87R",
        "type of objects with a forged state": _OBJECTS.replace(b"K\x3ftb", b"K\x00tb"),
        "object of a class": b"(" + name("builtins", "list") + b"o",
        "instance of a class": b"(ibuiltins\nlist\n",
        "list made by its class": name("builtins", "list") + EMPTY_TUPLE + b"\x81",
        "thing of the registry": b"\x82\x01",
    },
    "damaged or not a pickle": {
        "tuple as text to encode": _CODEC + doubled() + text("latin1") + b"\x86R",
        "tuple as the state of a type": dtype("f8") + doubled() + b"b",
        "tuple as an order": dtype("f8") + b"(K\x03" + doubled() + b"NNN" + whole(-1) * 2 + b"K\x00tb",
        "tuple as a shape": array((), dtype("f8"), b"").replace(b"(t", doubled()),
        "tuple called": doubled() + EMPTY_TUPLE + REDUCE,
        "tuple instead of arguments": name("builtins", "list") + doubled() + REDUCE,
        "tuple as the name of a thing": doubled() + text("x") + b"\x93",
        "tuple outside the file": doubled() + b"Q",
        "lists set in an array": array((2,), dtype("u1"), binary(b"ab")) + b"K\x00" + doubled_lists() + b"s",
        "lists added to an array": array((2,), dtype("u1"), binary(b"ab")) + doubled_lists() + b"a",
        "bytes of a number": name("builtins", "bytes") + whole(1 << 40) + b"\x85R",
        "array over a buffer": name("numpy", "ndarray") + whole(1 << 40) + b"\x85\x85R",
        "array with a shape that lies": array((1 << 40,), dtype("f8"), binary(b"12345678")),
        "array whose shape overflows": array((1 << 61, 16), dtype("f8"), binary(b"")),
        "scalar of a giant type": name("numpy.core.multiarray", "scalar") + dtype("S999999999") + binary(b"x")
        + b"\x86R",
        "frame that lies most": b"\x95" + b"\xff" * 8 + b"N",
        "memory far away": b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff",
        "number of a million digits": b"I" + b"9" * (1 << 20) + b"\n",
        "long of a million digits": b"L" + b"9" * (1 << 20) + b"L\n",
    },
    "unfolds to more bytes": {
        "tuple as the whole": doubled(),
        "lists as the whole": doubled_lists(),
        "lists in a split": b"}" + text("train") + b"}(" + text("audio") + doubled_lists() + text("labels") + b"]us",
        "lists in an array": array((1,), _OBJECTS, b"]" + doubled_lists() + b"a"),
        "one array in a list often": array((1 << 20,), dtype("u1"), binary(_MEGA.encode())) + MEMO + POP
        + _repeated(get(0), 5000),
        "array of a billion rows of nothing": array((10**9, 0), dtype("f8"), binary(b"")),
        "array of a billion empty strings": array((10**9,), dtype("S0"), binary(b"")),
        "array of a billion rows of no objects": array((10**9, 0), _OBJECTS, b"]"),
        "buffer of a billion rows of nothing": name("numpy.core.numeric", "_frombuffer") + b"(" + binary(b"")
        + dtype("f8") + b"(" + whole(10**9) + b"K\x00t" + text("C") + b"tR",
    },
    "contains itself": {
        "list in itself": b"]" + MEMO + b"(" + get(0) * 2 + b"e",
    },
    "copies more bytes": {
        "copies of a list": _copied("list", _LONG),
        "copies of a tuple": _copied("tuple", _LONG),
        "numbers of one great text": _copied("complex", text("1" * (1 << 20))),
        "text encoded often": text(_MEGA) + MEMO + POP + text("latin1") + MEMO + POP + _CODEC + MEMO + POP
        + _repeated(get(2) + get(0) + get(1) + b"\x86R", 5000),
        "arrays over one text": binary(_MEGA.encode()) + MEMO + POP + dtype("u1") + MEMO + POP
        + _repeated(array((1 << 20,), get(1), get(0)), 5000),
        "strings of one great type": binary(_MEGA.encode()) + MEMO + POP + dtype(f"S{1 << 20}") + MEMO + POP
        + name("numpy.core.multiarray", "scalar") + MEMO + POP + _repeated(get(2) + get(1) + get(0) + b"\x86R", 5000),
        "one key of many letters": b"}" + (text(_MEGA) + MEMO + POP) * 2 + (get(0) + b"Ns" + get(1) + b"Ns") * 5000,
    },
    "makes more values": {
        "copies of a set": _copied("set", _LONG),
        "flood of marks": b"(" * 700_000,
        "flood of sets": b"(" + b"\x8f" * 700_000 + b"l",
        "flood of memories": b"N" + MEMO * 700_000,
    },
    "nested": {
        "chain of arrays": _chain(5000),
        "chain of arrays from outside": _hollow_chain(5000),
        "deep lists": b"]" * 20_000 + b"a" * 19_999,
        "deep tuples": b"N" + b"\x85" * 20_000,
    },
    "ends in the middle": {
        "great number that lies": b"\x8b" + struct.pack("<i", 1 << 30) + b"\x01",
        "bytes that lie": b"\x8e" + struct.pack("<Q", 1 << 40) + b"abc",
        "bytes that lie a little": b"B" + struct.pack("<I", 3 << 30) + b"abc",
        "text that lies": b"\x8d" + struct.pack("<Q", 1 << 40) + b"abc",
        "bytearray that lies": b"\x96" + struct.pack("<Q", 1 << 40) + b"abc",
        "old string that lies": b"T" + struct.pack("<i", 1 << 30) + b"abc",
        "frame that lies": b"\x95" + struct.pack("<Q", 1 << 40) + b"N",
        "frame that lies a little": b"\x95" + struct.pack("<Q", 3 << 30) + b"N",
    },
}  # fmt: skip
BOMBS = {label: (PROTO + body + STOP, reason) for reason, bodies in _BODIES.items() for label, body in bodies.items()}
"""What it does -> the pickle, and the reason that the message gives."""
