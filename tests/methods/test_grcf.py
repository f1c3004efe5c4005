"""GRCF: margins, weights and stages in closed form, and what each of them is worth on planted data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import Method, Now
from polymodal.methods.grcf import GRCF, advantage_weights, groups_of, ranked_columns
from polymodal.testing import train_briefly

MakeBatch = Callable[..., Batch]

SCORE = Target("score", "regression", (-3.0, 3.0))
MOOD = Target("mood", "classification", classes=("low", "middle", "high"))
SCHEMA = Schema((Modality("text", "sequence", 6), Modality("audio", "vector", 4)), (SCORE,))
PLAIN = Schema((Modality("x", "vector", 8),), (SCORE,))
SMALL: dict[str, dict[str, Any]] = {
    "late-fusion": {"width": 8},
    "mmcl": {"width": 8, "augmentations": ("jitter",)},
    "umq": {"width": 8, "layers": 1, "experts": 2, "top": 1},
}
Y, S = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.0, -1.0, 1.0])


def loss(scores: Tensor, labels: Tensor, **options: Any) -> Tensor:
    return GRCF(PLAIN, **options).rank_loss(scores, *groups_of(SCORE, labels))


def test_the_loss_and_its_weights_have_their_closed_form() -> None:
    assert loss(S, Y).item() == pytest.approx(2.007729, abs=1e-4)
    weights = advantage_weights(torch.tensor([0.5, -2.0, -2.5]), torch.tensor([0, 0, 1]), 1.0)
    torch.testing.assert_close(weights, torch.tensor([0.238406, 1.761594, 1.0]), rtol=1e-5, atol=1e-5)
    assert loss(S, Y, tau=1e6).item() == pytest.approx((2 + 2.5) / 3, abs=1e-5)
    assert loss(S, Y, margin="constant").item() == pytest.approx((1.761594 * 1.5 + 2.5) / 3, abs=1e-4)


def test_a_constant_added_to_all_scores_changes_nothing() -> None:
    labels = 6 * torch.rand(20) - 3
    scores = torch.randn(20, requires_grad=True)
    torch.testing.assert_close(loss(scores + 7, labels), loss(scores, labels), rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(loss(scores, labels), scores)
    assert gradient.abs().max() > 0.01
    assert gradient.sum().abs() < 1e-5


def test_weights_carry_no_gradient() -> None:
    scores = S.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(scores, Y), scores)
    # Of the violated pairs (0, 2) and (1, 2), each its weight over the number of pairs.
    wanted = torch.tensor([-1.761594, -1.0, 1.761594 + 1.0]) / 3
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_weights_have_mean_one_in_every_set_and_are_largest_where_slack_is_least() -> None:
    slack, cell = torch.randn(50), torch.randint(0, 7, (50,))
    weights = advantage_weights(slack, cell, 0.5)
    for c in cell.unique():
        own = cell == c
        assert weights[own].mean().item() == pytest.approx(1.0, abs=1e-5)
        assert weights[own].argmax() == slack[own].argmin()
    torch.testing.assert_close(advantage_weights(torch.full((6,), -0.3), cell[:6], 1.0), torch.ones(6))
    assert advantage_weights(10 * slack, cell, 1e-2).isfinite().all()


def test_the_scope_says_which_pairs_compete() -> None:
    labels = torch.tensor([2.0, 2.0, 1.0, 0.0])
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0])
    found = {scope: loss(scores, labels, scope=scope).item() for scope in ("anchor", "group_pair", "batch")}
    slack = torch.tensor([-2.5, 0.0, -1.5, 1.0, 2.5])  # (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)
    cells = {"anchor": [0, 0, 1, 1, 2], "group_pair": [0, 1, 0, 1, 2], "batch": [0] * 5}
    for scope, value in found.items():
        weights = advantage_weights(slack, torch.tensor(cells[scope]), 1.0)
        assert value == pytest.approx((weights * torch.relu(-slack)).sum().item() / 5, abs=1e-5)
    assert len({round(value, 3) for value in found.values()}) == 3


def test_scores_on_the_centres_satisfy_margins_up_to_the_whole_distance() -> None:
    labels = torch.arange(-3.0, 4.0)
    assert loss(labels, labels, alpha=1.0).item() == pytest.approx(0.0, abs=1e-6)
    assert loss(labels, labels, alpha=1.2).item() > 0.05
    far, near = (loss(torch.zeros(2), torch.tensor(pair), alpha=1.0).item() for pair in ([3.0, -3.0], [1.0, 0.0]))
    assert far == pytest.approx(6 * near, rel=1e-5)


def test_groups_are_steps_of_the_scale() -> None:
    group, centre = groups_of(SCORE, torch.tensor([-3.0, -2.6, 0.2, 2.4]))
    assert group.tolist() == centre.tolist() == [-3, -3, 0, 2]
    sims = Target("score", "regression", (-1.0, 1.0))
    group, centre = groups_of(sims, torch.tensor([-1.0, -0.7, -0.4, 0.0, 0.1, 0.6, 1.0]))
    assert group.tolist() == [0, 0, 1, 2, 2, 3, 4]
    torch.testing.assert_close(centre, torch.tensor([-0.85, -0.85, -0.4, 0.0, 0.0, 0.4, 0.85]))
    grade = Target("grade", "regression", (1.0, 7.0))
    torch.testing.assert_close(groups_of(grade, torch.tensor([1.0, 4.2, 7.0]))[1], torch.tensor([1.0, 4.0, 7.0]))


def test_centres_may_be_means_and_are_without_a_range() -> None:
    labels = torch.tensor([-2.0, 0.8, 1.2, 1.3])
    for target, how in ((SCORE, "means"), (Target("free", "regression"), "bins")):
        ((_, group, centre),) = ranked_columns(target, labels, labels, how)  # type: ignore[arg-type]
        for own, place in zip(group, centre, strict=True):
            assert place.item() == pytest.approx(labels[group == own].mean().item())


def test_of_classes_log_odds_are_ranked() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 2])
    columns = ranked_columns(MOOD, logits, labels)
    for k, (score, group, _) in enumerate(columns):
        share = logits.softmax(1)[:, k]
        torch.testing.assert_close(score, (share / (1 - share)).log(), rtol=1e-4, atol=1e-4)
        assert group.tolist() == (labels == k).long().tolist()
    two = Target("two", "classification", classes=("no", "yes"))
    ((score, group, _),) = ranked_columns(two, logits[:, :2], labels.clamp(max=1))
    torch.testing.assert_close(score, logits[:, 1] - logits[:, 0])
    tags = Target("tags", "multilabel", classes=("a", "b"))
    assert len(ranked_columns(tags, logits[:, :2], torch.randint(2, (5, 2)).float())) == 2


def test_one_group_unknown_labels_and_a_single_sample_have_no_pair(make_batch: MakeBatch) -> None:
    for labels in (torch.zeros(8), torch.full((8,), torch.nan)):
        method, batch = GRCF(SCHEMA).train(), make_batch(SCHEMA)
        batch.targets["score"] = labels
        method.now = Now("rank:train")
        losses = method.losses(batch, method(batch))
        assert losses["rank"].item() == pytest.approx(0.0, abs=1e-6)
        losses["rank"].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("base", SMALL)
def test_ranks_replace_the_task_first_and_follow_it_then(base: str, make_batch: MakeBatch) -> None:
    method, batch = GRCF(SCHEMA, base=base, base_options=SMALL[base]).train(), make_batch(SCHEMA)
    own = [p.name for p in method.base.phases()]
    phases = method.phases()
    assert [p.name for p in phases] == [*(f"rank:{n}" for n in own), f"calibrate:{own[-1]}"]
    assert sum(p.share for p in phases) == pytest.approx(1.0)
    assert phases[-1].share == pytest.approx(2 / 3)
    for phase in phases:
        method.now = Now(phase.name)
        assert method.base.now.phase == phase.name.partition(":")[2]
        losses, plain = method.losses(batch, method(batch)), method.base.losses(batch, method.base(batch))
        ranks = phase.name.startswith("rank:")
        assert set(losses) == (set(plain) - {"task"} if ranks else set(plain)) | {"rank"}
        assert phase.select == (("rank",) if ranks else ("task",))


def test_calibration_keeps_a_share_of_the_ranks(make_batch: MakeBatch) -> None:
    method, batch = GRCF(SCHEMA, base_options=SMALL["late-fusion"], keep=0.3).eval(), make_batch(SCHEMA)
    found = {}
    for stage in ("rank", "calibrate"):
        method.now = Now(f"{stage}:train")
        found[stage] = method.losses(batch, method(batch))["rank"].item()
    assert found["rank"] > 0.1
    assert found["calibrate"] == pytest.approx(0.3 * found["rank"])


@pytest.mark.slow
@pytest.mark.parametrize("base", SMALL)
def test_any_base_learns_in_both_stages(base: str, make_batch: MakeBatch) -> None:
    method, batch = GRCF(SCHEMA, base=base, base_options=SMALL[base]), make_batch(SCHEMA, 32)
    taken = train_briefly(method, batch, 120, lr=1e-2)
    stage, last = [line["rank"] for line in taken if "task" not in line], [x for x in taken if "task" in x]
    assert sum(stage[-5:]) < 0.8 * sum(stage[:5])
    assert last[-1]["task"] < 0.8 * last[0]["task"]


def test_with_two_targets_each_has_its_rank(make_batch: MakeBatch) -> None:
    schema = Schema(SCHEMA.modalities, (SCORE, MOOD))
    method, batch = GRCF(schema).train(), make_batch(schema)
    method.now = Now("rank:train")
    assert set(method.losses(batch, method(batch))) == {"rank/score", "rank/mood"}
    assert set(GRCF(schema, keep=0.0).losses(batch, method(batch))) == {"task/score", "task/mood"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"tau": -1.0}, "tau must be above 0"),
        ({"rank_share": 1.0}, "rank_share must lie between 0 and 1, got 1.0; either stage needs epochs"),
        ({"keep": -0.1}, "keep must not be negative"),
        ({"base": "linear"}, "solved in closed form"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GRCF(SCHEMA, **options)


def noisy(rows: int, seed: int, *, noise: float = 1.0) -> tuple[Batch, Tensor]:
    """A linear signal and labels with noise, clipped; and the clean labels."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 8, generator=random)
    clean = x[:, :4].sum(1) * 0.75
    labels = (clean + noise * torch.randn(rows, generator=random)).clamp(-3, 3)
    here = torch.ones(rows, dtype=torch.bool)
    return Batch({"x": Stream(x, None, here)}, {"score": labels}, [str(i) for i in range(rows)]), clean


