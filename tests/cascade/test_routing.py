"""Who answers: closed forms, limits, every branch; thresholds; error against share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from polymodal.cascade.asking import NOTHING, Answer, Questions, Reference, Sample
from polymodal.cascade.curve import curve
from polymodal.cascade.records import run
from polymodal.cascade.routing import Answers, Rule, average
from polymodal.cascade.thresholds import NEVER, best_large, by_budget, by_error
from polymodal.cascade.uncertainty import entropy, sharpened, soft_temperature, spread
from polymodal.core import OptionError


@dataclass
class Scripted:
    """A large model that says what it is told to, and remembers what it was asked."""

    first: dict[str, Answer]
    second: dict[str, Answer] = field(default_factory=dict)
    name: str = "script"
    reads_references: bool = True
    costly: bool = False
    reads_text: bool = False
    notes: list[str] = field(default_factory=list)
    usage: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    told: dict[str, Reference] = field(default_factory=dict)

    def predict(self, samples: Sequence[Sample], references: Sequence[Reference] | None = None) -> list[Answer]:
        names = [s.id for s in samples]
        self.asked += names
        if references is None:
            return [self.first[name] for name in names]
        self.told |= dict(zip(names, references, strict=True))
        return [self.second[name] for name in names]


def questions(large: Scripted, y: Sequence[float], u: Sequence[float]) -> Questions:
    names = list(large.first)
    return Questions(large, [Sample(n) for n in names], Answers(np.array(y, float), np.array(u, float)))


def simulated(count: int = 400, noise: float = 0.0) -> tuple[np.ndarray, Questions]:
    """Labels, and a small model that knows how far off it is, before an oracle with some noise."""
    rng = np.random.default_rng(3)
    true = rng.uniform(-3, 3, count)
    off = rng.exponential(0.6, count)
    u = np.clip(off / 4 + rng.normal(0, 0.05, count), 0, 1)
    small = true + off * rng.choice([-1, 1], count)
    said = np.where(np.isnan(true), 0, true + noise * rng.standard_normal(count))
    large = Scripted({str(i): Answer(float(y), 0.0) for i, y in enumerate(said)})
    return true, questions(large, small, u)


def test_entropy_is_0_for_one_answer_and_1_for_all() -> None:
    two = np.array([0.5, 0.5, 0, 0, 0, 0, 0])
    found = entropy(np.stack([np.full(7, 1 / 7), np.eye(7)[3], two]))
    np.testing.assert_allclose(found, [1, 0, 0.356207], atol=1e-6)


def test_a_temperature_keeps_the_order_and_changes_the_entropy() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(5), 50)
    for temperature in (0.3, 4.0):
        changed = sharpened(shares, temperature)
        assert (changed.argmax(1) == shares.argmax(1)).all()
        assert ((entropy(changed) > entropy(shares)) == (temperature > 1)).all()


def test_the_temperature_of_bins_is_found_again() -> None:
    rng = np.random.default_rng(1)
    true = rng.dirichlet(np.ones(7), 3000)
    labels = np.eye(7)[[rng.choice(7, p=p) for p in true]]
    found = soft_temperature(sharpened(true, 0.5), labels)
    assert found == pytest.approx(2, rel=0.1)
    assert soft_temperature(true[:5], labels[:5]) is None


def test_members_that_disagree_and_wide_intervals_are_unsure() -> None:
    said = np.array([[1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    found = spread(said, np.array([0.3, 0.3, 0.6]), 3.0)
    np.testing.assert_allclose(found, [0.1, np.hypot(1, 0.3) / 3, 0.2])


def test_the_average_is_weighted_by_certainty() -> None:
    first, second = (
        Answers(np.array([1.0, 1.0]), np.array([0.8, 1.0])),
        Answers(np.array([2.0, 3.0]), np.array([0.6, 1])),
    )
    np.testing.assert_allclose(average(first, second), [5 / 3, 2])


BRANCHES = {
    "1": (0.2, None, None, 0.5, 0),
    "2a": (0.8, Answer(-2.0, 0.1), None, -2.0, 1),
    "2b": (0.8, Answer(2.0, 0.6), None, (0.2 * 0.5 + 0.4 * 2) / 0.6, 1),
    "3": (0.8, Answer(-2.0, 0.6), Answer(1.25, 0.3), 1.25, 2),
    "failed": (0.8, NOTHING, None, 0.5, 1),
}


@pytest.mark.parametrize("stage", BRANCHES)
def test_every_branch(stage: str) -> None:
    unsure, first, second, score, calls = BRANCHES[stage]
    large = Scripted({"a": first or NOTHING}, {"a": second or NOTHING})
    found = run(Rule(0.5, 0.5), questions(large, [0.5], [unsure]))
    assert found.stage.tolist() == [stage]
    np.testing.assert_allclose(found.score, [score])
    assert found.calls.tolist() == [calls]
    assert large.asked == ["a"] * calls
    assert large.told == ({"a": Reference(0.5, -2.0)} if stage == "3" else {})


def test_without_a_second_answer_the_surer_of_the_first_two_stands() -> None:
    for unsure, expected in ((0.9, -2.0), (0.55, 0.5)):
        large = Scripted({"a": Answer(-2.0, 0.7)}, {"a": NOTHING})
        found = run(Rule(0.5, 0.5), questions(large, [0.5], [unsure]))
        assert (found.stage[0], found.score[0], found.calls[0]) == ("3", expected, 2)
        once = run(Rule(0.5, 0.5), questions(replace(large, reads_references=False, asked=[]), [0.5], [unsure]))
        assert (once.stage[0], once.score[0], once.calls[0]) == ("3", expected, 1)


def test_the_large_answer_can_be_returned_where_both_agree() -> None:
    large = Scripted({"a": Answer(2.0, 0.6)})
    assert run(Rule(0.5, 0.5, "large"), questions(large, [0.5], [0.8])).score.tolist() == [2.0]
    with pytest.raises(OptionError, match="agreed must be one of average, large, got 'both'"):
        Rule(0.5, 0.5, "both")  # type: ignore[arg-type]


def test_classes_agree_where_they_are_equal_and_are_never_averaged() -> None:
    large = Scripted({"a": Answer(2.0, 0.6), "b": Answer(1.0, 0.6)}, {"b": Answer(0.0, 0.2)})
    found = run(Rule(0.5, 0.5, middle=None), questions(large, [2, 2], [0.9, 0.9]))
    assert found.stage.tolist() == ["2b", "3"]
    assert found.score.tolist() == [2, 0]


def test_the_middle_is_a_side_of_its_own() -> None:
    rule = Rule(0.5, 0.5, middle=4.0)
    assert rule.agree(np.array([4.0, 4.0, 5.0, 5.0]), np.array([4.0, 5.0, 7.0, 3.0])).tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_limits_of_the_thresholds_and_the_number_of_calls() -> None:
    rng = np.random.default_rng(5)
    first = {str(i): Answer(float(rng.normal()), float(rng.uniform())) for i in range(60)}
    second = {name: Answer(0.0, 0.0) for name in first}
    y, u = rng.normal(size=60), rng.uniform(0, 0.999, 60)
    for small, tau in ((1.0, 0.5), (-1.0, 0.5), (0.4, 0.3), (0.4, 1.0)):
        large = Scripted(first, second)
        found = run(Rule(small, tau), questions(large, y, u))
        rho_1, rho_2 = (u > small).mean(), (found.stage == "3").mean()
        assert len(large.asked) == found.calls.sum() == round(60 * rho_1) + round(60 * rho_2)
        if small == 1:
            assert large.asked == []
            np.testing.assert_array_equal(found.score, y)
        if small == -1:
            assert sorted(set(large.asked)) == sorted(first)
        assert (rho_2 > 0) == (tau < 1 and small < 1)


def test_nothing_is_asked_twice() -> None:
    _, asked = simulated(50)
    run(Rule(0.5, 0.5), asked)
    run(Rule(0.1, 0.5), asked)
    large = asked.large
    assert isinstance(large, Scripted)
    assert len(large.asked) == len(set(large.asked)) == (asked.small.u > 0.1).sum()


@pytest.mark.parametrize("rho", [0, 0.003, 0.3, 0.5, 0.999, 1])
def test_the_budget_is_met_to_the_nearest_sample(rho: float) -> None:
    u = np.random.default_rng(2).uniform(size=229)
    assert abs((u > by_budget(u, rho)).mean() - rho) <= 1 / 229


def test_ties_stay_with_the_small_model() -> None:
    assert by_budget(np.array([0.2, 0.5, 0.5, 0.5]), 0.5) == 0.5


def test_by_error_keeps_as_much_as_is_no_worse_than_the_large_model() -> None:
    u, small = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 2.0, 9.0])
    assert by_error(u, small, np.full(4, 1.0)) == 0.3
    assert by_error(u, small, np.full(4, 0.4)) == 0.1
    assert by_error(u, small + 1, np.zeros(4)) == NEVER
    # One of three equals cannot be kept without the others.
    assert by_error(np.array([0.1, 0.2, 0.2, 0.2]), small, np.full(4, 1.0)) == 0.1


def test_the_large_threshold_has_the_lowest_error() -> None:
    large = Scripted({"a": Answer(3.0, 0.35), "b": Answer(-3.0, 0.75)}, {"a": NOTHING, "b": Answer(1.0, 0.1)})
    asked = questions(large, [-1.0, 1.0], [0.9, 0.9])
    found = best_large(Rule(0.5, 0.9), asked, lambda y: float(np.abs(y - np.array([3.0, 1.0])).mean()))
    assert found.large == 0.7  # a is taken at its word, b is asked again


def test_an_oracle_helps_more_with_every_sample_and_uncertainty_beats_chance() -> None:
    true, asked = simulated()
    whole = run(Rule(-1, 0.5), asked)
    small, sent = np.abs(asked.small.y - true), np.abs(whole.score - true)
    assert np.corrcoef(asked.small.u, small)[0, 1] > 0.5
    points, gain = curve(whole, small, sent, np.ones(400, bool), None)
    errors = [p.error.value for p in points]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(0, abs=1e-9)
    for point in points[1:-1]:
        assert point.difference is not None
        assert point.difference.value < 0
        assert point.difference.high is not None
        assert point.difference.high < 0
    assert gain is not None
    assert gain.high is not None
    assert gain.high < 0


def test_with_a_useless_large_model_the_lowest_share_is_best() -> None:
    true, asked = simulated(noise=6.0)
    whole = run(Rule(-1, 0.5), asked)
    points, _ = curve(whole, np.abs(asked.small.y - true), np.abs(whole.score - true), np.ones(400, bool), None)
    errors = [p.error.value for p in points]
    assert min(errors) == errors[0]
    assert [p.calls for p in points] == [round(p.share * 400) for p in points]


def test_chance_is_the_mean_over_random_draws() -> None:
    true, asked = simulated(200, noise=1.0)
    whole = run(Rule(-1, 0.5), asked)
    small, sent = np.abs(asked.small.y - true), np.abs(whole.score - true)
    point = curve(whole, small, sent, np.ones(200, bool), None)[0][8]
    rng, draws = np.random.default_rng(0), []
    for _ in range(2000):
        mask = np.zeros(200, bool)
        mask[rng.choice(200, round(point.share * 200), replace=False)] = True
        draws.append(np.where(mask, sent, small).mean())
    assert point.random == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / np.sqrt(2000))
