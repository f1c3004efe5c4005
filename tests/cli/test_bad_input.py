"""Whatever is wrong with what a user gives, the answer is one line, and nothing is left behind."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Call = Callable[..., Any]
Data = dict[str, Any]


def _mmsa() -> Data:
    """The dictionary of a small MMSA pickle, unaligned."""
    rng = np.random.default_rng(0)
    data = {}
    for split, rows in {"train": 12, "valid": 4, "test": 5}.items():
        data[split] = {
            "text": rng.standard_normal((rows, 6, 8)).astype(np.float32),
            "audio": rng.standard_normal((rows, 9, 3)).astype(np.float32),
            "vision": rng.standard_normal((rows, 7, 4)).astype(np.float32),
            "audio_lengths": [9] * rows,
            "vision_lengths": [7] * rows,
            "id": [f"{split}{i}$_$0" for i in range(rows)],
            "regression_labels": np.linspace(-3, 3, rows),
        }
    return data


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def _set(split: str, key: str, value: Callable[[Any], Any]) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        for name in data if split == "all" else (split,):
            data[name][key] = value(data[name][key])

    return change


def _empty(data: Data) -> None:
    data["valid"] = {k: v[:0] for k, v in data["valid"].items()}


def _nothing(data: Data) -> None:
    data.clear()
    data["a"] = {"b": 1}


FILES: dict[str, tuple[Callable[[Data], None], str]] = {
    "wrong layout": (_nothing, "known layouts"),
    "empty split": (_empty, "'valid' is empty"),
    "NaN labels": (_set("train", "regression_labels", lambda v: v * np.nan), "no sample of train has a label"),
    "all-infinite audio": (_set("all", "audio", lambda v: v * 0 - np.inf), "no sample has audio"),
    "a modality of width 0": (_set("all", "vision", lambda v: v[:, :, :0]), "vision has no features"),
    "lengths longer than the array": (_set("train", "audio_lengths", lambda v: [99, *v[1:]]), "'train0$_$0'"),
    "duplicate ids": (_set("test", "id", lambda v: [v[0], v[0], *v[2:]]), "'test0$_$0' appears twice in test"),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def _fit(call: Call, data: str | Path, run: Path, *words: str) -> str:
    """Return the sentence of a fit that must fail without leaving a folder."""
    sentence: str = call("fit", "linear", "--data", data, "--out", run, *words).sentence
    assert not run.exists()
    return sentence


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_with_wrong_content(call: Call, tmp_path: Path, run: Path, name: str) -> None:
    change, named = FILES[name]
    data = _mmsa()
    change(data)
    file = tmp_path / "mosi.pkl"
    file.write_bytes(pickle.dumps(data))
    sentence = _fit(call, file, run)
    assert named in sentence
    assert str(file) in sentence
    assert str(file) in call("data", "info", file).sentence
    assert str(file) in call("data", "convert", file, tmp_path / "store").sentence
    assert not (tmp_path / "store").exists()


def test_the_unchanged_file_is_fine(call: Call, tmp_path: Path, run: Path) -> None:
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps(_mmsa()))
    assert call("fit", "linear", "--data", tmp_path / "mosi.pkl", "--out", run).code == 0


def test_a_missing_file(call: Call, tmp_path: Path, run: Path) -> None:
    (tmp_path / "mosi.pkl").write_text("")
    assert f"did you mean {tmp_path / 'mosi.pkl'}" in _fit(call, tmp_path / "mosy.pkl", run)


def test_a_truncated_pickle(call: Call, tmp_path: Path, run: Path) -> None:
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps(_mmsa())[:-500])
    assert "ends in the middle" in _fit(call, tmp_path / "mosi.pkl", run)


def test_a_hostile_pickle_runs_nothing(call: Call, tmp_path: Path, run: Path) -> None:
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps({**_mmsa(), "extra": _Touch(tmp_path / "marker")}))
    assert "wants to run" in _fit(call, tmp_path / "mosi.pkl", run)
    assert not (tmp_path / "marker").exists()


XOR = "synthetic:xor?n=20"
WORDS: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown corpus": (("linear", "--data", "synthetic:xxor"), "did you mean 'xor'"),
    "unknown option of a corpus": (("linear", "--data", "synthetic:xor?m=20"), "'m'"),
    "unknown method": (("liner", "--data", XOR), "did you mean 'linear'"),
    "a method file that is not there": (("mine.py:Mine", "--data", XOR), "no file mine.py"),
    "unknown flag": (("linear", "--data", XOR, "--epoch-s", "3"), "did you mean '--epochs'"),
    "unknown --set": (("mmcl", "--data", XOR, "--set", "widht=3"), "did you mean 'width'"),
    "--set without a value": (("mmcl", "--data", XOR, "--set", "width"), "--set wants name=value"),
    "--set of a wrong type": (("mmcl", "--data", XOR, "--set", "width=big"), "must be a whole number, got 'big'"),
    "--set out of range": (("mmcl", "--data", XOR, "--set", "width=-4"), "width"),
    "no --data": (("linear",), "data"),
    "a word for a number": (
        ("linear", "--data", XOR, "--epochs", "many"),
        "--epochs must be a whole number above 0, got 'many'",
    ),
    "no epochs": (("linear", "--data", XOR, "--epochs", "0"), "--epochs must be a whole number above 0, got '0'"),
    "--train-stress out of range": (
        ("linear", "--data", XOR, "--train-stress", "missing:rate=2"),
        "rate must be a share from 0 to 1",
    ),
    "--train-stress on what is not there": (
        ("linear", "--data", XOR, "--train-stress", "drop:audoi,rate=0.3"),
        "did you mean 'audio'",
    ),
    "wrong --seeds": (("linear", "--data", XOR, "--seeds", "one"), "--seeds must be different whole numbers"),
    "a seed twice": (("linear", "--data", XOR, "--seeds", "1,1"), "seeds must be different"),
    "a seed too large": (("linear", "--data", XOR, "--seeds", "9" * 30), "seeds must be different"),
    "unknown device": (("linear", "--data", XOR, "--device", "tpu"), "--device must be"),
    "unknown precision": (("linear", "--data", XOR, "--precision", "8"), "--precision must be"),
    "unknown preset": (("mmcl", "--data", XOR, "--preset", "dem"), "did you mean 'demo'"),
    "--encode on what is not text": (
        ("linear", "--data", XOR, "--encode", "audio=minilm"),
        "leave the encoder out (--encode audio=none)",
    ),
    "--encode on what is not there": (("linear", "--data", XOR, "--encode", "text=minilm"), "no modality 'text'"),
    "--encode without an encoder": (("linear", "--data", XOR, "--encode", "audio"), "--encode wants name=value"),
}


@pytest.mark.parametrize("name", sorted(WORDS))
def test_wrong_words_for_fit(call: Call, run: Path, name: str) -> None:
    words, named = WORDS[name]
    assert named in call("fit", *words, "--out", run).sentence
    assert not run.exists()


def test_a_device_that_is_not_there(call: Call, run: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    called = call("fit", "linear", "--data", XOR, "--out", run, "--device", "cuda")
    assert "try --device cpu" in called.sentence
    assert not run.exists()


def test_an_output_folder_that_cannot_be_used(call: Call, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # root may write into any folder, but not below a file
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    for place, named in (
        (tmp_path / "file" / "run", "cannot create"),
        (tmp_path / "file", "cannot create"),
        (tmp_path / "mine", "holds no run"),
        (trained, "holds another run; add --resume"),
    ):
        assert named in call("fit", "linear", "--data", XOR, "--out", place).sentence
    assert "cannot write" in call("data", "convert", XOR, tmp_path / "file" / "store").sentence
    assert "exists already" in call("data", "convert", XOR, tmp_path / "mine").sentence


def test_another_experiment_in_the_folder_to_resume(call: Call, trained: Path) -> None:
    words = ("fit", "late-fusion", "--data", "synthetic:xor?n=24", "--resume", "--out", trained)
    assert "was trained with options" in call(*words, "--set", "width=8").sentence


def test_evaluating_what_is_no_run_or_does_not_fit(call: Call, trained: Path, tmp_path: Path) -> None:
    assert "is not a run" in call("evaluate", tmp_path).sentence
    assert "is not a run" in call("evaluate", tmp_path / "none").sentence
    assert "extract the same features" in call("evaluate", trained, "--data", "synthetic:talk?n=20").sentence
    assert "does not exist" in call("evaluate", trained, "--data", "none.pkl").sentence
    assert "stress" in call("evaluate", trained, "--stress", "noise:snr=loud").sentence


def test_comparing_what_cannot_be_compared(call: Call, trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert call("fit", "linear", "--data", "synthetic:xor?n=100", "--out", other).code == 0
    assert call("evaluate", other).code == 0
    assert call("compare", trained, other).sentence
    assert "is not a run" in call("compare", trained, tmp_path).sentence
    copy = shutil.copytree(trained, tmp_path / "copy")
    assert "acuracy" in call("compare", trained, copy, "--metric", "acuracy").sentence
    assert "test_odd" in call("compare", trained, copy, "--split", "test_odd").sentence
    assert "runs" in call("compare").sentence


def test_describing_a_method_that_is_not_there(call: Call) -> None:
    assert "did you mean 'mmcl'" in call("methods", "mmlc").sentence


LIMITED = """
import json, os, resource, signal, sys, tempfile
import polymodal.train.run, polymodal.train.loop, torch.utils.tensorboard, datasets, pyarrow.parquet
from polymodal.cli.main import main

