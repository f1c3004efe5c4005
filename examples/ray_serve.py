"""The predictor of a run on many machines, behind one address, with Ray Serve.

python examples/ray_serve.py runs/mosi      on a cluster: with its address in $RAY_ADDRESS
curl --data-binary @clip.mp4 'http://127.0.0.1:8000/?name=clip.mp4'

Ray gives every replica its own process, spreads requests over replicas and machines, and starts replicas anew that die.
Limits on uploads, a token and the page are left to what stands in front; ``polymodal serve`` has them on one machine.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from polymodal.core import PolymodalError
from polymodal.serve.load import load_predictor


@serve.deployment(
    num_replicas=2,
    max_ongoing_requests=1,  # a predictor takes one clip at a time
    max_queued_requests=16,  # beyond that clients get 503
    ray_actor_options={"num_cpus": 1},
)
class Clips:
    """One predictor; ``load`` makes it on the machine of the replica."""

    def __init__(self, load: Callable[[], object]) -> None:
        self.predictor = load()

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer a clip, sent as the body of a POST, with its timeline."""
        name, clip = request.query_params.get("name", "clip"), await request.body()
        try:
            timeline = await asyncio.to_thread(self.predictor.predict, clip, name=name)
        except PolymodalError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(timeline.to_dict())


def deploy(load: Callable[[], object]) -> None:
    """Start the deployment on the Ray that this process is, or gets, connected to."""
    serve.run(Clips.bind(load), name="clips")


if __name__ == "__main__":
    # The folder of the run must be readable on every machine: put it on a shared disk, or name a run on a hub.
    deploy(partial(load_predictor, sys.argv[1], None, 1))
    while True:
        time.sleep(60)
