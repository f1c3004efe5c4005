"""Where somebody speaks: silero-vad run block by block, its probabilities turned into segments as they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import OptionError
from polymodal.data.ragged import Array
from polymodal.media.types import RATE, Samples, Segment

WINDOW = 512
"""Samples per probability: what the network was trained on."""

STEP = WINDOW / RATE
"""Seconds of a window."""

CONTEXT = 64
"""Samples before a window that the network sees again."""

BLOCK = 4
"""Windows per call. Always the same number, so that the arithmetic does not depend on how audio arrives; four together
cost 0.6 of four alone and are noticed 0.13 s late at most."""

SPEECH, SILENCE = 0.5, 0.35
"""Speech begins at the first probability and pauses below the second; silero's own defaults."""

SHORTEST, PAUSE, DIP, PAD = 0.25, 0.4, 0.1, 0.1
"""Seconds: the shortest stretch that counts, the pause that ends one, the pause at which a long one may be cut, and
what is added on either side. PAUSE exceeds 2 PAD, hence padded stretches never overlap."""

JITTER = 0.01
"""Seconds by which a piece may come early or late and still follow the one before."""

Stretch = tuple[float, float]


class SpeechActivity:
    """Finds stretches of speech in audio that arrives in pieces; how it is cut into pieces changes nothing.

    The network is Silero VAD 6 (Silero Team, 2021-2025, github.com/snakers4/silero-vad), the rules are those of its
    ``get_speech_timestamps``: speech begins at probability 0.5, ends where the probability falls below 0.35 for 0.4 s,
    lasts at least 0.25 s, and is padded by 0.1 s. A stretch still running at the end of the audio ends there. What is
    missing between two pieces is silence; what is heard twice is taken once.

    Args:
        longest: seconds after which a stretch is cut at its next pause of 0.1 s, where speech is least probable;
            without any, after twice as long, where speech was least probable since ``longest``. Pieces of a cut
            stretch touch.

    Raises:
        OptionError: silero-vad or onnxruntime is not installed.
    """

    def __init__(self, longest: float = 15.0) -> None:
        self._network = _network()
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)
        self._stretches = Stretches(longest)
        self._waiting = np.zeros(CONTEXT, np.float32)
        self._origin: float | None = None
        self._heard = 0

    @property
    def version(self) -> str:
        """Name and version of the network."""
        return f"silero-vad {version('silero-vad')}"

    @property
    def open_since(self) -> float | None:
        """Start of the stretch that is running, None in silence; a stretch that stays too short is not reported."""
        start = self._stretches.start
        return None if start is None else self._time(start)

    def push(self, samples: Samples) -> list[Segment]:
        """Hear the next piece; return the stretches that have ended by now."""
        if self._origin is None:
            self._origin = samples.time
        values = np.clip(np.nan_to_num(samples.values, nan=0.0), -1, 1)  # one NaN would stay in the network's memory
        missing = round((samples.time - self._origin) * RATE) - self._heard
        ended: list[Segment] = []
        if missing > JITTER * RATE:
            for done in range(0, missing, 60 * RATE):  # a gap may be hours long
                ended += self._hear(np.zeros(min(60 * RATE, missing - done), np.float32))
        elif missing < -JITTER * RATE:
            values = values[-missing:]
        return ended + self._hear(values)

    def finish(self) -> list[Segment]:
        """Hear what is waiting; return the stretches that end with the audio."""
        self._waiting = np.pad(self._waiting, (0, -(len(self._waiting) - CONTEXT) % WINDOW))
        ended = self._listen((len(self._waiting) - CONTEXT) // WINDOW)
        return self._segments([*ended, *self._stretches.finish(self._heard / RATE)])

    def _hear(self, values: Array) -> list[Segment]:
        self._heard += len(values)
        self._waiting = np.concatenate([self._waiting, values])
        blocks = (len(self._waiting) - CONTEXT) // (BLOCK * WINDOW)
        return self._segments(self._listen(blocks * BLOCK))

    def _listen(self, windows: int) -> list[Stretch]:
        """Run the network over the first ``windows`` that wait; return the stretches that ended."""
        if not windows:
            return []
        used = windows * WINDOW
        view = np.lib.stride_tricks.sliding_window_view(self._waiting[: used + CONTEXT], CONTEXT + WINDOW)[::WINDOW]
        ended = []
        for first in range(0, windows, BLOCK):
            block = {"input": np.ascontiguousarray(view[first : first + BLOCK]), "h": self._hidden, "c": self._cell}
            found, self._hidden, self._cell = self._network.run(("speech_probs", "hn", "cn"), block)
            for probability in found.tolist():
                ended += self._stretches.push(probability)
        self._waiting = self._waiting[used:].copy()
        return ended

    def _segments(self, stretches: Sequence[Stretch]) -> list[Segment]:
        return [Segment(self._time(start), self._time(end)) for start, end in stretches]

    def _time(self, seconds: float) -> float:
        """Move seconds since the first sample, cut to what has been heard, to the clip's axis."""
        return (self._origin or 0.0) + min(max(seconds, 0.0), self._heard / RATE)


class Stretches:
    """Turns the probabilities of consecutive windows into padded stretches (start, end), in seconds since the first.

    Args:
        longest: see ``SpeechActivity``.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._now = -1
        self._began: int | None = None
        self._pause: int | None = None
        self._deepest: tuple[float, int] | None = None
        self._pad = PAD

    @property
    def start(self) -> float | None:
        """Start of the stretch that is running."""
        return None if self._began is None else self._began * STEP - self._pad

    def push(self, probability: float) -> list[Stretch]:
        """Take the next window; return the stretches that it ends."""
        self._now += 1
        if self._began is None:
            if probability >= SPEECH:
                self._began = self._now
            return []
        paused = 0 if self._pause is None else self._now - self._pause
        if probability >= SPEECH:
            self._pause = None
        elif probability < SILENCE:
            self._pause = self._now - paused
            if paused * STEP >= PAUSE:
                return self._end(self._pause * STEP, PAD)
        back = probability >= SPEECH and paused * STEP >= DIP
        length = (self._now - self._began) * STEP
        if length < self._longest:
            return []
        self._deepest = min(self._deepest or (1.0, self._now), (probability, self._now))
        return self._cut(self._deepest[1]) if back or length >= 2 * self._longest else []

    def _cut(self, window: int) -> list[Stretch]:
        pause = self._pause
        ended = self._end(window * STEP, 0.0)
        self._began, self._pad, self._pause = window, 0.0, pause
        return ended

    def _end(self, end: float, pad: float) -> list[Stretch]:
        assert self._began is not None
        start, long_enough = self._began * STEP - self._pad, end - self._began * STEP > SHORTEST
        self._began = self._pause = self._deepest = None
        self._pad = PAD
        return [(start, end + pad)] if long_enough else []

    def finish(self, end: float) -> list[Stretch]:
        """Return the stretch that is still running at ``end``."""
        return [] if self._began is None else self._end(end, 0.0)


@cache
def _network() -> Any:
    """Return the network, which keeps no state: that goes in and out with every call."""
    # Found by its place in the wheel: importing silero_vad would set the number of torch's threads to 1.
    try:
        import onnxruntime
    except ImportError:
        onnxruntime = None
    package = find_spec("silero_vad")
    model = package and package.origin and Path(package.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    if not onnxruntime or not model or not model.is_file():
        raise OptionError(
            "speech activity needs onnxruntime and silero-vad 6.2.3 or newer; pip install -U 'polymodal[media]', or "
            "cut clips into windows and extract no text"
        )
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
