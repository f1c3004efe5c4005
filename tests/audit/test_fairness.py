"""Fairness: figures by hand, planted bias is found, none where none is, what the probe can and cannot read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planted_people import SCHEMA, WEIGHTS, people
from polymodal import fit
from polymodal.audit._asked import Known, rate
from polymodal.audit._parity import _ratio, divergence
from polymodal.audit._probe import balanced, told
from polymodal.audit.base import Evidence, Findings, Panel, Said
from polymodal.audit.fairness import Fairness, _words
from polymodal.audit.run import audit_run
from polymodal.core import Batch, DataError, OptionError, Output, Schema, Target
from polymodal.data.about import with_domains
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.methods.base import Method


class Tool(Method):
    """Scores a CV by the planted weights, and takes ``malus`` where the face looks female."""

    def __init__(self, schema: Schema, malus: float, sees: bool = True) -> None:
        super().__init__(schema)
        self.malus, self.sees = malus, sees

    def forward(self, batch: Batch) -> Output:
        face = batch["face"].tensor * float(self.sees)
        score = batch["cv"].tensor @ torch.tensor(WEIGHTS, dtype=torch.float32)
        fused = torch.cat([batch["cv"].tensor, face], dim=1)
        return Output({"score": score - self.malus * torch.sigmoid(8 * face[:, 0])}, {"fused": fused})


def audited(corpus: Corpus, tool: Method, *by: str) -> Findings:
    split = corpus["test"]
    known = Known({n: dict(zip(split.ids, v, strict=True)) for n, v in split.about.items()}, by)
    return Fairness(known).run(Panel([tool]), Loader(split, corpus.schema, 64).epoch)


def line(found: Findings, what: str) -> Evidence:
    (one,) = [e for e in found.evidence if e.what == what]
    return one


def test_the_figures_are_those_counted_by_hand() -> None:
    times = np.ones((1, 5))
    chosen, within = np.array([1, 0, 1, 1, 0]), np.array([True, True, True, False, False])
    assert rate(chosen, within)(times)[0] == pytest.approx(2 / 3)
    assert np.isnan(rate(chosen, np.zeros(5, bool))(times)[0])
    right, values = np.array([1, 0, 1, 1, np.nan]), np.array(["a", "a", "b", "b", "b"])
    assert balanced(right, values)(times)[0] == pytest.approx(0.75)
    everybody = np.ones(4, bool)
    for ones, wanted in (([1, 0, 1, 0], 1.0), ([1, 1, 1, 0], 0.5), ([0, 0, 0, 0], 1.0)):
        by_value = {n: rate(np.array(ones), everybody & (np.arange(4) // 2 == n)) for n in (0, 1)}
        assert _ratio({str(n): r for n, r in by_value.items()})(np.ones((1, 4)))[0] == pytest.approx(wanted)
    same = np.tile(np.linspace(0, 1, 40), 2)
    halves = np.repeat(["a", "b"], 40)
    assert divergence(same, halves) == pytest.approx(0, abs=1e-12)
    assert divergence(np.concatenate([same[:40], same[:40] ** 3]), halves) > 0.1


def test_merits_are_alike_for_both_sexes_and_the_malus_is_all_that_differs() -> None:
    blind, biased = (people(seed=1, rows=4000, blind=b)["train"] for b in (True, False))
    female = np.asarray(blind.about["sex"]) == "f"
    deserved, given = (np.asarray(split.targets["score"]) for split in (blind, biased))
    assert abs(np.corrcoef(deserved, female)[0, 1]) < 3 / np.sqrt(4000)
    np.testing.assert_allclose(given[~female], deserved[~female])
    assert (deserved - given)[female].mean() == pytest.approx(0.2, abs=0.005)  # but for the few scores cut at 0


def test_a_planted_malus_is_found_with_its_size() -> None:
    found = audited(people(seed=1, rows=400, blind=True), Tool(SCHEMA, 0.2), "sex")
    answer = line(found, "difference, f from m: answer")
    assert answer.low is not None
    assert answer.high is not None
    assert answer.low < -0.19 < answer.high
    assert answer.high < -0.1
    chance = line(found, "difference, f from m: chosen where deserved: upper quarter")
    assert chance.high is not None
    assert chance.high < -0.3, "who deserves it is not chosen"
    assert line(found, "ratio of lowest to highest by sex: chosen: upper quarter").value < 0.5
    assert (
        line(found, "divergence of answers by sex").value > 1.5 * line(found, "the same with sex dealt at random").value
    )
    assert line(found, "sex told from what the model keeps").value > 0.9
    assert line(found, "sex told from its answers").value > 0.65
    assert any("below four fifths" in sentence for sentence in found.found)
    assert len(found.samples["id"]) == len(found.samples["sex"]) == len(found.samples["sex told"])


def test_intervals_end_where_shares_and_ratios_end() -> None:
    found = audited(people(seed=3, rows=80), Tool(SCHEMA, 0.0), "sex")
    ends = {"sex": (0, 1), "ratio": (0, 1), "difference": (-1, 1)}
    shares = [e for e in found.evidence if "chosen" in e.what or " told from " in e.what]
    known = [(e, ends[e.what.split()[0].rstrip(",")]) for e in shares if e.low is not None]
    assert all(low <= e.low <= e.value <= e.high <= high for e, (low, high) in known)
    assert any(e.low == low or e.high == high for e, (low, high) in known), "in so few some interval has to be cut"


def test_a_face_that_is_not_looked_at_cannot_be_told_from_what_is_kept() -> None:
    found = audited(people(seed=1, rows=400), Tool(SCHEMA, 0.2, sees=False), "sex")
    assert line(found, "sex told from what the model keeps").value == pytest.approx(0.5, abs=0.1)
    assert line(found, "sex told from its inputs").value > 0.9


@pytest.mark.slow
def test_none_is_found_where_none_is_as_often_as_intervals_promise() -> None:
    wrong, asked = 0, 0
    for seed in range(40):
        corpus = people(seed=seed, rows=200, blind=True)
        found = audited_quickly(corpus, Tool(SCHEMA, 0.0), "sex")
        differences = [e for e in found if e.what.startswith("difference")]
        assert len(differences) == 4
        known = [e for e in differences if e.low is not None and e.high is not None]
        assert all(e.value == 0 for e in differences if e not in known), "only where all who deserve it were chosen"
        wrong += sum(e.low > 0 or e.high < 0 for e in known)  # type: ignore[operator]
        asked += len(known)
    assert asked > 140
    assert wrong / asked < 0.12  # one in twenty is expected


WHAT = {
    "ratio": "ratio of lowest to highest by sex: chosen: upper quarter",
    "divergence": "divergence of answers by sex",
    "dealt": "the same with sex dealt at random",
    "chance": "difference, f from m: chosen where deserved: upper quarter",
    "told": "sex told from what the model keeps",
    "error": "sex f: error",
}


@pytest.mark.slow
def test_biased_labels_make_answers_unfair_and_what_cannot_be_told_is_not_used(tmp_path: Path) -> None:
    """Judged by blind labels: trained on these, on biased ones, on biased ones where no face tells, and hiding it."""
    small: dict[str, Any] = {"width": 16, "dropout": 0.0}
    training = {"epochs": 20, "lr": 3e-3, "batch_size": 64, "patience": 20}

    def judged(name: str, method: str, options: dict[str, Any], **kind: bool) -> dict[str, float]:
        corpus, blind = (with_domains(people(seed=2, rows=800, **k), "sex") for k in (kind, kind | {"blind": True}))
        run = fit(method, corpus, options=options | training, seeds=[1], out=tmp_path / name)
        found = audit_run(run, ["fairness"], blind, by=["sex"])["fairness"]
        return {short: line(found, what).value for short, what in WHAT.items()}

    agnostic = judged("agnostic", "late-fusion", small, told=False)
    for fair in (judged("blind", "late-fusion", small, blind=True), agnostic):
        assert fair["ratio"] > 0.8
        assert fair["divergence"] < 1.5 * fair["dealt"]
        assert abs(fair["chance"]) < 0.15
    assert agnostic["told"] == pytest.approx(0.5, abs=0.1)
    biased = judged("biased", "late-fusion", small)
    assert biased["ratio"] < 0.4
    assert biased["divergence"] > 2 * biased["dealt"]
    assert biased["chance"] < -0.5
    assert biased["told"] > 0.9
    hidden = judged("hidden", "sensitive-nets", {"base_options": small})
    assert hidden["ratio"] > biased["ratio"] + 0.1
    assert hidden["told"] < biased["told"] - 0.1
    assert max(hidden["error"], agnostic["error"]) < biased["error"] - 0.02


def audited_quickly(corpus: Corpus, tool: Method, by: str) -> list[Evidence]:
    """Return the evidence of an audit whose probes are left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polymodal.audit.fairness.told", lambda *_: None)
        return audited(corpus, tool, by).evidence


