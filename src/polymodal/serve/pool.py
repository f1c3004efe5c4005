"""The worker processes of a service, as it sees them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing import get_context
from typing import Any

from polymodal.core import RunError
from polymodal.serve.messages import Answer, Cancel, Crash, Failure, Message, Progress, Ready, Task
from polymodal.serve.worker import Predicts, work

GRACE = 3.0
"""Seconds that a worker may take to give up a task before it is killed."""

PAUSE = 5.0
"""Seconds before a worker that does not start is tried again."""

log = logging.getLogger("polymodal.serve")


class Worker:
    """One process; ``busy`` while it owes the answer to a task."""

    def __init__(self, load: Callable[[], Predicts]) -> None:
        # Spawned, not forked: a fork would inherit open connections and locks of the service.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, load), daemon=True)
        self._process.start()
        theirs.close()
        self._loop, self._messages = asyncio.get_running_loop(), asyncio.Queue[Message]()
        self.busy = True  # with loading
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        while True:
            try:
                message: Message = self._connection.recv()
            except (EOFError, OSError):
                break
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)
        self._process.join()
        end = Crash(f"the worker ended with code {self._process.exitcode}")
        self._loop.call_soon_threadsafe(self._messages.put_nowait, end)

    async def receive(self) -> Message:
        """Return the next message; ``Crash`` once the process has ended."""
        message = await self._messages.get()
        if not isinstance(message, Progress):
            self.busy = False
        return message

    def send(self, message: Task | Cancel) -> None:
        """Give the worker something to do; a dead worker says so in ``receive``."""
        self.busy = True
        try:
            self._connection.send(message)
        except OSError:
            log.warning("a worker is gone")

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    async def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        await asyncio.to_thread(self._listener.join)


class Pool:
    """A fixed number of workers; one that dies or hangs is replaced.

    Args:
        load: makes the predictor, called in each worker; must be picklable.
        workers: how many.
    """

    def __init__(self, load: Callable[[], Predicts], workers: int) -> None:
        self._load, self._count = load, workers
        self._workers: set[Worker] = set()
        self._idle = asyncio.Queue[Worker]()
        self._repairs: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Load all workers.

        Raises:
            RunError: a worker cannot load its run; in the worker's words.
        """
        for worker in await asyncio.gather(*(self._loaded() for _ in range(self._count))):
            self._idle.put_nowait(worker)

    async def _loaded(self) -> Worker:
        worker = Worker(self._load)
        self._workers.add(worker)
        message = await worker.receive()
        if isinstance(message, Ready):
            return worker
        await worker.end()
        self._workers.discard(worker)
        raise RunError(message.sentence if isinstance(message, Failure) else "a worker ended while it loaded the run")

    async def run(self, task: Task, tell: Callable[[Progress], None]) -> Answer | Failure | Crash:
        """Return what the next free worker answers; ``tell`` hears how far it is. May be cancelled at any time."""
        async with self._borrowed() as worker:
            worker.send(task)
            while True:
                message = await worker.receive()
                if isinstance(message, Progress):
                    tell(message)
                elif not isinstance(message, Ready):
                    return message

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Worker]:
        while not (worker := await self._idle.get()).alive:  # killed while it had nothing to do
            self._begin_repair(worker)
        try:
            yield worker
        finally:
            if worker.busy or not worker.alive:
                self._begin_repair(worker)
            else:
                self._idle.put_nowait(worker)

    def _begin_repair(self, worker: Worker) -> None:
        repair = asyncio.create_task(self._repair(worker))
        self._repairs.add(repair)
        repair.add_done_callback(self._repairs.discard)

    async def _repair(self, worker: Worker) -> None:
        """Bring a worker back that was left in the middle of a task, or put a new one in its place."""
        try:
            async with asyncio.timeout(GRACE):
                worker.send(Cancel())
                while worker.busy and worker.alive:
                    await worker.receive()
        except TimeoutError:
            log.warning("a worker did not give up its task within %g s and is replaced", GRACE)
        if worker.busy or not worker.alive:
            await worker.end()
            self._workers.discard(worker)
            worker = await self._replacement()
        self._idle.put_nowait(worker)

    async def _replacement(self) -> Worker:
        while True:
            try:
                return await self._loaded()
            except RunError as error:
                log.error("a worker does not start, trying again in %g s: %s", PAUSE, error)
                await asyncio.sleep(PAUSE)

    @property
    def alive(self) -> int:
        """Workers that run."""
        return sum(worker.alive for worker in self._workers)

    async def close(self) -> None:
        """End all workers."""
        repairs: list[asyncio.Task[Any]] = list(self._repairs)
        for repair in repairs:
            repair.cancel()
        await asyncio.gather(*repairs, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._workers))
