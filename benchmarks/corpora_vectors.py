"""Corpora of vectors: handwritten numerals seen in six ways, synthetic applications for a job."""

from __future__ import annotations

from typing import Literal

from corpora_tools import data_folder, dealt, read_arrays
from polymodal.core import Modality, Schema, Target
from polymodal.data.corpus import Corpus

VIEWS = ("fou", "fac", "kar", "pix", "zer", "mor")


def mfeat_digits() -> Corpus:
    """UCI Multiple Features: 2000 handwritten numerals, ten classes of 200, six vectors computed of the same pictures.

    Fourier coefficients (76), profile correlations (216), Karhunen-Loeve coefficients (64), means of 2 x 3
    pixels (240), Zernike moments (47), morphology (6). Split within each class: 120 / 30 / 50.
    """
    stored = read_arrays(data_folder("mfeat_digits") / "mfeat.npz")
    schema = Schema(
        tuple(Modality(view, "vector", stored[view].shape[1]) for view in VIEWS),
        (Target("digit", "classification", classes=tuple("0123456789")),),
    )
    return dealt(
        "mfeat_digits",
        schema,
        ids=[f"numeral-{i}" for i in range(len(stored["label"]))],
        split=stored["split"].tolist(),
        columns={view: stored[view] for view in VIEWS},
        targets={"digit": stored["label"]},
        notes=("who wrote a numeral is not known: the same hand may be in train and in test",),
    )


def faircv(
    label: Literal["biased", "blind"] = "biased",
    bias: Literal["gender", "ethnicity"] = "gender",
    face: Literal["embedding", "agnostic"] = "embedding",
) -> Corpus:
    """FairCVtest (Pena et al., 2020), 4800 of its profiles: score of a synthetic application, CV and face as vectors.

    The CV: education, experience, recommendation, availability, eight languages. The face: 20 numbers of a real
    person's face embedding. Gender and ethnicity are no input but columns about the samples; the face tells them all
    the same, and nothing else: it can only help with the biased score. Split at random (3600 / 480 / 720).

    Args:
        label: ``blind``, the score that the CV deserves (all but linear in it), or ``biased``, the same with a malus
            for one of two genders, or with a bonus and a malus for two of three ethnic groups.
        bias: which of the two, each with profiles of its own.
        face: the recognition network's ``embedding``, or the ``agnostic`` one, from which the authors removed both.
    """
    stored = read_arrays(data_folder("faircv_2020") / f"{bias}.npz")
    columns = stored["columns"].tolist()
    prefix = {"embedding": "face", "agnostic": "face_agnostic"}[face]
    seen = [i for i, name in enumerate(columns) if name.rstrip("0123456789") == prefix]
    first, last = columns.index("education"), columns.index("language7")
    cv = list(range(first, last + 1))
    schema = Schema(
        (Modality("cv", "vector", len(cv)), Modality("face", "vector", len(seen))),
        (Target("score", "regression", (0, 1.2)),),
    )
    return dealt(
        "faircv",
        schema,
        ids=[f"{bias}-{i}" for i in range(len(stored["profiles"]))],
        split=stored["split"].tolist(),
        columns={"cv": stored["profiles"][:, cv], "face": stored["profiles"][:, seen]},
        targets={"score": stored[f"{label}_label"]},
        notes=(
            "applications and scores are synthetic: nothing follows from them about people",
            "no two splits share a face; whether two faces are of one person is not known",
        ),
        about={
            n: [f"{n[0]}{int(v)}" for v in stored["profiles"][:, columns.index(n)]] for n in ("gender", "ethnicity")
        },
    )
