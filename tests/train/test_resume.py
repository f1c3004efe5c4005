"""A run that was killed and resumed ends where an uninterrupted one ends, to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from polymodal import fit
from polymodal.core import RunError
from polymodal.train.checkpoint import load_checkpoint
from polymodal.train.loop import Trainer
from polymodal.train.run import Run

ALTERNATING = f"{Path(__file__).with_name('alternating.py')}:Alternating"
FAST = {"options": {"width": 4}, "epochs": 2, "batch_size": 8}

PARENT = """
import json, os, random, signal, sys, time
import polymodal.train.fit, polymodal.train.run, polymodal.train.loop, torch.utils.tensorboard
from polymodal.cli.main import main
from polymodal.methods import find_method

out, kills, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
find_method(words[1])
dice = random.Random(0)

def start(folder):
    child = os.fork()
    if not child:
        os._exit(main([*words, "--checkpoint-seconds", "0", "--resume", "--out", folder]))
    return child

def end(child):
    return os.waitpid(child, 0)[1]

began = time.monotonic()
assert end(start(out + "/whole")) == 0
whole = time.monotonic() - began
done, folders = 0, 0
while done < kills:
    folders += 1
    folder = f"{out}/killed-{folders}"
    for _ in range(3):
        child = start(folder)
        time.sleep(dice.uniform(0, 0.6 * whole))
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(end(child)):
            done += 1
    assert end(start(folder)) == 0
print(json.dumps({"kills": done, "folders": folders}))
"""
"""Trains in forks of one process that has imported everything, and kills them: a new interpreter takes seconds."""


def _lines(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def _result(folder: Path) -> dict[str, Any]:
    return {k: v for k, v in json.loads((folder / "result.json").read_text()).items() if k != "seconds"}


def _kill_and_compare(tmp_path: Path, kills: int, *words: str) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), str(kills), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["kills"] >= kills
    whole = tmp_path / "whole" / "seed-1111"
    for number in range(1, counts["folders"] + 1):
        resumed = tmp_path / f"killed-{number}" / "seed-1111"
        for file in ("best.safetensors", "last.safetensors"):
            assert (resumed / file).read_bytes() == (whole / file).read_bytes(), f"{resumed / file} differs"
        assert _lines(resumed) == _lines(whole)
        assert _result(resumed) == _result(whole)
        assert not list((tmp_path / f"killed-{number}").rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    data = "synthetic:unimodal?n=48"
    options = ("--set", "width=8", "--epochs", "5", "--batch-size", "8")
    _kill_and_compare(tmp_path, 3, "fit", "late-fusion", "--data", data, *options)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
@pytest.mark.parametrize("method", ["late-fusion", "mmcl"])
def test_twenty_kills_change_nothing(tmp_path: Path, method: str) -> None:
    options = ("--set", "width=8", "schedule=plateau", "patience=2", "--epochs", "5", "--batch-size", "8")
    _kill_and_compare(tmp_path, 20, "fit", method, "--data", "synthetic:xor?n=48&absent=0.2", *options)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
def test_ten_kills_of_alternating_updates_change_nothing(tmp_path: Path) -> None:
    options = ("--set", "accumulate=2", "optimizer=sgd", "--epochs", "5", "--batch-size", "4")
    _kill_and_compare(tmp_path, 10, "fit", ALTERNATING, "--data", "synthetic:unimodal?n=48", *options)


@pytest.mark.parametrize("stops", [(12,), (13, 14), (9, 23)])
def test_alternating_updates_resume_within_an_epoch_and_between_phases(
    tmp_path: Path, stop_after: Callable[[Sequence[int], Callable[[bool], object]], None], stops: tuple[int, ...]
) -> None:
    def start(name: str, resume: bool = False) -> Path:
        data, place = "synthetic:unimodal?n=24", tmp_path / name
        fit(ALTERNATING, data, epochs=5, batch_size=4, out=place, resume=resume, checkpoint_seconds=0)
        return place / "seed-1111"

    whole = start("whole")
    stop_after(stops, lambda resume: start("killed", resume))
    resumed = start("killed", resume=True)
    for file in ("best.safetensors", "last.safetensors"):
        assert (resumed / file).read_bytes() == (whole / file).read_bytes(), f"{file} differs"
    assert _lines(resumed) == _lines(whole)
    tensors, _ = load_checkpoint(resumed / "last.safetensors")
    assert tensors["buffer.memory"].shape[0] == 5  # of the third epoch of the second phase


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mug", "curriculum-wsmcl"])
def test_methods_in_phases_resume_within_epochs_and_between_phases(
    tmp_path: Path, stop_after: Callable[[Sequence[int], Callable[[bool], object]], None], method: str
) -> None:
    def start(name: str, resume: bool = False) -> Path:
        options, place = {"width": 8, "layers": 1, "pretrain": 0.25}, tmp_path / name
        data = "synthetic:talk?n=24&absent=0.2"
        fit(method, data, options=options, epochs=8, batch_size=4, out=place, resume=resume, checkpoint_seconds=0)
        return place / "seed-1111"

    whole = start("whole")
    stop_after((3, 13, 16, 29), lambda resume: start("killed", resume))
    resumed = start("killed", resume=True)
    for file in ("best.safetensors", "last.safetensors"):
        assert (resumed / file).read_bytes() == (whole / file).read_bytes(), f"{file} differs"
    assert _lines(resumed) == _lines(whole)


def _stop(monkeypatch: pytest.MonkeyPatch, epochs: int, start: Callable[[], Run]) -> None:
    """Train, but only ``epochs`` epochs."""
    finish = Trainer._finish_epoch

    def interrupted(self: Trainer, *arguments: Any) -> None:
        finish(self, *arguments)
        if self.at.epoch == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_finish_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start()


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that stopped after one of two epochs."""
    _stop(monkeypatch, 1, lambda: fit("late-fusion", "synthetic:unimodal?n=20", out=tmp_path / "run", **FAST))  # type: ignore[arg-type]
    assert not (tmp_path / "run/seed-1111/result.json").exists()
    return tmp_path / "run"


