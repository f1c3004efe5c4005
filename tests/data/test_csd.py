from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from polymodal.core import DataError
from polymodal.data import csd
from polymodal.data.sources import load_corpus

VIDEOS = [f"video{i}" for i in range(10)]


def _write(path: Path, root: str, entries: dict[str, tuple[Any, Any]], metadata: dict[str, Any] | None = None) -> None:
    with h5py.File(path, "w") as file:
        for key, (features, intervals) in entries.items():
            group = file.create_group(f"{root}/data/{key}")
            group["features"], group["intervals"] = features, np.asarray(intervals, float)
        for name, value in (metadata or {}).items():
            file[f"{root}/metadata/{name}"] = value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten videos of 6 s; labels at 1-3 s and 3-5 s; a word per second, audio at 2 Hz, vision at 1 Hz."""
    seconds = np.stack([np.arange(6), np.arange(6) + 1], axis=1)
    halves = np.stack([np.arange(12), np.arange(12) + 1], axis=1) / 2
    words = np.array([[b"before"], [b"sp"], [b"so"], [b"good"], [b"film"], [b"after"]])
    _write(tmp_path / "CMU_X_Words.csd", "words", dict.fromkeys(VIDEOS, (words, seconds)))
    audio = {v: (np.arange(12.0)[:, None] * [1, 10] + 100 * i, halves) for i, v in enumerate(VIDEOS)}
    _write(tmp_path / "CMU_X_COVAREP.csd", "COVAREP", audio)
    vision = {v: (np.full((6, 3), i), seconds) for i, v in enumerate(VIDEOS) if v != "video3"}
    _write(tmp_path / "CMU_X_Facet_42.csd", "FACET 4.2", vision)
    labels = {v: ([[i / 10], [-1]], [[1, 3], [3, 5]]) for i, v in enumerate(VIDEOS)}
    _write(tmp_path / "CMU_X_Opinion_Labels.csd", "Opinion Segment Labels", labels)
    return tmp_path


def _where(corpus: Any, sample: str) -> tuple[Any, int]:
    return next((s, list(s.ids).index(sample)) for s in corpus.splits.values() if sample in s.ids)


def test_segments_are_cut_at_the_intervals_of_the_labels(folder: Path) -> None:
    corpus = csd.read(folder).check()
    assert {m.name: m.kind for m in corpus.schema.modalities} == {
        "text": "text",
        "audio": "sequence",
        "vision": "sequence",
    }
    split, row = _where(corpus, "video7[0]")
    assert split.columns["text"][row] == "so"  # the pause is left out
    assert split.columns["audio"][row].tolist() == [[700 + i, 700 + 10 * i] for i in (2, 3, 4, 5)]
    assert split.columns["vision"][row].tolist() == [[7, 7, 7]] * 2
    assert split.targets["sentiment"][row] == pytest.approx(0.7)
    assert split.groups[row] == "video7"
    split, row = _where(corpus, "video7[1]")
    assert split.columns["text"][row] == "good film"
    assert split.columns["audio"][row][:, 0].tolist() == [706, 707, 708, 709]


def test_a_video_without_a_sequence_is_absent_there(folder: Path) -> None:
    split, row = _where(csd.read(folder), "video3[0]")
    assert not split.present["vision"][row]
    assert split.present["audio"][row]


def test_default_split_is_by_video_seventy_ten_twenty_and_noted(folder: Path) -> None:
    corpus = csd.read(folder)
    videos = {name: set(split.groups) for name, split in corpus.splits.items()}
    assert {name: len(v) for name, v in videos.items()} == {"train": 7, "valid": 1, "test": 2}
    assert set.union(*videos.values()) == set(VIDEOS)
    assert any("hash" in note for note in corpus.notes)


def test_split_file_decides_and_left_out_videos_are_noted(folder: Path) -> None:
    (folder / "split.json").write_text(
        json.dumps({"train": VIDEOS[:6], "dev": VIDEOS[6:7], "test": VIDEOS[7:9]}), "utf-8-sig"
    )
    corpus = load_corpus(f"{folder}?split=split.json")
    assert set(corpus["valid"].groups) == {"video6"}
    assert any("1 of 10 videos are in no split" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("not json", "is not JSON"),
        ("[1]", "must be"),
        ("[" * 100000, "is not JSON"),
        (json.dumps({"train": ["video1"], "test": ["video1"]}), "'video1' in two splits"),
        (json.dumps({"dev": ["video1"], "valid": ["video2"]}), "'valid' twice, once as 'valid'"),
    ],
)
def test_wrong_split_files_are_explained(folder: Path, content: str | None, message: str) -> None:
    if content is not None:
        (folder / "split.json").write_text(content)
    with pytest.raises(DataError, match=message):
        csd.read(folder, split="split.json")


def test_aligned_entries_per_segment_are_taken_whole(folder: Path) -> None:
    aligned = {f"{v}[{k}]": (np.full((2, 4), i), [[0, 1], [1, 2]]) for i, v in enumerate(VIDEOS) for k in (0, 1)}
    _write(folder / "CMU_X_Facet_42.csd", "FACET 4.2", aligned)
    split, row = _where(csd.read(folder), "video4[1]")
    assert split.columns["vision"][row].tolist() == [[4, 4, 4, 4]] * 2


def test_second_sequence_of_the_same_kind_is_named_after_its_file(folder: Path) -> None:
    seconds = np.stack([np.arange(6), np.arange(6) + 1], axis=1)
    _write(folder / "CMU_X_glove.csd", "glove_vectors", {v: (np.ones((6, 5)), seconds) for v in VIDEOS})
    corpus = csd.read(folder)
    assert set(corpus.schema.names) == {"text", "CMU_X_glove", "audio", "vision"}


def test_many_label_columns_are_noted(folder: Path) -> None:
    labels = {v: ([[0.5, 1, 2]], [[1, 3]]) for v in VIDEOS}
    _write(folder / "CMU_X_Opinion_Labels.csd", "All Labels", labels)
    corpus = csd.read(folder)
    assert set(corpus["train"].targets["sentiment"].tolist()) == {0.5}
    assert any("3 columns" in note for note in corpus.notes)


def test_one_file_has_no_labels_and_the_error_says_what_to_do(folder: Path) -> None:
    with pytest.raises(DataError, match=r"which exactly one has 'label'.*data info"):
        load_corpus(folder / "CMU_X_COVAREP.csd")


def test_names_that_share_no_video_are_explained(folder: Path) -> None:
    _write(folder / "CMU_X_COVAREP.csd", "COVAREP", {"other": (np.zeros((2, 2)), [[0, 1], [1, 2]])})
    with pytest.raises(DataError, match="no step of audio lies in any labelled segment"):
        csd.read(folder)


def _with_audio(folder: Path, video: str, features: Any) -> Any:
    """The corpus in ``folder`` where audio of ``video`` has ``features``, one step a second, zeros (6, 2) elsewhere."""
    seconds = np.stack([np.arange(6.0), np.arange(6.0) + 1], axis=1)
    entries = {v: (np.zeros((6, 2)), seconds) for v in VIDEOS} | {video: (features, seconds[: len(features)])}
    _write(folder / "CMU_X_COVAREP.csd", "COVAREP", entries)
    return csd.read(folder).check()


def test_an_entry_without_steps_is_absent(folder: Path) -> None:
    split, row = _where(_with_audio(folder, "video0", np.zeros((0, 2))), "video0[0]")
    assert not split.present["audio"][row]


def test_words_among_numbers_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"audio of sample 'video9\[0\]': not an array of real numbers"):
        _with_audio(folder, "video9", np.array([[b"a"]] * 6))


def test_labels_without_columns_are_one_sentence(folder: Path) -> None:
    labels = {v: (np.zeros((1, 0)), [[1, 3]]) for v in VIDEOS}
    _write(folder / "CMU_X_Opinion_Labels.csd", "Labels", labels)
    with pytest.raises(DataError, match=r"Opinion_Labels.csd is damaged"):
        csd.read(folder)


def test_steps_without_intervals_are_an_error(folder: Path) -> None:
    _write(folder / "CMU_X_COVAREP.csd", "COVAREP", {"video1": (np.zeros((3, 2)), [[0, 1]])})
    with pytest.raises(DataError, match=r"COVAREP.csd: entry '/COVAREP/data/video1' has 3 steps"):
        csd.read(folder)


def test_describe_tells_entries_widths_lengths_and_seconds(folder: Path) -> None:
    (about,) = csd.describe(folder / "CMU_X_COVAREP.csd")["sequences"]
    assert (about["name"], about["role"], about["kind"]) == ("COVAREP", "audio", "numbers")
    assert (about["entries"], about["width"], about["steps"], about["seconds"]) == (10, 2, 120, 60.0)
    assert about["lengths"] == {"min": 12, "median": 12, "p95": 12, "max": 12}
    assert len(csd.describe(folder)["sequences"]) == 4
    json.dumps(csd.describe(folder))


def test_junk_metadata_does_not_stop_anything(tmp_path: Path) -> None:
    path = tmp_path / "words.csd"
    junk = {"contact": np.array([b"\xff\xfe\x00 junk"]), "empty": np.zeros((0,)), "md5": 3, "deep/er": b"x"}
    _write(path, "words", {"v": (np.array([[b"\xe9t\xe9"]]), [[0, 1]])}, junk)
    (about,) = csd.describe(path)["sequences"]
    assert about["entries"] == 1
    assert about["metadata"]["md5"] == "3"
    json.dumps(about).encode()
    "".join(about["metadata"].values()).encode()


def test_damaged_files_are_named(folder: Path) -> None:
    path = folder / "CMU_X_COVAREP.csd"
    whole = path.read_bytes()
    for content in (b"", b"no hdf5", whole[: len(whole) // 2], whole[:100]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"COVAREP\.csd is damaged"):
            csd.describe(path)
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(DataError, match="not a computational sequence"):
        csd.describe(path)
    with pytest.raises(DataError, match="does not exist"):
        csd.describe(folder / "none.csd")


def test_flipped_bytes_raise_data_error_or_nothing(folder: Path) -> None:
    path = folder / "CMU_X_Opinion_Labels.csd"
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 20):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            csd.describe(path)
        except DataError as error:
            assert path.name in str(error)  # noqa: PT017


def test_real_timestamped_words_are_described(shared: Path) -> None:
    (about,) = csd.describe(shared / "data/cmu_mosi/CMU_MOSI_ModifiedTimestampedWords.csd")["sequences"]
    assert (about["entries"], about["kind"], about["width"], about["role"]) == (93, "words", 1, "text")
    assert about["pauses"] > 0
    assert 3 < about["seconds"] / 3600 < 5


def test_real_words_with_made_labels_give_the_words_of_the_transcripts(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/cmu_mosi"
    words = folder / "CMU_MOSI_ModifiedTimestampedWords.csd"
    (tmp_path / words.name).symlink_to(words)
    rows = np.genfromtxt(folder / "words.csv", delimiter=",", dtype=str, skip_header=1, usecols=(0, 2, 3, 4))
    times = np.array([[float(r[2]), float(r[3])] if r[2] and r[3] else [np.nan] * 2 for r in rows])
    clips = rows[:, 0]
    videos = {c: c.rsplit("_", 1)[0] for c in np.unique(clips)}
    chosen = [c for c in videos if np.isfinite(times[clips == c]).all()][:300]
    entries: dict[str, Any] = {}
    for clip in chosen:
        inside = times[clips == clip]
        values, intervals = entries.setdefault(videos[clip], ([], []))
        values.append([0.0])
        intervals.append([inside.min(), inside.max()])
    _write(tmp_path / "Labels.csd", "labels", {v: (np.array(a), b) for v, (a, b) in entries.items()})
    corpus = csd.read(tmp_path)
    read = " ".join(t for s in corpus.splits.values() for i, t in enumerate(s.columns["text"]) if s.present["text"][i])
    wanted = Counter(w.lower() for c in chosen for w in rows[clips == c, 1])
    assert (wanted & Counter(read.lower().split())).total() / wanted.total() > 0.95