def descend(method: Method, stage: str, batch: Batch, steps: int, rate: float = 1e-2) -> None:
    method.train()
    method.now = Now(f"{stage}:train")
    optimiser = torch.optim.Adam(method.parameters(), rate)
    for step in range(steps):
        rows = torch.randint(len(batch), (64,), generator=torch.Generator().manual_seed(step))
        part = batch.select(rows)
        optimiser.zero_grad()
        torch.stack(list(method.losses(part, method(part)).values())).sum().backward()
        optimiser.step()
    method.eval()


def judged(method: Method, batch: Batch, clean: Tensor) -> tuple[float, float]:
    """Spearman's correlation with the clean labels, and the mean absolute error."""
    with torch.no_grad():
        said = method(batch).predictions["score"]
    return float(spearmanr(said, clean).statistic), (said - batch.targets["score"]).abs().mean().item()


@pytest.mark.slow
def test_ranks_give_the_order_and_calibration_the_scale() -> None:
    torch.manual_seed(1)
    batch, _ = noisy(512, 1)
    test, clean = noisy(512, 2)
    method = GRCF(PLAIN, base_options={"width": 16, "dropout": 0.0})
    torch.nn.init.constant_(method.base.heads.linears[0].bias, 5.0)  # type: ignore[union-attr,index]
    descend(method, "rank", batch, 150)
    order, error = judged(method, test, clean)
    assert order > 0.9
    assert error > 3
    descend(method, "calibrate", batch, 300)
    later, smaller = judged(method, test, clean)
    assert smaller < 0.35 * error
    assert later > order - 0.03


