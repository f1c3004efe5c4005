from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pickle_bombs import BOMBS, PROTO, STOP, doubled

from polymodal.data.pickles import read_pickle

MEGABYTES = 200
_READER = """
import json, os, resource, signal, sys, time
from polymodal.core import DataError
from polymodal.data.pickles import read_pickle

resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
for path in sys.argv[1:]:
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_VIRTUAL, 10)  # of computing: the machine may be busy
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            told = f"read: {type(read_pickle(path)).__name__}"
        except DataError as error:
            told = str(error)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        os.write(sink, json.dumps([told, grown]).encode())
        os._exit(0)
    os.close(sink)
    said = os.read(source, 65536).decode() or json.dumps(["killed", 0])
    os.close(source)
    os.waitpid(child, 0)
    print(said, flush=True)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float, Path]]:
    """Bomb -> what reading it said, by how many MB the memory grew, and the file; a process for each."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = {label: folder / f"{number}.pkl" for number, label in enumerate(BOMBS)}
    for label, path in paths.items():
        path.write_bytes(BOMBS[label][0])
    command = [sys.executable, "-c", _READER, *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {label: (*said, path) for (label, path), said in zip(paths.items(), found, strict=True)}


@pytest.mark.parametrize("label", BOMBS)
def test_a_bomb_is_refused_at_once_in_one_sentence(told: dict[str, tuple[str, float, Path]], label: str) -> None:
    sentence, grown, path = told[label]
    assert sentence != "killed", "it computed for more than ten seconds, or the process died"
    assert not sentence.startswith("read"), sentence
    assert str(path) in sentence
    assert BOMBS[label][1] in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400
    assert grown < MEGABYTES


def _layout() -> dict[str, Any]:
    """What files of the field hold, with what they share."""
    rng = np.random.default_rng(0)
    absent = np.zeros((50, 35), np.float32)  # one array for every sample without a face
    rows = [rng.standard_normal((50, 35)).astype(np.float32) if i % 4 else absent for i in range(200)]
    words = np.array([["a", "b"], ["c"]], dtype=object)
    return {
        "train": {
            "vision": np.array([*rows, None], dtype=object)[:-1],
            "words": words,
            "id": [f"v{i}" for i in range(200)],
            "by": {("v", 1): 1.0, (2, "w", None): 2.0, 3: {4}, b"k": frozenset([1.5])},
            "none": np.zeros((0, 50, 768), np.float32),
            "labels": [[1, 0, 1, 0]] * 200,
        }
    }


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_shared_by_a_corpus_is_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(_layout(), protocol))
    train, wanted = read_pickle(path)["train"], _layout()["train"]
    assert all(np.array_equal(a, b) for a, b in zip(train["vision"], wanted["vision"], strict=True))
    assert train["vision"][0] is train["vision"][4]
    assert train["by"] == wanted["by"]
    assert train["words"].tolist() == wanted["words"].tolist()
    assert train["none"].shape == (0, 50, 768)


def test_small_values_in_great_number_are_read(tmp_path: Path) -> None:
    content = [(["some", "words", f"w{i}"], [float(i)] * 20, f"id{i}") for i in range(3_000)]
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content, 2))
    assert read_pickle(path) == content


def test_a_tuple_of_two_of_itself_is_fine_while_it_is_small(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(PROTO + doubled(10) + STOP)
    value = read_pickle(path)
    assert value[0] is value[1]
