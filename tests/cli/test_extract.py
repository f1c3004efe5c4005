"""``polymodal extract`` on sound that is made here."""

from __future__ import annotations

import shlex
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.cli import extract as command_module
from polymodal.cli.main import COMMANDS, Terminated

Call = Callable[..., Any]
SOUND = ("--audio", "logmel", "--vision", "none", "--text", "none")


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "extract", ("extract", "make a corpus from clips"))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Nine sounds in class folders, one of them no sound."""
    for i in range(9):
        path = tmp_path / "clips" / ("high" if i % 2 else "low") / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(8000) * (0.3 if i % 2 else 0.05)) * 2**14
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(tone.astype("<i2").tobytes())
    (tmp_path / "clips" / "low" / "8.wav").write_text("not a sound")
    return tmp_path / "clips"


def test_a_folder_becomes_a_store_that_trains(call: Call, clips: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    called = call("extract", clips, "--out", store, *SOUND, "--json")
    assert called.code == 0, called.err
    summary = called.json
    assert (summary["clips"], summary["done"], summary["failed"]) == (9, 8, 1)
    assert summary["failures"][0][0] == "low/8.wav"
    assert summary["media_seconds"] == pytest.approx(4, abs=0.1)
    assert summary["speed"] > 0
    fitted = call("fit", "linear", "--data", store, "--out", tmp_path / "run", "--json")
    assert fitted.code == 0, fitted.err
    again = call("extract", clips, "--out", store, *SOUND)
    assert "exists already" in again.sentence


def test_the_summary_says_what_was_found_and_what_comes_next(call: Call, clips: Path, tmp_path: Path) -> None:
    store = tmp_path / "my store"
    called = call("extract", clips, "--out", store, *SOUND)
    assert called.code == 0, called.err
    assert called.out == ""
    for part in (
        "failed: low/8.wav",
        "clips: 8 of 9 done, 1 failed",
        "present: audio 100%",
        f"next: polymodal fit mmcl --data '{store}'",
    ):
        assert part in called.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--range", "3,-3"], "--range must be lowest,highest"),
        (["--range", "3"], "--range must be lowest,highest"),
        (["--columns", "clip"], "--columns wants name=value"),
        (["--target", "emotoin"], "has no column 'emotoin'"),
        (["--audio", "none", "--vision", "none", "--text", "none"], "all none"),
        (["--utterances", "transcript"], "names no transcripts"),
    ],
)
def test_wrong_options_are_one_sentence(
    call: Call, clips: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    assert message in call("extract", clips, "--out", tmp_path / "store", *words).sentence
    assert not (tmp_path / "store.partial").exists()


@pytest.mark.parametrize(("stop_by", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_stopping_tells_the_command_that_goes_on(
    stop_by: type[KeyboardInterrupt],
    code: int,
    call: Call,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from polymodal.media.folder import extract as media_module

    given: list[dict[str, Any]] = []

    def stopped(*_: object, **options: Any) -> None:
        given.append(options)
        raise stop_by

    monkeypatch.setattr(media_module, "extract", stopped)
    words = [*SOUND, "--range=-3,3", "--columns", "text=none", "speaker=none", "--fps", "12.5", "--workers", "2"]
    stop = call("extract", clips, "--out", tmp_path / "my store", *words, "--json")
    assert stop.code == code
    assert stop.err.startswith("stopped; go on with: polymodal extract ")
    again = shlex.split(stop.err.partition("polymodal ")[2])
    call(*again)
    assert len(given) == 2
    assert given[0] == given[1]
    assert "--json" in again


def test_crops_are_five_a_second_where_nothing_else_is_said(
    call: Call, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polymodal.media.folder import extract as media_module

    given: list[float] = []

    def stopped(*_: object, extraction: Any, **__: Any) -> None:
        given.append(extraction.fps)
        raise KeyboardInterrupt

    monkeypatch.setattr(media_module, "extract", stopped)
    for words in (["--vision", "crops"], ["--vision", "crops", "--fps", "12.5"], ["--vision", "face"], []):
        call("extract", clips, "--out", tmp_path / "store", "--columns", "text=none", *words)
    assert given == [5.0, 12.5, 25.0, 25.0]
    assert "fps must be from 1" in call("extract", clips, "--out", tmp_path / "store", "--fps", "0").sentence


def test_the_command_says_all_options() -> None:
    values = {"source": "a b", "out": "s", "target": ["x", "y"], "json": False, "range": "-1,1"}
    defaults = {n: p.default for n, p in command_module.inspect.signature(command_module.extract).parameters.items()}
    assert command_module.command({**defaults, **values}) == (
        "polymodal extract 'a b' --out s --target x y --range=-1,1"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--text", "none", "--asr-model", "small"), "with --text none nothing is transcribed"),
        (("--text", "given", "--language", "de"), "with --text given nothing is transcribed"),
        (("--text", "pocketsphinx", "--asr-model", "small"), "--asr-model is a model of faster-whisper"),
    ],
)
def test_options_of_a_recogniser_that_is_not_asked_are_refused(
    call: Call, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    called = call("extract", tmp_path, "--out", tmp_path / "store", *options)
    assert called.code != 0
    assert told in called.sentence
