"""A run folder opens again, and only on data that fit it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from polymodal import Run, evaluate, fit, load_corpus
from polymodal.core import DataError, RunError
from polymodal.data.encode import Encoder
from polymodal.data.loader import Loader


def test_a_run_opens_with_its_weights(trained: Path) -> None:
    run = Run.load(trained)
    assert run.seeds == [1, 2]
    method = run.method(2)
    assert not method.training
    from polymodal.train.checkpoint import load_checkpoint

    tensors, state = load_checkpoint(trained / "seed-2" / "best.safetensors")
    assert all(torch.equal(tensors[f"model.{n}"], t) for n, t in method.state_dict().items())
    assert state["epoch"] == run.results()[2]["best_epoch"]


def test_predictions_are_those_of_the_method_on_normalised_rows(trained: Path) -> None:
    run = Run.load(trained)
    corpus = run.corpus()
    columns = run.predict(corpus, "test", seed=2)
    assert sorted(columns["id"]) == sorted(corpus["test"].ids)
    loader = Loader(corpus["test"], corpus.schema, 1, normalizer=load_corpus("synthetic:xor?n=24").normalizer)
    method = run.method(2)
    by_id = dict(zip(columns["id"], columns["agreement/probability"], strict=True))
    with torch.no_grad():
        for batch in loader.epoch():
            alone = torch.softmax(method(batch).predictions["agreement"], 1)[0].numpy()
            np.testing.assert_allclose(by_id[batch.ids[0]], alone, atol=1e-5)


def test_predictions_are_the_same_each_time(trained: Path) -> None:
    first, second = (Run.load(trained).predict(Run.load(trained).corpus()) for _ in range(2))
    assert all(np.array_equal(first[n], second[n]) for n in first)


def test_a_folder_that_is_no_run_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(RunError, match=r"is not a run .*polymodal fit"):
            Run.load(place)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"data": 1}'])
def test_a_damaged_description_is_one_sentence(trained: Path, content: str) -> None:
    (trained / "run.json").write_text(content)
    with pytest.raises(RunError, match="train the run again"):
        Run.load(trained)


def test_a_run_without_a_finished_seed_says_how_to_go_on(trained: Path) -> None:
    for seed in (1, 2):
        (trained / f"seed-{seed}" / "result.json").unlink()
    with pytest.raises(RunError, match=r"has no finished seed; continue with: polymodal fit .* --resume"):
        Run.load(trained).method()
    with pytest.raises(RunError, match="has no finished seed"):
        evaluate(trained)


def test_a_run_with_one_finished_seed_is_that_seed(trained: Path) -> None:
    (trained / "seed-1" / "result.json").unlink()
    assert evaluate(trained)["seeds"] == [2]


def test_missing_weights_and_statistics_are_one_sentence(trained: Path) -> None:
    (trained / "normalizer.json").unlink()
    with pytest.raises(RunError, match=r"normalizer.json cannot be read"):
        Run.load(trained).corpus()
    (trained / "seed-1/best.safetensors").unlink()
    with pytest.raises(RunError, match=r"best.safetensors cannot be read"):
        Run.load(trained).method(1)


def test_data_that_changed_since_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    code = "from polymodal import load_corpus\ndef make():\n    return load_corpus('synthetic:xor?n=20&seed={}')\n"
    source.write_text(code.format(0))
    run = fit("linear", f"{source}:make", out=tmp_path / "run")
    assert len(run.corpus()["test"]) == 20
    source.write_text(code.format(11))
    with pytest.raises(DataError, match=r"has changed since .* evaluate with --data"):
        run.corpus()
    assert evaluate(run, f"{source}:make")["rows"]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("synthetic:unimodal?n=20", "has no vision"),
        ("synthetic:talk?n=20", "audio is a sequence of width 12, .* of width 6; extract the same features"),
        ("synthetic:vectors?n=20", "has no audio and no vision"),
    ],
)
def test_data_of_another_shape_are_refused(trained: Path, data: str, named: str) -> None:
    with pytest.raises(DataError, match=named):
        evaluate(trained, data)


def test_a_modality_too_many_or_another_target_is_refused(tmp_path: Path) -> None:
    run = fit("linear", "synthetic:vectors?n=20&modalities=voice,gaze", out=tmp_path / "run")
    with pytest.raises(DataError, match=r"add \?modalities=voice,gaze"):
        run.corpus("synthetic:vectors?n=20")
    corpus = load_corpus("synthetic:vectors?n=20&modalities=voice,gaze")
    from dataclasses import replace

    for target in (replace(corpus.schema.targets[0], range=(-2.0, 2.0)), replace(corpus.schema.targets[0], name="x")):
        labels = {n: replace(s, targets={target.name: s.targets["arousal"]}) for n, s in corpus.splits.items()}
        other = replace(corpus, schema=replace(corpus.schema, targets=(target,)), splits=labels)
        with pytest.raises(DataError, match=r"target 'arousal'"):
            run.corpus(other)


def test_other_data_are_normalised_as_in_training(trained: Path) -> None:
    corpus = Run.load(trained).corpus("synthetic:xor?n=30&seed=5&noise=4")
    assert corpus.normalizer.to_dict() == load_corpus("synthetic:xor?n=24").normalizer.to_dict()


def test_a_plugin_that_encodes_no_text_is_applied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("made_for_runs")

    def means(rows: list[Any]) -> list[Any]:
        return [row.mean(axis=0, keepdims=True) for row in rows]

    module.means = lambda: Encoder("means of steps", 6, means)
    monkeypatch.setitem(sys.modules, "made_for_runs", module)
    run = fit("linear", "synthetic:xor?n=20", encode={"audio": "made_for_runs:means"}, out=tmp_path / "run")
    assert run.corpus().hash == run.config["data"]["hash"]
    assert run.corpus("synthetic:xor?n=21")["test"].columns["audio"].lengths.max() == 1  # type: ignore[union-attr]
