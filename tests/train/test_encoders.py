"""An encoder belongs to its modality: asked for, it is used or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polymodal import Run, fit, load_corpus
from polymodal.cli.main import main
from polymodal.core import DataError, Modality, OptionError, PolymodalError, RunError
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Ragged
from polymodal.data.split import Column
from polymodal.train.checkpoint import load_checkpoint, save_checkpoint

TALK = "synthetic:talk?n=24"
FAST: dict[str, Any] = {"options": {"width": 4}, "epochs": 1, "batch_size": 8}
NO_TEXT = "synthetic:xor?n=20"


@pytest.fixture(scope="module")
def tuned(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose text encoder trained."""
    return fit("late-fusion", TALK, encoder={"text": bert}, out=tmp_path_factory.mktemp("tuned") / "run", **FAST)


def preset(tmp_path: Path, text: str) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return str(file)


def test_an_encoder_trains_with_the_method_and_opens_with_the_run(tuned: Run, bert: str) -> None:
    method = tuned.method()
    encoder = method.inputs.transformer("text")
    assert encoder is not None
    assert "pretrained" in {g.name for g in method.parameter_groups()}
    assert tuned.schema.encoders == {"text": bert}
    assert f"--encoder text={bert}" in tuned.config["command"]
    assert "text_encoder" not in tuned.config["options"]
    assert len(tuned.predict(tuned.corpus())["id"]) == tuned.config["data"]["sizes"]["test"]


def test_an_encoder_of_a_method_is_no_part_of_the_corpus(tuned: Run) -> None:
    assert tuned.config["data"]["hash"] == load_corpus(TALK).hash


def test_the_command_line_and_a_preset_ask_for_it_in_the_same_way(tuned: Run, bert: str, tmp_path: Path) -> None:
    words = ["--set", "width=4", "--epochs", "1", "--batch-size", "8", "--out", str(tmp_path / "a")]
    assert main(["fit", "late-fusion", "--data", TALK, "--encoder", f"text={bert}", *words]) == 0
    file = preset(tmp_path, f"encoder: {{text: {bert}}}\n")
    fit("late-fusion", TALK, preset=file, out=tmp_path / "b", **FAST)
    wanted = (tuned.path / "seed-1111/best.safetensors").read_bytes()
    assert all((tmp_path / n / "seed-1111/best.safetensors").read_bytes() == wanted for n in "ab")


def test_a_run_from_before_opens_and_predicts_the_same(tuned: Run, bert: str, tmp_path: Path) -> None:
    old = shutil.copytree(tuned.path, tmp_path / "old")
    config = json.loads((old / "run.json").read_text())
    for modality in config["data"]["schema"]["modalities"]:
        modality.pop("encoder")
        modality.pop("tuning")
    config["options"] |= {"text_encoder": bert, "text_tuning": "full"}
    (old / "run.json").write_text(json.dumps(config))
    file = old / "seed-1111/best.safetensors"
    tensors, state = load_checkpoint(file)
    save_checkpoint(file, {n.replace("inputs.encoders.", "inputs.texts."): t for n, t in tensors.items()}, state)
    result = json.loads((old / "seed-1111/result.json").read_text())
    (old / "seed-1111/result.json").write_text(json.dumps({n: v for n, v in result.items() if n != "weights"}))
    run = Run.load(old)
    assert run.config["options"] == tuned.config["options"]
    assert run.schema == tuned.schema
    columns, wanted = (r.predict(r.corpus()) for r in (run, tuned))
    assert all((columns[n] == wanted[n]).all() for n in wanted)
    # Hashed words were the default of every run and are no encoder that somebody asked for.
    config["options"] |= {"text_encoder": "bow"}
    (old / "run.json").write_text(json.dumps(config))
    assert Run.load(old).schema.encoders == {}


def test_options_of_a_base_from_before_are_moved_too(tuned: Run, bert: str, tmp_path: Path) -> None:
    config = json.loads((tuned.path / "run.json").read_text())
    config["data"]["schema"]["modalities"][0] |= {"encoder": ""}
    config["options"] = {"base": "late-fusion", "base_options": {"width": 4, "text_encoder": bert}}
    (tmp_path / "run.json").write_text(json.dumps(config))
    run = Run.load(tmp_path)
    assert run.config["options"]["base_options"] == {"width": 4}
    assert run.schema.encoders == {"text": bert}


