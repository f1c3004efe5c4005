"""Data sets of a hub become corpora: by their columns, at a commit, and with a sentence where they cannot."""

from __future__ import annotations

import csv
import wave
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from polymodal.core import DataError, OptionError
from polymodal.data.sources import load_corpus
from polymodal.data.tabular import hub as module
from polymodal.media.folder.hub import fetched
from polymodal.media.folder.manifest import read_manifest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_columns_become_modalities_targets_and_groups(disk: Path) -> None:
    corpus = load_corpus(f"hf:{disk}?vision=face&label=emotion,arousal")
    assert [(m.name, m.kind, m.width) for m in corpus.schema.modalities] == [
        ("text", "text", 0),
        ("vision", "sequence", 4),
        ("still", "vector", 3),
    ]
    emotion, arousal = corpus.schema.targets
    assert (emotion.task, emotion.classes) == ("classification", ("anger", "fear", "joy"))
    assert (arousal.task, arousal.range) == ("regression", (0.0, 1.0))
    test = corpus["test"]
    assert [emotion.classes[c] for c in test.targets["emotion"][:3]] == ["joy", "fear", "anger"]
    np.testing.assert_allclose(test.targets["arousal"], np.arange(12) / 12, rtol=1e-6)
    assert test.present["vision"].tolist() == [False, *[True] * 11]
    assert test.groups[:5] == ["s100"] * 4 + ["s101"]
    assert corpus["train"].columns["text"][0].startswith("word")
    assert not set(corpus["train"].groups) & set(corpus["valid"].groups), "valid is whole speakers of train"
    assert len(corpus["train"]) + len(corpus["valid"]) == 24
    notes = " ".join(corpus.notes)
    assert np.isnan(corpus["contest"].targets["emotion"]).all() or (corpus["contest"].targets["emotion"] == -1).all()
    assert f"sound left out: polymodal extract 'hf:{disk}'" in notes


def test_a_split_whose_labels_are_hidden_is_left_out(disk: Path) -> None:
    corpus = load_corpus(f"hf:{disk}")
    assert set(corpus.splits) == {"train", "valid", "test"}
    assert "contest left out: no labels there" in corpus.notes


