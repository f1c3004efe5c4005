"""``polymodal.fit``: where options come from, what it refuses, what it leaves behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import polymodal
from polymodal import fit, load_corpus
from polymodal.core import DataError, OptionError, RunError

DATA = "synthetic:xor?n=20"
FAST: dict[str, Any] = {"options": {"width": 4}, "epochs": 1, "batch_size": 8}


def test_a_corpus_and_its_source_train_the_same(tmp_path: Path) -> None:
    by_name = fit("late-fusion", DATA, out=tmp_path / "a", **FAST)
    by_value = fit("late-fusion", load_corpus(DATA), out=tmp_path / "b", **FAST)
    for file in ("best.safetensors", "last.safetensors"):
        assert (by_name.path / "seed-1111" / file).read_bytes() == (by_value.path / "seed-1111" / file).read_bytes()
    assert by_name.config["data"] == by_value.config["data"]


def test_another_seed_trains_another_model_into_its_own_folder(tmp_path: Path) -> None:
    run = fit("late-fusion", DATA, seeds=(1, 2), out=tmp_path / "a", **FAST)
    assert run.seeds == [1, 2]
    one, two = ((run.path / f"seed-{s}/best.safetensors").read_bytes() for s in (1, 2))
    assert one != two


def test_a_training_that_was_still_improving_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("late-fusion", DATA, out=tmp_path / "a", **FAST)
    said = "best epoch 1 of 1 (all epochs done; still improving when the epochs ran out: try --epochs 2)"
    assert said in capsys.readouterr().err
    fit("linear", DATA, out=tmp_path / "b")
    assert "best epoch 0 of 0 (closed form)" in capsys.readouterr().err


def test_the_run_records_what_made_it(tmp_path: Path) -> None:
    run = fit("late-fusion", DATA, out=tmp_path / "a", lr=0.01, **FAST)
    config = json.loads((run.path / "run.json").read_text())
    assert config["method"] == "late-fusion"
    assert config["options"]["width"] == 4
    assert (config["recipe"]["epochs"], config["recipe"]["lr"]) == (1, 0.01)
    assert config["data"]["hash"] == load_corpus(DATA).hash
    assert config["data"]["sizes"] == {"train": 20, "valid": 20, "test": 20}
    assert config["parameters"] > 0
    assert config["polymodal"] == polymodal.__version__
    assert {"code", "versions", "threads", "created", "seeds", "paper"} <= set(config)


def test_the_recorded_command_repeats_the_run(tmp_path: Path) -> None:
    import shlex

    from polymodal.cli.main import main

    run = fit("late-fusion", DATA, out=tmp_path / "a", lr=0.003, seeds=(3,), **FAST)
    words = shlex.split(run.config["command"])
    assert words[0] == "polymodal"
    assert main([*words[1:], "--out", str(tmp_path / "b")]) == 0
    one, two = ((tmp_path / place / "seed-3/last.safetensors").read_bytes() for place in "ab")
    assert one == two


def test_what_is_given_beats_the_preset_and_the_preset_beats_defaults(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("method: {width: 4, dropout: 0.5}\ntraining: {epochs: 9, lr: 0.5, clip: 2.0, batch_size: 8}\n")
    options = {"dropout": 0.1, "clip": 3.0}
    run = fit("late-fusion", DATA, preset=str(preset), options=options, epochs=1, out=tmp_path / "run")
    assert (run.config["options"]["width"], run.config["options"]["dropout"]) == (4, 0.1)
    recipe = run.config["recipe"]
    assert (recipe["epochs"], recipe["lr"], recipe["clip"], recipe["patience"]) == (1, 0.5, 3.0, 8)


def test_a_shipped_preset_is_found_by_name(tmp_path: Path) -> None:
    options = {"width": 4}
    run = fit("mmcl", DATA, preset="demo", options=options, epochs=1, batch_size=16, out=tmp_path / "run")
    assert (run.config["options"]["width"], run.config["options"]["dropout"]) == (4, 0.3)


def test_a_preset_encodes_only_modalities_that_are_there(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("encode: {text: minilm}\n")
    assert fit("late-fusion", DATA, preset=str(preset), out=tmp_path / "run", **FAST).config["data"]["encode"] == {}


def test_a_method_of_ones_own_is_trained_and_opened_again(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        "from polymodal.methods.late_fusion import LateFusion\n\n\nclass Mine(LateFusion):\n    '''Mine.'''\n"
    )
    run = fit(f"{source}:Mine", DATA, out=tmp_path / "run", **FAST)
    assert type(run.method()).__name__ == "Mine"


def test_runs_without_a_folder_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (fit("linear", DATA).path for _ in range(2))
    assert (str(first), str(second)) == ("runs/linear-xor", "runs/linear-xor-2")
    assert str(fit("linear", DATA, resume=True).path) == "runs/linear-xor-2"


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "unknown method": ({"method": "late-fuson"}, OptionError, "did you mean 'late-fusion'"),
    "unknown option": ({"options": {"widht": 4}}, OptionError, "did you mean 'width'"),
    "unknown training option": ({"options": {"epoch": 4}}, OptionError, "did you mean 'epochs'"),
    "option of a wrong type": ({"options": {"width": "big"}}, OptionError, "width must be a whole number, got 'big'"),
    "option out of range": ({"options": {"dropout": 2.0}}, OptionError, "dropout"),
    "no epochs": ({"epochs": 0}, OptionError, "epochs must be a whole number above 0"),
    "unknown precision": ({"precision": "8"}, OptionError, "precision must be one of"),
    "no seeds": ({"seeds": ()}, OptionError, "seeds must be different"),
    "a seed twice": ({"seeds": (1, 1)}, OptionError, "seeds must be different"),
    "a negative seed": ({"seeds": (-1,)}, OptionError, "seeds must be different"),
    "a seed too large": ({"seeds": (2**64,)}, OptionError, "seeds must be different"),
    "unknown device": ({"device": "gpu"}, OptionError, "unknown device 'gpu'"),
    "unknown preset": ({"preset": "nowhere"}, OptionError, "no preset 'nowhere'"),
    "unknown modality to encode": ({"encode": {"txt": "minilm"}}, DataError, "no modality 'txt'"),
    "unknown corpus": ({"data": "synthetic:talks"}, DataError, "did you mean 'talk'"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_mistake_is_one_sentence_and_leaves_no_folder(tmp_path: Path, name: str) -> None:
    changed, error, named = WRONG[name]
    with pytest.raises(error, match=named) as caught:
        fit(**{"method": "late-fusion", "data": DATA, "out": tmp_path / "run", **changed})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_corpus_without_a_split_to_learn_from_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    corpus = load_corpus(DATA)
    for missing in ("train", "valid"):
        kept = replace(corpus, splits={n: s for n, s in corpus.splits.items() if n != missing})
        with pytest.raises(DataError, match=f"has no {missing} split, needed to fit"):
            fit("late-fusion", kept, out=tmp_path / "run")


def test_a_folder_in_use_is_refused_and_left_alone(trained: Path, tmp_path: Path) -> None:
    before = (trained / "run.json").read_bytes()
    with pytest.raises(RunError, match=r"holds another run; add --resume"):
        fit("late-fusion", DATA, out=trained, **FAST)
    assert (trained / "run.json").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(RunError, match=r"is not empty and holds no run"):
        fit("late-fusion", DATA, out=tmp_path / "mine", **FAST)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot create .*file/run"):
        fit("late-fusion", DATA, out=tmp_path / "file" / "run", **FAST)


def test_the_code_digest_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import polymodal.train.plan as module

    package = tmp_path / "polymodal" / "train"
    package.mkdir(parents=True)
    (package / "plan.py").write_text("a = 1\n")
    monkeypatch.setattr(module, "__file__", str(package / "plan.py"))
    first = module.code_digest()
    assert module.code_digest() == first
    (package / "plan.py").write_text("a = 2\n")
    assert module.code_digest() != first


def test_importing_the_package_and_its_verbs_costs_no_torch() -> None:
    import subprocess

    code = "import sys, polymodal; polymodal.fit, polymodal.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_mistake_found_before_training_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a corpus with domains"):
        fit("late-fusion", "synthetic:xor?n=24", options={"balance": "domain"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = fit("linear", "synthetic:xor?n=24", out=tmp_path / "run")
    with pytest.raises(RunError, match="holds another run"):
        fit("late-fusion", "synthetic:xor?n=24", options={"balance": "domain"}, out=run.path)
    assert (run.path / "run.json").is_file()
