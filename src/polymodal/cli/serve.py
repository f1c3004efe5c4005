"""``polymodal serve``."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Literal

from polymodal.core.options import Count, Natural, Positive

EXAMPLES = {
    "serve": """\
  polymodal serve runs/mosi                                  this machine only: http://127.0.0.1:8000/
  polymodal serve runs/mosi --workers 2 --max-seconds 120
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
    reply: bool = False,
    assets: str | None = None,
    asr_model: str | None = None,
    language: str | None = None,
    asr_device: Literal["cpu", "cuda", "auto"] = "cpu",
) -> int:
    """Answer clips over HTTP, with a page to drop or record them.

    Args:
        run: folder of a run, or a run on a hub as org/name
        host: address to listen on; any but a loopback one needs a token
        port: to listen on; 0 takes a free one
        workers: clips predicted at the same time, each in a process of its own
        max_upload: largest upload in MiB
        max_seconds: longest clip in seconds
        queue: clips that may wait for a worker before more are refused with 429
        time_limit: seconds from the end of an upload to its answer
        token: what clients must send; default $POLYMODAL_TOKEN, where nobody sees it in the list of processes
        reply: answer clips with replies as 'polymodal reply' makes them, the emotion named by the run, the face drawn
        assets: folder with models that are not installed with packages; default $POLYMODAL_ASSETS
        asr_model: model of faster-whisper: a name (small), a folder, or owner/name on the hub; default the one that the
            run's corpus was transcribed with
        language: what is spoken (en, de, ...); default as for the run's corpus
        asr_device: where speech is recognised
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
        replies=reply,
    )
    # What the workers leave of the machine goes to decoding and faces beside speech and prediction.
    threads = max(1, (os.cpu_count() or 1) // workers)
    recogniser = Recogniser(asr_model, language, asr_device)
    load: Callable[[], Predicts] = (
        partial(load_replier, run, assets, recogniser)
        if reply
        else partial(load_predictor, run, assets, threads, recogniser)
    )
    start(load, settings, port=port, announce=lambda url: print(f"{run} is at {url}", flush=True))
    return 0
