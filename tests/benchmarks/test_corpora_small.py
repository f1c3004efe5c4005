"""Public corpora in few steps keep samples, labels, groups and means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polymodal.core import OptionError
from polymodal.data.sources import load_corpus


@pytest.fixture
def small(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POLYMODAL_SHARED", str(shared))
    file = Path(__file__).resolve().parents[2] / "benchmarks" / "corpora_small.py"
    return lambda query: load_corpus(f"{file}:small?{query}")


def test_slices_have_the_means_of_the_sequences(load, small) -> None:
    whole, short = load("ravdess_av"), small("name=ravdess_av&steps=4&most=100&tested=50")
    ids = whole["train"].ids[:: -(-len(whole["train"]) // 100)]
    assert short["train"].ids == ids
    row = whole["train"].ids.index(ids[3])
    for name in (m.name for m in whole.schema.modalities if m.kind == "sequence"):
        wanted = [part.mean(0) for part in np.array_split(whole["train"].columns[name][row], 4)]
        np.testing.assert_allclose(short["train"].columns[name][3], wanted, rtol=1e-4, atol=1e-4)
    target = whole.schema.targets[0].name
    assert short["train"].targets[target][3] == whole["train"].targets[target][row]
    assert short["train"].groups[3] == whole["train"].groups[row]
    assert short["train"].about["sex"][3] == whole["train"].about["sex"][row]


def test_an_unknown_corpus_is_named_with_the_nearest(small) -> None:
    with pytest.raises(OptionError, match="did you mean 'ravdess_av'"):
        small("name=ravdes_av")
