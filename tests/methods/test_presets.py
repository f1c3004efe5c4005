"""Every shipped preset builds its method; those with published sizes have the published number of parameters."""

from __future__ import annotations

import pytest

from polymodal.core import Modality, Schema, Target
from polymodal.methods import build, find_method, method_ids
from polymodal.methods.base import Method
from polymodal.train.recipe import PRESETS, load_preset, preset_names

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
FIELD = {"text": 768, "audio": 5, "vision": 20}
MOSI = Schema(tuple(Modality(n, "sequence", width) for n, width in FIELD.items()), (SCORE,))
SHIPPED = [(folder.name, name) for folder in sorted(PRESETS.iterdir()) for name in preset_names(folder.name)]
PUBLISHED = {
    "tfn": 9_497_045 - 2,  # two stored constants
    "lmf": 505_071,
    "lf-dnn": 597_171,
    "ef-lstm": 885_605 - 100,  # normalisation over time
    "mult": 2_571_551,
}


def built(method: str, preset: str) -> Method:
    return build(find_method(method), MOSI, load_preset(method, preset)["method"])


@pytest.mark.parametrize(("method", "preset"), [pair for pair in SHIPPED if pair[0] != "mag-bert"])
def test_a_shipped_preset_builds_its_method(method: str, preset: str) -> None:
    assert any(p.numel() for p in (*built(method, preset).parameters(), *built(method, preset).buffers()))


@pytest.mark.parametrize(("method", "count"), PUBLISHED.items())
def test_presets_of_published_configurations_have_their_parameters(method: str, count: int) -> None:
    assert sum(p.numel() for p in built(method, "mosi").parameters()) == count


def test_every_method_has_a_small_preset() -> None:
    assert {m for m, preset in SHIPPED if preset == "cpu"} >= set(method_ids())
