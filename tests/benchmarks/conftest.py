"""Public corpora, as ``benchmarks/corpora.py`` reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from polymodal.data.corpus import Corpus
from polymodal.data.sources import load_corpus

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "corpora.py"


@pytest.fixture
def load(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Corpus]:
    """Returns a function: corpus and options -> Corpus; skips where there are no data."""
    monkeypatch.setenv("POLYMODAL_SHARED", str(shared))
    return lambda source: load_corpus(f"{FILE}:{source}")