@pytest.mark.parametrize("method", ["self-mm", "mmim"])
def test_a_memory_of_samples_is_resumed_but_is_no_part_of_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    samples = 37

    def start(name: str, resume: bool = False) -> Run:
        data = f"synthetic:pair?n={samples}"
        return fit(method, data, epochs=3, batch_size=8, out=tmp_path / name, resume=resume)

    whole = start("whole").path / "seed-1111"
    _stop(monkeypatch, 2, lambda: start("killed"))
    resumed = start("killed", resume=True).path / "seed-1111"
    for file in ("best.safetensors", "last.safetensors"):
        assert (resumed / file).read_bytes() == (whole / file).read_bytes(), f"{file} differs"
    best, last = (load_checkpoint(whole / file)[0] for file in ("best.safetensors", "last.safetensors"))
    assert any(n.startswith("buffer.") and n.endswith((".memory", ".labels")) and t.any() for n, t in last.items())
    assert all(n.startswith("model.") and samples not in t.shape for n, t in best.items())
    assert not [n for n in best if n.removeprefix("model.") in {b.removeprefix("buffer.") for b in last}]


def _resume(folder: Path, data: str = "synthetic:unimodal?n=20", **changed: Any) -> Run:
    return fit("late-fusion", data, out=folder, resume=True, **(FAST | changed))  # type: ignore[arg-type]


def test_a_stopped_run_goes_on_and_is_not_repeated(stopped: Path) -> None:
    run = _resume(stopped)
    assert [line["epoch"] for line in _lines(stopped / "seed-1111")] == [1, 2]
    assert run.results()[1111]["epochs"] == 2


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"options": {"width": 6}}, "trained with options"),
        ({"epochs": 3}, "trained with recipe"),
        ({"seeds": (1, 2)}, "trained with seeds"),
        ({"data": "synthetic:unimodal?n=21"}, "with other content"),
    ],
)
def test_another_experiment_does_not_resume(stopped: Path, changed: dict[str, Any], named: str) -> None:
    with pytest.raises(RunError, match=named) as caught:
        _resume(stopped, **changed)
    assert "choose another --out" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_method_does_not_resume(stopped: Path) -> None:
    with pytest.raises(RunError, match="trained with method late-fusion, not early-fusion"):
        fit("early-fusion", "synthetic:unimodal?n=20", out=stopped, resume=True, **FAST)  # type: ignore[arg-type]


def test_options_that_json_writes_differently_are_still_the_same(tmp_path: Path) -> None:
    options = {"width": 4, "augmentations": ("jitter",)}
    for resume in (False, True):
        fit("mmcl", "synthetic:xor?n=20", options=options, epochs=1, out=tmp_path / "run", resume=resume)


def test_a_finished_run_that_is_resumed_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    fit("late-fusion", "synthetic:unimodal?n=20", out=folder, **FAST)  # type: ignore[arg-type]
    files = {p: p.stat().st_mtime_ns for p in (folder / "seed-1111").rglob("*") if p.is_file()}
    monkeypatch.setattr("polymodal.train.loop.Trainer.fit", lambda self: pytest.fail("trained again"))
    _resume(folder)
    assert {p: p.stat().st_mtime_ns for p in (folder / "seed-1111").rglob("*") if p.is_file()} == files


def test_resuming_where_nothing_is_simply_starts(tmp_path: Path) -> None:
    assert _resume(tmp_path / "run").seeds == [1111]


def test_a_folder_with_half_a_first_file_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.partial").write_text("{")
    assert _resume(tmp_path / "run").seeds == [1111]
    assert [p.name for p in (tmp_path / "run").glob(".*")] == [".lock"]


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "half a checkpoint": lambda folder: _cut(folder / "seed-1111/last.safetensors"),
    "an empty checkpoint": lambda folder: (folder / "seed-1111/last.safetensors").write_bytes(b""),
    "another file as checkpoint": lambda folder: os.replace(
        folder / "seed-1111/best.safetensors", folder / "seed-1111/last.safetensors"
    ),
    "half a run.json": lambda folder: _cut(folder / "run.json"),
    "an empty run.json": lambda folder: (folder / "run.json").write_text("{}"),
    "a list as run.json": lambda folder: (folder / "run.json").write_text("[]"),
}


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_a_damaged_run_does_not_resume_and_says_so(stopped: Path, name: str) -> None:
    DAMAGES[name](stopped)
    with pytest.raises(RunError, match="train the run again") as caught:
        _resume(stopped)
    assert "\n" not in str(caught.value)
    assert str(stopped) in str(caught.value)


def test_metrics_written_after_the_checkpoint_are_forgotten(stopped: Path) -> None:
    with (stopped / "seed-1111/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lost": true}\n{"epo')
    _resume(stopped)
    assert [line["epoch"] for line in _lines(stopped / "seed-1111")] == [1, 2]
    assert not any("lost" in line for line in _lines(stopped / "seed-1111"))
