"""Random batches of any schema."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.core import Batch, Modality, Schema, Stream, Target

WORDS = ("the", "film", "was", "not", "good", "but", "her", "voice", "sounds", "happy", "she", "thinks", "so", "I")


def random_batch(schema: Schema, size: int = 8, *, seed: int = 0, longest: int = 7) -> Batch:
    """Return ``size`` samples with every modality present, every label known, and 1 to ``longest`` steps or words.

    The same arguments give the same batch; torch's own random numbers are left alone.
    """
    random = torch.Generator().manual_seed(seed)
    return Batch(
        {m.name: _stream(m, size, longest, random) for m in schema.modalities},
        {t.name: _labels(t, size, random) for t in schema.targets},
        [f"s{seed}_{i}" for i in range(size)],
        torch.randint(len(schema.domains), (size,), generator=random) if schema.domains else None,
    )


def _stream(modality: Modality, size: int, longest: int, random: torch.Generator) -> Stream:
    present = torch.ones(size, dtype=torch.bool)
    lengths = torch.randint(1, longest + 1, (size,), generator=random)
    if modality.kind == "text":
        picks = [torch.randint(len(WORDS), (int(n),), generator=random).tolist() for n in lengths]
        return Stream([" ".join(WORDS[p] for p in pick) for pick in picks], None, present)
    shape = modality.shape or (modality.width,)
    if modality.kind in ("vector", "image"):
        return Stream(torch.randn(size, *shape, generator=random), None, present)
    values = torch.randn(size, int(lengths.max()), *shape, generator=random)
    real = Stream(values, lengths, present).mask
    return Stream(values * real.view(*real.shape, *[1] * (values.dim() - 2)), lengths, present)


def _labels(target: Target, size: int, random: torch.Generator) -> Tensor:
    answer = target.spec.answer
    if answer == "number":
        low, high = target.range or (-1.0, 1.0)
        return low + (high - low) * torch.rand(size, generator=random)
    if answer == "class":
        return torch.randint(len(target.classes), (size,), generator=random)
    if answer == "match":
        return torch.arange(size)  # every sample matches itself alone
    return torch.randint(2, (size, len(target.classes)), generator=random).float()
