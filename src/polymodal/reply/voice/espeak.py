"""espeak-ng: a formant synthesiser, small and everywhere, through its C library."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np

from polymodal.core import OptionError
from polymodal.data.ragged import Array
from polymodal.reply.manner import Manner
from polymodal.reply.voice.speech import Sound, Speech, finished

WORDS_PER_MINUTE, PITCH, RANGE = 155, 45, 55
"""Of manner 1; pitch and range are espeak's own scales, 0 to 100."""

_SYNCHRONOUS, _SOUND_EVENTS, _STAY = 2, 1 | 2, 0x8000
_RATE, _PITCH, _RANGE = 1, 3, 4
_UTF8, _BY_CHARACTER = 1, 1
_END, _SOUND = 0, 7
_ONE_AT_A_TIME = Lock()


class _Content(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Content),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The American English voice of espeak-ng, from the package ``espeakng-loader``.

    Raises:
        OptionError: the library cannot be loaded.
    """

    name = "espeak-ng"
    licence = "espeak-ng GPL-3.0-or-later"

    def __init__(self) -> None:
        self._library, self._rate = _library()
        self.version = f"espeakng-loader {version('espeakng-loader')}, en-us"

    def say(self, text: str, manner: Manner) -> Speech:
        """See ``Voice``."""
        parts: list[Array] = []
        marks: list[tuple[int, str]] = []

        def take(samples: Any, count: int, events: Any) -> int:
            if samples and count:
                parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
            k = 0
            while events[k].type != _END:
                if events[k].type == _SOUND:
                    ipa = bytes(events[k].id.string).split(b"\0")[0].decode("utf-8", "ignore")
                    marks.append((events[k].sample, ipa.strip("ˈˌ")))
                k += 1
            return 0

        callback, data = _Callback(take), text.encode() + b"\0"
        with _ONE_AT_A_TIME:  # the library speaks with one voice
            self._library.espeak_SetSynthCallback(callback)
            self._library.espeak_SetVoiceByName(b"en-us")
            for parameter, value in (
                (_RATE, WORDS_PER_MINUTE * manner.rate),
                (_PITCH, PITCH + 200 * (manner.pitch - 1)),
                (_RANGE, RANGE * manner.liveliness),
            ):
                self._library.espeak_SetParameter(parameter, int(np.clip(value, 0, 400)), 0)
            self._library.espeak_Synth(data, len(data), 0, _BY_CHARACTER, 0, _UTF8, None, None)
        samples = np.concatenate([np.zeros(0, np.int16), *parts]).astype(np.float32) / 32768
        return finished(samples, self._rate, _sounds(marks, len(samples), self._rate), manner)


def _sounds(marks: list[tuple[int, str]], end: int, rate: int) -> list[Sound]:
    """Return the sounds between marks; one without letters is a pause."""
    ends = [sample for sample, _ in marks[1:]] + [end]
    return [Sound(ipa, at / rate, to / rate) for (at, ipa), to in zip(marks, ends, strict=True) if ipa and to > at]


@cache
def _library() -> tuple[Any, int]:
    """Return the library and its samples per second, once per process."""
    import espeakng_loader

    try:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = espeakng_loader.get_data_path()
    except (OSError, RuntimeError) as error:
        raise OptionError(f"espeak-ng cannot be loaded ({error}); reinstall espeakng-loader") from None
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, folder.encode(), _SOUND_EVENTS | _STAY)
    if rate <= 0:
        raise OptionError(f"espeak-ng does not find its data in {folder}; reinstall espeakng-loader")
    return library, int(rate)


def installed() -> str:
    """Return what is missing; empty where it is there."""
    return "" if find_spec("espeakng_loader") else "espeakng-loader"