class Called:
    """Names the class that a sample's id ends in, but never ``yes`` for the people called f."""

    schema = Schema(SCHEMA.modalities, (Target("hired", "classification", classes=("no", "maybe", "yes")),))

    def __call__(self, batch: Batch) -> Said:
        said = [int(i[-1]) if i[0] == "m" or i[-1] != "2" else 0 for i in batch.ids]
        return {"hired": torch.eye(3)[said]}


def test_classes_are_compared_one_by_one() -> None:
    ids = [f"{'fm'[i % 2]}{i}-{i // 2 % 3}" for i in range(120)]
    corpus = people(rows=240)
    stream = next(Loader(corpus["test"], corpus.schema, 120).epoch()).streams

    def batches() -> Iterator[Batch]:
        yield Batch(stream, {"hired": torch.tensor([int(i[-1]) for i in ids])}, ids)

    found = Fairness(Known({"sex": {i: i[0] for i in ids}}, ("sex",))).run(Called(), batches)
    assert line(found, "difference, f from m: chosen where deserved: yes").value == pytest.approx(-1)
    assert line(found, "difference, f from m: chosen: maybe").value == pytest.approx(0, abs=1e-9)
    assert line(found, "sex f: share right").value == pytest.approx(2 / 3)
    assert not [e for e in found.evidence if "keeps" in e.what], "who is no panel of methods keeps nothing known"


