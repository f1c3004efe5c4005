"""Public corpora of the benchmarks, each a function that returns a Corpus.

    polymodal fit mmcl --data benchmarks/corpora.py:cmu_mosi --preset mosi
    polymodal data info "benchmarks/corpora.py:real_life_trial?fold=2"

The files lie in ``$POLYMODAL_SHARED/data`` (default: ``../shared`` beside the repository); they are not part of
polymodal, and their authors' terms apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from corpora_emodb import emodb
from corpora_grid import grid_words
from corpora_text import meld_text, mustard
from corpora_tools import data_folder, dealt, read_arrays, read_table, rotated, rows_of
from corpora_vectors import faircv, mfeat_digits
from polymodal.core import Modality, OptionError, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Array
from polymodal.data.split import build_split

__all__ = [
    "cmu_mosi",
    "emodb",
    "faircv",
    "grid_words",
    "ict_mmmo",
    "meld_text",
    "mfeat_digits",
    "mustard",
    "pom",
    "ravdess_av",
    "real_life_trial",
]

FOLDS = 5
"""Folds of Real-life Trial, disjoint by court case."""

# Column order as in the paper's list; the release does not document it.
SEVEN = ["confident", "passionate", "voice_pleasant", "dominant", "credible", "vivid", "expertise", "entertaining"]
FIVE = ["reserved", "trusting", "relaxed", "outgoing", "thorough", "nervous"]
TRAITS = [*SEVEN, *FIVE, "sentiment", "persuasive", "humorous"]


def cmu_mosi(split: Literal["split", "split_clean"] = "split") -> Corpus:
    """CMU-MOSI (Zadeh et al., 2016): sentiment in [-3, 3] of opinion utterances; raw text and 73 acoustic functionals.

    The released text and video vectors are left out under both splits: they come from networks that were trained with
    the labels of 558 of the 686 standard test utterances.

    Args:
        split: ``split``, the standard one by video (1284 / 229 / 686), or ``split_clean``, the 31 videos that the
            release's own extractors never saw (454 / 114 / 184).
    """
    folder = data_folder("cmu_mosi")
    table, stored = read_table(folder / "utterances.csv"), read_arrays(folder / "features.npz")
    schema = Schema(
        (Modality("text", "text"), Modality("audio", "vector", 73)), (Target("sentiment", "regression", (-3, 3)),)
    )
    return dealt(
        "cmu_mosi",
        schema,
        ids=table["clip_id"],
        split=table[split],
        columns={"text": table["text"], "audio": stored["audio"]},
        targets={"sentiment": stored["sentiment"]},
        groups=table["video_id"],
        notes=("text and video vectors of the release are left out: they were trained with labels of test utterances",),
    )


def ravdess_av() -> Corpus:
    """RAVDESS speech (Livingstone & Russo, 2018): 8 acted emotions; action units (clip means), log-mel at 25 Hz.

    Split by actor: 14 / 3 / 3. The two fixed sentences carry no information and are left out.
    """
    folder = data_folder("ravdess_av")
    table, stored = read_table(folder / "clips.csv"), read_arrays(folder / "features.npz")
    emotions = dict(zip(stored["emotion_id"].tolist(), table["emotion"], strict=True))
    schema = Schema(
        (Modality("vision", "vector", 35), Modality("audio", "sequence", 26)),
        (Target("emotion", "classification", classes=tuple(emotions[i] for i in sorted(emotions))),),
    )
    return dealt(
        "ravdess_av",
        schema,
        ids=table["clip"],
        split=table["split"],
        columns={"vision": stored["au"], "audio": rows_of(stored["logmel"], stored["logmel_offsets"])},
        targets={"emotion": stored["emotion_id"]},
        groups=table["actor"],
        about={"sex": table["sex"]},
    )


def ict_mmmo() -> Corpus:
    """ICT-MMMO (Woellmer et al., 2013): rating 1 to 5 of film reviews; up to 20 word-aligned steps.

    Text (GloVe) exists for valid and test only: a modality that is missing in training.
    """
    schema = Schema(
        (Modality("text", "sequence", 300), Modality("audio", "sequence", 74), Modality("vision", "sequence", 36)),
        (Target("sentiment", "regression", (1, 5)),),
    )
    return _aligned("ict_mmmo", schema, {"text": "text", "audio": "audio", "vision": "video"})


def pom() -> Corpus:
    """POM (Park et al., 2014): 17 ratings of film reviewers; up to 20 word-aligned steps of audio and video.

    Ratings are means of three raters on scales of 1 to 7 or 1 to 5; a rater who is missing was counted as 0, so a few
    of the second kind lie below 1 and their range starts at 0.
    """
    schema = Schema(
        (Modality("audio", "sequence", 43), Modality("vision", "sequence", 41)),
        tuple(Target(name, "regression", (0, 5) if name in FIVE else (1, 7)) for name in TRAITS),
    )
    return _aligned("pom", schema, {"audio": "audio", "vision": "video"})


def real_life_trial(fold: int = 0, rate: int = 10) -> Corpus:
    """Real-life Trial (Perez-Rosas et al., 2015): deceptive or truthful clips of testimony, audio and video at 10 Hz.

    Frames without a tracked face are zeros; a clip without audio frames or without any face lacks that modality. The
    labels are contested: for testing methods only, never to claim that a person lied.

    Args:
        fold: the test fold, 0 to 4; the next one is validation. No court case is in two folds.
        rate: steps per second, a divisor of 10; below 10, steps are means (of the frames with a face).
    """
    if rate not in (1, 2, 5, 10):
        raise OptionError(f"rate must be 1, 2, 5 or 10 steps per second, got {rate}")
    folder = data_folder("real_life_trial")
    table, stored = read_table(folder / "clips.csv"), read_arrays(folder / "features.npz")
    tracked = rows_of(stored["video_mask"], stored["video_offsets"])
    video = rows_of(stored["video"] * stored["video_mask"][:, None], stored["video_offsets"])
    audio = rows_of(stored["audio"], stored["audio_offsets"])
    schema = Schema(
        (Modality("audio", "sequence", 29), Modality("vision", "sequence", 49)),
        (Target("deception", "classification", classes=("truthful", "deceptive")),),
    )
    return dealt(
        "real_life_trial",
        schema,
        ids=table["clip"],
        split=rotated(stored["fold"].tolist(), fold, FOLDS),
        columns={
            "audio": [_means(row, np.ones(len(row)), 10 // rate) for row in audio],
            "vision": [
                _means(row, mask, 10 // rate) if mask.any() else None for row, mask in zip(video, tracked, strict=True)
            ],
        },
        targets={"deception": stored["label_id"]},
        groups=table["case"],
    )


def _aligned(name: str, schema: Schema, files: Mapping[str, str]) -> Corpus:
    """Read ``train.npz``, ``valid.npz``, ``test.npz``; ``files``: modality -> its array, absent where there is none."""
    splits = {}
    for part in ("train", "valid", "test"):
        stored = read_arrays(data_folder(name) / f"{part}.npz")
        labels = stored["label"].reshape(len(stored["label"]), -1)
        spans = _spans([stored[file] for file in files.values() if file in stored])
        columns = {
            m: _trim(stored[file], spans) if file in stored else [None] * len(labels) for m, file in files.items()
        }
        targets = {t.name: labels[:, i] for i, t in enumerate(schema.targets)}
        splits[part] = build_split(schema, [f"{part}-{i}" for i in range(len(labels))], columns, targets)
    return Corpus(name, f"benchmarks/corpora.py:{name}", schema, splits).check()


def _spans(arrays: Sequence[Array]) -> list[slice]:
    """Return, per sample, the steps from the first to the last that any modality fills.

    One span for all modalities keeps them aligned: a zero inside it means no face or no voice, not padding. The release
    pads at the front.
    """
    filled = np.any([(a != 0).any(axis=2) for a in arrays], axis=0)  # (samples, time)
    ends = filled.shape[1] - filled[:, ::-1].argmax(axis=1)
    return [slice(int(first), int(end)) for first, end in zip(filled.argmax(axis=1), ends, strict=True)]


def _trim(array: Array, spans: Sequence[slice]) -> list[Array | None]:
    rows = [row[span] for row, span in zip(array, spans, strict=True)]
    return [row if row.any() else None for row in rows]


def _means(row: Array, counted: Array, size: int) -> Array:
    """Return means of every ``size`` steps, of those ``counted``; zeros where none is."""
    if size == 1 or not len(row):
        return row
    starts = np.arange(0, len(row), size)
    weights = counted.astype(float)
    sums, counts = np.add.reduceat(row * weights[:, None], starts), np.add.reduceat(weights, starts)
    means: Array = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    return means
