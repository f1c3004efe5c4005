"""`kills.py` for the service: killed while it answers; the next start answers the same and finds nothing left."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from kills_start import PATIENCE, Row, Start, outlived, timeless


def serve_and_kill(words: list[str], kills: int, dice: random.Random, root: Path) -> Row:
    """Kill the service ``kills`` times while it reads a clip; words, dice and root as for the other commands."""
    from polymodal import fit
    from polymodal.media.extraction import Extraction
    from polymodal.media.folder.extract import extract
    from polymodal.media.folder.manifest import read_manifest

    row, clip = Row(), (root.parent / "clips/long.wav").read_bytes()
    heard = Extraction(audio="egemaps", vision="none", text="none", utterances="clip")
    extract(read_manifest(root.parent / "clips"), root.parent / "store", extraction=heard)
    fit("linear", str(root.parent / "store"), out=root.parent / "run")
    service = Start(words, root / "service")
    url = _url(service)
    began = time.monotonic()
    wanted = _answer(url, clip)
    row.seconds_of_work = round(time.monotonic() - began, 2)
    while row.kills < kills:
        asking = threading.Thread(target=_ask, args=(url, clip))
        asking.start()
        alone = dice.random() < 0.4
        if not service.killed_after(dice.uniform(0, row.seconds_of_work), alone):
            row.problems.append(f"it ended by itself: {service.said()}")
            return row
        row.kills, row.parent_alone = row.kills + 1, row.parent_alone + alone
        asking.join()
        lasted = outlived(service)
        row.longest_orphan = max(row.longest_orphan, round(lasted, 2))
        service, row.folders = Start(words, root / "service"), row.folders + 1
        url = _url(service)
        problems = ["a process outlived its parent"] if lasted >= PATIENCE else []
        problems += [] if _scratch(service.place) == ["lock"] else [f"left: {_scratch(service.place)}"]
        problems += [] if _answer(url, clip) == wanted else ["another answer"]
        row.equal += not problems
        row.problems += [f"after kill {row.kills}: {problem}" for problem in problems]
    os.kill(service.process.pid, signal.SIGTERM)
    if service.end():
        row.problems.append(f"exit status {service.end()}: {service.said()}")
    row.problems += [f"left at the end: {name}" for name in _scratch(service.place) if name != "lock"]
    return row


def _url(service: Start) -> str:
    while not (found := re.search(r" is at (http\S+)", service.told.read_text())):
        if service.process.poll() is not None:
            raise SystemExit(f"the service does not start: {service.said()}")
        time.sleep(0.05)
    return found[1]


def _scratch(place: Path) -> list[str]:
    """Return what lies in the folders of services, but for the folder of the one that lives."""
    shared = place / "tmp" / f"polymodal-serve-{os.getuid()}"
    folders = [path for path in shared.iterdir() if path.is_dir()]
    return sorted(path.name for folder in folders for path in folder.iterdir())


def _ask(url: str, clip: bytes) -> None:
    try:
        _answer(url, clip)
    except httpx.HTTPError:
        return  # it was killed


def _answer(url: str, clip: bytes) -> Any:
    sent = httpx.post(f"{url}predict", files={"clip": ("clip.wav", clip)}, timeout=120)
    return sent.status_code, timeless(sent.json())
