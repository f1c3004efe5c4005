"""The five types that cross every door of the house, errors and seeds."""

from polymodal.core.batch import Batch, Stream
from polymodal.core.errors import DataError, OptionError, PolymodalError, RunError, TrainingError, nearest
from polymodal.core.output import Figure, Output, Scores
from polymodal.core.schema import Kind, Modality, Schema, Target, Task
from polymodal.core.seeds import derive_seed, numpy_rng, seed_torch

__all__ = [
    "Batch",
    "DataError",
    "Figure",
    "Kind",
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
    "nearest",
    "numpy_rng",
    "seed_torch",
]
