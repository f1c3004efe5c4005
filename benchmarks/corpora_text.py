"""Corpora of dialogues: what is said, and what was said before it, as two modalities of raw text.

Frozen encodings are the caller's choice: ``--encode utterance=minilm --encode "context=minilm?max_tokens=128"``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from corpora_tools import data_folder, dealt, read_table, rotated
from polymodal.core import Modality, OptionError, Schema, Target
from polymodal.data.corpus import Corpus

FOLDS = 5
TEXTS = (Modality("utterance", "text"), Modality("context", "text"))
EMOTIONS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")


def mustard(split: Literal["speaker", "official"] = "speaker", fold: int = 0) -> Corpus:
    """MUStARD (Castro et al., 2019): is this line of a comedy sarcastic? 690 lines with those before them, half are.

    Who speaks is no input: of Chandler's lines 76 % are sarcastic, of Dorothy's 38 of 39.

    Args:
        split: ``speaker``, five folds that share no speaker, dealt by ``_by_speaker``, or ``official``, the release's
            five folds, which share speakers: better figures, and no claim about people who were not heard before.
        fold: the test fold, 0 to 4; the next one is validation.
    """
    folder = data_folder("mustard")
    lines = json.loads((folder / "sarcasm_data.json").read_text(encoding="utf-8"))
    rows = list(lines.values())
    # An unnamed person of one show is not that of another.
    speakers = [f"{row['show']} {row['speaker']}" for row in rows]
    labels = np.array([int(row["sarcasm"]) for row in rows])
    if split == "official":
        folds = np.empty(len(rows), np.int64)
        for number, (_, tested) in enumerate(json.loads((folder / "split_indices.json").read_text())):
            folds[tested] = number
        note = "speakers are in train and in test; split=speaker keeps them apart"
    else:
        folds = _by_speaker(speakers, labels)
        note = "unnamed speakers of a show count as one; 10 contexts hold another utterance of the corpus"
    return dealt(
        "mustard",
        Schema(TEXTS, (Target("sarcasm", "classification", classes=("sincere", "sarcastic")),)),
        ids=list(lines),
        split=rotated(folds.tolist(), fold, FOLDS),
        columns={
            "utterance": [row["utterance"] for row in rows],
            "context": [" ".join(row["context"]) for row in rows],
        },
        targets={"sarcasm": labels},
        groups=() if split == "official" else speakers,
        notes=(note,),
    )


def _by_speaker(speakers: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """Return every row's fold: speakers, those with most lines first, each go where folds stay most alike.

    Alike in the numbers of both labels (least sum of squares; the first fold where several are as good), since a
    speaker's share of sarcasm is anything from 0 to 1. There is no chance in it, hence no seed.
    """
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2, np.int64))
    for speaker, label in zip(speakers, labels, strict=True):
        counts[speaker][label] += 1
    filled, home = np.zeros((FOLDS, 2), np.int64), {}
    for speaker in sorted(counts, key=lambda s: (-counts[s].sum(), s)):
        home[speaker] = int(
            (2 * filled @ counts[speaker]).argmin()
        )  # what the sum of squares grows by, but for |counts|²
        filled[home[speaker]] += counts[speaker]
    return np.array([home[speaker] for speaker in speakers])


def meld_text(turns: int = 3) -> Corpus:
    """MELD (Poria et al., 2019), its text: 7 emotions of 13,708 lines of Friends, with the lines before each.

    Who speaks is no input. A dialogue's first line has no context: that modality is absent there. Split of the release
    (9989 / 1109 / 2610), by dialogue.

    Args:
        turns: lines before the utterance that are its context, at most, the oldest first.

    Raises:
        OptionError: ``turns`` is not at least 1.
    """
    if turns < 1:
        raise OptionError(
            f"turns must be a whole number, 1 or more, got {turns}; ?modalities=utterance leaves context out"
        )
    folder = data_folder("meld_text")
    split, ids, groups, said, before, emotions = [], [], [], [], [], []
    for part, file in (("train", "train"), ("valid", "dev"), ("test", "test")):
        table = read_table(folder / f"{file}_sent_emo.csv")
        heard: dict[str, list[str]] = defaultdict(list)
        for dialogue, number, text, emotion in zip(
            *(table[n] for n in ("Dialogue_ID", "Utterance_ID", "Utterance", "Emotion")), strict=True
        ):
            group = f"{part}-{dialogue}"  # each file counts its dialogues from 0
            split.append(part)
            ids.append(f"{group}-{number}")
            groups.append(group)
            said.append(text)
            before.append(" ".join(heard[group][-turns:]))
            emotions.append(EMOTIONS.index(emotion))
            heard[group].append(text)
    return dealt(
        "meld_text",
        Schema(TEXTS, (Target("emotion", "classification", classes=EMOTIONS),)),
        ids=ids,
        split=split,
        columns={"utterance": said, "context": before},
        targets={"emotion": np.array(emotions)},
        groups=groups,
        notes=(
            "no dialogue is in two splits, but all but one of the test utterances are from episodes that train has",
        ),
    )
