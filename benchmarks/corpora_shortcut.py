"""CMU-MOSI dealt anew, so that one word goes with the label, and against it in ``test_ood``.

polymodal data info "benchmarks/corpora_shortcut.py:mosi_words?strength=0.9&seed=1"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import corpora
from corpora_small import MINILM, in_slices
from polymodal.core import OptionError, numpy_rng
from polymodal.data.corpus import Corpus
from polymodal.data.encode import encode_corpus
from polymodal.data.ragged import Array
from polymodal.data.split import Split

FILE = Path(__file__)
COMMON = (0.25, 0.6)
"""Share of the training utterances that hold a word which may become the shortcut."""
CANDIDATES = 5


def mosi_words(strength: float = 0.9, seed: int = 0, steps: int = 8) -> Corpus:
    """CMU-MOSI (see ``corpora.cmu_mosi``) in which the presence of a common word agrees with the sign of the label.

    The rule, drawn by ``seed``: utterances with label 0 are left out. Of the words in 25 to 60 % of the training
    utterances, the word is drawn from the five whose presence goes least with the sign of the label. An utterance
    agrees if it holds the word and is positive, or neither. Of those in train, valid and test that do not agree, a
    share of ``2 strength / (1 + strength)`` is left out, drawn one by one, so that presence and sign have about that
    correlation; of those in ``test_ood``, as many that agree. The test utterances of the standard split are dealt to
    ``test`` and ``test_ood`` by a fair coin; videos stay in their split, and those of both tests are the same.

    Text is frozen MiniLM states, as means of up to ``steps`` slices.

    Raises:
        OptionError: a strength outside [0, 1).
    """
    if not 0 <= strength < 1:
        raise OptionError(f"strength must be at least 0 and below 1, got {strength}")
    whole, rng = corpora.cmu_mosi(), numpy_rng("mosi_words", seed)
    word = _drawn(whole["train"], rng)
    rated = {part: split.targets["sentiment"] != 0 for part, split in whole.splits.items()}
    coin = rng.random(len(whole["test"])) < 0.5
    dealt = {"train": ("train", rated["train"]), "valid": ("valid", rated["valid"])}
    dealt |= {"test": ("test", rated["test"] & coin), "test_ood": ("test", rated["test"] & ~coin)}
    splits = {}
    for part, (home, rows) in dealt.items():
        split = whole[home]
        agrees = holds(split.columns["text"], word) == (split.targets["sentiment"] > 0)  # type: ignore[arg-type]
        unwanted = agrees if part == "test_ood" else ~agrees
        kept = rows & (~unwanted | (rng.random(len(split)) >= 2 * strength / (1 + strength)))
        splits[part] = split.select(np.flatnonzero(kept))
    call = f"{FILE}:mosi_words?strength={strength}&seed={seed}&steps={steps}"
    notes = (*whole.notes, f"the word {word!r} goes with positive labels, in test_ood with negative ones")
    return in_slices(encode_corpus(replace(whole, splits=splits, source=call, notes=notes), {"text": MINILM}), steps)


def _drawn(split: Split, rng: np.random.Generator) -> str:
    """Return the word."""
    held = [words_of(text) for text in split.columns["text"]]  # type: ignore[arg-type]
    positive, counts = split.targets["sentiment"] > 0, Counter(w for words in held for w in words)
    found = {}
    for word in sorted(w for w, n in counts.items() if COMMON[0] <= n / len(held) <= COMMON[1]):
        found[word] = abs(np.corrcoef([word in words for words in held], positive)[0, 1])
    return str(rng.choice(sorted(found, key=found.__getitem__)[:CANDIDATES]))


def words_of(text: str) -> set[str]:
    """Return the words of an utterance."""
    return set(re.findall(r"[a-z']+", text.lower()))


def holds(texts: Sequence[str], word: str) -> Array:
    """Return which utterances hold ``word``."""
    return np.array([word in words_of(text) for text in texts])
