"""The measurements of benchmarks/shortcut.py on numbers that are known, and the rule that deals CMU-MOSI anew."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from polymodal.core import OptionError
from polymodal.data.sources import load_corpus
from polymodal.score.compare import Comparison

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def shortcut(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("shortcut", "measure", "corpora_shortcut", "corpora_small", "corpora"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import shortcut

    return shortcut


def answers(test: float, ood: float, seed: int) -> dict[str, np.ndarray]:
    """Three seeds of 400 samples a split, right with these chances."""
    rng = np.random.default_rng(seed)
    return {n: (rng.random((3, 400)) < p).astype(float) for n, p in (("test", test), ("test_ood", ood))}


def test_the_loss_is_from_test_to_test_ood(shortcut: ModuleType) -> None:
    robust, plain = answers(0.8, 0.7, 1), answers(0.9, 0.3, 2)
    groups = {n: [f"{n}-{i // 5}" for i in range(400)] for n in robust}
    found = shortcut.against(robust, plain, groups, shortcut.LOSS)
    losses = [x["test"].mean() - x["test_ood"].mean() for x in (robust, plain)]
    assert found.difference == pytest.approx(losses[0] - losses[1])
    assert found.low < found.difference < found.high < -0.4
    assert found.groups == 160
    assert shortcut.verdict(found, 0.9) == "holds"
    assert shortcut.verdict(found, 0.0) == "control"
    assert shortcut.verdict(shortcut.against(plain, robust, groups, shortcut.LOSS), 0.9) == "does not hold"
    alone = shortcut.against(robust, plain, groups, {"test": 1.0})
    assert alone.difference == pytest.approx(robust["test"].mean() - plain["test"].mean())


def test_what_luck_may_do_cannot_be_told(shortcut: ModuleType) -> None:
    assert shortcut.verdict(Comparison(-0.1, -0.3, 0.1, 0.3, 20), 0.6) == "cannot be told"
    assert shortcut.verdict(Comparison(-0.1, np.nan, np.nan, np.nan, 5), 0.6) == "cannot be told"


def test_the_domains_have_one_that_training_does_not_see(shortcut: ModuleType) -> None:
    corpus = load_corpus(shortcut.CASES["domains"].source(0.9))
    assert set(corpus["train"].domains) == set(corpus["valid"].domains) == {0, 1}
    assert set(corpus["test"].domains) == set(corpus["test_ood"].domains) == {2}


def test_the_table_says_what_was_found(shortcut: ModuleType) -> None:
    row = {"strength": 0.9, "seconds": 1.0, "test": 0.8, "test_ood": 0.5, "loss": 0.3}
    better = {"difference": -0.2, "low": -0.3, "high": -0.1}
    other = {f"{part} against plain": better for part in ("loss", "test", "test_ood")}
    rows = [row | {"method": "late-fusion"}, row | {"method": "camib", "verdict": "holds"} | other]
    text = shortcut.page({"planted": {"machine": shortcut.machine(), "rows": rows}})
    assert "| 0.9 | camib | 0.800 | 0.500 | 0.300 | -0.200 [-0.300, -0.100] | holds |" in text


def test_a_word_goes_with_the_label_and_then_against_it(
    shortcut: ModuleType, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMODAL_SHARED", str(shared))
    import corpora_shortcut as dealt

    for step in ("encode_corpus", "in_slices"):  # how the text is read is no part of the rule
        monkeypatch.setattr(dealt, step, lambda corpus, _: corpus)
    corpus = dealt.mosi_words(0.8, seed=1)
    (word,) = [note.split("'")[1] for note in corpus.notes if "goes with" in note]
    for part, split in corpus.splits.items():
        labels, texts = split.targets["sentiment"], split.columns["text"]
        assert (labels != 0).all()
        there = dealt.holds(texts, word)  # type: ignore[arg-type]
        wanted = -0.8 if part == "test_ood" else 0.8
        assert np.corrcoef(there, labels > 0)[0, 1] == pytest.approx(wanted, abs=0.12), part
    assert not set(corpus["test"].ids) & set(corpus["test_ood"].ids)
    assert dealt.mosi_words(0.8, seed=1).hash == corpus.hash
    assert set(dealt.mosi_words(0.0, seed=1)["train"].ids) > set(corpus["train"].ids)
    with pytest.raises(OptionError, match="strength must be at least 0 and below 1"):
        dealt.mosi_words(1.0)
