"""Random numbers depend on what they are for."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from polymodal.core import derive_seed, numpy_rng, seed_torch


def test_a_seed_is_the_same_in_every_process() -> None:
    code = "from polymodal.core import derive_seed; print(derive_seed('order', 1, 'train'))"
    # Another hash seed: Python's own hash() would differ.
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "99"},
    )
    assert int(done.stdout) == derive_seed("order", 1, "train")


def test_every_part_and_its_place_matter() -> None:
    seeds = [derive_seed(*parts) for parts in [(1, 2), (2, 1), (12,), ("1", 2, ""), (1,), ()]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds)


def test_generators_of_the_same_parts_draw_the_same() -> None:
    assert numpy_rng("a", 1).random(3).tolist() == numpy_rng("a", 1).random(3).tolist()
    assert numpy_rng("a", 1).random(3).tolist() != numpy_rng("a", 2).random(3).tolist()


def test_torch_draws_the_same_after_seeding() -> None:
    seed_torch(derive_seed("x"))
    first = torch.rand(3)
    seed_torch(derive_seed("x"))
    assert torch.equal(first, torch.rand(3))
