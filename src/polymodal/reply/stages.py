"""Stages that read and write files, so that each can be resumed or replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from polymodal.core import DataError
from polymodal.predict.files import write_whole
from polymodal.reply.voice.speech import SYNTHETIC


class Stage:
    """One stage: a JSON file with what came out for each turn, and a digest of what went in.

    Args:
        folder: of the reply.
        name: of the stage, ``stages/NAME.json``.

    Raises:
        DataError: the file is there and cannot be read.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._file = folder, folder / "stages" / f"{name}.json"
        self._rows: dict[str, dict[str, Any]] = {}
        if self._file.is_file():
            try:
                self._rows = json.loads(self._file.read_text(encoding="utf-8"))["turns"]
            except (OSError, ValueError, KeyError, TypeError):
                raise DataError(f"{self._file} is damaged; remove it, or choose another --out") from None

    def result(
        self, key: str, inputs: Any, work: Callable[[], dict[str, Any]], files: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return what ``work`` returns, from the file where the same went in and all ``files`` are as they were left.

        Args:
            key: of the turn.
            inputs: plain data: everything that decides the result.
            files: names in the folder that the work writes.
        """
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:24]
        row = self._rows.get(key)
        if isinstance(row, dict) and row.get("inputs") == digest and row.get("files", []) == self._left(files):
            return dict(row["result"])
        found = work()
        self._rows[key] = {"inputs": digest, "files": self._left(files), "result": found}
        content = {"synthetic": SYNTHETIC, "turns": self._rows}
        write_whole(self._file, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode())
        return found

    def _left(self, files: Sequence[str]) -> list[str]:
        """Return what tells ``files`` from others: of their names, others may have been written and not kept since."""
        return [digest_of(self._folder / file) for file in files]


def digest_of(file: Path) -> str:
    """Return what tells the content of a file from any other's; empty where it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:24]
    except OSError:
        return ""
