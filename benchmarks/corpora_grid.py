"""GRID's sentences cut into words, heard and seen; the features are kept in ``$POLYMODAL_CACHE``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corpora_emodb import sound_of
from corpora_tools import data_folder, dealt, kept, read_table, rotated, rows_of, shared_folder
from polymodal.core import DataError, Modality, OptionError, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Array

if TYPE_CHECKING:
    from polymodal.media.types import Word

PLACES = ("command", "color", "preposition", "letter", "digit", "adverb")
"""What the six words of a sentence are, in their order."""

PAIRS = 3
FAINT = 20.0
"""Decibels below the loudest tenth of a clip that count as silence at the edge of a word."""

CODE = 1
"""To be raised with every change here that changes a feature."""


def grid_words(fold: int = 0) -> Corpus:
    """GRID (Cooke et al., 2006), 11 clips cut into 66 words: which of a sentence's six places does a word fill?

    ``audio``: 40 log-mel bands, F0 and voicing every 10 ms. ``lips``: blendshapes and distances of mouth and jaw in
    every frame, 25 per second, less their mean over the clip, since mouths at rest differ more than what they say.

    The digits alone would be 11 words of eight kinds, none more than twice. Place and kind of word are one in GRID
    (command, color, preposition, letter, digit, adverb). Time is therefore no input, and silence at the edges of words,
    which sentences begin and end with, is cut off; how one speaks at either end may still tell the place. Far too small
    for claims about methods.

    Speaker s1 (5 clips, timed in the release) is always in train; the six others have one clip each, whose words are
    timed by forced alignment (pocketsphinx: half of the bounds within 20 ms on the clips of s1).

    Args:
        fold: the two speakers who are tested, 0 to 2; the next two are validation (42 / 12 / 12 words).

    Raises:
        OptionError: no such fold; PyAV, MediaPipe or pocketsphinx is not installed.
    """
    folder = data_folder("grid_av_speech")
    told = read_table(folder / "clips_other_speakers.csv")
    others = dict(zip((folder / file for file in told["file"]), told["text"], strict=True))
    files = [*sorted((folder / "clips_s1").glob("*.mpg")), *others]
    stored = _features(files, others)
    columns = {name: rows_of(stored[name], stored[f"{name}_offsets"]) for name in ("audio", "lips")}
    clips = [file for file in files for _ in PLACES]
    pairs = [list(others).index(clip) // 2 if clip in others else -1 for clip in clips]
    return dealt(
        "grid_words",
        Schema(
            tuple(Modality(name, "sequence", stored[name].shape[1]) for name in columns),
            (Target("place", "classification", classes=PLACES),),
        ),
        ids=[f"{file.stem}-{place}" for file in files for place in PLACES],
        split=rotated(pairs, fold, PAIRS),
        columns=columns,
        targets={"place": np.tile(np.arange(len(PLACES)), len(files))},
        groups=[clip.stem if clip in others else "s1" for clip in clips],
        notes=("66 words of seven speakers: a difference between methods must be large to be one",),
    )


def _features(files: list[Path], texts: dict[Path, str]) -> dict[str, Array]:
    """Return ``audio`` and ``lips`` of all words, with their offsets."""
    from polymodal.media.assets import find_face_model, sha256_of
    from polymodal.media.extraction import Extraction
    from polymodal.media.face.features import NAMES
    from polymodal.media.pipeline import Pipeline, feature_row
    from polymodal.media.types import Segment

    faces = find_face_model(shared_folder() / "models")
    pipeline = Pipeline(Extraction(audio="logmel", vision="face", text="given"), assets=faces)
    mouth = [i for i, name in enumerate(NAMES) if name.startswith(("mouth", "jaw", "lip"))]
    widths = {m.name: m.width for m in pipeline.modalities if m.kind == "sequence"}

    def rows() -> Iterator[dict[str, Array]]:
        for file in files:
            words = _words(file, texts.get(file))
            segments = [Segment(word.start, word.end, word.text) for word in words]
            with pipeline.read(file, segments=segments) as reading:
                found = [{m.name: feature_row(utterance, m) for m in pipeline.modalities} for utterance in reading]
            made = [{n: np.zeros((0, w)) if row[n] is None else row[n] for n, w in widths.items()} for row in found]
            rest = np.concatenate([row["vision"] for row in made]).mean(axis=0)
            yield from ({"audio": row["audio"], "lips": (row["vision"] - rest)[:, mouth]} for row in made)

    def make() -> dict[str, Array]:
        made = list(rows())
        if len(made) != len(files) * len(PLACES):
            raise DataError(f"{len(made)} words were found in {len(files)} clips of six; are the files those of GRID?")
        arrays = {n: np.concatenate([row[n] for row in made]).astype(np.float32) for n in ("audio", "lips")}
        return arrays | {f"{n}_offsets": np.cumsum([0, *(len(row[n]) for row in made)]) for n in arrays}

    return kept("grid_words", [CODE, pipeline.versions, _sphinx_version(), *map(sha256_of, files)], make)


def _sphinx_version() -> str:
    if find_spec("pocketsphinx") is None:
        raise OptionError("grid_words times words with pocketsphinx; run: pip install 'polymodal[sphinx]'")
    return version("pocketsphinx")


def _words(file: Path, text: str | None) -> list[Word]:
    """Return the six words of a clip, cut to what is heard; those of the release where ``text`` is None."""
    from polymodal.media.types import Word
    from polymodal.media.words.transcripts import read_transcript

    sound = sound_of(file)
    if text is None:
        words = [word for segment in read_transcript(file.with_suffix(".align")) for word in segment.words]
    else:
        words = _aligned(sound, text)
    steps = sound[: len(sound) // 160 * 160].reshape(-1, 160)  # 10 ms at 16 kHz
    level = 20 * np.log10(np.sqrt((steps**2).mean(axis=1)) + 1e-6)
    heard = level > np.percentile(level, 90) - FAINT
    cut = []
    for word in words:
        first, last = round(word.start * 100), round(word.end * 100)
        loud = first + np.flatnonzero(heard[first:last])
        cut.append(Word(word.text, loud[0] / 100, (loud[-1] + 1) / 100) if len(loud) else word)
    return cut


def _aligned(sound: Array, text: str) -> list[Word]:
    """Return the words of ``text`` with the times at which pocketsphinx finds them in ``sound``, in its order."""
    from pocketsphinx import Decoder

    from polymodal.media.types import Word

    decoder: Any = Decoder(loglevel="FATAL", lm=None, frate=100)
    decoder.set_align_text(text)
    decoder.start_utt()
    decoder.process_raw((sound * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    found = [s for s in decoder.seg() or () if s.word[0] not in "<[(+"]  # what is no word: <sil>, (NULL), [NOISE]
    return [Word(s.word, s.start_frame / 100, (s.end_frame + 1) / 100) for s in found]
