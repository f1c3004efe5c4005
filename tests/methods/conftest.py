"""Random batches for tests of methods."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from polymodal.core import Batch
from polymodal.testing import random_batch


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    """``make_batch(schema, size=8, *, seed=0, longest=7)`` -> a random Batch."""
    return random_batch
