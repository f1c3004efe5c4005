"""What is too much is said before, or as soon as it turns out to be."""

from __future__ import annotations

import subprocess
import sys

import pytest

from polymodal.core.limits import Limits, TooMuchError, out_of_memory

_HUNGRY = """
import numpy as np, torch
from polymodal.core.limits import limit_memory, out_of_memory

assert limit_memory(300)
_ = np.zeros(2**24)  # 128 MiB are there
for allocate in (lambda: np.ones(2**27), lambda: torch.ones(2**28), lambda: bytearray(2**30)):
    try:
        allocate()
    except Exception as error:
        assert out_of_memory(error), error
    else:
        raise AssertionError
print("held")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the memory of a process")
def test_a_process_takes_no_more_than_it_may_and_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", _HUNGRY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "held"


def test_other_errors_are_not_for_want_of_memory() -> None:
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    for said in ("can't allocate memory", "not enough memory"):
        assert out_of_memory(RuntimeError(f"DefaultCPUAllocator: {said}: you tried to allocate 9 bytes"))


def test_rows() -> None:
    limits = Limits(rows=3, text=5)
    limits.check_rows([{"text": "12345"}] * 3)
    with pytest.raises(TooMuchError, match="4 rows, more than the 3"):
        limits.check_rows([{}] * 4)
    with pytest.raises(TooMuchError, match="row 1: text has 6 characters, more than the 5"):
        limits.check_rows([{}, {"text": "123456"}])


@pytest.mark.parametrize(
    ("texts", "said"),
    [(["a"] * 4, "4 segments"), (["a b c d", "e f"], "6 words"), (["a" * 11], "a segment of 11 characters")],
)
def test_transcripts(texts: list[str], said: str) -> None:
    limits = Limits(segments=3, words=5, text=10)
    limits.check_transcript("a.srt", ["a b", "c"])
    with pytest.raises(TooMuchError, match=f"a.srt has {said}"):
        limits.check_transcript("a.srt", texts)
