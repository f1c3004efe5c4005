"""Who makes the talking face of a portrait and speech: ours, or a command of the user's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from polymodal.core import DataError, RunError
from polymodal.data.ragged import Array
from polymodal.reply.adapter import Command
from polymodal.reply.face.film import FPS, Warped, write_video
from polymodal.reply.face.portrait import Portrait
from polymodal.reply.manner import MANNERS
from polymodal.reply.voice.speech import Speech, write_wav


class Head(Protocol):
    """Who films.

    Attributes:
        name: what results call it.
    """

    name: str

    def film(self, speech: Speech, portrait: Portrait, emotion: str, out: Path) -> None:
        """Write the video of ``portrait`` saying ``speech``, showing ``emotion`` (a coarse class), to ``out``."""
        ...


class Bent:
    """The mesh of the portrait, bent: a processor is enough."""

    name = Warped.name

    def film(self, speech: Speech, portrait: Portrait, emotion: str, out: Path) -> None:
        """See ``Head``."""
        Warped().film(speech, portrait, MANNERS[emotion], out)


class ByCommand:
    """A talking-head model behind a command with the places {portrait}, {wav}, {emotion} and {out}.

    Its picture is written anew, with the caption and with the sound that it was given, so that no video leaves without
    saying what it is.

    Raises:
        OptionError: the command lacks a place.
    """

    def __init__(self, line: str) -> None:
        places = ("portrait", "wav", "emotion", "out")
        self._command = Command("--face", line, ("portrait", "wav", "out"), places)
        self.name = self._command.name
        self.line = line

    def film(self, speech: Speech, portrait: Portrait, emotion: str, out: Path) -> None:
        """See ``Head``.

        Raises:
            RunError: the command failed, or what it wrote is no video.
        """
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            still, wav, made = (Path(folder) / name for name in ("portrait.png", "speech.wav", "face.mp4"))
            Image.fromarray(portrait.image).save(still)
            write_wav(wav, speech)
            self._command.run({"portrait": still, "wav": wav, "emotion": emotion, "out": made})
            try:
                write_video(out, _frames(made, speech.seconds), speech)
            except DataError as error:
                raise RunError(f"--face wrote no usable video ({error}); run it by hand to see why") from None


def _frames(video: Path, seconds: float) -> Iterator[Array]:
    """Yield the frames of a video at FPS for so many seconds, the last one for as long as it takes."""
    from polymodal.media.clip.decode import Media
    from polymodal.media.types import Frame

    shown, last = 0, None
    with Media(video) as media:
        for piece in media.pieces(audio=False, fps=None):
            if isinstance(piece, Frame):
                while last is not None and shown / FPS < min(piece.time, seconds):
                    yield last
                    shown += 1
                last = piece.image
    if last is None:
        raise DataError("it has no picture")
    while shown / FPS < seconds:
        yield last
        shown += 1
