"""Stores: everything comes back, nothing is read before it is needed, half a store never exists."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest

from polymodal.core import DataError, Modality, Schema, Target
from polymodal.core.records import sealed
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.ragged import Ragged
from polymodal.data.sources import load_corpus
from polymodal.data.split import build_split
from polymodal.data.store import is_store, read_store, write_store

TARGETS = (
    Target("sentiment", "regression", (-3.0, 3.0)),
    Target("emotion", "classification", classes=("joy", "fear", "calm")),
    Target("tags", "multilabel", classes=("ironic", "loud")),
    Target("sentiment_audio", "regression", (-1.0, 1.0), modality="audio"),
)
SCHEMA = Schema((Modality("text", "text"), Modality("audio", "sequence", 3), Modality("face", "vector", 2)), TARGETS)


def _corpus() -> Corpus:
    rng = np.random.default_rng(0)
    splits = {}
    for split, rows in {"train": 9, "valid": 3, "test": 4, "test_ood": 2}.items():
        audio = [rng.standard_normal((n, 3)) for n in rng.integers(0, 6, rows)]
        columns = {
            "text": [f"words with ünicode {i}" if i % 3 else None for i in range(rows)],
            "audio": audio,
            "face": [rng.standard_normal(2) if i % 4 else None for i in range(rows)],
        }
        labels = {
            "sentiment": rng.uniform(-3, 3, rows),
            "emotion": rng.integers(0, 3, rows),
            "tags": rng.integers(0, 2, (rows, 2)),
            "sentiment_audio": rng.uniform(-1, 1, rows),
        }
        ids = [f"{split}-{i}" for i in range(rows)]
        splits[split] = build_split(SCHEMA, ids, columns, labels, [f"video {i // 2}" for i in range(rows)])
    return Corpus("made", "made:corpus", SCHEMA, splits, ("a note",))


def test_a_store_gives_back_the_whole_corpus(tmp_path: Path) -> None:
    corpus = _corpus()
    stored = read_store(write_store(corpus, tmp_path / "store"))
    assert (stored.schema, stored.name, stored.notes) == (corpus.schema, corpus.name, corpus.notes)
    assert list(stored.splits) == list(corpus.splits)
    for name, split in corpus.splits.items():
        other = stored[name]
        assert list(other.ids) == list(split.ids)
        assert list(other.groups) == list(split.groups)
        assert list(other.columns["text"]) == list(split.columns["text"])
        for target in SCHEMA.targets:
            assert other.targets[target.name].dtype == split.targets[target.name].dtype
            assert np.array_equal(other.targets[target.name], split.targets[target.name])
        for modality in ("audio", "face"):
            there, here = other.columns[modality], split.columns[modality]
            assert isinstance(there, Ragged)
            assert isinstance(here, Ragged)
            assert there.lengths.tolist() == here.lengths.tolist()
            assert all(np.array_equal(there[i], here[i]) for i in range(len(split)))
            assert other.present[modality].tolist() == split.present[modality].tolist()


def test_a_store_keeps_hash_and_statistics(tmp_path: Path) -> None:
    corpus = _corpus()
    stored = read_store(write_store(corpus, tmp_path / "store"))
    assert stored.hash == corpus.hash
    assert stored.normalizer.to_dict() == corpus.normalizer.to_dict()
    recomputed = replace(stored, stored_hash=None, stored_normalizer=None)
    assert recomputed.hash == corpus.hash
    assert recomputed.normalizer.to_dict() == corpus.normalizer.to_dict()


def test_a_store_of_a_store_is_the_same(tmp_path: Path) -> None:
    once = read_store(write_store(_corpus(), tmp_path / "one"))
    twice = read_store(write_store(once, tmp_path / "two"))
    assert replace(twice, stored_hash=None).hash == once.hash


def test_a_corpus_of_parts_of_larger_buffers_is_stored_whole(tmp_path: Path) -> None:
    corpus = _corpus()
    column = corpus["train"].columns["audio"]
    assert isinstance(column, Ragged)
    (values, offsets) = column.chunks[0]
    parts = Ragged([(values, offsets[:4]), (values, offsets[3:])])
    train = replace(corpus["train"], columns={**corpus["train"].columns, "audio": parts})
    stored = read_store(write_store(corpus.with_split("train", train), tmp_path / "store"))
    assert replace(stored, stored_hash=None).hash == corpus.hash


def test_a_source_that_is_a_store_is_opened_and_batches_are_equal(tmp_path: Path) -> None:
    corpus = load_corpus("synthetic:pair?n=30&absent=0.2")
    stored = load_corpus(write_store(corpus, tmp_path / "store"))
    assert stored.hash == corpus.hash
    for one, other in zip(
        *(Loader(c["train"], c.schema, 8, normalizer=c.normalizer, shuffle=True).epoch() for c in (corpus, stored)),
        strict=True,
    ):
        assert one.ids == other.ids
        assert one["text"].texts == other["text"].texts
        assert one["audio"].tensor.equal(other["audio"].tensor)


def test_datasets_opens_a_store(tmp_path: Path) -> None:
    corpus = _corpus()
    tables = datasets.load_from_disk(str(write_store(corpus, tmp_path / "store")))
    assert set(tables) == set(corpus.splits)
    row = tables["train"][1]
    assert (row["id"], row["text"], row["group"]) == ("train-1", "words with ünicode 1", "video 0")
    column = corpus["train"].columns["audio"]
    assert isinstance(column, Ragged)
    assert np.allclose(np.reshape(row["audio"], (-1, 3)), column[1])


def _resident() -> int:
    """Bytes of memory that are not shared with a file, of this process."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_opening_a_store_does_not_read_its_features_into_memory(tmp_path: Path) -> None:
    schema = Schema((Modality("audio", "sequence", 64),), (TARGETS[0],))
    rows = [np.ones((1000, 64), np.float32) for _ in range(200)]
    split = build_split(schema, [str(i) for i in range(200)], {"audio": rows}, {"sentiment": np.zeros(200)})
    size = 200 * 1000 * 64 * 4
    folder = write_store(Corpus("big", "made:big", schema, {"train": split}), tmp_path / "store")
    del rows, split
    before = _resident()
    stored = read_store(folder)
    _ = stored.hash, stored.normalizer
    column = stored["train"].columns["audio"]
    assert isinstance(column, Ragged)
    assert column[199].sum() == 64_000
    assert _resident() - before < size / 4
    assert not any(values.flags.owndata for values, _ in column.chunks)
    assert not any(values.flags.writeable for values, _ in column.chunks)


