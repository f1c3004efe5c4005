"""A pickle shaped like CMU-MOSI in the layout of MMSA, with a planted signal, and a BERT of its shape to read it.

    python benchmarks/peers/pickle_like_mosi.py FOLDER [--quick]

Sizes 1284 / 229 / 686. Unaligned: text 50 x 768, audio 375 x 5, vision 500 x 20; aligned: all of them 50 steps. The
number of a sample's tokens is drawn evenly from 6 to 49 (the first sample of each split has 50, so that the corpus
maximum is the array), audio and vision are in proportion, zeros behind.

The signal: three independent normal factors, one per modality. That of text moves, along one fixed direction, about a
third of the words; those of audio and vision move every frame along one direction each. The label is their weighted sum
with a little noise, clipped to [-3, 3]. Words, audio and vision are otherwise white noise, and no sample's length says
anything of its label.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"train": 1284, "valid": 229, "test": 686}
QUICK_SIZES = {"train": 96, "valid": 32, "test": 32}
STEPS = {"text": 50, "audio": 375, "vision": 500}
WIDTHS = {"text": 768, "audio": 5, "vision": 20}
WEIGHTS = {"text": 1.1, "audio": 0.7, "vision": 0.7}
STRENGTH = {"text": 4.0, "audio": 0.7, "vision": 0.7}
NOISE = 0.2
WORDS = 30522
"""Size of BERT's vocabulary; its first 104 entries are special."""

Array = np.ndarray[Any, Any]


def directions() -> dict[str, Array]:
    """Return the unit vector along which each modality's factor moves it."""
    rng = np.random.default_rng(7)
    vectors = {n: rng.normal(size=w) for n, w in WIDTHS.items()}
    return {n: (v / np.linalg.norm(v)).astype(np.float32) for n, v in vectors.items()}


def lengths_of(tokens: Array) -> dict[str, Array]:
    """Return the true steps of every modality for samples with this many tokens."""
    return {n: np.ceil(tokens * steps / STEPS["text"]).astype(int) for n, steps in STEPS.items()}


def make_split(samples: int, rng: np.random.Generator, name: str) -> dict[str, Any]:
    """Return one split of the unaligned pickle."""
    tokens = rng.integers(6, 50, samples)
    tokens[0] = STEPS["text"]
    factors = {n: rng.normal(size=samples).astype(np.float32) for n in STEPS}
    label = sum(WEIGHTS[n] * z for n, z in factors.items()) + NOISE * rng.normal(size=samples)
    cue = rng.random((samples, STEPS["text"])) < 1 / 3
    lengths, towards = lengths_of(tokens), directions()
    split: dict[str, Any] = {"id": [f"{name}{i}$_$0" for i in range(samples)]}
    for modality, steps in STEPS.items():
        real = np.arange(steps) < lengths[modality][:, None]
        scale = 0.5 if modality == "text" else 1.0
        values = rng.normal(0, scale, (samples, steps, WIDTHS[modality])).astype(np.float32)
        moved = cue if modality == "text" else np.ones((samples, steps), bool)
        shift = STRENGTH[modality] * factors[modality][:, None] * moved
        values += shift[..., None].astype(np.float32) * towards[modality]
        split[modality] = values * real[..., None]
    split["audio_lengths"], split["vision_lengths"] = lengths["audio"].tolist(), lengths["vision"].tolist()
    split["regression_labels"] = np.clip(label, -3, 3).astype(np.float32)
    return split | make_words(tokens, factors["text"], cue, rng)


def make_words(tokens: Array, factor: Array, cue: Array, rng: np.random.Generator) -> dict[str, Any]:
    """Return ``raw_text`` and the same as ``text_bert``; cue words come from the half of the vocabulary that ``factor``
    favours."""
    samples, steps = cue.shape
    words = rng.integers(104, WORDS, (samples, steps))
    liked = rng.random((samples, steps)) < 1 / (1 + np.exp(-3 * factor[:, None]))
    half = (WORDS - 104) // 2
    words = np.where(cue, 104 + (words - 104) % half + half * liked, words)
    real = np.arange(steps) < tokens[:, None]
    ids = np.where(real, words, 0)
    ids[:, 0] = 101
    ids[np.arange(samples), tokens - 1] = 102
    text_bert = np.stack([ids, real, np.zeros_like(ids)], axis=1).astype(np.float32)
    raw = [" ".join(f"w{w}" for w in row[1 : n - 1]) for row, n in zip(words, tokens, strict=True)]
    return {"raw_text": raw, "text_bert": text_bert}


def align(split: dict[str, Any]) -> dict[str, Any]:
    """Return the split with audio and vision averaged per word, as the field's aligned pickles are."""
    steps = STEPS["text"]
    aligned = {k: v for k, v in split.items() if not k.endswith("_lengths")}
    for modality in ("audio", "vision"):
        bounds = np.ceil(np.arange(steps) * STEPS[modality] / steps).astype(int)
        total = np.add.reduceat(split[modality], bounds, axis=1)
        count = np.add.reduceat(split[modality].any(axis=2), bounds, axis=1)
        aligned[modality] = (total / np.maximum(count, 1)[..., None]).astype(np.float32)
    return aligned


def make_corpus(sizes: dict[str, int], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return the unaligned pickle's content, a pure function of its arguments."""
    rng = np.random.default_rng(seed)
    return {name: make_split(count, rng, name) for name, count in sizes.items()}


def write_pickles(folder: Path, sizes: dict[str, int]) -> None:
    """Write ``unaligned.pkl`` and ``aligned.pkl``."""
    corpus = make_corpus(sizes)
    for name, content in (
        ("unaligned", corpus),
        ("aligned", {n: align(s) for n, s in corpus.items()}),
    ):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(content, protocol=4))


def write_bert(folder: Path) -> None:
    """Write a randomly initialised model of BERT-base's shape and a vocabulary of the planted words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(exist_ok=True)
    special = ["[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *(f"w{i}" for i in range(len(special), WORDS))]) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=WORDS)).save_pretrained(folder)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_pickles(folder, QUICK_SIZES if "--quick" in sys.argv else SIZES)
    write_bert(folder / "bert")


if __name__ == "__main__":
    main()
