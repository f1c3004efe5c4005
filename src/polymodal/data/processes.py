"""Work in processes of this machine, or a Ray cluster to join."""

from __future__ import annotations

import logging
import multiprocessing
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar

from polymodal._worker import begin
from polymodal.core import OptionError

REACHED = 5.0
"""Seconds in which a Ray cluster must accept a connection."""

T = TypeVar("T")
R = TypeVar("R")


class Processes(Generic[T, R]):
    """Worker processes of this machine; a context manager that leaves none behind.

    A process that dies costs only the task it was on. The executor does not say which one that was: tasks that were
    under way when one died are tried again, each alone.

    Args:
        function: does a task; a function of a module, or a ``functools.partial`` of one.
        workers: how many.
        died: the result of a task whose process dies twice.
        threads: for each process.
        failed: makes a result of an exception that ``function`` raised; None: it is raised here.
    """

    def __init__(
        self,
        function: Callable[[T], R],
        workers: int,
        died: R,
        threads: int = 1,
        failed: Callable[[BaseException], R] | None = None,
    ) -> None:
        self._function, self._workers, self._died, self._threads = function, workers, died, threads
        self._failed = failed
        # Neither torch nor mediapipe survives a fork.
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._pool = self._start(workers)

    def _start(self, workers: int) -> ProcessPoolExecutor:
        settings = (self._stop, self._threads)
        return ProcessPoolExecutor(workers, mp_context=self._context, initializer=begin, initargs=settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:  # nobody waits for what is under way; it will be missing, not broken
            self._stop.set()
            # A decoder may not look at the event for long, and no executor before Python 3.14 has a public way.
            for process in list((self._pool._processes or {}).values()):
                process.kill()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have one of the processes call ``function``."""
        return self._pool.submit(function, *arguments)

    def run(self, tasks: Sequence[T]) -> Iterator[tuple[T, R]]:
        """Yield each task with its result when it is done."""
        waiting = deque(tasks)
        running: dict[Future[R], T] = {}
        while waiting or running:
            # No more than there are processes: what is under way when one dies should be little.
            while waiting and len(running) < self._workers:
                task = waiting.popleft()
                running[self._give(task)] = task
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                done, _ = wait(running)
            died = []
            for future in done:
                task = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    died.append(task)
                else:
                    yield task, self._result(future)
            yield from self._alone(died)

    def _result(self, future: Future[R]) -> R:
        error = future.exception()
        return self._failed(error) if error is not None and self._failed else future.result()

    def _give(self, task: T) -> Future[R]:
        try:
            return self._pool.submit(self._function, task)
        except BrokenProcessPool:  # a process died while it had nothing to do
            self._pool = self._start(self._workers)
            return self._pool.submit(self._function, task)

    def _alone(self, tasks: Sequence[T]) -> Iterator[tuple[T, R]]:
        for task in tasks:
            with self._start(1) as pool:
                future = pool.submit(self._function, task)
                died = isinstance(future.exception(), BrokenProcessPool)
            yield task, self._died if died else self._result(future)


def _check_reachable(address: str) -> None:
    """Raise OptionError where nobody answers at a host and port: Ray itself would try for minutes, and say nothing."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"no Ray cluster at {address!r} ({reason}); start one with: ray start --head") from None


@contextmanager
def joined_cluster(workers: int, address: str) -> Iterator[None]:
    """Join a Ray cluster while the block runs; one that was joined before is left as it is.

    Args:
        workers: processors of a cluster on this machine.
        address: of the cluster (``auto``, ``ray://host:10001``), or ``local`` for one on this machine.

    Raises:
        OptionError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError:
        raise OptionError("Ray is not installed; try: pip install 'polymodal[scale]'") from None
    joined = not ray.is_initialized()
    if joined:
        _check_reachable(address)
        local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(
                None if address == "local" else address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **(local if address == "local" else {}),
            )
        except (ConnectionError, ValueError) as error:
            raise OptionError(f"no Ray cluster at {address!r}: {' '.join(str(error).split())[:200]}") from None
    try:
        yield
    finally:
        if joined:
            ray.shutdown()
