"""Checkpoints: one safetensors file, tensors and a JSON state, replaced atomically. No pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from polymodal.core import RunError


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write ``tensors`` and the JSON-able ``state`` to ``path``; a kill at any moment leaves the old file or the new.

    Raises:
        RunError: the file cannot be written (disk full, no permission).
    """
    partial = path.with_name(f".{path.name}.partial")
    # Cloned: safetensors refuses tensors that share memory (tied weights, views of one buffer).
    whole = {n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}
    try:
        # A folder, for safetensors writes under a random name first: what a kill leaves, the next one clears away.
        _discard(partial)
        partial.mkdir()
        save_file(whole, partial / path.name, metadata={"state": json.dumps(state)})
        os.replace(partial / path.name, path)
        _discard(partial)
    except (OSError, SafetensorError) as error:
        _discard(partial)
        raise RunError(f"cannot write {path}: {error}; free space or choose another --out") from None


def _discard(partial: Path) -> None:
    # The disk that failed the write may fail this too; the first error is the one to report.
    with suppress(OSError):
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what ``save_checkpoint`` wrote; RunError where the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {}).get("state", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"checkpoint {path} cannot be read ({error}); train the run again") from None


def load_weights(module: nn.Module, path: Path) -> dict[str, Any]:
    """Load the weights of ``path`` into ``module`` and return the checkpoint's state.

    Raises:
        RunError: missing or damaged file, or weights of another model.
    """
    tensors, state = load_checkpoint(path)
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise RunError(f"checkpoint {path} does not fit the method it is loaded into: {detail}") from None
    return state


def optimizer_tensors(optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Return the optimisers' states as flat named tensors (``optimizer.<its number>.<parameter's number>.<name>``)."""
    return {
        f"optimizer.{number}.{index}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for number, optimizer in enumerate(optimizers)
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }


def restore_optimizers(optimizers: Sequence[Optimizer], tensors: dict[str, Tensor]) -> None:
    """Inverse of ``optimizer_tensors``; groups and rates are those of ``optimizers``."""
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, index, key = name.split(".", 3)
            states[int(number)].setdefault(int(index), {})[key] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def training_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return, as ``buffer.<name>``, the buffers that are no part of ``state_dict``: only training needs them."""
    weights = module.state_dict()
    return {f"buffer.{name}": buffer for name, buffer in module.named_buffers() if name not in weights}


def restore_buffers(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Inverse of ``training_buffers``; a buffer takes the shape it had, which may follow from the data."""
    for name, value in tensors.items():
        if name.startswith("buffer."):
            owner, _, leaf = name.removeprefix("buffer.").rpartition(".")
            setattr(module.get_submodule(owner), leaf, value)


def write_json(path: Path, data: Any) -> None:
    """Replace ``path`` by ``data`` as indented JSON, atomically; RunError where it cannot be written."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(data, indent=1))
        os.replace(partial, path)
    except OSError as error:
        _discard(partial)
        raise RunError(f"cannot write {path}: {error.strerror}; free space or choose another --out") from None
