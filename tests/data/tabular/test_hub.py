"""Data sets of a hub become corpora: by their columns, at a commit, and with a sentence where they cannot."""

from __future__ import annotations

import csv
import wave
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from polymodal.core import DataError, OptionError
from polymodal.data.corpus import Corpus
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


def test_a_data_set_without_anything_is_one_sentence(tmp_path: Path) -> None:
    datasets.DatasetDict({}).save_to_disk(tmp_path / "empty")
    with pytest.raises(DataError, match="has no splits"):
        load_corpus(f"hf:{tmp_path / 'empty'}")
    with pytest.raises(DataError, match="a split without rows cannot be read"):
        load_corpus(kept(tmp_path / "rows", text=[], label=[]))
    (tmp_path / "empty/dataset_dict.json").write_text("[]")
    with pytest.raises(DataError, match=r"cannot be read as a data set.*check that the download is whole"):
        load_corpus(f"hf:{tmp_path / 'empty'}")


def kept(folder: Path, features: dict[str, Any] | None = None, **columns: list[Any]) -> str:
    """The source of a data set of these ``columns``, one split; ``features`` of those that say theirs."""
    data = datasets.Dataset.from_dict(columns)
    for name, feature in (features or {}).items():
        data = data.cast_column(name, feature)
    data.save_to_disk(folder)
    return f"hf:{folder}"


def told(corpus: Corpus, target: str) -> dict[str, float]:
    """Label by sample."""
    return {i: float(v) for part in corpus.splits.values() for i, v in zip(part.ids, part.targets[target], strict=True)}


@pytest.mark.parametrize("name", ["none", "NA", "null", "?"])
def test_a_declared_class_is_a_class_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    feature = datasets.ClassLabel(names=["favor", name])
    columns = {"text": [f"word {i}" for i in range(30)], "label": [*[i % 2 for i in range(29)], None]}
    corpus = load_corpus(kept(tmp_path, {"label": feature}, **columns))
    assert set(corpus.schema.targets[0].classes) == {"favor", name}
    labels = list(told(corpus, "label").values())
    assert (labels.count(-1), labels.count(corpus.schema.targets[0].classes.index(name))) == (1, 14)


def test_declared_classes_that_are_numbers_are_classes_in_their_order_unless_a_range_is_asked_for(
    tmp_path: Path,
) -> None:
    feature = datasets.ClassLabel(names=[str(i) for i in range(12)])
    columns = {"text": [f"word {i}" for i in range(20)], "label": [i % 12 for i in range(20)]}
    source = kept(tmp_path, {"label": feature}, **columns)
    target = load_corpus(source).schema.targets[0]
    assert (target.task, target.classes) == ("classification", tuple(map(str, range(12))))
    assert load_corpus(f"{source}?range=0,11").schema.targets[0].task == "regression"


def test_minus_zero_is_zero(tmp_path: Path) -> None:
    labels = [0.0, -0.0, 1.0] * 10
    corpus = load_corpus(kept(tmp_path, id=[f"s{i}" for i in range(30)], text=["word"] * 30, label=labels))
    assert corpus.schema.targets[0].classes == ("0", "1")
    assert told(corpus, "label") == {f"s{i}": labels[i] for i in range(30)}


def of_face(folder: Path, first: Any, feature: Any = None) -> Corpus:
    """A corpus whose sample s0 has ``first`` as ``face``, the others two steps of two numbers."""
    faces = [first, *[[[1.0, 2.0], [3.0, 4.0]]] * 29]
    columns = {"id": [f"s{i}" for i in range(30)], "label": ["a", "b"] * 15, "face": faces}
    return load_corpus(kept(folder, {"face": feature} if feature else None, **columns))


def row(corpus: Corpus, sample: str, modality: str) -> list[Any]:
    part = next(part for part in corpus.splits.values() if sample in part.ids)
    return part.columns[modality][list(part.ids).index(sample)].tolist()


def test_steps_of_different_width_are_refused_and_not_cut_anew(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"face of row 1 of train has steps of 3 and of 1 numbers"):
        of_face(tmp_path, [[1.0, 2.0, 3.0], [4.0]])


@pytest.mark.parametrize("feature", [None, datasets.List(datasets.List(datasets.Value("float32"), length=2))])
def test_a_step_that_is_null_stays_a_step(tmp_path: Path, feature: Any) -> None:
    corpus = of_face(tmp_path, [[1.0, 2.0], None, [3.0, None]], feature)
    assert row(corpus, "s0", "face") == [[1, 2], [0, 0], [3, 0]]
    assert "face: 3 values in 1 samples were NaN or infinite and became 0" in corpus.notes


