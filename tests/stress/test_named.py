"""Whole protocols by name: their draws have the closed forms, and who was told is known."""

from __future__ import annotations

import pytest
import torch

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.stress import NAMED, conditions, named, parse_stress, prior, sweeps

ROWS = 4000


def crowd(count: int = 3, rows: int = ROWS) -> Batch:
    here = torch.ones(rows, dtype=torch.bool)
    streams = {f"m{i}": Stream(torch.ones(rows, 2), None, here) for i in range(count)}
    return Batch(streams, {}, [f"s{i}" for i in range(rows)])


def schema(count: int) -> Schema:
    return Schema(tuple(Modality(f"m{i}", "vector", 2) for i in range(count)), (Target("y", "regression", (0, 1)),))


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_missing_share_takes_as_many_cells_as_it_says(rate: float, count: int) -> None:
    batch = crowd(count, 501)
    kept = parse_stress(f"missing-share:rate={rate}")(batch, population=batch.ids).present
    share = 1 - kept.float().mean().item()
    assert abs(share - min(rate, (count - 1) / count)) <= 1 / (501 * count)
    assert kept.any(dim=1).all()
    assert kept.float().mean(0).std() < 0.1  # no modality is preferred


def test_missing_one_takes_one_of_what_is_there() -> None:
    batch = crowd()
    kept = parse_stress("missing-one")(batch).present
    assert set(kept.sum(1).tolist()) == {2}
    assert (kept.float().mean(0) - 2 / 3).abs().max() < 0.03
    half = torch.arange(ROWS) % 2 == 0
    alone = batch.without("m0", rows=half).without("m1", rows=half)
    kept = parse_stress("missing-one")(alone).present
    assert kept[half].tolist() == [[False, False, True]] * int(half.sum())


@pytest.mark.parametrize("count", [2, 3])
def test_missing_rates_have_the_mean_of_the_closed_form(count: int) -> None:
    kept = parse_stress("missing-rates")(crowd(count)).present
    emptied = 0.7**count / (count + 1)  # E[r ** M], whose one cell comes back
    assert 1 - kept.float().mean().item() == pytest.approx(0.35 - emptied / count, abs=0.012)
    assert kept.any(dim=1).all()


def test_imbalanced_modalities_lose_their_own_share() -> None:
    lost = 1 - parse_stress("imbalanced:m2,m0,m1")(crowd()).present.float().mean(0)
    emptied = 0.2 * 0.5 * 0.8 / 3
    assert lost.tolist() == pytest.approx([0.5 - emptied, 0.8 - emptied, 0.2 - emptied], abs=0.025)
    untouched = parse_stress("imbalanced:m2,m0")(crowd()).present[:, 1]
    assert untouched.all()


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_every_protocol_suits_every_number_of_modalities(name: str, count: int) -> None:
    protocol, known = named(name), schema(count)
    points = conditions(known, protocol.stress(known), subsets=protocol.subsets)
    assert len({p.text for p in points}) == len(points)
    batch = crowd(count, 12)
    for point in points:
        assert point.stress(batch, population=batch.ids).present.any(dim=1).all()
    if name == "complete" or count == 1:
        assert [p.text for p in points] == ["complete"]


def test_missmac_names_only_rates_that_exist() -> None:
    rates = {n: [p.value for p in sweeps(named("missmac").stress(schema(n))) if p.series] for n in (2, 3, 6)}
    assert rates[2] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert rates[3][-1] == 0.6
    assert rates[6][-1] == 0.7


def test_missbench_gives_every_modality_every_rate() -> None:
    found = [t for t in named("missbench").stress(schema(3)) if t.startswith("imbalanced")]
    assert len(found) == 6
    assert len([t for t in named("missbench").stress(schema(5)) if t.startswith("imbalanced")]) == 5


def test_who_was_told() -> None:
    assert prior("", drops=False) == "none"
    assert prior("", drops=True) == "own"
    assert prior("noise:snr=0", drops=False) == "none"
    assert prior("noise:snr=0+missing:rate=0.3", drops=True) == "told"
    assert prior("drop:rate=0.1", drops=False) == "told"
    with pytest.raises(OptionError, match="did you mean 'missmac'"):
        named("missmc")


def test_what_is_the_same_is_tested_once() -> None:
    asked = ["missing:rate=0.3/0.5/0.6/0.7", "missing-share:rate=0.6/0.7", "instance:p=0.5/1"]
    values = {n: [p.text for p in conditions(schema(n), asked, subsets=False)][1:] for n in (2, 3)}
    assert values[2] == [
        "missing:rate=0.3",
        "missing:rate=0.5",
        "missing-share:rate=0.6",
        "instance:p=0.5",
        "instance:p=1",
    ]
    assert "missing:rate=0.7" in values[3]
    assert "missing-share:rate=0.7" in values[3]
    batch = crowd(2, 50)
    seen = [parse_stress(f"missing:rate={r}")(batch).present.tolist() for r in (0.5, 0.7)]
    assert seen[0] == seen[1]
