"""Modality importance: the paper's table, closed forms, planted categories, and the check by exchange."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
import torch

from polymodal.audit.base import FEW, check_subsets, mean_over_groups
from polymodal.audit.importance import (
    AGNOSTIC,
    COMPLEMENTARY,
    CONFLICTING,
    UNANSWERED,
    Importance,
    _needed,
    categories,
    importance,
)
from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target

PATTERNS = [  # right with v, with t, with both: scores of v and t, category
    ((1, 1, 1), (0.0, 0.0), AGNOSTIC),
    ((0, 0, 0), (0.0, 0.0), UNANSWERED),
    ((1, 0, 1), (1.0, -0.5), "biased to v"),
    ((0, 1, 1), (-0.5, 1.0), "biased to t"),
    ((0, 0, 1), (0.5, 0.5), COMPLEMENTARY),
    ((1, 1, 0), (-0.5, -0.5), CONFLICTING),
    ((1, 0, 0), (0.5, -1.0), "biased to v"),
    ((0, 1, 0), (-1.0, 0.5), "biased to t"),
]


def perf_of(right: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], np.ndarray]:
    return {subset: np.array([float(value)]) for subset, value in right.items()}


@pytest.mark.parametrize(("right", "scores", "category"), PATTERNS)
def test_the_eight_patterns_of_two_modalities(
    right: tuple[int, int, int], scores: tuple[float, float], category: str
) -> None:
    perf = perf_of({("v",): right[0], ("t",): right[1], ("v", "t"): right[2], (): 1})
    found = importance(perf, ("v", "t"))
    assert (found["v"][0], found["t"][0]) == scores
    assert categories(perf, found) == [category]


def subsets(names: str) -> list[tuple[str, ...]]:
    return [s for size in range(len(names) + 1) for s in combinations(names, size)]


def test_three_modalities_have_their_closed_forms() -> None:
    one = importance(perf_of({s: "a" in s for s in subsets("abc")}), "abc")
    assert one["a"][0] == 1
    assert one["b"][0] == pytest.approx(0.5 - 2 / 3)
    every = importance(perf_of({s: len(s) == 3 for s in subsets("abc")}), "abc")
    assert [every[n][0] for n in "abc"] == pytest.approx([0.25] * 3)
    shifted = importance(perf_of({s: ("a" in s) + 0.3 for s in subsets("abc")}), "abc")
    assert shifted["b"][0] == pytest.approx(one["b"][0])


KIND = Target("kind", "classification", classes=("no", "yes"))
SCHEMA = Schema((Modality("v", "vector", 1), Modality("t", "vector", 1)), (KIND,))


class Rule:
    """Knows the answer by a planted rule: what a sample needs stands in its id."""

    schema = SCHEMA

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        rows = []
        for i, name in enumerate(batch.ids):
            need = name.split("-")[0]
            v, t = (float(batch[m].tensor[i, 0]) * bool(batch[m].present[i]) for m in "vt")
            said = {"v": v, "t": t, "both": v + t if v * t else 0.0, "any": v or t, "none": 0.0}[need]
            rows.append([0.5 - said / 4, 0.5 + said / 4 - 1e-9])
        return {"kind": torch.tensor(rows)}


def planted(rows: int = 60) -> Batch:
    """Both features are +1 for yes and -1 for no."""
    kind = torch.arange(rows) % 2
    values = (2.0 * kind - 1)[:, None]
    streams = {n: Stream(values, None, torch.ones(rows, dtype=torch.bool)) for n in "vt"}
    needs = ["v", "t", "both", "any"]
    ids = [f"{needs[(i // 2) % 4]}-{i}" for i in range(rows)]
    return Batch(streams, {"kind": kind}, ids, group=torch.arange(rows) // 3)


def batches() -> Iterator[Batch]:
    # Every sample is "yes": a guess without input says "no", so that being right needs what the rule needs.
    yield planted(160).select(torch.arange(160) % 2 == 1)


def test_planted_categories_are_recovered_and_exchange_hurts_where_it_should() -> None:
    findings = Importance().run(Rule(), batches)
    wanted = {"v": "biased to v", "t": "biased to t", "both": COMPLEMENTARY, "any": AGNOSTIC}
    for name, category in zip(findings.samples["id"], findings.samples["category"], strict=True):
        assert category == wanted[name.split("-")[0]]
    lines = {line.what: line for line in findings.evidence}
    assert lines["right with nothing at all"].value == 0
    assert lines["share of samples: needs several"].value == pytest.approx(0.25, abs=0.02)
    assert lines["importance of v"].groups > FEW
    assert lines["importance of v"].low is not None


def test_samples_without_a_label_are_not_asked_about() -> None:
    batch = planted(40)
    batch.targets["kind"][:10] = -1
    assert len(Importance().run(Rule(), lambda: [batch]).samples["id"]) == 30


def test_an_exchanged_modality_costs_only_those_that_need_it() -> None:
    findings = Importance().run(Rule(), lambda: [planted(160)])
    lost = {line.what: line.value for line in findings.evidence if line.what.startswith("lost")}
    assert lost["lost by exchanging v: biased to v"] > 0.2
    assert lost["lost by exchanging v: biased to t"] == pytest.approx(0)


def test_what_is_found_is_true_of_one_modality_and_of_none_that_is_needed() -> None:
    assert _needed({"v": np.array([0.1]), "t": np.array([-0.1])}).startswith("It needs v most: without it, 10.0 of 100")
    assert _needed({"v": np.array([0.0]), "t": np.array([-0.1])}).startswith("It needs none of its modalities")
    assert _needed({"v": np.array([0.8])}) == "There is only v: with it 80.0 of 100 points of being right are reached."


def test_too_many_modalities_are_one_sentence() -> None:
    many = Schema(tuple(Modality(f"m{i}", "vector", 1) for i in range(7)), (KIND,))
    with pytest.raises(OptionError, match="7 modalities have 128 subsets"):
        check_subsets(many)


def test_intervals_count_groups_and_few_groups_have_none() -> None:
    values, groups = np.repeat(np.arange(20.0), 50), np.repeat(np.arange(20), 50)
    line, alone = mean_over_groups("x", values, groups), mean_over_groups("x", values, None)
    assert line.low is not None
    assert line.high is not None
    assert alone.low is not None
    assert alone.high is not None
    # 50 copies of a number say no more than one: the interval is that of 20 numbers.
    assert line.high - line.low > 5 * (alone.high - alone.low)
    assert (line.count, line.groups) == (1000, 20)
    assert mean_over_groups("x", values[:400], groups[:400]).low is None


def test_a_share_that_is_none_in_every_group_has_no_interval() -> None:
    line = mean_over_groups("x", np.zeros(200), np.arange(200) % 20)
    assert line.value == pytest.approx(0, abs=1e-12)
    assert (line.low, line.high) == (None, None), "another group may have some"