@pytest.mark.parametrize("first", [None, [], [None, None]])
def test_a_row_without_any_number_is_absent(tmp_path: Path, first: Any) -> None:
    corpus = of_face(tmp_path, first)
    assert row(corpus, "s0", "face") == []
    assert sum(int(part.present["face"].sum()) for part in corpus.splits.values()) == 29


def test_arrays_of_a_fixed_shape_are_sequences(tmp_path: Path) -> None:
    corpus = of_face(tmp_path, [[5.0, 6.0], [7.0, 8.0]], datasets.Array2D((2, 2), "float32"))
    assert row(corpus, "s0", "face") == [[5, 6], [7, 8]]


def test_modalities_that_are_not_wanted_are_not_looked_at(tmp_path: Path) -> None:
    uneven = [[1.0] * (1 + i % 3) for i in range(30)]
    source = kept(tmp_path, text=["word"] * 30, votes=uneven, label=["a", "b"] * 15, **{"2 d": uneven})
    assert load_corpus(f"{source}?modalities=text").schema.names == ("text",)
    with pytest.raises(DataError, match="no modality 'face'"):
        load_corpus(f"{source}?modalities=face")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "the columns 'utterance' and 'text' are both to be the modality 'text'"),
        ("?text=none&audio=text&vision=audio", None),
        ("?text=none&audio=text", "the columns 'text' and 'audio' are both to be the modality 'audio'"),
    ],
)
def test_two_columns_are_not_one_modality(tmp_path: Path, query: str, said: str | None) -> None:
    numbers = [[1.0, 2.0]] * 30
    source = kept(tmp_path, utterance=["word"] * 30, text=numbers, audio=numbers, label=["a", "b"] * 15)
    if said is None:
        assert load_corpus(source + query).schema.names == ("audio", "vision")
        return
    with pytest.raises(DataError, match=said):
        load_corpus(source + query)


def test_a_column_that_is_something_else_in_another_split_is_refused_and_one_without_anything_is_not(
    tmp_path: Path,
) -> None:
    def load(audio: list[Any]) -> Corpus:
        parts = {
            "train": {"label": ["a", "b"] * 15, "audio": [[1.0, 2.0]] * 30},
            "test": {"label": ["a", "b"], "audio": audio},
        }
        folder = tmp_path / str(audio)[:8]
        datasets.DatasetDict({n: datasets.Dataset.from_dict(c) for n, c in parts.items()}).save_to_disk(folder)
        return load_corpus(f"hf:{folder}")

    with pytest.raises(DataError, match=r"column 'audio' is numbers in train and a plain value in test; .*split="):
        load(["p", "q"])
    assert load([None, None])["test"].present["audio"].tolist() == [False, False]


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
    source, folder, declared = fetched(f"hf:{disk}?split=train,test")
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
    assert fetched(source)[1:] == (folder, declared)
    assert (folder / "clips.csv").stat().st_mtime_ns == before, "what is there is not fetched again"
    manifest = read_manifest(f"hf:{disk}?split=train,test", targets=["arousal"])
    assert (manifest.name, manifest.source) == ("moods", source)
    assert {row.split for row in manifest.rows} == {"train", "valid", "test"}
    assert (manifest.rows[0].speaker, manifest.targets[0].name) == ("s0", "arousal")


def test_a_declared_class_of_clips_is_a_class_whatever_it_is_called(disk: Path, tmp_path: Path) -> None:
    data = datasets.load_from_disk(disk)["train"]
    data = data.cast_column("emotion", datasets.ClassLabel(names=["none", "fear", "anger"]))
    data.save_to_disk(tmp_path / "named")
    manifest = read_manifest(f"hf:{tmp_path / 'named'}", targets=["emotion"])
    assert manifest.targets[0].classes == ("anger", "fear", "none")
    assert len(manifest.rows) == 24


def test_what_has_no_clips_is_refused(disk: Path) -> None:
    with pytest.raises(DataError, match="has a column 'face', which is numbers"):
        fetched(f"hf:{disk}?clip=face")
    with pytest.raises(OptionError, match="no option 'colour'"):
        fetched(f"hf:{disk}?colour=red")
