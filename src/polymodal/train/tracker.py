"""One record per epoch: JSON Lines for programs, TensorBoard for people."""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any


class Tracker:
    """Appends epoch records to ``metrics.jsonl`` and mirrors their numbers to TensorBoard.

    Args:
        folder: where ``metrics.jsonl`` and ``tensorboard/`` live.
        enabled: False on all processes but the first.
    """

    def __init__(self, folder: Path, *, enabled: bool) -> None:
        self.path, self.enabled = folder / "metrics.jsonl", enabled
        self._writer: Any = None

    def rewind(self, epoch: int) -> None:
        """Forget what was written after the checkpoint to go on from, which has seen ``epoch`` epochs."""
        if not self.enabled:
            return
        from torch.utils.tensorboard import SummaryWriter

        with self.path.open("ab+") as file:
            file.seek(0)
            file.truncate(sum(len(line) for line in islice(file, epoch)))
        self._writer = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=epoch + 1)

    def write(self, record: dict[str, Any]) -> None:
        """Append ``record``, a line of its own."""
        if not self.enabled:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(_without_nan(record), allow_nan=False) + "\n")
        for name, value in _flat(record):
            self._writer.add_scalar(name, value, record["epoch"])

    def close(self) -> None:
        """Flush TensorBoard."""
        if self._writer is not None:
            self._writer.close()


def _flat(record: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    out = []
    for name, value in record.items():
        if isinstance(value, dict):
            out += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, float) and math.isfinite(value):
            out.append((prefix + name, value))
    return out


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: a correlation of a constant prediction becomes null."""
    if isinstance(value, dict):
        return {name: _without_nan(v) for name, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
