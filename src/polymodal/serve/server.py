"""A service on a port: announced when it is ready, ended without breaking off what it does."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from polymodal.core import OptionError
from polymodal.serve.app import create_app
from polymodal.serve.connection import BACKLOG, connections_of
from polymodal.serve.quiet import calm
from polymodal.serve.settings import Settings
from polymodal.serve.worker import Predicts

GRACE = 5
"""Seconds for the last bytes of answers once there is nothing left to do."""

log = logging.getLogger("polymodal.serve")


class Server(uvicorn.Server):
    """Turns new requests away when asked to end, finishes those inside, then ends; at once when asked twice.

    Args:
        app: made by ``create_app``.
        settings: limits of connections.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=connections_of(settings),  # type: ignore[arg-type]  # uvicorn calls it, and asks no more of it
                ws="none",
                h11_max_incomplete_event_size=settings.max_header_bytes,
                backlog=BACKLOG,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._desk = app.state.desk
        self._until = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain. Unlike uvicorn, the signal is not raised again at the end, which is an orderly one."""
        if self._desk.draining:
            self.should_exit = self.force_exit = True
            return
        log.info("finishing %d requests, then ending; once more ends at once", self._desk.in_flight)
        self._desk.draining = True
        self._until = time.monotonic() + self._desk.settings.time_limit

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end now."""
        if self._desk.draining and (self._desk.idle or time.monotonic() > self._until):
            self.should_exit = True
        return await super().on_tick(counter)


def serve(
    load: Callable[[], Predicts],
    settings: Settings,
    *,
    port: int = 8000,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve predictions until a signal ends it.

    Args:
        load: makes the predictor in each worker; must be picklable.
        settings: limits, and the address to listen on.
        port: 0 takes a free one.
        announce: called with the address once requests are answered.

    Raises:
        OptionError: the address cannot be had.
        RunError: the predictor cannot be loaded.
    """
    # Torch in the workers, which inherit this: with a process per prediction, threads would only fight for cores.
    os.environ["OMP_NUM_THREADS"] = "1"
    calm(settings.log_rate)
    with _bind(settings.host, port) as listening:
        asyncio.run(_serve(create_app(load, settings), listening, announce))


def _bind(host: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(
            f"cannot listen on port {port} of {host} ({reason}); choose another --port, or 0 for a free one"
        ) from None
    # Connections inherit it; without, a kept-alive client waits 40 ms for the second packet of every answer.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


async def _serve(app: FastAPI, listening: socket.socket, announce: Callable[[str], None]) -> None:
    # Outside of uvicorn, which would turn a run that cannot be loaded into a traceback.
    async with app.router.lifespan_context(app):
        host, port = listening.getsockname()[:2]
        announce(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        await Server(app, app.state.desk.settings).serve(sockets=[listening])
