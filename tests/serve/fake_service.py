"""A predictor whose answer depends on nothing but the bytes of a clip, and a service around it on a port.

``python fake_service.py PORT [SETTING=VALUE ...]``; what the clip is called decides how the predictor behaves:
``slow-2.wav`` takes 2 s, ``stubborn`` does not notice that nobody waits any more, ``defect`` raises, ``dies`` ends the
process, ``hungry`` finds no memory, ``long`` says that an hour has passed, ``cascade`` has answers of two models.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
import wave
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from polymodal.core import DataError, OptionError, RunError
from polymodal.predict.timeline import Timeline
from polymodal.reply.voice.speech import SYNTHETIC
from polymodal.serve.replies import Replied

MODALITIES = ("text", "audio", "vision")
EMOTIONS = ("anger", "joy", "sadness")
TARGETS = [
    {"name": "sentiment", "task": "regression", "range": [-3, 3], "classes": []},
    {"name": "emotion", "task": "classification", "range": None, "classes": list(EMOTIONS)},
    {"name": "tags", "task": "multilabel", "range": None, "classes": ["humour", "sarcasm"]},
]


class FakePredictor:
    """The interface of Predictor without a model; ``FakePredictor`` itself can be given as ``load``."""

    def predict(
        self,
        clip: str | Path | bytes,
        *,
        name: str | None = None,
        transcript: str | Path | None = None,
        utterances: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Timeline:
        content = clip if isinstance(clip, bytes) else Path(clip).read_bytes()
        name = name or "clip"
        if content == b"no clip":
            raise DataError(f"{name} is no clip")
        told = Path(transcript).read_text().strip() if transcript else "so good, I said; <b>really</b>"
        if utterances not in (None, "speech", "windows", "clip"):
            raise OptionError(f"utterances must be speech, windows or clip, got {utterances!r}")
        if "broken" in told:
            raise DataError(f"{transcript}: line 1 is no time")
        self._behave(name, progress or (lambda seconds: None))
        return answer(name, content, told, 1 if utterances == "clip" else 3)

    def _behave(self, name: str, progress: Callable[[float], None]) -> None:
        progress(0.5)
        seconds = float(found[1]) if (found := re.search(r"slow-(\d+(?:\.\d+)?)", name)) else 0.0
        for step in range(round(seconds * 50)):
            time.sleep(0.02)
            if "stubborn" not in name:
                progress(step / 100)
        if "defect" in name:
            raise KeyError("/secret/path")
        if "hungry" in name:
            raise MemoryError
        if "dies" in name:
            os._exit(11)
        if "long" in name:
            progress(3600.0)

    def predict_features(
        self, rows: Sequence[Mapping[str, Any]], *, progress: Callable[[float], None] | None = None
    ) -> Timeline:
        for i, row in enumerate(rows):
            for modality in row:
                if modality not in MODALITIES:
                    raise DataError(f"row {i}: no modality {modality!r}")
        return answer("features", repr(rows).encode(), "features", len(rows))


class FakeReplier(FakePredictor):
    """Replies to any clip with a second of tone; ``mute`` in its name: with text alone."""

    def predict(self, clip: str | Path | bytes, **options: Any) -> Any:
        name = options["name"]
        self._behave(name, options["progress"])
        if "silent" in name:
            raise DataError(f"nobody speaks in {name}; give a clip in which somebody does")
        out = BytesIO()
        with wave.open(out, "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(16_000))
        media = None if "mute" in name else f"data:audio/wav;base64,{b64encode(out.getvalue()).decode()}"
        turn = {
            "said": "I lost my <b>dog</b>.",
            "emotion": {"label": "sad", "why": "the words say so: lost"},
            "response": "I am sorry to hear that.",
            "why": "the nearest exchange was taken",
            "notes": ["no portrait was given"],
        }
        told = {"synthetic": SYNTHETIC, "turns": [turn], "notes": [], "media": media, "duration": 1.0, "seconds": {}}
        return Replied(told)


def answer(name: str, content: bytes, text: str, moments: int) -> Timeline:
    """Return what the fake says about a clip."""
    seed = hashlib.sha256(content).digest()
    duration = _duration(content)
    utterances = [
        _utterance(i * duration / moments, (i + 0.8) * duration / moments, text, seed[i * 4 % 28 :])
        for i in range(moments)
    ]
    if "cascade" in name:
        for i, utterance in enumerate(utterances):
            _route(utterance["estimates"], asked=i > 0)
    return Timeline.from_dict(
        {
            "clip": name,
            "duration": duration,
            "run": "/home/somebody/runs/fake",
            "method": "fake",
            "modalities": list(MODALITIES),
            "targets": TARGETS,
            "level": 0.9,
            "calibrated": True,
            "notes": ["words were made up by a fake"],
            "seconds": {"decode": 0.01, "total": round(time.process_time() % 1, 3)},
            "utterances": utterances,
        }
    )


def _duration(content: bytes) -> float:
    if content[:4] != b"RIFF":
        return 3.0
    with wave.open(BytesIO(content)) as sound:
        return sound.getnframes() / sound.getframerate()


def _utterance(start: float, end: float, text: str, seed: bytes) -> dict[str, Any]:
    one, two, base, joy = (byte / 128 - 1 for byte in seed[:4])
    chance = (joy + 1) / 2
    rest = (1 - chance) / 2
    words = text.split()
    step = (end - start) / max(len(words), 1)
    return {
        "start": round(start, 3),
        "end": round(end, 3),
        "speaker": "",
        "text": text,
        "words": [
            {"text": w, "start": round(start + i * step, 3), "end": round(start + (i + 1) * step, 3)}
            for i, w in enumerate(words)
        ],
        "present": ["text", "audio"],
        "absent": {},
        "estimates": {
            "sentiment": {
                "value": base + one + two,
                "low": base + one + two - 0.7,
                "high": base + one + two + 0.7,
                "baseline": base,
                "contributions": {"text": one, "audio": two},
            },
            "emotion": {
                "label": "joy",
                "probabilities": {"anger": rest, "joy": chance, "sadness": rest},
                "baseline": 0.25,
                "contributions": {"text": chance - 0.3, "audio": 0.05},
            },
            "tags": {
                "labels": ["humour"],
                "probabilities": {"humour": 0.75, "sarcasm": 0.125},
                "baseline": {"humour": 0.5, "sarcasm": 0.25},
                "contributions": {
                    "text": {"humour": 0.125, "sarcasm": 0.0},
                    "audio": {"humour": 0.125, "sarcasm": -0.125},
                },
            },
        },
    }


def _route(estimates: dict[str, Any], asked: bool) -> None:
    """Let a service answer in the place of a run, where it was asked."""
    usage = {"requests": 2 if asked else 0, "prompt_tokens": 40 if asked else 0}
    for name, said in (("sentiment", {"value": 1.5, "low": None, "high": None}), ("emotion", {"label": "anger"})):
        e = estimates[name]
        (answer,) = [value for key, value in said.items() if key in ("value", "label")]
        opinions = {"small": {"answer": e[next(iter(said))], "uncertainty": 0.75}, "large": None, "second": None}
        e["cascade"] = {"stage": "1", "by": "small", **opinions, "calls": 0, "usage": usage}
        if asked:
            unknown = {"baseline": None, "contributions": {}, **({"probabilities": None} if name == "emotion" else {})}
            e |= {**said, **unknown}
            e["cascade"] |= {"stage": "2a", "by": "large", "large": {"answer": answer, "uncertainty": 0.25}, "calls": 1}


def no_run() -> FakePredictor:
    """Fail as a predictor whose run is not there."""
    raise RunError("there is no run at runs/nowhere; train one with 'polymodal fit'")


Service = tuple[subprocess.Popen[str], str]
Start = Callable[..., Service]


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Service]:
    """Run a fake service in a process of its own, its uploads under ``folder``: (process, address)."""
    command = [sys.executable, __file__, "0", *options]
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def uploads(root: Path) -> list[Path]:
    """Return what services hold of requests under the folder that they share."""
    return [p for p in root.glob("*/*") if p.name != "lock"]


def main(port: str, *options: str) -> None:
    """Serve fakes until a signal comes; as ``polymodal serve`` does."""
    from polymodal.serve.server import serve
    from polymodal.serve.settings import Settings

    pairs = (option.partition("=") for option in options)
    settings = {
        name: value == "1"
        if name == "replies"
        else value
        if name in ("host", "token")
        else int(value)
        if value.isdigit()
        else float(value)
        for name, _, value in pairs
    }
    serve(
        FakeReplier if "replies" in settings else FakePredictor,
        Settings("fake", **settings),  # type: ignore[arg-type]
        port=int(port),
        announce=lambda url: print(url, flush=True),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
