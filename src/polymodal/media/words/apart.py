"""Speech recognised in a process of its own: beside faces and sound, and mortal without harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import weakref
from threading import Lock
from typing import Any

from polymodal.core import DataError, OptionError
from polymodal.data.ragged import Array
from polymodal.media.types import RATE, Word
from polymodal.media.words.said import Transcript
from polymodal.media.words.transcribe import audible
from polymodal.media.words.weights import Weights

COMMAND = (sys.executable, "-P", "-m", "polymodal.media.words.listener")
"""What is started, with its settings as JSON behind it; see ``listener`` for what is said."""


class _Died(Exception):
    """The process is gone; says how it ended."""


class Apart:
    """A ``FasterWhisper`` in another process, which ends with this one, however this one ends.

    It is no child in the sense of ``multiprocessing``: workers that may have none use it, and so do scripts without a
    main guard. One that dies is started again for the same stretch of speech, once.

    Args:
        weights: model to load.
        language: code of what is spoken; empty: detected.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        OptionError: the model cannot be loaded there.
    """

    name = "faster-whisper"

    def __init__(self, weights: Weights, language: str = "", device: str = "cpu") -> None:
        self._settings = {"folder": str(weights.folder), "name": weights.name, "language": language, "device": device}
        self._lock = Lock()
        self._ending: Any = None
        try:
            about = self._start()
        except _Died as error:
            raise OptionError(
                f"the process that recognises speech {error} while it loaded {weights.name}: memory may have run out; "
                "choose a smaller --asr-model"
            ) from None
        self.version, self.only = str(about["version"]), str(about["only"])

    def transcribe(self, samples: Array, start: float) -> Transcript:
        """See ``Transcriber``."""
        values = audible(samples)
        if values is None:
            return Transcript()
        with self._lock:
            try:
                told = self._ask(values, start)
            except _Died:
                told = self._again(values, start)
            except KeyboardInterrupt:  # the answer to come would be taken for that of the next question
                self.close()
                raise
        if "error" in told:
            raise DataError(told["error"])
        return Transcript(tuple(Word(*word) for word in told.pop("words")), **told)

    def _again(self, values: Array, start: float) -> dict[str, Any]:
        try:
            self._start()
            return self._ask(values, start)
        except _Died as error:
            raise DataError(
                f"the process that recognises speech {error}, twice, on what is said from {start:.1f} to "
                f"{start + len(values) / RATE:.1f} s: memory may have run out; choose a smaller --asr-model or fewer "
                "workers"
            ) from None

    def _start(self) -> dict[str, Any]:
        """Start the process; return what it says of its model. OptionError where that cannot be loaded."""
        self.close()
        places = os.pathsep.join(place or os.getcwd() for place in sys.path)
        process = subprocess.Popen(
            [*COMMAND, json.dumps(self._settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
        )
        self._process = process
        self._ending = weakref.finalize(self, _end, process)
        about = self._answer()
        if "error" in about:
            self.close()
            raise OptionError(about["error"])
        return about

    def _ask(self, values: Array, start: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"samples": len(values), "start": start}).encode() + b"\n")
            self._process.stdin.write(values.tobytes())
            self._process.stdin.flush()
        except (OSError, ValueError):  # no reader, or closed
            raise _Died(self._how()) from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise _Died(self._how())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _how(self) -> str:
        """Return how the process ended; it is ended if it only stopped talking."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"

    def close(self) -> None:
        """End the process; what is asked next starts it again."""
        if self._ending is not None:
            self._ending()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:  # what was not sent has no reader any more
            pass
