"""The video of a reply: H.264 and AAC in MP4, with a caption that says that it is synthetic."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from polymodal.core import DataError
from polymodal.data.ragged import Array
from polymodal.reply.face.acting import poses
from polymodal.reply.face.portrait import Portrait
from polymodal.reply.face.warp import Bender
from polymodal.reply.manner import Manner
from polymodal.reply.voice.speech import SYNTHETIC, Speech

FPS = 25
SOUND = 48_000
"""Samples per second of the sound in a video. AAC begins 1024 samples early: 21 ms, if a player does not cut them."""

CAPTION = "SYNTHETIC VIDEO: generated, nobody said this"


class Warped:
    """Films a portrait by bending it. Needs no network and no graphics card.

    Attributes:
        name: what results call it.
    """

    name = "mesh of the portrait, bent"

    def film(self, speech: Speech, portrait: Portrait, manner: Manner, out: Path) -> None:
        """Write a video of ``portrait`` saying ``speech`` to ``out``."""
        bender = Bender(portrait)
        write_video(out, (bender.bend(pose) for pose in poses(speech, manner, FPS)), speech)


def write_video(out: Path, frames: Iterable[Array], speech: Speech) -> None:
    """Write frames (SIDE, SIDE, 3) uint8 at FPS with the sound of ``speech`` to ``out``, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    import av

    partial = out.with_name(f".{out.name}.partial")
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as container:
            container.metadata.update({"title": CAPTION, "comment": SYNTHETIC, "synopsis": SYNTHETIC})
            video = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "veryfast"})
            video.pix_fmt = "yuv420p"
            sound = container.add_stream("aac", rate=SOUND, bit_rate=128_000, layout="mono")
            caption: Array | None = None
            for number, image in enumerate(frames):
                if caption is None:
                    height, width = image.shape[:2]
                    video.width, video.height = width // 2 * 2, height // 2 * 2
                    caption = _caption(width)
                frame = av.VideoFrame.from_ndarray(_captioned(image, caption), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            heard = av.AudioFrame.from_ndarray(_at_rate(speech)[None], format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = SOUND, 0, Fraction(1, SOUND)
            container.mux(sound.encode(heard))
            container.mux(sound.encode(None))
        partial.replace(out)
    except (OSError, av.FFmpegError) as error:
        raise DataError(f"cannot write {out}: {error}; free space or choose another --out") from None
    finally:
        partial.unlink(missing_ok=True)


def _at_rate(speech: Speech) -> Array:
    from scipy.signal import resample_poly

    ratio = Fraction(SOUND, speech.rate)
    heard = resample_poly(speech.samples, ratio.numerator, ratio.denominator)
    return np.clip(heard, -1, 1).astype(np.float32)


def _caption(width: int) -> Array:
    """Return the caption as (height, width) float32, how white it is."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(10, width // 26)
    font = ImageFont.load_default(size)
    image = Image.new("L", (width, round(1.7 * size)), 0)
    ImageDraw.Draw(image).text((width / 2, 0.85 * size), CAPTION, 255, font=font, anchor="mm")
    return np.asarray(image, np.float32) / 255


def _captioned(image: Array, caption: Array) -> Array:
    height = len(caption)
    band = 0.35 * image[-height:].astype(np.float32)
    shown = image.copy()
    shown[-height:] = np.clip(band * (1 - caption[..., None]) + 255 * caption[..., None], 0, 255).astype(np.uint8)
    return shown
