"""The folder of a run: a new one, or one that goes on. Importing this costs no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polymodal.core.errors import DataError, OptionError, RunError

IDENTITY = ("method", "options", "recipe", "seeds")


def run_folder(out: str | Path | None, name: str, resume: bool) -> Path:
    """Return the run folder: ``out``, or the newest (to resume) or next free ``runs/<name>[-number]``."""
    if out is not None:
        return Path(out)
    numbered = [Path("runs") / (name if i == 1 else f"{name}-{i}") for i in range(1, 10_000)]
    taken = [p for p in numbered if p.exists()]
    if resume and taken:
        return taken[-1]
    return next(p for p in numbered if not p.exists())


def open_run(folder: Path, config: dict[str, Any], resume: bool) -> None:
    """Create the run folder, or make sure that what it holds is the run to resume; RunError where it is another."""
    from polymodal.core import Schema
    from polymodal.data.progress import console
    from polymodal.train.checkpoint import write_json
    from polymodal.train.run import read_config

    if (folder / "run.json").is_file():
        if not resume:
            raise RunError(f"{folder} holds another run; add --resume to continue it, or choose another --out")
        held = read_config(folder)
        for key in IDENTITY:
            was, wanted = _differing(held[key], json.loads(json.dumps(config[key])))  # as JSON, which knows no tuples
            if was != wanted:
                raise RunError(
                    f"{folder} was trained with {key} {was}, not {wanted}; repeat its own command, "
                    f"{held['command']} --out {folder} --resume, or choose another --out"
                )
        was, wanted = (Schema.from_dict(c["data"]["schema"]).encoders for c in (held, config))
        if was != wanted:
            raise RunError(f"{folder} was trained with encoders {was}, not {wanted}; choose another --out")
        if held["data"]["hash"] != config["data"]["hash"]:
            raise RunError(f"{folder} was trained on {held['data']['source']} with other content; choose another --out")
        _same_folds(folder, held, config)
        if held["code"] != config["code"]:
            console.print(
                f"note: {folder} was begun with other code; what it has is kept, the rest comes from this code"
            )
        return
    # A run killed while it wrote its first file left only a part of that.
    if folder.is_dir() and any(not p.name.endswith(".partial") for p in folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no run; choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot create {folder}: {error.strerror}; choose another --out") from None
    write_json(folder / "run.json", config)


@contextmanager
def untouched_by_mistakes(folder: Path) -> Iterator[None]:
    """Remove ``folder`` if it is new and an option or the data turn out wrong before anything is trained.

    What is mended can then be fitted into the same folder.
    """
    new = not (folder / "run.json").is_file()
    try:
        yield
    except (OptionError, DataError):
        if new and (folder / "run.json").is_file() and not any(folder.rglob("*.safetensors")):
            shutil.rmtree(folder)
        raise


def _same_folds(folder: Path, held: dict[str, Any], config: dict[str, Any]) -> None:
    """Raise RunError where the run in ``folder`` has other folds than those to resume."""
    was, wanted = (c.get("folds", {}) for c in (held, config))
    if was.get("scheme") != wanted.get("scheme"):
        said = [f"--folds {f['scheme']}" if f else "no folds" for f in (was, wanted)]
        raise RunError(f"{folder} was trained with {said[0]}, not {said[1]}; choose another --out")
    if was.get("hash") != wanted.get("hash"):
        raise RunError(f"{folder} was trained with other groups in its folds; choose another --out")


def _differing(was: Any, wanted: Any) -> tuple[Any, Any]:
    """Return what two dictionaries do not share; anything else as it is."""
    if not isinstance(was, dict) or not isinstance(wanted, dict):
        return was, wanted
    names = [n for n in {**was, **wanted} if was.get(n) != wanted.get(n)]
    return {n: was[n] for n in names if n in was}, {n: wanted[n] for n in names if n in wanted}
