"""Random batches for tests of methods."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, Schema, Stream, Target

WORDS = [
    "the",
    "film",
    "was",
    "not",
    "good",
    "but",
    "her",
    "voice",
    "sounds",
    "happy",
    "she",
    "thinks",
    "so",
    "I",
    "do",
]

MakeBatch = Callable[..., Batch]


def _stream(modality: Modality, size: int, longest: int, random: torch.Generator) -> Stream:
    present = torch.ones(size, dtype=torch.bool)
    lengths = torch.randint(1, longest + 1, (size,), generator=random)
    if modality.kind == "text":
        picks = [torch.randint(len(WORDS), (int(n),), generator=random).tolist() for n in lengths]
        return Stream([" ".join(WORDS[p] for p in pick) for pick in picks], None, present)
    if modality.kind == "vector":
        return Stream(torch.randn(size, modality.width, generator=random), None, present)
    if modality.kind == "image":
        return Stream(torch.randn(size, *modality.shape, generator=random), None, present)
    values = torch.randn(size, int(lengths.max()), *(modality.shape or (modality.width,)), generator=random)
    real = Stream(values, lengths, present).mask
    return Stream(values * real.view(*real.shape, *[1] * (values.dim() - 2)), lengths, present)


def _labels(target: Target, size: int, random: torch.Generator) -> Tensor:
    if target.task == "regression":
        low, high = target.range or (-1.0, 1.0)
        return low + (high - low) * torch.rand(size, generator=random)
    if target.task == "classification":
        return torch.randint(len(target.classes), (size,), generator=random)
    return torch.randint(2, (size, len(target.classes)), generator=random).float()


def random_batch(schema: Schema, size: int = 8, *, seed: int = 0, longest: int = 7) -> Batch:
    """Return ``size`` samples with every modality present and 1 to ``longest`` steps or words."""
    random = torch.Generator().manual_seed(seed)
    return Batch(
        {m.name: _stream(m, size, longest, random) for m in schema.modalities},
        {t.name: _labels(t, size, random) for t in schema.targets},
        [f"s{seed}_{i}" for i in range(size)],
    )


@pytest.fixture(scope="session")
def make_batch() -> MakeBatch:
    """``make_batch(schema, size=8, *, seed=0, longest=7)`` -> a random Batch."""
    return random_batch