def test_probes_never_ask_about_a_group_they_know() -> None:
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(20), 10)
    face = rng.normal(size=(20, 6))[owners] * 5  # tells who it is, and nothing of the value
    values = np.where(owners % 2, "a", "b")
    right = told([face], values, owners)
    assert right is not None
    assert balanced(right, values)(np.ones((1, 200)))[0] < 0.75
    assert told([face], values, values) is None, "one group a value"


def test_mistakes_are_one_sentence() -> None:
    corpus = people(rows=120)
    with pytest.raises(OptionError, match=r"by which column, --by COLUMN \(available: coin, sex\)"):
        audited(corpus, Tool(SCHEMA, 0.0))
    with pytest.raises(DataError, match="no column 'sx' about the samples; did you mean 'sex'"):
        audited(corpus, Tool(SCHEMA, 0.0), "sx")
    split = corpus["test"]
    bare = replace(corpus, splits={"test": replace(split, about={})})
    with pytest.raises(DataError, match=r"no column 'sex' about the samples, nor any other; bring a table"):
        audited(bare, Tool(SCHEMA, 0.0), "sex")
    same = replace(corpus, splits={"test": replace(split, about={"sex": ["f"] * len(split)})})
    with pytest.raises(DataError, match="'sex' has 1 values with at least 10 labelled samples"):
        audited(same, Tool(SCHEMA, 0.0), "sex")


def test_a_ratio_is_named_only_where_its_interval_is_below_four_fifths_too() -> None:
    def ratio(column: str, high: float) -> Evidence:
        return Evidence(f"ratio of lowest to highest by {column}", 0.5, 40, 20, 0.3, high)

    told = Evidence("sex told from what the model keeps", 0.7, 40, 20, 0.6, 0.8, "sex: told by a probe")
    chance = Evidence("sex told by chance", 0.5, 40, 20, part="sex: told by a probe")
    found = _words([ratio("sex", 0.7), ratio("age", 0.9), told, chance])
    assert found[1:] == [
        "The ratio of lowest to highest by sex is 0.50 (0.30 to 0.70), below four fifths.",
        "Another ratio of shares is below four fifths, which may be chance.",
        "Sex told from what the model keeps: 0.70 (0.60 to 0.80), 0.50 by chance.",
    ]
