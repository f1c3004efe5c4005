"""Who extracts: processes of this machine, or a Ray cluster. Both give the same parts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

from polymodal.core import DataError, OptionError, PolymodalError
from polymodal.data.processes import Processes, joined_cluster
from polymodal.media.folder.parts import cannot_write
from polymodal.media.folder.work import Facts, Job, Task, facts, work

DIED = "the process that read it died twice: a decoder crashed, or memory ran out"


class Workers(Protocol):
    """What ``extract`` needs to know."""

    def facts(self) -> Facts:
        """Return what is extracted in fact."""
        ...

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, str]]:
        """Yield each task when it is done, with the reason why it could not be done or an empty string."""
        ...


class Extractors(Processes[Task, str]):
    """Processes of this machine, each with extractors of its own."""

    def __init__(self, job: Job, workers: int) -> None:
        super().__init__(partial(work, job), workers, died=DIED)
        self._job = job

    def facts(self) -> Facts:
        """See ``Workers``; DataError where no process can be started."""
        try:
            return self.submit(facts, self._job).result()
        except BrokenProcessPool:
            raise DataError(
                "the extractors cannot be started in a process of their own; a script needs "
                "if __name__ == '__main__': around what extracts"
            ) from None


class Cluster(AbstractContextManager["Cluster"]):
    """Actors of a Ray cluster that share the folder of parts; a context manager that leaves the cluster.

    Args:
        address: of the cluster (``auto``, ``ray://host:10001``), or ``local`` for one on this machine.
    """

    def __init__(self, job: Job, workers: int, address: str) -> None:
        self._job, self._workers = job, workers
        self._joined = joined_cluster(workers, address)
        self._joined.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._joined.__exit__(*error)

    def facts(self) -> Facts:
        """See ``Workers``."""
        import ray

        with _unbroken():
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
        with _unbroken():
            for row in done.iter_rows():
                if row["fatal"]:
                    raise DataError(row["fatal"])
                yield tasks[row["task"]], row["reason"]


@contextmanager
def _unbroken() -> Iterator[None]:
    """OptionError where the cluster itself fails while the block runs; what a task raises passes."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise OptionError(
            f"the Ray cluster broke off: {reason}; what is done is kept, the same command goes on"
        ) from None


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
