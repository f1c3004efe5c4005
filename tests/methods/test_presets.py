"""Every shipped preset builds its method; those with published sizes have the published number of parameters."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from polymodal.core import Modality, OptionError, Schema, Target
from polymodal.methods import build, find_method, method_ids
from polymodal.methods.base import Method
from polymodal.nn.text import TextEncoder
from polymodal.train.encoders import choose_encoders
from polymodal.train.recipe import PRESETS, load_preset, preset_names

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
OTHERS = (Modality("audio", "sequence", 5), Modality("vision", "sequence", 20))
FEATURES = Schema((Modality("text", "sequence", 768), *OTHERS), (SCORE,))
RAW = Schema((Modality("text", "text"), *OTHERS), (SCORE,))
SHIPPED = [(folder.name, name) for folder in sorted(PRESETS.iterdir()) for name in preset_names(folder.name)]
TRAINS = [pair for pair in SHIPPED if load_preset(*pair)["encoder"]]
PUBLISHED = {
    "tfn": 9_497_045 - 2,  # two stored constants
    "lmf": 505_071,
    "lf-dnn": 597_171,
    "ef-lstm": 885_605 - 100,  # normalisation over time
    "mult": 2_571_551,
}


def built(method: str, preset: str, schema: Schema) -> Method:
    """The method as ``fit`` builds it, what a frozen encoder returns in the place of the text it reads."""
    sections = load_preset(method, preset)
    if "regression" not in find_method(method).tasks:
        schema = replace(schema, targets=(Target("mood", "classification", classes=("low", "high")),))
    if find_method(method).needs_domains:
        schema = replace(schema, domains=("north", "south"))
    trained, frozen = choose_encoders(schema, sections, {}, {})
    for name in frozen:
        schema = schema.with_modality(Modality(name, "sequence", 384))
    return build(find_method(method), schema.with_encoders(trained), sections["method"])


@pytest.fixture
def tiny(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every transformer, whatever its name, is a random BERT of width 16."""
    monkeypatch.setattr("polymodal.nn.text.find_encoder", lambda name: bert)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("method", "preset"), SHIPPED)
def test_a_shipped_preset_builds_its_method_with_the_encoder_it_names(method: str, preset: str) -> None:
    found = built(method, preset, RAW)
    assert any(p.numel() for p in (*found.parameters(), *found.buffers()))
    asked = load_preset(method, preset)["encoder"].values()
    assert [m.name for m in found.modules() if isinstance(m, TextEncoder)] == list(asked)


@pytest.mark.parametrize(("method", "preset"), TRAINS)
def test_a_preset_that_trains_an_encoder_refuses_features_and_says_how_to_load_text(method: str, preset: str) -> None:
    with pytest.raises(OptionError, match=re.escape("?text=raw")) as caught:
        built(method, preset, FEATURES)
    assert "--encoder text=none" in str(caught.value)
    command = (PRESETS / method / f"{preset}.yaml").read_text().splitlines()[0]
    assert f"fit {method} " in command
    assert f"--preset {preset}" in command


def test_the_papers_that_fine_tune_a_transformer_do() -> None:
    tuned = {"ithp", "dlf", "misa", "self-mm", "mmim", "tfr-net", "tetfn", "cenet", "almt", "mag-bert", "mmcl", "mib"}
    assert {method for method, preset in TRAINS if preset == "paper"} >= tuned | {"umq", "cyin"}


@pytest.mark.parametrize(("method", "count"), PUBLISHED.items())
def test_presets_of_published_configurations_have_their_parameters(method: str, count: int) -> None:
    assert sum(p.numel() for p in built(method, "paper", FEATURES).parameters()) == count


def test_every_method_has_a_small_preset() -> None:
    assert {m for m, preset in SHIPPED if preset == "cpu"} >= set(method_ids())
