"""The modality in the place of the text."""

from __future__ import annotations

import pytest

from polymodal.core import Modality, Schema, Target

AUDIO, FACE = Modality("audio", "sequence", 2), Modality("face", "vector", 2)
WORDS, FEATURES = Modality("transcript", "text"), Modality("text", "sequence", 4)


@pytest.mark.parametrize(
    ("modalities", "expected"),
    [
        ((AUDIO, WORDS, FEATURES), "text"),
        ((AUDIO, WORDS, Modality("subtitle", "text")), "transcript"),
        ((FACE, AUDIO), "face"),
    ],
)
def test_the_name_text_comes_before_the_kind_and_the_kind_before_the_order(
    modalities: tuple[Modality, ...], expected: str
) -> None:
    assert Schema(modalities, (Target("y", "regression"),)).anchor == expected
