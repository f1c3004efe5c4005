"""The types that cross every door of the house, errors and seeds.

Names are imported on first use: errors and schemas must not cost the import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.core.batch import Batch, Stream
    from polymodal.core.errors import DataError, OptionError, PolymodalError, RunError, TrainingError, nearest
    from polymodal.core.estimate import Estimate
    from polymodal.core.output import Output, Scores
    from polymodal.core.schema import Kind, Modality, Schema, Target
    from polymodal.core.seeds import derive_seed, numpy_rng, seed_torch
    from polymodal.core.tasks import Column, Measure, Task, find_task

__all__ = [
    "Batch",
    "Column",
    "DataError",
    "Estimate",
    "Kind",
    "Measure",
    "Modality",
    "OptionError",
    "Output",
    "PolymodalError",
    "RunError",
    "Schema",
    "Scores",
    "Stream",
    "Target",
    "Task",
    "TrainingError",
    "derive_seed",
    "find_task",
    "nearest",
    "numpy_rng",
    "seed_torch",
]

_HOME = {
    "batch": ("Batch", "Stream"),
    "errors": ("DataError", "OptionError", "PolymodalError", "RunError", "TrainingError", "nearest"),
    "estimate": ("Estimate",),
    "output": ("Output", "Scores"),
    "schema": ("Kind", "Modality", "Schema", "Target"),
    "seeds": ("derive_seed", "numpy_rng", "seed_torch"),
    "tasks": ("Column", "Measure", "Task", "find_task"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value
