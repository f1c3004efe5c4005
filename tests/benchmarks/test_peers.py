"""The comparison with MMSA, without MMSA: its data, its settings, its tables."""

from __future__ import annotations

import pickle
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from polymodal.data.sources import load_corpus
from polymodal.methods import build, find_method

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"
TINY = {"train": 24, "valid": 4, "test": 4}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module


@pytest.fixture
def maker(load) -> ModuleType:
    return load("pickle_like_mosi")


@pytest.fixture
def files(maker: ModuleType, tmp_path: Path) -> Path:
    maker.write_pickles(tmp_path, TINY)
    return tmp_path


def test_the_pickle_is_the_same_for_the_same_seed_and_another_for_another(maker):
    first, again, other = (maker.make_corpus(TINY, seed) for seed in (0, 0, 1))
    assert pickle.dumps(first) == pickle.dumps(again)
    assert not np.array_equal(first["train"]["audio"], other["train"]["audio"])


def test_arrays_have_the_shapes_of_mosi_and_zeros_behind_the_true_length(maker):
    split = maker.make_corpus(TINY)["train"]
    assert [split[n].shape[1:] for n in ("text", "audio", "vision")] == [(50, 768), (375, 5), (500, 20)]
    tokens = split["text_bert"][:, 1].sum(1).astype(int)
    assert tokens[0] == 50
    assert ((tokens[1:] >= 6) & (tokens[1:] <= 49)).all()
    for name, lengths in maker.lengths_of(tokens).items():
        real = np.arange(split[name].shape[1]) < lengths[:, None]
        assert split[name].any(axis=2)[real].all()
        assert not split[name][~real].any()
    assert [len(text.split()) + 2 for text in split["raw_text"]] == tokens.tolist()


def test_the_label_can_be_read_from_means_over_true_steps(maker):
    split = maker.make_split(400, np.random.default_rng(3), "train")
    lengths = maker.lengths_of(split["text_bert"][:, 1].sum(1))
    found = [split[n].sum(1) / lengths[n][:, None] @ d for n, d in maker.directions().items()]
    inputs = np.stack([*found, np.ones(400)], axis=1)
    weights, *_ = np.linalg.lstsq(inputs, split["regression_labels"], rcond=None)
    assert np.corrcoef(inputs @ weights, split["regression_labels"])[0, 1] > 0.85
    assert abs(np.corrcoef(lengths["text"], split["regression_labels"])[0, 1]) < 0.15


@pytest.mark.parametrize("name", ["aligned", "unaligned"])
def test_our_reader_finds_the_true_lengths_of_both_pickles(files, maker, name):
    corpus = load_corpus(files / f"{name}.pkl")
    columns = corpus["train"].columns
    tokens = columns["text"].lengths
    expected = maker.lengths_of(tokens) if name == "unaligned" else dict.fromkeys(columns, tokens)
    assert {n: c.lengths.tolist() for n, c in columns.items()} == {n: v.tolist() for n, v in expected.items()}


def test_aligned_frames_are_the_means_of_the_words_frames(maker):
    split = maker.make_corpus(TINY)["train"]
    frames, words = split["vision"], maker.align(split)["vision"]
    assert np.allclose(words[0, 3], frames[0, 30:40].mean(0), atol=1e-6)


def test_our_sizes_are_mmsas_but_for_what_the_table_explains(load, files):
    rows = load("rows").ROWS
    explained = {"tfn": 2, "ef_lstm": 100, "graph_mfn": -208_656, "mfm": 45_313}
    for name, row in rows.items():
        if row.text == "features":
            schema = load_corpus(files / f"{row.data}.pkl").schema
            size = sum(p.numel() for p in build(find_method(row.ours), schema, row.options).parameters())
            assert row.count - size == explained.get(name, 0), name


def measured(seconds: float, parameters: int = 10) -> dict[str, Any]:
    return {"seconds": seconds, "parameters": parameters, "loaded_mib": 5, "peak_mib": 8, "now_mib": [6, 7]}


MACHINE = {
    "date": "2026-01-01",
    "clock": "10:00",
    "cores": 2,
    "threads": 2,
    "memory_gib": 8,
    "processor": "x",
    "torch": "2",
    "load_before": 0.1,
}


def test_the_tables_show_ratios_aims_differences_and_machines(load):
    tables = load("tables")
    row = {"theirs": measured(6.0, 12), "padded": measured(3.0), "bucketed": measured(1.5), "machine": MACHINE}
    text = tables.report({"lmf": row, "load/lmf": row})
    assert "| lmf (unaligned, batch 64, epoch) | 6.00 | 3.00 | 1.50 | 2.00x | 4.00x | 3x: yes |" in text
    assert "| lmf | 12 | 10 | -2 | the same |" in text
    assert "| unaligned, text as features | 6.00 | 3.00 | 1.50 | 4.0x |" in text
    assert "2026-01-01 (UTC), 2 of 2 cores" in text


def test_scores_are_means_and_deviations_over_seeds(load):
    seeds = [{"mae": 1.0, "corr": 0.5}, {"mae": 2.0, "corr": 0.7}]
    row = {"theirs": seeds, "bucketed": seeds, "padded": seeds, "machine": MACHINE}
    assert "1.500 ± 0.500" in load("tables").scores({"score/lmf": row})


def test_a_worker_times_the_unit_between_two_turns(load, monkeypatch, capfd):
    import io
    import json

    gate = load("gate")
    monkeypatch.setattr("sys.stdin", io.StringIO("go\ngo\n"))
    with monkeypatch.context() as patch:
        patch.setattr("os.dup2", lambda *_: None)
        worker = gate.Gate()
        worker.turn()
        worker.mark()
        worker.mark()
        worker.turn()
        with pytest.raises(gate.Stopped):
            worker.turn()
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert len(first["steps"]) == 2
    assert sum(first["steps"]) <= first["seconds"] + 1e-3
    assert second["steps"] == []
