"""Corpora made of raw clips: EmoDB and the words of GRID. Features of whole corpora take a while."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from polymodal.core import OptionError
from polymodal.data.ragged import Ragged

pytest.importorskip("av")


@pytest.fixture
def speech(load):
    pytest.importorskip("opensmile")
    return load


@pytest.fixture
def words(load):
    pytest.importorskip("mediapipe")
    pytest.importorskip("pocketsphinx")
    return load


@pytest.mark.slow
def test_emodb_is_split_by_speaker(speech) -> None:
    corpus = speech("emodb")
    assert [len(split) for split in corpus.splits.values()] == [122, 20, 58]
    groups = [set(split.groups) for split in corpus.splits.values()]
    assert groups == [{"03", "08", "09", "10", "12", "13"}, {"11"}, {"14", "15", "16"}]
    assert [(m.name, m.kind, m.width) for m in corpus.schema.modalities] == [
        ("logmel", "sequence", 42),
        ("egemaps", "vector", 88),
    ]
    assert all(present.all() for split in corpus.splits.values() for present in split.present.values())


@pytest.mark.slow
def test_each_speaker_of_emodb_is_tested_in_one_fold(speech) -> None:
    tested = []
    for fold in range(10):
        corpus = speech(f"emodb?fold={fold}")
        (speaker,) = set(corpus["test"].groups)
        assert speaker not in {*corpus["train"].groups, *corpus["valid"].groups}
        tested.append(speaker)
    assert len(set(tested)) == 10
    with pytest.raises(OptionError, match="0 to 9"):
        speech("emodb?fold=10")


@pytest.mark.slow
def test_features_of_emodb_cover_the_recording_and_come_out_the_same_again(
    speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = speech("emodb")
    steps = sum(int(split.columns["logmel"].lengths.sum()) for split in corpus.splits.values())
    assert steps / 100 == pytest.approx(365, rel=0.1), "seconds of sound"
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path))
    assert speech("emodb").hash == corpus.hash
    assert len(list((tmp_path / "corpora").iterdir())) == 2, "and stay there, one file per front end"


@pytest.mark.slow
def test_every_clip_of_grid_gives_six_words(words) -> None:
    sizes, tested = [], []
    for fold in range(3):
        corpus = words(f"grid_words?fold={fold}")
        sizes.append([len(split) for split in corpus.splits.values()])
        groups = [set(split.groups) for split in corpus.splits.values()]
        assert len(set.union(*groups)) == sum(map(len, groups)) == 7
        assert "s1" in groups[0]
        for split in corpus.splits.values():
            assert len(set(np.bincount(split.targets["place"]))) == 1
        tested += corpus["test"].ids
    assert sizes == [[42, 12, 12]] * 3
    assert len(set(tested)) == 36
    with pytest.raises(OptionError, match="0 to 2"):
        words("grid_words?fold=3")


@pytest.mark.slow
def test_the_words_of_grid_last_as_long_as_words_do(words) -> None:
    """Silence around a sentence would tell its first word and its last."""
    train = words("grid_words")["train"]
    for name, rate in (("audio", 100), ("lips", 25)):
        column = train.columns[name]
        assert isinstance(column, Ragged)
        assert 1 / rate <= column.lengths.min() / rate
        assert column.lengths.max() / rate < 0.6
        assert all(np.abs(column[i]).sum() > 0 for i in range(len(train)))


def test_forced_alignment_finds_the_words_where_the_release_has_them(
    words, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    grid = import_module("corpora_grid")
    file = shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg"
    released, found = grid._words(file, None), grid._words(file, "bin blue at f two now")
    assert [w.text for w in found] == [w.text for w in released] == ["bin", "blue", "at", "f", "two", "now"]
    off = [abs(a - b) for w, v in zip(released, found, strict=True) for a, b in ((w.start, v.start), (w.end, v.end))]
    assert np.median(off) <= 0.03
    assert max(off) <= 0.1
