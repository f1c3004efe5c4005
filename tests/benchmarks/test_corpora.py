from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import polymodal
from polymodal.core import DataError, OptionError
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Ragged
from polymodal.data.sources import load_corpus

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "corpora.py"

SIZES = {
    "cmu_mosi": (1284, 229, 686),
    "cmu_mosi?split=split_clean": (454, 114, 184),
    "ravdess_av": (840, 180, 180),
    "ict_mmmo": (220, 40, 80),
    "pom": (600, 100, 203),
    "mfeat_digits": (1200, 300, 500),
    "faircv": (3600, 480, 720),
    "faircv?label=blind&bias=ethnicity": (3600, 480, 720),
    "mustard": (379, 123, 188),
    "mustard?split=official&fold=4": (414, 138, 138),
    "meld_text": (9989, 1109, 2610),
}

APART = [
    *("cmu_mosi", "cmu_mosi?split=split_clean", "ravdess_av", "real_life_trial?fold=3"),
    *(f"mustard?fold={fold}" for fold in range(5)),
    "meld_text",
]


def lengths(corpus: Corpus, split: str, name: str) -> np.ndarray:
    column = corpus[split].columns[name]
    assert isinstance(column, Ragged)
    return column.lengths


@pytest.mark.parametrize("source", SIZES)
def test_splits_have_the_sizes_of_the_release(load, source: str) -> None:
    corpus = load(source)
    assert tuple(len(corpus[s]) for s in ("train", "valid", "test")) == SIZES[source]
    assert load(source).hash == corpus.hash


@pytest.mark.parametrize("source", APART)
def test_no_video_actor_case_speaker_or_dialogue_is_in_two_splits(load, source: str) -> None:
    groups = [set(split.groups) for split in load(source).splits.values()]
    assert all(groups)
    assert len(set.union(*groups)) == sum(map(len, groups))


def test_mosi_offers_only_what_no_network_learned_from_test_labels(load) -> None:
    for source in ("cmu_mosi", "cmu_mosi?split=split_clean"):
        schema = load(source).schema
        assert [(m.name, m.kind, m.width) for m in schema.modalities] == [("text", "text", 0), ("audio", "vector", 73)]


def test_mosi_labels_have_the_positive_shares_of_the_standard_split(load) -> None:
    corpus = load("cmu_mosi")
    shares = [float((corpus[s].targets["sentiment"] >= 0).mean()) for s in ("train", "valid", "test")]
    assert shares == pytest.approx([0.570, 0.598, 0.448], abs=5e-4)


def test_an_unknown_mosi_split_is_an_option_error(load) -> None:
    with pytest.raises(OptionError, match="split"):
        load("cmu_mosi?split=split_bclstm")


def test_every_ravdess_emotion_has_equal_shares_except_neutral(load) -> None:
    corpus = load("ravdess_av")
    assert corpus.schema.target("emotion").classes[0] == "neutral"
    for split in corpus.splits.values():
        counts = np.bincount(split.targets["emotion"], minlength=8)
        assert len(set(counts[1:])) == 1
        assert counts[1] == 2 * counts[0]


def test_ravdess_audio_keeps_every_step(load) -> None:
    corpus = load("ravdess_av")
    assert sum(int(lengths(corpus, s, "audio").sum()) for s in corpus.splits) == 109410


def test_ict_mmmo_has_text_in_valid_and_test_only(load) -> None:
    corpus = load("ict_mmmo")
    assert {s: bool(p.present["text"].any()) for s, p in corpus.splits.items()} == {
        "train": False,
        "valid": True,
        "test": True,
    }
    assert corpus["test"].present["text"].all()
    assert any("text" in note for note in corpus.notes)


@pytest.mark.parametrize("source", ["ict_mmmo", "pom"])
def test_aligned_corpora_lose_padding_but_stay_aligned(load, source: str) -> None:
    corpus = load(source)
    for split, part in corpus.splits.items():
        both = part.present["audio"] & part.present["vision"]
        assert (lengths(corpus, split, "audio") == lengths(corpus, split, "vision"))[both].all()
        audio, vision = part.columns["audio"], part.columns["vision"]
        for i in range(len(part)):
            steps = np.concatenate([audio[i], vision[i]] if both[i] else [audio[i]], axis=1)
            assert steps[0].any(), "padding at the front"
            assert steps[-1].any(), "padding at the end"


