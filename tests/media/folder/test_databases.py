"""A database of audb, in a repository on disk, becomes a table of clips."""

from __future__ import annotations

from pathlib import Path

import audb
import audformat
import audiofile
import numpy as np
import pytest

from polymodal.core import DataError
from polymodal.data.sources import load_corpus
from polymodal.media.folder.manifest import read_manifest

pytestmark = pytest.mark.slow  # audb takes its time to load


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> audb.Repository:
    """Six files of three speakers, their emotions, and two stretches of the first for training."""
    host, build = tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("build")
    (host / "repo").mkdir()
    (build / "wav").mkdir()
    files = [f"wav/{i}.wav" for i in range(6)]
    for i, file in enumerate(files):
        audiofile.write(str(build / file), 0.3 * np.sin(0.1 * (i + 1) * np.arange(4000)).astype(np.float32), 16000)
    database = audformat.Database("moods")
    database.schemes["emotion"] = audformat.Scheme(labels=["joy", "anger"])
    database.schemes["speaker"] = audformat.Scheme("str")
    index = audformat.filewise_index(files)
    parts = audformat.segmented_index([files[0]] * 2, ["0s", "0.1s"], ["0.1s", "0.2s"])
    for name, rows, column, values in (
        ("emotion", index, "emotion", ["joy", "anger"] * 3),
        ("files", index, "speaker", [f"s{i // 2}" for i in range(6)]),
        ("parts.train", parts, "emotion", ["joy", "anger"]),
    ):
        database[name] = audformat.Table(rows)
        database[name][column] = audformat.Column(scheme_id=column)
        database[name][column].set(values)
    database.save(build)
    found = audb.Repository("repo", str(host), "file-system")
    audb.publish(build, "1.0.0", found, verbose=False)
    return found


@pytest.fixture(autouse=True)
def _at_hand(repository: audb.Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(audb.config, "REPOSITORIES", [repository])
    monkeypatch.setenv("AUDB_CACHE_ROOT", str(tmp_path / "audb"))
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))


def test_a_table_of_files_with_what_is_known_of_them() -> None:
    manifest = read_manifest("audb:moods?table=emotion")
    assert (manifest.name, manifest.source) == ("moods", "audb:moods@1.0.0?table=emotion")
    assert [row.speaker for row in manifest.rows] == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert manifest.targets[0].classes == ("anger", "joy")
    assert [row.labels[0] for row in manifest.rows] == [1, 0] * 3
    assert all(row.path.is_file() for row in manifest.rows)


def test_stretches_of_files_in_the_split_that_the_table_names() -> None:
    rows = read_manifest("audb:moods@1.0.0?table=parts.train").rows
    assert [(row.start, row.end, row.split, row.speaker) for row in rows] == [
        (0, pytest.approx(0.1), "train", "s0"),
        (pytest.approx(0.1), pytest.approx(0.2), "train", "s0"),
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("audb:none", "audb:none cannot be had: Cannot find a version"),
        ("audb:moods@9.0.0", "Cannot find version '9.0.0'"),
        ("audb:moods", "several tables; choose with [?]table= [(]available: emotion, files, parts.train[)]"),
        ("audb:moods?table=emotions", "no table 'emotions'; did you mean 'emotion'"),
    ],
)
def test_what_is_not_there_is_said(source: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_manifest(source)


def test_sound_is_no_corpus_yet() -> None:
    with pytest.raises(DataError, match="polymodal extract 'audb:moods'"):
        load_corpus("audb:moods")
