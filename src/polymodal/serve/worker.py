"""A process that predicts: loads a run once, then answers one task after the other.

A process and not a thread, because a decoder can crash or hang on a hostile clip, and only a process can be ended.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from polymodal.core import DataError, PolymodalError
from polymodal.core.limits import Limits, TooMuchError, out_of_memory
from polymodal.serve.messages import Answer, Crash, Failure, Progress, Ready, Task

EVERY = 0.2
"""Seconds between two messages about progress, at least."""


class Predicts(Protocol):
    """What a service needs of ``polymodal.predict.predictor.Predictor``; results have ``to_dict``."""

    def predict(
        self,
        clip: str | Path,
        *,
        name: str | None = None,
        transcript: str | Path | None = None,
        utterances: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Any:
        """Return the timeline of a clip."""
        ...

    def predict_features(
        self, rows: Sequence[Mapping[str, Any]], *, progress: Callable[[float], None] | None = None
    ) -> Any:
        """Return the timeline of rows of features."""
        ...


class _TooLongError(Exception):
    """A clip lasts longer than it may."""


class _CancelledError(Exception):
    """The client has gone."""


def work(connection: Connection, load: Callable[[], Predicts]) -> None:
    """Be a worker until the other end of ``connection`` closes.

    Sends ``Ready`` once loaded (or ``Failure`` and ends), then for each ``Task`` any number of ``Progress`` and one
    other message.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches every process; the service decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        predictor = load()
    except PolymodalError as error:
        connection.send(Failure(500, str(error)))
        return
    connection.send(Ready())
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        if isinstance(task, Task):  # a Cancel that crossed the answer on its way is late
            connection.send(_answer(predictor, task, connection))
            _give_back()


def _give_back() -> None:
    """Return freed memory to the system: glibc keeps what decoders and models freed, about 100 MiB per worker."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # musl has none
        trim(0)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _answer(predictor: Predicts, task: Task, connection: Connection) -> Answer | Failure | Crash:
    try:
        read = _read_rows if task.rows else _watch_clip
        timeline = read(predictor, task, connection)
        body = json.dumps(timeline | {"run": task.run}, allow_nan=False).encode()
        return Answer(body, timeline["duration"], timeline["seconds"])
    except TooMuchError as error:
        return Failure(413, _without_folder(str(error), task))
    except PolymodalError as error:
        return Failure(422, _without_folder(str(error), task))
    except _TooLongError:
        sentence = f"{task.name} is longer than {task.longest:g} s, the most that is taken here; cut it into parts"
        return Failure(413, sentence)
    except _CancelledError:
        return Failure(499, "the client has gone")
    except Exception as error:  # noqa: BLE001 (a defect must cost one answer, not the worker; the report goes to the log)
        if out_of_memory(error):
            return Failure(413, f"{task.name} needs more memory than one request may take; send less of it")
        return Crash(traceback.format_exc())


def _read_rows(predictor: Predicts, task: Task, connection: Connection) -> dict[str, Any]:
    assert task.rows is not None

    def progress(_: float) -> None:
        _heed(connection)

    rows = rows_of(task.rows.read_bytes(), task.most)
    result: dict[str, Any] = predictor.predict_features(rows, progress=progress).to_dict()
    return result


def rows_of(body: bytes, most: int = Limits.rows) -> list[dict[str, Any]]:
    """Return the rows of a request.

    Raises:
        DataError: it is no JSON, or holds no rows.
        TooMuchError: it holds more than ``most``; said while it is read, for millions take a worker seconds.
    """
    left = most + 1  # the object around them is one too

    def counted(row: dict[str, Any]) -> dict[str, Any]:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooMuchError(f"there are more than the {most:,} rows that are taken; send fewer")
        return row

    try:
        # A whole number of any length is a number.
        content = json.loads(body, parse_int=float, object_hook=counted)
    except (ValueError, RecursionError) as error:
        raise DataError(f'the body is no JSON that can be read ({error}); send {{"rows": [...]}}') from None
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError('the body must be {"rows": [{"MODALITY": values, ...}, ...]}; see /openapi.json')
    return rows


def _heed(connection: Connection) -> None:
    """Raise _CancelledError where that is what has come: nothing else does while a task is being done."""
    if connection.poll():
        connection.recv()
        raise _CancelledError


def _watch_clip(predictor: Predicts, task: Task, connection: Connection) -> dict[str, Any]:
    from polymodal.media.clip.decode import Media

    assert task.clip is not None
    with Media(task.clip, name=task.name) as media:
        duration = media.info.duration
    told = 0.0

    def progress(seconds: float) -> None:
        nonlocal told
        _heed(connection)
        if seconds > task.longest:  # whatever the container said
            raise _TooLongError
        if time.monotonic() - told >= EVERY:
            told = time.monotonic()
            connection.send(Progress(round(seconds, 2), duration))

    if duration is not None and duration > task.longest:
        raise _TooLongError
    progress(0.0)
    timeline: dict[str, Any] = predictor.predict(
        task.clip,
        name=task.name,
        transcript=task.transcript,
        utterances=task.utterances,
        progress=progress,
    ).to_dict()
    return timeline


def _without_folder(sentence: str, task: Task) -> str:
    """Return ``sentence`` without the service's own folders, which are nobody's business."""
    for path in (task.clip, task.transcript):
        if path is not None:
            sentence = sentence.replace(f"{path.parent}{os.sep}", "")
    return sentence
