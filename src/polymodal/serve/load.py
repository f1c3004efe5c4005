"""The predictor of a worker, ready for its first client."""

from __future__ import annotations

import io
import math
from contextlib import suppress

from polymodal.core import PolymodalError
from polymodal.core.limits import Limits, limit_memory
from polymodal.media.extraction import AS_RECORDED, Recogniser
from polymodal.serve.worker import Predicts


def load_predictor(
    run: str,
    assets: str | None,
    threads: int,
    recogniser: Recogniser = AS_RECORDED,
    abstain_at: float | None = None,
    limits: Limits = Limits(),  # noqa: B008 (never changed)
    memory: int = 0,
    within: float = math.inf,
) -> Predicts:
    """Return the predictor of ``run``, a run or a cascade, its extractors loaded.

    Args:
        limits: the most that is taken of rows and transcripts.
        memory: MiB that this process may take beyond what it holds once all is loaded; 0 for any.
        within: seconds that a service that a cascade asks about a clip may take.

    Raises:
        RunError, OptionError: no such run, one that cannot be read, or one that cannot promise ``abstain_at``.
    """
    import torch

    from polymodal.cascade.opened import open_predictor
    from polymodal.cascade.predictor import CascadePredictor

    torch.set_num_threads(1)
    predictor = open_predictor(
        run,
        assets=assets,
        threads=threads,
        recogniser=recogniser,
        abstain_at=abstain_at,
        limits=limits,
        within=within,
    )
    # The first clip loads decoder, speech and faces; let that not be a client's. A run that no clip suits says so
    # when a clip comes, and answers features all the same.
    # Of a cascade, the runs alone: nobody is to be paid for noise.
    for one in predictor.predictors if isinstance(predictor, CascadePredictor) else (predictor,):
        with suppress(PolymodalError):
            one.predict(_first_clip(), name="the first clip")
    limit_memory(memory)
    return predictor


def _first_clip() -> bytes:
    """Return a second of grey picture and noise."""
    import av
    import numpy as np

    out, rng = io.BytesIO(), np.random.default_rng(0)
    with av.open(out, "w", "avi") as container:
        video, audio = container.add_stream("mjpeg", rate=10), container.add_stream("pcm_s16le", rate=16_000)
        video.width, video.height, video.pix_fmt = 64, 64, "yuvj420p"
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), "rgb24")
            container.mux(video.encode(picture))
        sound = av.AudioFrame.from_ndarray(rng.integers(-9000, 9000, (1, 16_000), np.int16), "s16", "mono")
        sound.sample_rate = 16_000
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return out.getvalue()