def test_shuffled_labels_leave_nothing_to_rank() -> None:
    torch.manual_seed(1)
    batch, _ = noisy(512, 1)
    batch.targets["score"] = batch.targets["score"][torch.randperm(512)]
    method = GRCF(PLAIN, base_options={"width": 16, "dropout": 0.0})
    descend(method, "rank", batch, 150)
    assert abs(judged(method, *noisy(512, 2))[0]) < 0.4


def test_margins_that_grow_with_distance_space_groups_as_their_labels_are() -> None:
    labels = torch.tensor([-3.0, 2.0, 3.0]).repeat_interleave(4)
    correlation = {}
    for margin in ("dynamic", "constant"):
        method = GRCF(PLAIN, margin=margin)  # type: ignore[arg-type]
        scores = (0.1 * torch.randn(12, generator=torch.Generator().manual_seed(0))).requires_grad_()
        optimiser = torch.optim.SGD([scores], 0.5)
        for _ in range(200):
            optimiser.zero_grad()
            method.rank_loss(scores, *groups_of(SCORE, labels)).backward()
            optimiser.step()
        correlation[margin] = torch.corrcoef(torch.stack([scores.detach(), labels]))[0, 1].item()
    assert correlation["dynamic"] > 0.99
    assert correlation["constant"] < 0.96


@pytest.mark.parametrize(("scope", "group", "sign"), [("anchor", -3.0, 1), ("batch", 3.0, -1), ("batch", -3.0, 1)])
def test_advantages_mend_a_misplaced_group_faster(scope: Any, group: float, sign: int) -> None:
    labels = torch.arange(-3.0, 4.0).repeat_interleave(6)
    others, steps = labels != group, {}
    for tau in (0.5, 1e6):
        method = GRCF(PLAIN, tau=tau, scope=scope)
        scores = torch.where(others, labels, torch.tensor(3.5 * sign)).requires_grad_()  # at the wrong end
        optimiser = torch.optim.SGD([scores], 2.0)
        for steps[tau] in range(200):
            if (sign * scores[~others].mean() < sign * labels[others].mean()).item():
                break
            optimiser.zero_grad()
            method.rank_loss(scores, *groups_of(SCORE, labels)).backward()
            optimiser.step()
    assert steps[0.5] < 0.9 * steps[1e6] < 150, steps
