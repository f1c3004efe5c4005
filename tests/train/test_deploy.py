"""A deployed run has the weights, statistics and streams of some modalities, and says what the whole said of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from polymodal import Predictor, evaluate, fit
from polymodal.cli.main import main
from polymodal.core import DataError, OptionError, RunError
from polymodal.train.deploy import deploy
from polymodal.train.novelty import Novelty
from polymodal.train.run import Run

DATA = "synthetic:redundant?n=20"
SMALL: dict[str, Any] = {"options": {"width": 8}, "epochs": 1, "batch_size": 10, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit("eo-colearning", DATA, seeds=(1,), out=tmp_path_factory.mktemp("whole") / "run", **SMALL)


def tensors(run: Run, seed: int = 1) -> dict[str, Any]:
    with safe_open(run.path / f"seed-{seed}/best.safetensors", framework="np") as file:
        return {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118 (not a dict)


def test_the_deployed_run_holds_nothing_of_the_other_modalities(run: Run, tmp_path: Path) -> None:
    name, *others = run.schema.names
    made = deploy(run, [name], tmp_path / "one")
    assert made.schema.names == (name,)
    assert [*json.loads((made.path / "normalizer.json").read_text())] == [name]
    held, whole = tensors(made), tensors(run)
    assert set(held) == {n for n in whole if not any(o in n.split(".") for o in others)} - {
        n for n in whole if "auxiliary" in n or "judges" in n
    }
    assert {n: held[n].tobytes() for n in held} == {n: whole[n].tobytes() for n in held}
    assert made.config["parameters"] < run.config["parameters"]
    assert made.config["deployed"] == {"run": "run", "trained_with": [*run.schema.names]}
    assert not list(tmp_path.rglob("last.safetensors"))


def test_it_says_what_the_whole_says_without_the_others_and_as_surely(run: Run, tmp_path: Path) -> None:
    name = run.schema.names[-1]
    made = deploy(run, [name], tmp_path / "one")
    row = {name: np.random.default_rng(0).standard_normal((4, run.schema.modality(name).width))}
    whole, part = (Predictor(r).predict_features([row]).moments[0].estimates for r in (run, made))
    for target, said in part.items():
        for what in ("value", "low", "high"):
            expected = getattr(whole[target], what)
            assert getattr(said, what) == (expected if expected is None else pytest.approx(expected, abs=1e-5))
    known, kept = Novelty.read(run), Novelty.read(made)
    assert known is not None
    assert kept is not None
    assert kept.distances[:, 0] == pytest.approx(known.distances[:, -1], nan_ok=True)
    assert Predictor(made).predict_features([row]).moments[0].unlike == (
        Predictor(run).predict_features([row]).moments[0].unlike
    )
    with pytest.raises(DataError, match="no modality"):
        Predictor(made).predict_features([{run.schema.names[0]: row[name]}])


@pytest.mark.slow
def test_it_is_evaluated_on_its_own_stream(run: Run, tmp_path: Path) -> None:
    name = run.schema.names[0]
    made = deploy(run, [name], tmp_path / "one")
    whole, part = (
        {r["split"]: r["mean"] for r in evaluate(one)["rows"] if r["main"] and r["condition"] == condition}
        for one, condition in ((run, f"subset:{name}"), (made, "complete"))
    )
    assert part == pytest.approx(whole, abs=1e-5)
    assert made.corpus().schema.names == (name,)


def test_of_a_run_with_damaged_weights_nothing_is_written(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(run.path, broken)
    (broken / "seed-1/best.safetensors").write_bytes(b"x" * 64)
    with pytest.raises(RunError, match="checksum"):
        deploy(Run.load(broken), [run.schema.names[0]], tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_the_command_names_what_it_keeps(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = run.schema.names[:2]
    out = tmp_path / "two"
    assert main(["deploy", str(run.path), "--keep", ",".join(kept), "--out", str(out)]) == 0
    assert f"reads {', '.join(kept)}" in capsys.readouterr().err.replace("\n", " ")
    assert Run.load(out).schema.names == kept
    assert main(["deploy", str(run.path), "--keep", "smell"]) == 1
    assert "no modality 'smell'" in capsys.readouterr().err


@pytest.mark.slow
def test_folds_are_deployed_each(tmp_path: Path) -> None:
    whole = fit("multimodn", DATA, seeds=(1,), folds=3, out=tmp_path / "folds", **SMALL)
    made = deploy(whole, whole.schema.names[1:], tmp_path / "two")
    assert made.crossed
    assert [m.place for m in made.members] == [m.place for m in whole.members]
    assert evaluate(made)["rows"]


@pytest.mark.slow
def test_what_cannot_be_deployed_is_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    names = run.schema.names
    with pytest.raises(OptionError, match=r"keep some of .*, not all of them"):
        deploy(run, names, tmp_path / "a")
    with pytest.raises(OptionError, match=r"keep some of .*, not none of them"):
        deploy(run, [], tmp_path / "a")
    other = fit("late-fusion", DATA, seeds=(1,), out=tmp_path / "late", **SMALL)
    with pytest.raises(OptionError, match=rf"late-fusion does not come apart .* fit on .*modalities={names[0]}"):
        deploy(other, names[:1], tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(RunError, match="holds another run"):
        deploy(run, names[:1], other.path)
