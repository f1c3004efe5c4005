"""Public corpora dealt anew, as folds and as domains; see proofs.py.

polymodal data info "benchmarks/domains.py:ravdess?sex=female&fold=1"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

import corpora
import corpora_tools
from polymodal.core import Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.split import Split, build_split

FOLDS = 5
FILE = Path(__file__)
SHARED_EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgust")
GERMAN = {
    "neutral": "neutral",
    "happiness": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fear": "fearful",
    "disgust": "disgust",
}
RATE, BANDS, LOWEST, HIGHEST = 16_000, 26, 50, 7600


def ravdess(fold: int = 0, sex: Literal["", "female", "male"] = "") -> Corpus:
    """RAVDESS with a fifth of the actors as ``test``, the next fifth as ``valid``; all actors, or those of one sex.

    Odd actors are men, even ones women.
    """
    corpus = corpora.ravdess_av()
    actors = sorted({g for split in corpus.splits.values() for g in split.groups}, key=int)
    actors = [a for a in actors if not sex or int(a) % 2 == (sex == "male")]
    # Neighbours are a man and a woman: both sexes are in every fold.
    place = {a: i // (1 if sex else 2) % FOLDS for i, a in enumerate(actors)}
    return _dealt(corpus, f"ravdess?fold={fold}&sex={sex}", lambda group: _part(place.get(group), fold))


def trial(fold: int = 0, domain: Literal["a", "b", "c", "target"] = "target") -> Corpus:
    """Real-life Trial as domains of court cases: three labelled ones, and fold ``fold`` as target and ``test``.

    The target's clips are in ``train`` too, for their inputs; a mix hides their labels. The fifth fold is the
    validation split of ``c``.
    """
    corpus = corpora.real_life_trial(rate=2)
    home = {g: (fold_of(g) - fold) % FOLDS for split in corpus.splits.values() for g in split.groups}
    number = {"target": 0, "a": 1, "b": 2, "c": 3}[domain]
    parts = {number: "train"} | ({4: "valid"} if domain == "c" else {})
    found = _dealt(corpus, f"trial?fold={fold}&domain={domain}", lambda group: parts.get(home[group], ""))
    if domain != "target":
        return found
    return replace(found, splits={**found.splits, "test": _renamed(found["train"], "test-")})


@cache
def _cases() -> dict[str, int]:
    table = corpora_tools.read_table(corpora_tools.data_folder("real_life_trial") / "clips.csv")
    return dict(zip(table["case"], map(int, table["fold"]), strict=True))


def fold_of(case: str) -> int:
    """Return the fold of a court case."""
    return _cases()[case]


def voice(corpus: Literal["ravdess", "emodb"] = "ravdess", half: int = 0) -> Corpus:
    """Speech of RAVDESS (English) or EmoDB (German), the six emotions of both; 26 log-mel bands at 25 Hz.

    Two modalities of the same sound: ``audio``, the sequence, and ``level``, means and deviations over time. Half of
    the speakers are ``test``, chosen by ``half``, two others ``valid``, the rest ``train``.
    """
    ids, sounds, emotions, speakers = _ravdess_voice() if corpus == "ravdess" else _emodb_voice()
    names = sorted(set(speakers))
    tested = set(names[half::2])
    watched = set([n for n in names if n not in tested][:2])
    schema = Schema(
        (Modality("audio", "sequence", BANDS), Modality("level", "vector", 2 * BANDS)),
        (Target("emotion", "classification", classes=SHARED_EMOTIONS),),
    )
    splits = {}
    for part in ("train", "valid", "test"):
        wanted = {"test": tested, "valid": watched, "train": set(names) - tested - watched}[part]
        rows = [i for i, s in enumerate(speakers) if s in wanted]
        columns = {
            "audio": [sounds[i] for i in rows],
            "level": [np.concatenate([sounds[i].mean(0), sounds[i].std(0)]) for i in rows],
        }
        labels = np.array([SHARED_EMOTIONS.index(emotions[i]) for i in rows])
        own = [speakers[i] for i in rows]
        splits[part] = build_split(schema, [ids[i] for i in rows], columns, {"emotion": labels}, own)
    return Corpus(f"voice-{corpus}", f"{FILE}:voice?corpus={corpus}&half={half}", schema, splits).check()


def _ravdess_voice() -> tuple[list[str], list[Any], list[str], list[str]]:
    folder = corpora_tools.data_folder("ravdess_av")
    table, stored = corpora_tools.read_table(folder / "clips.csv"), corpora_tools.read_arrays(folder / "features.npz")
    sounds = corpora_tools.rows_of(stored["logmel"].astype(np.float32), stored["logmel_offsets"])
    rows = [i for i, emotion in enumerate(table["emotion"]) if emotion in SHARED_EMOTIONS]
    return tuple([column[i] for i in rows] for column in (table["clip"], sounds, table["emotion"], table["actor"]))  # type: ignore[return-value]


@cache
def _emodb_voice() -> tuple[list[str], list[Any], list[str], list[str]]:
    import soundfile

    folder = corpora_tools.data_folder("emodb")
    table = corpora_tools.read_table(folder / "clips.csv")
    rows = [i for i, emotion in enumerate(table["emotion"]) if emotion in GERMAN]
    sounds = []
    for i in rows:
        samples, rate = soundfile.read(str((folder / table["file"][i]).with_suffix(".flac")), dtype="float32")
        assert rate == RATE
        sounds.append(log_mel(samples))
    return (
        [table["file"][i] for i in rows],
        sounds,
        [GERMAN[table["emotion"][i]] for i in rows],
        [table["speaker"][i] for i in rows],
    )


def log_mel(samples: Any) -> Any:
    """Return 26 log-mel bands at 25 Hz ``(steps, 26)`` of sound at 16 kHz, made as those of the released RAVDESS file.

    25 ms Hann windows every 10 ms, 512-point FFT, triangles from 50 to 7600 Hz, log(x + 1e-8), means of four frames.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, RATE // 40)[:: RATE // 100]
    power = np.abs(np.fft.rfft(frames * np.hanning(RATE // 40), 512)) ** 2
    top, bottom = (2595 * np.log10(1 + f / 700) for f in (HIGHEST, LOWEST))
    edges = 700 * (10 ** (np.linspace(bottom, top, BANDS + 2) / 2595) - 1)
    bins = np.linspace(0, RATE / 2, 257)[:, None]
    rising, falling = ((bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:])
    energies = np.log(power @ np.clip(np.minimum(rising, falling), 0, None) + 1e-8)
    steps = len(energies) // 4
    return energies[: 4 * steps].reshape(steps, 4, BANDS).mean(1).astype(np.float32)


def _part(place: int | None, fold: int) -> str:
    if place is None:
        return ""
    return "test" if place == fold else "valid" if place == (fold + 1) % FOLDS else "train"


def _dealt(corpus: Corpus, call: str, part_of: Callable[[str], str]) -> Corpus:
    """Return ``corpus`` with its samples dealt to splits by their group; those of part '' are left out."""
    whole = Split.joined(list(corpus.splits.values()))
    parts = [part_of(group) for group in whole.groups]
    splits = {}
    for part in ("train", "valid", "test"):
        rows = [i for i, own in enumerate(parts) if own == part]
        if rows:
            splits[part] = whole.select(rows)
    return Corpus(corpus.name, f"{FILE}:{call}", corpus.schema, splits, corpus.notes)


def _renamed(split: Split, prefix: str) -> Split:
    return replace(split, ids=[prefix + i for i in split.ids])