def test_an_existing_destination_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="exists already"):
        write_store(_corpus(), tmp_path / "store")
    assert (tmp_path / "store" / "mine.txt").read_text() == "keep"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text = Path.write_text

    def full(self: Path, *args: str) -> int:
        if self.name == "polymodal.json":
            raise OSError(28, "No space left on device")
        return write_text(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(DataError, match="No space left on device; free space"):
            write_store(_corpus(), tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
    assert is_store(write_store(_corpus(), tmp_path / "store"))


@pytest.mark.parametrize("name", ["id", "group", "domain"])
def test_a_modality_with_the_name_of_a_column_of_stores_is_refused(tmp_path: Path, name: str) -> None:
    schema = Schema((Modality(name, "vector", 2),), TARGETS[:1])
    split = build_split(schema, ["a", "b"], {name: np.ones((2, 2))}, {"sentiment": [0.0, 1.0]})
    with pytest.raises(DataError, match=f"modality {name!r} is called as a column"):
        write_store(Corpus("made", "made:corpus", schema, {"train": split}), tmp_path / "store")


def test_a_destination_below_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*file/store"):
        write_store(_corpus(), tmp_path / "file" / "store")


def test_a_folder_that_is_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="polymodal data convert"):
        read_store(tmp_path)


def _cut(folder: Path) -> None:
    for file in folder.rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _drop_tables(folder: Path) -> None:
    next(folder.rglob("train/*.arrow")).unlink()


def _other_schema(folder: Path) -> None:
    about = json.loads((folder / "polymodal.json").read_text())
    about["schema"]["modalities"][1]["name"] = "video"
    (folder / "polymodal.json").write_text(json.dumps(sealed(about)))


def _no_statistics(folder: Path) -> None:
    about = json.loads((folder / "polymodal.json").read_text())
    del about["normalizer"]
    (folder / "polymodal.json").write_text(json.dumps(sealed(about)))


DAMAGES = {
    "a description without statistics": _no_statistics,
    "half of every file": _cut,
    "no table of a split": _drop_tables,
    "a modality that is not stored": _other_schema,
    "half a description": lambda f: (f / "polymodal.json").write_text((f / "polymodal.json").read_text()[:90]),
    "a description that is a list": lambda f: (f / "polymodal.json").write_text("[1]"),
    "an empty description": lambda f: (f / "polymodal.json").write_text("{}"),
    "garbage in a table": lambda f: next(f.rglob("train/*.arrow")).write_bytes(b"garbage" * 100),
}


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_a_damaged_store_is_one_sentence(tmp_path: Path, name: str) -> None:
    folder = write_store(_corpus(), tmp_path / "store")
    DAMAGES[name](folder)
    with pytest.raises(DataError, match=r"convert the corpus again") as caught:
        read_store(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_store_that_names_a_task_of_its_own_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_store(load_corpus("synthetic:vectors?n=20"), tmp_path / "store")
    marker, task = tmp_path / "ran", tmp_path / "evil.py"
    task.write_text(f"open({str(marker)!r}, 'w').close()")
    about = json.loads((folder / "polymodal.json").read_text())
    about["schema"]["targets"][0]["task"] = f"{task}:Evil"
    (folder / "polymodal.json").write_text(json.dumps(sealed(about)))
    with pytest.raises(
        DataError, match="code that does not come with polymodal; if you trust it, set POLYMODAL_TASKS="
    ):
        read_store(folder)
    assert not marker.exists()