def limited(limit, words):
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if not child:
            os.dup2(printed.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            os._exit(main(words))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        printed.seek(0)
        return {"code": code, "lines": printed.read().decode().splitlines()}

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
print(json.dumps([limited(limit, words) for limit, words in json.loads(sys.argv[1])]))
"""
"""Runs commands in forks where no file may become larger than a limit: what a full disk does, without filling one."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk(trained: Path, tmp_path: Path) -> None:
    done = shutil.copytree(trained, tmp_path / "done")
    fit = ("fit", "late-fusion", "--data", XOR, "--epochs", "1", "--set", "width=4", "--out")
    commands: list[tuple[int, tuple[str, ...]]] = [
        (400, (*fit, str(tmp_path / "a"))),  # the description of the run does not fit
        (3000, (*fit, str(tmp_path / "b"))),  # the best weights
        (9000, (*fit, str(tmp_path / "c"))),  # the last checkpoint
        (400, ("evaluate", str(done))),
        (400, ("data", "convert", XOR, str(tmp_path / "store"))),
    ]
    command = [sys.executable, "-c", LIMITED, json.dumps(commands)]
    called = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert called.returncode == 0, called.stderr
    for (_, words), found in zip(commands, json.loads(called.stdout), strict=True):
        *progress, last = found["lines"]
        assert found["code"] == 1, words
        assert last.startswith("error: cannot write ")
        assert "free space" in last
        assert not any(line.startswith(("error", "Traceback")) for line in progress)
    assert not list(tmp_path.rglob("*.partial*"))
    assert not (tmp_path / "store").exists()
