"""Hyper-parameters and presets: wrong ones are named, with the nearest right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polymodal.core import OptionError
from polymodal.train.recipe import PRESETS, Recipe, advice, load_preset, preset_names


def test_options_change_what_they_name_and_nothing_else() -> None:
    recipe = Recipe(epochs=3).with_options({"lr": 1, "bucket": False})
    assert recipe == Recipe(epochs=3, lr=1, bucket=False)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": 0}, "epochs must be a whole number above 0, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number above 0, got 1.5"),
        ({"epochs": True}, "epochs must be a whole number above 0, got True"),
        ({"lr": "fast"}, "lr must be a number above 0, got 'fast'"),
        ({"lr": float("nan")}, "lr must be a number above 0, got nan"),
        ({"lr": False}, "lr must be a number above 0, got False"),
        ({"clip": -1.0}, "clip must be a number, 0 or more, got -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay must be a number, 0 or more, got nan"),
        ({"warmup": 1.0}, "warmup must be a share, at least 0 and below 1, got 1.0"),
        ({"schedule": "linear"}, "schedule must be one of constant, cosine, plateau, got 'linear'"),
        ({"optimizer": "adam"}, "optimizer must be one of adamw, sgd, got 'adam'"),
        ({"momentum": 1}, "momentum must be a share, at least 0 and below 1, got 1"),
        ({"precision": "16"}, "precision must be one of 32, bf16-mixed"),
        ({"bucket": 1}, "bucket must be true or false, got 1"),
        ({"batch_size": 0}, "batch_size must be a whole number above 0"),
        ({"patience": -1}, "patience must be a whole number above 0"),
        ({"accumulate": 0}, "accumulate must be a whole number above 0"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        Recipe().with_options(options)


def test_every_shipped_preset_fits_the_recipe() -> None:
    shipped = [(folder.name, name) for folder in PRESETS.iterdir() for name in preset_names(folder.name)]
    assert ("mmcl", "demo") in shipped
    for method, name in shipped:
        sections = load_preset(method, name)
        Recipe().with_options(sections["training"])
        assert set(sections) == {"method", "training", "encoder", "encode"}


def test_a_preset_can_be_a_file_and_may_leave_sections_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {epochs: 2, lr: 1e-3}\nmethod:\n")
    training = {"epochs": 2, "lr": 0.001}
    assert load_preset("mmcl", str(file)) == {"method": {}, "training": training, "encoder": {}, "encode": {}}
    file.write_text("")
    assert load_preset("mmcl", str(file)) == {"method": {}, "training": {}, "encoder": {}, "encode": {}}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("train: {epochs: 2}", "unknown section 'train'; did you mean 'training'"),
        ("training: [1, 2]", "must hold the sections"),
        ("just words", "must hold the sections"),
        ("training: {epochs: 2", "is not valid YAML"),
        ("1: {epochs: 2}", "unknown section 1"),
    ],
)
def test_a_wrong_preset_names_the_file_and_the_mistake(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(OptionError, match=named) as caught:
        load_preset("mmcl", str(file))
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_no_preset(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(OptionError, match="is not valid YAML"):
        load_preset("mmcl", str(tmp_path / "mine.yaml"))


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(OptionError, match=r"no preset 'dem'; did you mean 'demo'\? \(available: cpu, demo, "):
        load_preset("mmcl", "dem")
    with pytest.raises(OptionError, match=r"available: cpu"):
        load_preset("early-fusion", "demo")


@pytest.mark.parametrize(
    ("best", "epochs", "patience", "wanted"),
    [
        (25, 25, 8, 50),
        (19, 25, 8, 50),
        (18, 25, 8, None),  # not within the last quarter
        (23, 25, 2, None),  # patience was over as well
        (12, 20, 8, None),  # stopped early
        (1, 1, 8, 2),
        (5, 40, 100, None),  # patience longer than the training says nothing
        (0, 0, 8, None),  # closed form
    ],
)
def test_more_epochs_are_advised_where_the_last_ones_still_helped(
    best: int, epochs: int, patience: int, wanted: int | None
) -> None:
    assert advice(best, epochs, patience).endswith(f"try --epochs {wanted}" if wanted else "")
    assert bool(advice(best, epochs, patience)) == bool(wanted)
