"""Locks, signals, special files, names and outputs: told at once, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal import Predictor, Run
from polymodal.bench.plan import BenchPlan, EntryPlan
from polymodal.core import DataError, OptionError, RunError
from polymodal.core.locks import locked, one_writer
from polymodal.data.processes import Processes, joined_cluster
from polymodal.data.sources import load_corpus
from polymodal.media.words.transcripts import read_transcript
from polymodal.train.compare import PairedTest
from polymodal.train.fit import fit

Call = Callable[..., Any]
XOR = "synthetic:xor?n=20"


@pytest.mark.parametrize("name", ["a.pkl", "a.csv", "a.yaml", "a.srt"])
def test_a_pipe_is_refused_not_waited_for(tmp_path: Path, call: Call, name: str) -> None:
    pipe = tmp_path / name
    os.mkfifo(pipe)
    ways: dict[str, Callable[[], object]] = {
        ".pkl": lambda: load_corpus(pipe),
        ".srt": lambda: read_transcript(pipe),
        ".yaml": lambda: call("bench", pipe, "--out", tmp_path / "b"),
        ".csv": lambda: call("extract", pipe, "--out", tmp_path / "s"),
    }
    if pipe.suffix in (".pkl", ".srt"):
        with pytest.raises(DataError, match="is a pipe, a socket or a device"):
            ways[pipe.suffix]()
    else:
        assert "is a pipe, a socket or a device" in ways[pipe.suffix]().sentence  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["a/../../b", "..", ".hidden", "", "a\\b"])
def test_a_corpus_whose_name_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(OptionError, match="is to name files"):
        BenchPlan("board", (EntryPlan("linear", "linear"),), {name: (XOR,)})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--plot", "x.docx"), "--plot x.docx must end in .png, .svg, .pdf"),
        (("--html", "."), "--html . is a folder"),
        (("--plot", "/"), "--plot / must end in"),
        (("--out", f"{__file__}/new"), "is a file; name another folder"),
    ],
)
def test_outputs_are_checked_before_the_run_is_even_looked_for(call: Call, words: tuple[str, ...], said: str) -> None:
    assert said in call("predict", "runs/none", "a.wav", *words).sentence


def test_equal_runs_are_not_better() -> None:
    sentence = PairedTest("b", "a", "mae", False, 0.0, float("nan"), float("nan"), 1.0, 4, 1.0).sentence
    assert sentence.endswith(": no difference")


def test_two_fits_do_not_write_into_one_folder(tmp_path: Path) -> None:
    run = fit("linear", XOR, out=tmp_path / "run")
    with locked(run.path / ".lock"), pytest.raises(RunError, match=r"another process fits .*, or choose another --out"):
        fit("linear", XOR, out=tmp_path / "run", resume=True)
    fit("linear", XOR, out=tmp_path / "run", resume=True)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_evaluation_or_audit_does_not_write_beside_another_process_and_readers_are_free(
    trained: Path, tmp_path: Path, call: Call
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before, loaded = _content(run), Run.load(run)
    with locked(run / ".lock"):
        for words in (["evaluate", run], ["evaluate", run, "--stress", "missing:rate=0.3"], ["audit", run]):
            assert call(*words).sentence == f"error: another process fits or evaluates {run}; wait for it"
        assert call("compare", run, trained).code == 0
        assert Predictor.load(run).predict_features([{"audio": np.zeros((2, loaded.schema.modality("audio").width))}])
    assert _content(run) == before


def test_an_evaluation_and_its_report_are_one_piece_of_work(
    trained: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    said: list[str] = []

    def other_process(folder: Path, **rest: Any) -> Path:
        with pytest.raises(RunError, match="another process") as refused, locked(run / ".lock", busy="another process"):
            pass
        said.append(str(refused.value))
        return folder

    monkeypatch.setattr("polymodal.report.write_report", other_process)
    assert call("evaluate", run).code == 0
    assert said == ["another process"]


def test_another_thread_is_another_writer(tmp_path: Path) -> None:
    said: list[str] = []

    def other() -> None:
        with pytest.raises(RunError) as refused, one_writer(tmp_path):
            pass
        said.append(str(refused.value))

    with one_writer(tmp_path), one_writer(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert said == [f"another process fits or evaluates {tmp_path}; wait for it"]


def test_two_conversions_do_not_make_one_store(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    left = tmp_path / ".store.partial-1"
    (left / "train").mkdir(parents=True)
    seen: list[str] = []
    load = load_corpus

    def beside(source: str) -> Any:
        monkeypatch.setattr("polymodal.data.sources.load_corpus", load)
        seen.append(call("data", "convert", XOR, store).sentence)
        return load(source)

    monkeypatch.setattr("polymodal.data.sources.load_corpus", beside)
    assert call("data", "convert", XOR, store).code == 0
    assert seen == [f"error: another process makes {store}; wait for it, or choose another folder"]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    for taken in (store, "."):
        assert "exists already" in call("data", "convert", "nowhere.pkl", taken).sentence


def test_a_cluster_that_is_nowhere_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    with (
        pytest.raises(OptionError, match=f"no Ray cluster at 'ray://127.0.0.1:{port}'"),
        joined_cluster(1, f"ray://127.0.0.1:{port}"),
    ):
        pass
    assert time.monotonic() - began < 20


def _hang(_: int) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    time.sleep(60)
    return 0


def _interrupted(seen: list[int | None]) -> None:
    """Be interrupted while a worker, whose id goes into ``seen``, hangs."""
    with Processes(_hang, 1, 0) as pool:
        pool.submit(_hang, 0)
        time.sleep(1)
        seen += [p.pid for p in (pool._pool._processes or {}).values()]
        raise KeyboardInterrupt


def test_workers_end_at_once_with_an_error() -> None:
    seen: list[int | None] = []
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _interrupted(seen)
    assert time.monotonic() - began < 4
    assert seen[0]
    for pid in filter(None, seen):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


SCRIPT = """
import torch
from polymodal.data.processes import Processes

