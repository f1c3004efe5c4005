"""Who extracts: processes of this machine, or a Ray cluster. Both give the same parts."""

from __future__ import annotations

import logging
import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

from polymodal.core import DataError, OptionError, PolymodalError
from polymodal.media.parts import cannot_write
from polymodal.media.process import begin
from polymodal.media.work import Facts, Job, Task, facts, work

DIED = "the process that read it died twice: a decoder crashed, or memory ran out"


class Workers(Protocol):
    """What ``extract`` needs to know."""

    def facts(self) -> Facts:
        """Return what is extracted in fact."""
        ...

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, str]]:
        """Yield each task when it is done, with the reason why it could not be done or an empty string."""
        ...


class Processes:
    """Worker processes of this machine; a context manager that leaves none behind.

    A process that dies costs only the clip it was on. The executor does not say which one that was: clips that were
    being read when one died are tried again, each alone.
    """

    def __init__(self, job: Job, workers: int) -> None:
        self._job, self._workers = job, workers
        # Neither torch nor mediapipe survives a fork.
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._pool = self._start(workers)

    def _start(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, mp_context=self._context, initializer=begin, initargs=(self._stop,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:  # nobody waits for what is being read; its part will be missing, not broken
            self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def facts(self) -> Facts:
        """See ``Workers``; DataError where no process can be started."""
        try:
            return self._pool.submit(facts, self._job).result()
        except BrokenProcessPool:
            raise DataError(
                "the extractors cannot be started in a process of their own; a script needs "
                "if __name__ == '__main__': around what extracts"
            ) from None

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, str]]:
        """See ``Workers``."""
        waiting = deque(tasks)
        running: dict[Future[str], Task] = {}
        while waiting or running:
            # No more than there are processes: what is being read when one dies should be little.
            while waiting and len(running) < self._workers:
                task = waiting.popleft()
                running[self._submit(task)] = task
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                done, _ = wait(running)
            died = []
            for future in done:
                task = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    died.append(task)
                else:
                    yield task, future.result()
            yield from self._alone(died)

    def _submit(self, task: Task) -> Future[str]:
        try:
            return self._pool.submit(work, self._job, task)
        except BrokenProcessPool:  # a process died while it had nothing to do
            self._pool = self._start(self._workers)
            return self._pool.submit(work, self._job, task)

    def _alone(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, str]]:
        for task in tasks:
            with self._start(1) as pool:
                try:
                    reason = pool.submit(work, self._job, task).result()
                except BrokenProcessPool:
                    reason = DIED
            yield task, reason


class Cluster(AbstractContextManager["Cluster"]):
    """Actors of a Ray cluster that share the folder of parts; a context manager that leaves the cluster.

    Args:
        address: of the cluster (``auto``, ``ray://host:10001``), or ``local`` for one on this machine.
    """

    def __init__(self, job: Job, workers: int, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise OptionError("Ray is not installed; try: pip install 'polymodal[scale]'") from None
        self._job, self._workers = job, workers
        self._joined = not ray.is_initialized()
        if self._joined:
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

    def __exit__(self, *_: object) -> None:
        import ray

        if self._joined:
            ray.shutdown()

    def facts(self) -> Facts:
        """See ``Workers``."""
        import ray

        try:
            found: Facts = ray.get(ray.remote(facts).remote(self._job))
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, PolymodalError) else error) from None
        return found

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, str]]:
        """See ``Workers``."""
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        numbers = ray.data.from_items([{"task": i} for i in range(len(tasks))], override_num_blocks=len(tasks))
        actor: Any = _Actor  # a class where a function is expected: Ray makes an actor of it
        done = numbers.map(
            actor,
            fn_constructor_kwargs={"job": self._job, "tasks": list(tasks)},
            compute=ray.data.ActorPoolStrategy(size=min(self._workers, len(tasks))),
            num_cpus=1,
        )
        for row in done.iter_rows():
            if row["fatal"]:
                raise DataError(row["fatal"])
            yield tasks[row["task"]], row["reason"]


class _Actor:
    """One process of the cluster.

    Ray starts an actor that died again and gives it the clip on which it died: without end, if it was the clip's fault.
    So a mark is left while a clip is being read, a letter for each try. An error would arrive without its type: what
    must stop the job is returned as ``fatal``.
    """

    def __init__(self, job: Job, tasks: Sequence[Task]) -> None:
        self._job, self._tasks = job, tasks

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task = self._tasks[row["task"]]
        mark = task.part.with_suffix(".tries")
        reason = fatal = ""
        try:
            if mark.exists() and mark.stat().st_size >= 2:
                reason = DIED
            else:
                with mark.open("a") as file:
                    file.write("x")
                reason = work(self._job, task)
                mark.unlink()
        except PolymodalError as error:
            fatal = str(error)
        except OSError as error:
            fatal = str(cannot_write(mark.parent, error))
        return {"task": row["task"], "reason": reason, "fatal": fatal}
