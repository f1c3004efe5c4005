"""``polymodal serve``."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Literal

from polymodal.core.options import Count, Natural, NotNegative, Positive

EXAMPLES = {
    "serve": """\
  polymodal serve runs/mosi                                  this machine only: http://127.0.0.1:8000/
  polymodal serve runs/mosi --workers 2 --max-seconds 120
  polymodal serve runs/cascade                               a small run, and a large model where that is unsure
  polymodal serve runs/mosi --asr-model small --language de
  POLYMODAL_TOKEN=$(openssl rand -hex 24) polymodal serve runs/mosi --host 0.0.0.0
  polymodal serve voice-emotion --reply                      a page whose listener replies to a clip
  curl -F clip=@clip.mp4 http://127.0.0.1:8000/predict
  curl -H "Authorization: Bearer $POLYMODAL_TOKEN" -F clip=@clip.mp4 http://server:8000/predict"""
}

EXTRA = {"fastapi", "prometheus_client", "python_multipart", "starlette", "uvicorn"}


def serve(
    run: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: Count = 1,
    max_upload: Positive = 200.0,
    max_seconds: Positive = 600.0,
    queue: Natural = 8,
    time_limit: Positive = 120.0,
    token: str | None = None,
    memory: Natural = 3072,
    max_rows: Count = 1000,
    max_text: Count = 20_000,
    max_segments: Count = 2000,
    max_words: Count = 20_000,
    connections: Count = 256,
    max_header: Positive = 16.0,
    header_time: Positive = 10.0,
    stall: Positive = 30.0,
    upload_time: Positive = 600.0,
    min_rate: NotNegative = 16.0,
    log_rate: Count = 10,
    reply: bool = False,
    assets: str | None = None,
    asr_model: str | None = None,
    language: str | None = None,
    asr_device: Literal["cpu", "cuda", "auto"] = "cpu",
    abstain_at: Positive | None = None,
) -> int:
    """Answer clips over HTTP, with a page to drop or record them.

    Args:
        run: folder of a run or of a cascade, or a run on a hub as org/name
        host: address to listen on; any but a loopback one needs a token
        port: to listen on; 0 takes a free one
        workers: clips predicted at the same time, each in a process of its own
        max_upload: largest upload in MiB
        max_seconds: longest clip in seconds
        queue: clips that may wait for a worker before more are refused with 429
        time_limit: seconds from the end of an upload to its answer; the service of a cascade has half of it
        token: what clients must send; default $POLYMODAL_TOKEN, where nobody sees it in the list of processes
        memory: MiB that a worker may take beyond what it holds once loaded; 0 for any
        max_rows: rows of features in a request
        max_text: characters of a row, or of a segment of a transcript
        max_segments: segments of a transcript
        max_words: words of a transcript
        connections: open at the same time before one more closes an idle one, or is refused with 503
        max_header: KiB of a request's header
        header_time: seconds in which a whole header must have come
        stall: seconds without a byte, in either direction, after which a client is given up
        upload_time: seconds in which an upload must be over
        min_rate: KiB per second that an upload must have on average, once ten seconds have gone; 0 for any
        log_rate: lines of a kind that are logged in a minute
        reply: answer clips with replies as 'polymodal reply' makes them, the emotion named by the run, the face drawn
        assets: folder with models that are not installed with packages; default $POLYMODAL_ASSETS
        asr_model: model of faster-whisper: a name (small), a folder, or owner/name on the hub; default the one that the
            run's corpus was transcribed with
        language: what is spoken (en, de, ...); default as for the run's corpus
        asr_device: where speech is recognised
        abstain_at: mean error that is to be kept on what is answered; the run is silent where it is not sure enough
    """
    import logging

    from polymodal.core import OptionError
    from polymodal.media.extraction import Recogniser

    try:
        from polymodal.serve.load import load_predictor
        from polymodal.serve.replies import load_replier
        from polymodal.serve.server import serve as start
        from polymodal.serve.settings import Settings
        from polymodal.serve.worker import Predicts
    except ImportError as error:
        if error.name not in EXTRA:
            raise
        raise OptionError(f"the service needs {error.name}; run: pip install 'polymodal[serve]'") from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = Settings(
        name=os.path.basename(os.path.abspath(run)),
        host=host,
        workers=workers,
        max_upload=max_upload,
        max_seconds=max_seconds,
        queue=queue,
        time_limit=time_limit,
        token=os.environ.get("POLYMODAL_TOKEN") if token is None else token,
        memory=memory,
        max_rows=max_rows,
        max_text=max_text,
        max_segments=max_segments,
        max_words=max_words,
        connections=connections,
        max_header=max_header,
        header_time=header_time,
        stall=stall,
        upload_time=upload_time,
        min_rate=min_rate,
        log_rate=log_rate,
        replies=reply,
    )
    # What the workers leave of the machine goes to decoding and faces beside speech and prediction.
    threads = max(1, (os.cpu_count() or 1) // workers)
    recogniser = Recogniser(asr_model, language, asr_device)
    load: Callable[[], Predicts] = (
        partial(load_replier, run, assets, recogniser, memory, time_limit / 2)
        if reply
        else partial(
            load_predictor, run, assets, threads, recogniser, abstain_at, settings.limits, memory, time_limit / 2
        )
    )
    start(load, settings, port=port, announce=lambda url: print(f"{run} is at {url}", flush=True))
    return 0