def test_one_split_is_divided_by_groups(parquet: Path) -> None:
    corpus = load_corpus(f"hf:{parquet}")
    assert set(corpus.splits) == {"train", "valid", "test"}
    groups = [set(split.groups) for split in corpus.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6
    assert load_corpus(f"hf:{parquet}?held_out=1/3").splits.keys() == corpus.splits.keys()
    assert set(load_corpus(f"hf:{parquet}?split=train:test2&label=emotion").splits) == {"train", "valid", "test"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?text=words", "no column 'words'"),
        ("?audio=sound", "has a column 'sound', which is sound or video (available: face, still)"),
        ("?split=dev", "has no split 'dev' (available: contest, test, train)"),
        ("?split=train,test:train", "two splits are both 'train' to us"),
        ("?label=mood", "has no column 'mood'"),
        ("?label=arousal&range=0,0.5", "row 14: arousal is 0.541667, outside range=0,0.5"),
        ("?label=sentence", "choose another column with label="),
    ],
)
def test_what_is_not_there_is_named_with_what_is(disk: Path, query: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        load_corpus(f"hf:{disk}{query}")
    assert said in str(caught.value)


def test_a_damaged_download_is_one_sentence(parquet: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    whole = next(parquet.rglob("*.parquet")).read_bytes()
    (tmp_path / "data/train-00000-of-00001.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read as a data set"):
        load_corpus(f"hf:{tmp_path}")
    with pytest.raises(DataError, match=r"BuilderConfig 'german' not found.*choose with config=NAME"):
        load_corpus(f"hf:{parquet}?config=german")


def test_ids_that_count_anew_in_every_dialogue_are_told_apart_by_it(tmp_path: Path) -> None:
    import datasets

    parts = {}
    for name in ("train", "validation", "test"):
        rows = [(f"line {d} {u} of {name}", ("sad", "glad")[d % 2], d, u) for d in range(4) for u in range(2)]
        columns = dict(
            zip(("Utterance", "Emotion", "Dialogue_ID", "Utterance_ID"), zip(*rows, strict=True), strict=True)
        )
        parts[name] = datasets.Dataset.from_dict(columns)
    datasets.DatasetDict(parts).save_to_disk(tmp_path)
    corpus = load_corpus(f"hf:{tmp_path}?text=Utterance")
    assert corpus["train"].ids[:3] == ["train-0-0", "train-0-1", "train-1-0"]
    assert load_corpus(f"hf:{tmp_path}?text=Utterance&group=none")["test"].ids[-1] == "test-24"
    with pytest.raises(DataError, match="appears twice"):
        load_corpus(f"hf:{tmp_path}?text=Utterance&id=Dialogue_ID")


class Api:
    """A hub whose branch ``main`` is at ``COMMIT``."""

    def dataset_info(self, name: str, revision: str | None) -> Any:
        response = type("Response", (), {"headers": {}, "request": None, "status_code": 404})()
        if name != "owner/moods":
            raise RepositoryNotFoundError("404", response=response)
        if revision not in (None, "main", COMMIT):
            raise RevisionNotFoundError("404", response=response)
        return type("Info", (), {"sha": COMMIT})()


def test_a_revision_is_pinned_and_a_wrong_one_refused(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load(name: str, config: str | None, revision: str | None) -> Any:
        asked.append((name, config, revision))
        return datasets.load_from_disk(disk)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(datasets, "load_dataset", load)
    corpus = load_corpus("hf:owner/moods@main?config=small&modalities=text")
    assert asked == [("owner/moods", "small", COMMIT)]
    assert corpus.source == f"hf:owner/moods@{COMMIT}?config=small&modalities=text"
    assert load_corpus(corpus.source).hash == corpus.hash
    with pytest.raises(DataError, match="has no revision 'v9'"):
        load_corpus("hf:owner/moods@v9")
    with pytest.raises(DataError, match="nor a data set owner/other on the hub"):
        load_corpus("hf:owner/other")


def test_without_a_network_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    with pytest.raises(DataError, match=r"cannot be reached.*hf download owner/moods"):
        load_corpus("hf:owner/moods")
    assert module._pinned(f"owner/moods@{COMMIT}") == ("owner/moods", COMMIT)


def test_sound_becomes_clips_with_a_table(disk: Path) -> None:
    source, folder = fetched(f"hf:{disk}?split=train,test")
    assert source == f"hf:{disk}?split=train,test"
    with wave.open(str(folder / "clips/test-3.wav")) as clip:
        heard = np.frombuffer(clip.readframes(16000), "<i2")
    assert np.abs(np.fft.rfft(heard)).argmax() == 203, "row 3 is a second of 203 Hz"
    with (folder / "clips.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 36
    assert float(rows[25].pop("arousal")) == pytest.approx(1 / 12)
    assert rows[25] == {
        "clip": "clips/test-1.wav",
        "sentence": "word 101",
        "speaker": "s100",
        "emotion": "fear",
        "split": "test",
    }
    before = (folder / "clips.csv").stat().st_mtime_ns
    assert fetched(source)[1] == folder
    assert (folder / "clips.csv").stat().st_mtime_ns == before, "what is there is not fetched again"
    manifest = read_manifest(f"hf:{disk}?split=train,test", targets=["arousal"])
    assert (manifest.name, manifest.source) == ("moods", source)
    assert {row.split for row in manifest.rows} == {"train", "valid", "test"}
    assert (manifest.rows[0].speaker, manifest.targets[0].name) == ("s0", "arousal")


def test_what_has_no_clips_is_refused(disk: Path) -> None:
    with pytest.raises(DataError, match="has a column 'face', which is numbers"):
        fetched(f"hf:{disk}?clip=face")
    with pytest.raises(OptionError, match="no option 'colour'"):
        fetched(f"hf:{disk}?colour=red")
