"""Webcam and microphone as a stream of pieces, through FFmpeg's devices."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from polymodal.core import DataError
from polymodal.media.types import RATE, Frame, Samples
from polymodal.predict.live import Clock

WAITING = 64
"""Pieces, about a second, that may wait to be judged; older ones are dropped, so that nothing gets later and later."""

Device = tuple[str, str]
"""FFmpeg's format and name of a device."""

DEVICES: dict[str, tuple[Device, Device]] = {
    "linux": (("v4l2", "/dev/video0"), ("alsa", "default")),
    "darwin": (("avfoundation", "default:none"), ("avfoundation", "none:default")),
    "win32": (("dshow", "video"), ("dshow", "audio")),
}
"""Platform -> where the picture and the sound come from; DirectShow knows no default device: its first one is taken."""


def camera_and_microphone(
    clock: Clock, *, fps: float, devices: tuple[Device, Device] | None = None
) -> Iterator[Frame | Samples]:
    """Yield frames and samples of the default camera and microphone as they come, timed by ``clock``; one is enough.

    Args:
        clock: gives the pieces their times.
        fps: frames per second, at most.
        devices: picture and sound; default those of this platform.

    Raises:
        DataError: neither can be opened; says why.
    """
    kinds = zip(("camera", "microphone"), devices or DEVICES.get(sys.platform, DEVICES["linux"]), strict=True)
    reasons: list[str] = []
    inbox: deque[Frame | Samples] = deque(maxlen=WAITING)
    stop = threading.Event()
    with ExitStack() as closing:
        threads = []
        for what, device in kinds:
            try:
                container = _open(*device)
            except (OSError, ValueError) as error:  # ValueError: a format that this FFmpeg lacks
                reasons.append(f"the {what} cannot be opened ({getattr(error, 'strerror', None) or error})")
                continue
            closing.callback(container.close)
            pieces = _frames(container, clock, fps) if what == "camera" else _samples(container, clock)
            threads.append(threading.Thread(target=_pump, args=(pieces, inbox, stop), daemon=True))
        if not threads:
            raise DataError(f"{' and '.join(reasons)}; connect and allow one, or give a file with --live")
        for thread in threads:  # awaited before the containers are closed, which they read from
            closing.callback(thread.join, 2.0)
        closing.callback(stop.set)
        clock.now()
        for thread in threads:
            thread.start()
        while inbox or any(t.is_alive() for t in threads):
            if inbox:
                yield inbox.popleft()
            else:
                time.sleep(0.005)


def _open(form: str, name: str) -> Any:
    import av

    if form == "dshow":
        found = [d.description for d in av.enumerate_input_devices(form) if name in d.media_types]
        name = f"{name}={found[0] if found else ''}"
    if form == "alsa" and os.path.exists("/usr/share/alsa/alsa.conf"):
        # PyAV's wheels look for it where they were built.
        os.environ.setdefault("ALSA_CONFIG_PATH", "/usr/share/alsa/alsa.conf")
    # avfoundation refuses any rate that the camera does not offer; all offer 30.
    options = {"framerate": "30"} if (form, name) in (DEVICES["linux"][0], DEVICES["darwin"][0]) else {}
    return av.open(name, format=form, options=options)


def _pump(pieces: Iterator[Frame | Samples], inbox: deque[Frame | Samples], stop: threading.Event) -> None:
    import av

    try:
        for piece in pieces:
            if stop.is_set():
                return
            inbox.append(piece)
    except av.FFmpegError:
        return  # unplugged: what this device had to say is over


def _frames(container: Any, clock: Clock, fps: float) -> Iterator[Frame]:
    due = 0.0
    for frame in container.decode(video=0):
        now = clock.now()
        if now >= due:
            due = max(due + 1 / fps, now - 1 / fps)
            yield Frame(now, frame.to_ndarray(format="rgb24"))


def _samples(container: Any, clock: Clock) -> Iterator[Samples]:
    """Yield mono sound at ``RATE``; times count samples from the first one on, so that there are no gaps."""
    import av

    resampler, start, count = av.AudioResampler("flt", "mono", RATE), -1.0, 0
    for frame in container.decode(audio=0):
        for part in resampler.resample(frame):
            values = part.to_ndarray().reshape(-1).astype(np.float32)
            if start < 0:
                start = max(0.0, clock.now() - len(values) / RATE)
            yield Samples(start + count / RATE, values)
            count += len(values)