def threads(_):
    return torch.get_num_threads()

if __name__ == "__main__":
    torch.set_num_threads(3)
    with Processes(threads, 1, 0, threads=2) as pool:
        print([found for _, found in pool.run([0])])
"""


def test_workers_of_a_script_that_has_torch_already_are_modest_too(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    environment = {n: v for n, v in os.environ.items() if not n.endswith("_NUM_THREADS")} | {"OMP_NUM_THREADS": "4"}
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=True)
    assert said.stdout.strip() == "[2]"


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_with_one_sentence(tmp_path: Path, sign: signal.Signals) -> None:
    command = [sys.executable, "-m", "polymodal", "fit", "mmcl", "--data", "synthetic:talk", "--epochs", "500"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    said: list[str] = []
    assert process.stderr is not None
    lines = process.stderr
    threading.Thread(target=lambda: said.extend(lines), daemon=True).start()
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "run.json").is_file():
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(sign)
    assert process.wait(timeout=5) == {signal.SIGTERM: 143, signal.SIGINT: 130}[sign]
    time.sleep(0.2)
    assert said[-1].startswith("stopped; the same command goes on")


def test_threads_of_a_cell_do_not_depend_on_how_many_work_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    from polymodal.bench import run

    asked = []

    class Fake:
        def __init__(self, function: object, workers: int, died: object, threads: int = 1, **rest: object) -> None:
            asked.append((workers, threads))

        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def run(self, tasks: list[int]) -> list[tuple[int, int]]:
            return [(task, task) for task in tasks]

    monkeypatch.setattr(run, "Processes", Fake)
    for workers in (1, 2, 4):
        list(run._all(abs, [1, 2, 3, 4], workers, None, lambda error: 0, "", lambda task, result: ""))
    assert asked == [(1, 1), (2, 1), (4, 1)]
