"""Random numbers that depend on what they are for, not on when they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed that is a pure function of ``parts`` (their ``str``), the same on every machine."""
    digest = hashlib.sha256("\x1f".join(str(p) for p in parts).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_rng(*parts: object) -> np.random.Generator:
    """Return a NumPy generator seeded by ``parts``."""
    return np.random.default_rng(derive_seed(*parts))


def seed_torch(seed: int) -> None:
    """Seed torch on every device; methods draw from torch's global generator only."""
    import torch  # planted corpora need the other functions, and the list of them no torch

    torch.manual_seed(seed)
