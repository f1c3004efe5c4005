from __future__ import annotations

import functools
import os
import pickle
import pickletools
import struct
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymodal.core import DataError
from polymodal.data.pickles import read_pickle


def _sample() -> dict[str, Any]:
    lists: defaultdict[str, list[int]] = defaultdict(list)
    lists["a"].append(1)
    return {
        "c": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "turned": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        "objects": np.array([1, "x", None, np.zeros(2)], dtype=object),
        "unicode": np.array(["ab", "很好"]),
        "bytes_array": np.array([b"x", b"yz"]),
        "big_endian": np.arange(3, dtype=">f4"),
        "empty": np.zeros((0, 3)),
        "single": np.array(3.0),
        "scalars": [np.float32(1.5), np.str_("hé"), np.str_(""), np.bool_(True), np.int64(-3)],
        "plain": [None, True, 1, 10**30, -2.5, 1j, "é", b"\x00\xff", b"", (1, 2, 3, 4), {1, 2}, frozenset([3])],
        "ordered": OrderedDict(a=1),
        "lists": lists,
    }


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.shape == b.shape
            and a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")
            and all(_same(x, y) for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
        )
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("protocol", range(6))
def test_what_numpy_and_python_write_comes_back(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(_sample(), protocol))
    assert _same(_sample(), read_pickle(path))


def test_protocol_5_arrays_from_old_numpy_names_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(np.arange(4.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_pickle(path).tolist() == [0, 1, 2, 3]


def test_python_2_array_comes_back(tmp_path: Path) -> None:
    def string(raw: bytes) -> bytes:
        return b"U" + bytes([len(raw)]) + raw  # SHORT_BINSTRING, what Python 2 wrote for str

    values = np.array([0.5, -1.0, 2.0], dtype="<f8")
    dtype = (
        b"cnumpy\ndtype\n" + string(b"f8") + b"K\x00K\x01\x87R(K\x03" + string(b"<") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    )
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"
    path = tmp_path / "two.pkl"
    path.write_bytes(
        b"\x80\x02" + empty + b"(K\x01K\x03\x85" + dtype + b"K\x00tb\x89" + string(values.tobytes()) + b"tb."
    )
    assert read_pickle(path).tolist() == values.tolist()


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _global(module: str, name: str) -> bytes:
    """A pickle that calls ``module.name`` without arguments, through STACK_GLOBAL."""
    names = b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name))
    return b"\x80\x04" + names + b"\x93)R."


def _forged_objects() -> bytes:
    """An object array whose dtype denies holding objects, so that bytes of the file become pointers."""
    dtype = (np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))
    array = _Call(np.zeros(0).__reduce__()[0], np.ndarray, (0,), b"b")
    state = (1, (1,), _WithState(*dtype), False, struct.pack("Q", 0x4141414141))
    return pickle.dumps(_WithState(*array.call, state), 2)


class _WithState:
    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def _hostile(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> (pickle, what the message must name)."""
    write = f"open({str(marker)!r}, 'w').close()"
    return {
        "system": (pickle.dumps(_Call(os.system, f"touch {marker}")), "system"),
        "system, protocol 0": (pickle.dumps(_Call(os.system, f"touch {marker}"), 0), "system"),
        "exec": (pickle.dumps(_Call(exec, write)), "builtins.exec"),
        "eval": (pickle.dumps(_Call(eval, write)), "builtins.eval"),
        "Python 2 eval": (pickle.dumps(_Call(eval, write), 2), "__builtin__.eval"),
        "getattr": (pickle.dumps(_Call(getattr, "x", "upper")), "builtins.getattr"),
        "open": (pickle.dumps(_Call(open, str(marker), "w")), "open"),
        "partial": (pickle.dumps(functools.partial(os.system, f"touch {marker}")), "functools.partial"),
        "nested": (
            pickle.dumps({"train": [np.zeros(2), _Call(list, [_Call(os.system, f"touch {marker}")])]}),
            "system",
        ),
        "in an object array": (pickle.dumps(np.array([_Call(os.system, f"touch {marker}")], dtype=object)), "system"),
        "stack global": (_global("posix", "getcwd"), "posix.getcwd"),
        "dotted name": (_global("builtins", "list.__class__"), "list.__class__"),
        "numpy load": (pickle.dumps(_Call(np.load, str(marker))), "numpy.load"),
        "numpy save": (pickle.dumps(_Call(np.save, str(marker), np.zeros(1))), "numpy.save"),
        "numpy fromfile": (pickle.dumps(_Call(np.fromfile, str(marker))), "fromfile"),
        "codec": (pickle.dumps(_Call(__import__("_codecs").encode, "x", "rot13")), "_codecs.encode"),
        "defaultdict of a function": (pickle.dumps(defaultdict(os.getcwd)), "getcwd"),
        "defaultdict of a set": (pickle.dumps(defaultdict(set)), "defaultdict"),
        "forged dtype": (_forged_objects(), "forged"),
        "structured dtype": (pickle.dumps(np.zeros(1, dtype=[("a", "f4")])), "numpy.dtype"),
        "attribute of a function": (b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.", "state of a function"),
    }


@pytest.mark.parametrize("name", sorted(_hostile(Path("x"))))
def test_a_hostile_pickle_is_refused_by_name_and_does_nothing(tmp_path: Path, name: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pkl"
    content, named = _hostile(marker)[name]
    path.write_bytes(content)
    with pytest.raises(DataError, match="wants to run") as caught:
        read_pickle(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_the_hostile_payload_does_work_with_the_standard_unpickler(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.loads(_hostile(marker)["system"][0])
    assert marker.exists()


def test_numpy_array_made_over_a_buffer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(_Call(np.ndarray, (1,), np.dtype("f8"), b"12345678")))
    with pytest.raises(DataError, match="damaged"):
        read_pickle(path)


def test_a_second_state_cannot_free_the_memory_of_an_array(tmp_path: Path) -> None:
    content = pickle.dumps(np.arange(2.0), 2)
    build = content[content.index(b"(K\x01") : -1]  # state of the array and the BUILD after it
    path = tmp_path / "evil.pkl"
    names = [op.name for op, _, _ in pickletools.genops(content)]
    assert names[-2:] == ["BUILD", "STOP"]
    path.write_bytes(content[:-1] + build + b".")
    with pytest.raises(DataError, match="damaged"):
        read_pickle(path)


def test_a_length_that_the_file_cannot_hold_reserves_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc.")
    with pytest.raises(DataError, match="ends in the middle"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"clip,label\na,1\n", "damaged or not a pickle"),
        (b"\x80\x02Pkey\n.", "outside the file"),
        (b"PK\x03\x04 a zip archive", "damaged or not a pickle"),
        (pickle.dumps(np.zeros(50))[:-40], "ends in the middle"),
    ],
)
def test_what_is_no_whole_pickle_is_said_to_be_so(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_pickle(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_pickle(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="is a folder"):
        read_pickle(tmp_path)


def test_control_characters_of_the_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x02c\x1b[2Jos\nsystem\n.")
    with pytest.raises(DataError) as caught:
        read_pickle(path)
    assert "\x1b" not in str(caught.value)


_VALID = [pickle.dumps(_sample(), protocol) for protocol in range(6)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_pickles_raise_data_error_or_nothing(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(_VALID)))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.pkl"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        repr(read_pickle(path))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