def test_pom_has_the_seventeen_ratings_within_their_scales(load) -> None:
    corpus = load("pom")
    assert len(corpus.schema.targets) == 17
    assert corpus.schema.target("nervous").range == (0, 5)
    assert corpus.schema.target("sentiment").range == (1, 7)
    lowest = {
        t.name: min(float(s.targets[t.name].min()) for s in corpus.splits.values()) for t in corpus.schema.targets
    }
    assert {n for n, v in lowest.items() if v < 1} == {"reserved"}, "the reason for a range from 0"
    highest = {
        t.name: max(float(s.targets[t.name].max()) for s in corpus.splits.values()) for t in corpus.schema.targets
    }
    assert all(highest[t.name] <= t.range[1] for t in corpus.schema.targets if t.range)


def test_a_pom_clip_without_a_face_lacks_vision(load) -> None:
    present = load("pom")["train"].present
    assert present["audio"].all()
    assert int((~present["vision"]).sum()) == 322


def test_each_real_life_trial_clip_is_tested_in_one_fold(load) -> None:
    tested = [i for fold in range(5) for i in load(f"real_life_trial?fold={fold}")["test"].ids]
    assert len(tested) == len(set(tested)) == 121


def test_real_life_trial_marks_what_is_missing(load) -> None:
    corpus = load("real_life_trial")
    absent = {n: sum(int((~s.present[n]).sum()) for s in corpus.splits.values()) for n in ("audio", "vision")}
    assert absent == {"audio": 19, "vision": 1}


def test_untracked_frames_of_real_life_trial_are_zeros(load, shared: Path) -> None:
    corpus = load("real_life_trial")
    with np.load(shared / "data/real_life_trial/features.npz") as stored:
        clips, mask, offsets = stored["clip"].tolist(), stored["video_mask"], stored["video_offsets"]
    train = corpus["train"]
    for row, clip in enumerate(train.ids):
        i = clips.index(clip)
        tracked = mask[offsets[i] : offsets[i + 1]]
        if tracked.any():
            assert (train.columns["vision"][row].any(axis=1) <= tracked).all()


def test_real_life_trial_has_five_folds(load) -> None:
    with pytest.raises(OptionError, match="0 to 4"):
        load("real_life_trial?fold=5")


def test_missing_data_names_the_variable_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_SHARED", str(tmp_path))
    with pytest.raises(DataError, match="set POLYMODAL_SHARED"):
        load_corpus(f"{FILE}:pom")


def test_a_linear_model_reaches_the_known_ravdess_accuracy(load, tmp_path: Path) -> None:
    """Logistic regression on these features is known to reach 0.63: labels and features line up."""
    run = polymodal.fit("linear", load("ravdess_av"), out=tmp_path / "run", device="cpu")
    assert score(run, load("ravdess_av"), "accuracy") == pytest.approx(0.63, abs=0.06)


def test_a_linear_model_on_words_reaches_the_known_mosi_accuracy(load, tmp_path: Path) -> None:
    """Words alone are known to reach 0.68 (TF-IDF, zero counted as positive)."""
    corpus = load("cmu_mosi?modalities=text")
    run = polymodal.fit("linear", corpus, out=tmp_path / "run", device="cpu")
    assert score(run, corpus, "acc2_has0") == pytest.approx(0.68, abs=0.06)


def score(run: polymodal.Run, corpus: Corpus, metric: str) -> float:
    rows = polymodal.evaluate(run, corpus, subsets=False)["rows"]
    return next(row["mean"] for row in rows if row["metric"] == metric)


def test_real_life_trial_at_a_lower_rate_has_means_of_frames_with_a_face(load) -> None:
    fine, coarse = (load(f"real_life_trial?rate={rate}")["train"] for rate in (10, 2))
    for name in ("audio", "vision"):
        assert (fine.present[name] == coarse.present[name]).all()
    row = int(np.flatnonzero(fine.present["vision"])[0])
    full, thin = fine.columns["vision"][row], coarse.columns["vision"][row]
    assert len(thin) == -(-len(full) // 5)
    seen = [part[np.any(part != 0, axis=1)] for part in np.split(full, range(5, len(full), 5))]
    expected = np.stack([part.mean(0) if len(part) else np.zeros(full.shape[1]) for part in seen])
    np.testing.assert_allclose(thin, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(OptionError, match="rate must be"):
        load("real_life_trial?rate=3")
