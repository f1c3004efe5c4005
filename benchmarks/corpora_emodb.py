"""EmoDB from its recordings, with polymodal's own extractors; the features are kept in ``$POLYMODAL_CACHE``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corpora_tools import data_folder, dealt, kept, read_table, rotated, rows_of
from polymodal.core import Modality, Schema, Target
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Array

FRONT_ENDS = {"logmel": "logmel", "egemaps": "egemaps-functionals"}
"""Modalities of ``emodb`` and the acoustic features of ``media.sound.audio`` that they hold."""


def emodb(fold: int | None = None) -> Corpus:
    """EmoDB (Burkhardt et al., 2005), 200 of its recordings: 7 acted emotions, ten German speakers, two front ends.

    ``logmel``: 40 log-mel bands, F0 and voicing every 10 ms; ``egemaps``: the 88 functionals of eGeMAPSv02 (openSMILE).
    Both describe the same sound: they are two views, not two senses. Nine fixed sentences are spoken; the
    words carry nothing.

    Args:
        fold: the speaker who is tested, 0 to 9; the next one is validation. Default: one split by speaker (122 / 20 /
            58; six, one and three speakers).

    Raises:
        OptionError: no such fold; openSMILE or PyAV is not installed.
    """
    folder = data_folder("emodb")
    table = read_table(folder / "clips.csv")
    columns = {name: _heard([folder / f for f in table["file"]], features) for name, features in FRONT_ENDS.items()}
    emotions, labels = np.unique(table["emotion"], return_inverse=True)
    speakers, numbers = np.unique(table["speaker"], return_inverse=True)
    return dealt(
        "emodb",
        Schema(
            (
                Modality("logmel", "sequence", columns["logmel"][0].shape[1]),
                Modality("egemaps", "vector", columns["egemaps"][0].shape[1]),
            ),
            (Target("emotion", "classification", classes=tuple(emotions.tolist())),),
        ),
        ids=[Path(file).stem for file in table["file"]],
        split=table["split"] if fold is None else rotated(numbers.tolist(), fold, len(speakers)),
        columns=columns,
        targets={"emotion": labels},
        groups=table["speaker"],
        about={"sex": table["sex"]},
        notes=("recordings were cut to 2 s by the source; nine fixed sentences, which splits share",),
    )


def _heard(files: list[Path], features: str) -> list[Array]:
    """Return the acoustic features of every file, (steps, width)."""
    from polymodal.media.assets import sha256_of
    from polymodal.media.sound.audio import Acoustic

    acoustic = Acoustic(features)

    def make() -> dict[str, Array]:
        rows = [acoustic.describe(sound_of(file), 0.0).values for file in files]
        return {"values": np.concatenate(rows), "offsets": np.cumsum([0, *map(len, rows)])}

    stored = kept("emodb", [acoustic.version, *map(sha256_of, files)], make)
    return rows_of(stored["values"], stored["offsets"])


def sound_of(file: Path) -> Array:
    """Return the samples of a clip, mono at 16 kHz, from time 0 on."""
    from polymodal.media.clip.decode import Media
    from polymodal.media.types import Samples

    with Media(file) as media:
        return np.concatenate([p.values for p in media.pieces(video=False) if isinstance(p, Samples)])
