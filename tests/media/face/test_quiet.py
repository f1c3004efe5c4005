from __future__ import annotations

import os
import re
import sys

import pytest

from polymodal.media.face.quiet import without_lines

NOISE = re.compile(rb"W\d+ |INFO: ")


def test_noise_of_native_code_is_dropped_and_everything_else_comes_out(capfd: pytest.CaptureFixture[str]) -> None:
    with without_lines(NOISE):
        os.write(2, b"W0000 graph.cc:181] by default\n")
        print("a warning that somebody must read", file=sys.stderr, flush=True)
        os.write(2, b"INFO: Created a delegate\nW is not always noise\n")
    os.write(2, b"W0000 afterwards\n")
    assert capfd.readouterr().err == ("a warning that somebody must read\nW is not always noise\nW0000 afterwards\n")


def test_standard_error_is_restored_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with without_lines(NOISE):
            os.write(2, b"W0000 noise\nwhat went wrong\n")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "what went wrong\nlater\n"


def test_a_program_without_standard_error_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    done = []
    with without_lines(NOISE):
        done.append(1)
    assert done
