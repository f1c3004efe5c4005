"""From request to answer: who is let in, who waits, who is turned away; what is cleaned up after them."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from polymodal.serve.arrival import Arrival, check_declared
from polymodal.serve.messages import Answer, Crash, Failure, Progress, Task
from polymodal.serve.metrics import Metrics
from polymodal.serve.pool import Pool
from polymodal.serve.refusal import Refusal, unexpected
from polymodal.serve.scratch import Scratch
from polymodal.serve.settings import Settings
from polymodal.serve.upload import receive

UPLOADS = 4
"""Uploads received at the same time per prediction that may run or wait: clients are slower than disks."""

LINES = "application/x-ndjson"
PRIVATE = {"Cache-Control": "no-store"}


class Desk:
    """Answers requests to /predict.

    Args:
        settings: limits.
        pool: who predicts.
        scratch: where uploads live.

    Attributes:
        draining: set to turn new requests away while those inside are finished.
        in_flight: requests inside.
    """

    def __init__(self, settings: Settings, pool: Pool, scratch: Scratch) -> None:
        self.settings, self._pool, self._scratch = settings, pool, scratch
        self.draining = False
        self.in_flight = 0
        self._jobs: set[asyncio.Task[Answer]] = set()
        self._arrivals: list[Arrival] = []  # oldest first
        self._pace = 1.0  # seconds per prediction lately
        self.metrics = Metrics(lambda: self.in_flight, lambda: self.waiting)

    @property
    def waiting(self) -> int:
        """Predictions that wait for a worker."""
        return max(0, len(self._jobs) - self.settings.workers)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.in_flight and not self._jobs

    async def answer(self, request: Request) -> Response:
        """Receive what ``request`` uploads and predict.

        Raises:
            Refusal: what the client gets instead of a prediction.
        """
        updates: asyncio.Queue[Progress] = asyncio.Queue()
        with self._counted():
            job = await self._accept(request, updates)
            if LINES in request.headers.get("accept", ""):
                return self._stream(job, updates)
            leaving = asyncio.create_task(_left(request))
            try:
                await asyncio.wait({job, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not job.done():
                    raise ClientDisconnect
                answer = _result(job)
            finally:
                leaving.cancel()
                job.cancel()
            self.metrics.count(200)
            return Response(answer.body, media_type="application/json", headers=PRIVATE)

    async def close(self) -> None:
        """Break off what still runs."""
        self.draining = True
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a request while it is inside, and by its status if it fails."""
        self.in_flight += 1
        try:
            yield
        except Refusal as refusal:
            self.metrics.count(refusal.status)
            raise
        except (ClientDisconnect, asyncio.CancelledError):
            self.metrics.count(499)
            raise
        except Exception as error:
            self.metrics.count(500)
            raise unexpected("a request failed", error) from error
        finally:
            self.in_flight -= 1

    async def _accept(self, request: Request, updates: asyncio.Queue[Progress]) -> asyncio.Task[Answer]:
        """Return the prediction under way; it owns the files of the upload."""
        if self.draining:
            raise _ending()
        check_declared(request, self.settings.max_bytes)
        self._check_room()
        if self.in_flight - len(self._jobs) > UPLOADS * self.settings.places and not self._displace():
            raise self._busy("too many uploads are coming in")
        folder = self._scratch.folder()
        try:
            task = await self._receive(request, folder)
            self._check_room()
        except BaseException:
            _remove(folder)
            raise
        job = asyncio.create_task(self._predict(task, updates))
        self._jobs.add(job)

        def done(_: object) -> None:  # not in the job itself: one that is cancelled before it begins never runs
            self._jobs.discard(job)
            _remove(folder)
            if not job.cancelled():
                job.exception()  # asyncio complains of an error that nobody looked at; a client may have gone

        job.add_done_callback(done)
        return job

    async def _receive(self, request: Request, folder: Path) -> Task:
        arrival = Arrival(self.settings)
        self._arrivals.append(arrival)
        try:
            return await receive(request, folder, self.settings, arrival)
        finally:
            self._arrivals.remove(arrival)

    def _displace(self) -> bool:
        """Let the oldest of the slow uploads give way to a new one; return whether there was one."""
        slow = next((arrival for arrival in self._arrivals if arrival.slow), None)
        if slow is not None:
            slow.give_way()
        return slow is not None

    def _check_room(self) -> None:
        if len(self._jobs) >= self.settings.places:
            raise self._busy("the service is busy")

    def _busy(self, why: str) -> Refusal:
        seconds = max(1, ceil(self._pace * (1 + self.waiting) / self.settings.workers))
        return Refusal(429, why, f"try again in {seconds} s", {"Retry-After": str(seconds)})

    async def _predict(self, task: Task, updates: asyncio.Queue[Progress]) -> Answer:
        began, limit = time.monotonic(), self.settings.time_limit
        try:
            async with asyncio.timeout(limit):
                result = await self._pool.run(task, updates.put_nowait)
        except TimeoutError:
            sentence = f"{task.name} was not done within the time limit of {limit:g} s"
            remedy = "send a shorter clip, or try again when the service is less busy"
            raise Refusal(503, sentence, remedy, {"Retry-After": str(ceil(self._pace))}) from None
        took = time.monotonic() - began
        self._pace += 0.2 * (took / (1 + self.waiting) - self._pace)
        if isinstance(result, Failure):
            raise Refusal(result.status, result.sentence)
        if isinstance(result, Crash):
            raise unexpected(result.report)
        self.metrics.answered(result, took)
        return result

    def _stream(self, job: asyncio.Task[Answer], updates: asyncio.Queue[Progress]) -> StreamingResponse:
        async def stop() -> None:  # for a client that goes before the first line: then ``_lines`` never begins
            job.cancel()

        lines = self._lines(job, updates)
        return StreamingResponse(lines, media_type=LINES, headers=PRIVATE, background=BackgroundTask(stop))

    async def _lines(self, job: asyncio.Task[Answer], updates: asyncio.Queue[Progress]) -> AsyncIterator[bytes]:
        """Yield progress, then the result or the error, as lines of JSON."""
        try:
            with self._counted():
                if self.waiting:
                    yield _line({"waiting": self.waiting})
                async for update in _until(job, updates):
                    yield _line({"progress": update.seconds, "duration": update.duration})
                answer = _result(job)
                self.metrics.count(200)
                yield b'{"result": ' + answer.body + b"}\n"
        except Refusal as refusal:
            yield _line({**refusal.body, "status": refusal.status})
        finally:
            job.cancel()


def _result(job: asyncio.Task[Answer]) -> Answer:
    """Return what a job that is done returned; it is cancelled only by a service that ends at once."""
    if job.cancelled():
        raise _ending()
    return job.result()


async def _until(job: asyncio.Task[Answer], updates: asyncio.Queue[Progress]) -> AsyncIterator[Progress]:
    """Yield what comes in ``updates`` until ``job`` is done."""
    while True:
        getting = asyncio.create_task(updates.get())
        try:
            await asyncio.wait({job, getting}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                return
            yield getting.result()
        finally:
            getting.cancel()


async def _left(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _ending() -> Refusal:
    return Refusal(503, "the service is shutting down", "try again later", {"Retry-After": "30"})


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