WRONG: dict[str, tuple[dict[str, Any], type[PolymodalError], str]] = {
    "features": ({"data": "mosi", "encoder": {"text": "minilm"}}, OptionError, r"\?text=raw"),
    "frozen, features": ({"data": "mosi", "encode": {"text": "minilm"}}, OptionError, r"\?text=raw"),
    "preset, features": ({"data": "mosi", "preset": "encoder: {text: minilm}"}, OptionError, "--encoder text=none"),
    "preset, frozen, features": (
        {"data": "mosi", "preset": "encode: {text: minilm}"},
        OptionError,
        "--encode text=none",
    ),
    "no such modality": ({"data": NO_TEXT, "encoder": {"text": "minilm"}}, DataError, "no modality 'text'"),
    "two encoders": (
        {"encoder": {"text": "minilm"}, "encode": {"text": "minilm"}},
        OptionError,
        "text has two encoders",
    ),
    "no use for it": ({"method": "linear", "encoder": {"text": "minilm"}}, OptionError, "would not be used"),
    "unknown tuning": ({"encoder": {"text": "minilm?tuning=frozen"}}, OptionError, "must be full or lora"),
    "the option of before": ({"options": {"text_encoder": "minilm"}}, OptionError, "use --encoder text=minilm"),
    "both options of before": (
        {"options": {"text_encoder": "minilm", "text_tuning": "lora"}},
        OptionError,
        r"use --encoder text=minilm\?tuning=lora",
    ),
    "a preset of before": (
        {"preset": "method: {text_encoder: minilm}"},
        OptionError,
        r'in a preset: encoder: \{text: "minilm"\}',
    ),
}


@pytest.fixture
def mosi() -> Corpus:
    """A corpus whose text is features."""
    corpus = load_corpus(TALK)
    rows = {name: [np.ones((2, 3), np.float32)] * len(split) for name, split in corpus.splits.items()}
    columns: dict[str, Column] = {name: Ragged.from_rows(found, 3) for name, found in rows.items()}
    return corpus.with_modality(Modality("text", "sequence", 3), columns, "features")


@pytest.mark.parametrize("name", sorted(WRONG))
def test_an_encoder_that_cannot_be_used_is_one_sentence(name: str, mosi: Corpus, tmp_path: Path) -> None:
    changed, error, named = WRONG[name]
    asked = {"method": "late-fusion", "data": TALK, "out": tmp_path / "run", **changed}
    if asked["data"] == "mosi":
        asked["data"] = mosi
    if "preset" in asked:
        asked["preset"] = preset(tmp_path, asked["preset"])
    with pytest.raises(error, match=named) as caught:
        fit(**asked)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("section", ["encoder", "encode"])
def test_none_switches_the_presets_encoder_off(section: str, mosi: Corpus, tmp_path: Path) -> None:
    file = preset(tmp_path, f"{section}: {{text: minilm}}\n")
    run = fit("late-fusion", mosi, preset=file, out=tmp_path / "run", **FAST, **{section: {"text": "none"}})
    assert run.schema.encoders == run.config["data"]["encode"] == {}


@pytest.mark.parametrize("section", ["encoder", "encode"])
def test_a_presets_encoder_of_a_modality_that_is_not_there_is_left_out_with_a_note(
    section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = preset(tmp_path, f"{section}: {{text: minilm}}\n")
    run = fit("late-fusion", NO_TEXT, preset=file, out=tmp_path / "run", **FAST)
    assert run.schema.encoders == run.config["data"]["encode"] == {}
    assert "the corpus has no text" in " ".join(capsys.readouterr().err.split())


def test_what_is_given_takes_the_place_of_the_presets_other_kind_of_encoder(bert: str, tmp_path: Path) -> None:
    frozen = preset(tmp_path, "encode: {text: minilm}\n")
    run = fit("late-fusion", TALK, preset=frozen, encoder={"text": bert}, out=tmp_path / "a", **FAST)
    assert (run.schema.encoders, run.config["data"]["encode"]) == ({"text": bert}, {})
    trained = preset(tmp_path, f"encoder: {{text: {bert}}}\n")
    run = fit("late-fusion", TALK, preset=trained, encode={"text": bert}, out=tmp_path / "b", **FAST)
    assert (run.schema.encoders, run.config["data"]["encode"]) == ({}, {"text": bert})


def test_a_run_is_not_resumed_with_another_encoder(tuned: Run) -> None:
    with pytest.raises(RunError, match="was trained with encoders"):
        fit("late-fusion", TALK, out=tuned.path, resume=True, **FAST)


def test_a_wrapped_method_gets_the_encoder_too(bert: str, tmp_path: Path) -> None:
    options = {"base": "late-fusion", "base_options": {"width": 4}}
    run = fit(
        "missing-adapt", TALK, encoder={"text": bert}, options=options, epochs=2, batch_size=8, out=tmp_path / "run"
    )
    assert run.method().base.inputs.transformer("text") is not None
    assert torch.isfinite(torch.tensor(run.results()[1111]["valid_loss"]))
