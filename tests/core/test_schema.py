"""Schemas refuse what no method could use, and survive JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from polymodal.core import Modality, PolymodalError, Schema, Target

AUDIO = Modality("audio", "sequence", 4)
TEXT = Modality("text", "text", normalize=False)
SCORE = Target("sentiment", "regression", (-3.0, 3.0))
EMOTION = Target("emotion", "classification", classes=("joy", "fear"))
SINGLE = Target("sentiment_audio", "regression", (-1.0, 1.0), modality="audio")


def test_a_schema_survives_json_unchanged() -> None:
    schema = Schema((TEXT, AUDIO), (SCORE, EMOTION, SINGLE, Target("tags", "multilabel", classes=("a",))))
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_joint_targets_leave_out_those_of_one_modality() -> None:
    schema = Schema((TEXT, AUDIO), (SINGLE, SCORE, EMOTION))
    assert schema.joint_targets == (SCORE, EMOTION)
    assert [t.spec.width for t in schema.targets] == [1, 1, 2]


def test_replacing_a_modality_keeps_the_order() -> None:
    encoded = Modality("text", "sequence", 8)
    assert Schema((TEXT, AUDIO), (SCORE,)).with_modality(encoded).modalities == (encoded, AUDIO)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a modality of width 0": (lambda: Modality("audio", "sequence", 0), "'audio' has width 0"),
    "an unknown kind": (lambda: Modality("audio", "picture", 3), "kind 'picture'"),  # type: ignore[arg-type]
    "an unknown task": (lambda: Target("y", "regresion"), "no task 'regresion'; did you mean 'regression'"),
    "a range that is none": (lambda: Target("y", "regression", (float("nan"),) * 2), "range nan to nan"),
    "a range upside down": (lambda: Target("y", "regression", (3, -3)), "the lowest label, then the highest"),
    "a retrieval with classes": (lambda: Target("y", "retrieval", classes=("a",)), "has classes or a range"),
    "a regression with classes": (lambda: Target("y", "regression", classes=("a", "b")), "has classes"),
    "a single class": (lambda: Target("y", "classification", classes=("a",)), "at least two"),
    "no labels": (lambda: Target("y", "multilabel"), "at least one class"),
    "a modality twice": (lambda: Schema((AUDIO, AUDIO), (SCORE,)), "'audio' twice"),
    "a target twice": (lambda: Schema((AUDIO,), (SCORE, SCORE)), "'sentiment' twice"),
    "no modality": (lambda: Schema((), (SCORE,)), "no modality"),
    "no joint target": (lambda: Schema((AUDIO,), (SINGLE,)), "whole sample"),
    "an unknown modality": (lambda: Schema((AUDIO,), (SCORE,)).modality("adio"), "did you mean 'audio'"),
    "an unknown target": (lambda: Schema((AUDIO,), (SCORE,)).target("sentment"), "did you mean 'sentiment'"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_no_method_could_use_is_refused(name: str) -> None:
    make, named = WRONG[name]
    with pytest.raises(PolymodalError, match=named) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 7), (6, 63), (7, 64), (12, 64), (40, 64), (80, 64)])
def test_subsets_are_all_up_to_six_modalities_and_at_most_64(count: int, expected: int) -> None:
    names = [f"m{i}" for i in range(count)]
    schema = Schema(tuple(Modality(n, "vector", 1) for n in names), (Target("y", "regression", (0, 1)),))
    found = schema.subsets()
    assert len(found) == len(set(found)) == expected
    assert found[0] == schema.names
    assert found == schema.subsets()
    assert all(found)
    if 6 < count <= 30:
        assert all((n,) in found and tuple(m for m in names if m != n) in found for n in names)
