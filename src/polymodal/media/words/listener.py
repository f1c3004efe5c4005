"""The process that recognises speech for another one: ``python -m polymodal.media.words.listener SETTINGS``.

A line of JSON comes in (``samples``: how many, ``start``: seconds), then so many float32; a line of JSON goes out, a
``Transcript`` or ``error``. The first line out is about the model. It ends when nothing more can come.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import PolymodalError
from polymodal.data.ragged import Array
from polymodal.media.words.weights import Weights
from polymodal.media.words.whisper import FasterWhisper


def main() -> None:
    """Answer until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides when it is over
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()

    told = json.loads(sys.argv[1])
    try:
        weights = Weights(Path(told["folder"]), told["name"])
        recogniser = FasterWhisper.load(weights, told["language"], told["device"])
        say({"version": recogniser.version, "only": recogniser.only})
        while line := sys.stdin.buffer.readline():
            asked = json.loads(line)
            data = sys.stdin.buffer.read(4 * asked["samples"])
            if len(data) < 4 * asked["samples"]:
                return
            say(_heard(recogniser, np.frombuffer(data, np.float32), asked["start"]))
    except PolymodalError as error:
        say({"error": str(error)})
    except BrokenPipeError:
        os._exit(0)  # nobody waits for an answer


def _heard(recogniser: FasterWhisper, values: Array, start: float) -> dict[str, Any]:
    try:
        found = recogniser.transcribe(values, start)
    except PolymodalError as error:
        return {"error": str(error)}
    return {**asdict(found), "words": [[w.text, w.start, w.end] for w in found.words]}


if __name__ == "__main__":
    main()
