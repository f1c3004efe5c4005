"""Curriculum WS-MCL: what it scores, what it feeds, what each update moves, and what it learns of planted pairs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import Now, View
from polymodal.methods.curriculum_wsmcl import CORRELATE, MAIN, PRETRAIN, TASK, CurriculumWSMCL
from polymodal.nn.mismatches import RATIO

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
NAMES = ("text", "audio", "vision")
THREE = Schema(tuple(Modality(n, "vector", 6) for n in NAMES), (SCORE,))
NOTHING = View(train=list, valid=list)


def made(**options: object) -> CurriculumWSMCL:
    return CurriculumWSMCL(THREE, **{"width": 8, "dropout": 0.0} | options)  # type: ignore[arg-type]


def started(method: CurriculumWSMCL) -> CurriculumWSMCL:
    """At the start of the second phase, with a teacher."""
    method.train().now = Now(MAIN, share=0.0)
    method.begin(NOTHING)
    method.now = Now(MAIN, share=0.0, update=CORRELATE)
    return method


@pytest.mark.parametrize(("together", "combinations"), [("pairs", 3), ("triples", 1)])
def test_the_pool_has_every_match_and_some_mismatches(together: str, combinations: int, make_batch: MakeBatch) -> None:
    pool = made(together=together).pool(make_batch(THREE, 9))
    assert len(pool) == combinations
    for pairs in pool:
        assert int(pairs.match.sum()) == 9
        assert 0 < int((~pairs.match).sum()) <= RATIO * 9
        assert ((pairs.rows == pairs.rows[:, :1]).all(1) == pairs.match).all()
        assert not pairs.score[pairs.match].any()
        assert (pairs.score[~pairs.match] > 0).all()
        assert (pairs.score <= 1).all()


def test_without_labels_every_mismatch_scores_1(make_batch: MakeBatch) -> None:
    for pairs in made(supervised=False).pool(make_batch(THREE)):
        assert (pairs.score == (~pairs.match).float()).all()


def test_what_is_absent_is_in_no_pair_and_what_has_no_label_in_matches_only(make_batch: MakeBatch) -> None:
    batch = make_batch(THREE).without("audio", rows=torch.arange(8) < 2)
    batch.targets["sentiment"][5:] = torch.nan
    for pairs in made().pool(batch):
        assert pairs.rows[~pairs.match].max() < 5
        assert int(pairs.match.sum()) == (6 if "audio" in pairs.names else 8)
        if "audio" in pairs.names:
            assert pairs.rows[:, pairs.names.index("audio")].min() >= 2


def test_a_linear_map_of_vectors_side_by_side_cannot_tell_matches_from_mismatches() -> None:
    x, y = torch.randn(20, 8), torch.randn(20, 8)
    everyone = torch.cartesian_prod(torch.arange(20), torch.arange(20))
    linear = nn.Linear(16, 1)
    said = linear(torch.cat([x[everyone[:, 0]], y[everyone[:, 1]]], dim=1))
    torch.testing.assert_close(said.mean(), linear(torch.cat([x, y], dim=1)).mean(), rtol=1e-4, atol=1e-5)


def test_while_the_teacher_alone_decides_the_order_is_its_own(make_batch: MakeBatch) -> None:
    method, batch = started(made()), make_batch(THREE)
    torch.manual_seed(7)
    pool = method.pool(batch)
    wanted = torch.cat([p.score for p in pool])
    with torch.no_grad():
        errors = (method.correlator(batch, pool) - wanted).abs()
    torch.testing.assert_close(method.difficulty(batch, pool, errors, wanted), errors)
    with torch.no_grad():  # the predictors move on; their copy does not
        for p in method.correlator.parameters():
            p.add_(torch.randn_like(p))
        moved = (method.correlator(batch, pool) - wanted).abs()
    torch.testing.assert_close(method.difficulty(batch, pool, moved, wanted), errors)
    method.now = Now(MAIN, share=1.0)
    torch.testing.assert_close(method.difficulty(batch, pool, moved, wanted), moved)
    method.blend = "half"
    torch.testing.assert_close(method.difficulty(batch, pool, moved, wanted), (errors + moved) / 2)


def test_at_level_1_only_matches_and_the_easiest_mismatches_are_fed(make_batch: MakeBatch) -> None:
    method, batch = started(made(levels=5, discard=0.1)), make_batch(THREE)
    output = method(batch)

    def loss(level: int) -> Tensor:
        method.feeding.level = torch.tensor(level)
        torch.manual_seed(7)
        return method.correlation_loss(batch, output)

    torch.manual_seed(7)
    pool = method.pool(batch)
    errors = (method.correlator(batch, pool) - torch.cat([p.score for p in pool])).abs()
    match = torch.cat([p.match for p in pool])
    hardest_last = errors[~match].sort().values
    kept = round(0.9 * len(hardest_last))
    for level in (1, 3, 5):
        fed = hardest_last[: -(-kept * level // 5)]
        wanted = torch.cat([errors[match], fed]).mean()
        torch.testing.assert_close(loss(level), wanted)


def losses_and_errors(method: CurriculumWSMCL, batch: Batch, level: int) -> tuple[Tensor, Tensor, Tensor]:
    """The loss at a level; the errors of matches; those of mismatches, easiest first."""
    method.feeding.level = torch.tensor(level)
    torch.manual_seed(7)
    loss = method.correlation_loss(batch, method(batch))
    torch.manual_seed(7)
    pool = method.pool(batch)
    errors = (method.correlator(batch, pool) - torch.cat([p.score for p in pool])).abs()
    match = torch.cat([p.match for p in pool])
    return loss, errors[match], errors[~match].sort().values


def test_one_level_and_nothing_discarded_are_no_curriculum(make_batch: MakeBatch) -> None:
    loss, matches, mismatches = losses_and_errors(started(made(levels=1, discard=0.0)), make_batch(THREE), 1)
    torch.testing.assert_close(loss, torch.cat([matches, mismatches]).mean())


def test_a_single_level_is_fed_alone_with_all_matches(make_batch: MakeBatch) -> None:
    method = started(made(levels=2, discard=0.0, feed="single"))
    loss, matches, mismatches = losses_and_errors(method, make_batch(THREE), 2)
    torch.testing.assert_close(loss, torch.cat([matches, mismatches[-(len(mismatches) // 2) :]]).mean())


def gradients(method: CurriculumWSMCL, batch: Batch, now: Now) -> set[str]:
    method.train().zero_grad()
    method.now = now
    torch.stack([*method.losses(batch, method(batch)).values()]).sum().backward()
    return {".".join(n.split(".")[:2]) for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}


def test_each_update_reaches_its_own_parts(make_batch: MakeBatch) -> None:
    method, batch = started(made()), make_batch(THREE)
    correlation = {"correlator.encoders", "correlator.predictors"}
    assert gradients(method, batch, Now(PRETRAIN)) == correlation
    assert gradients(method, batch, Now(MAIN, update=CORRELATE)) == correlation
    assert gradients(method, batch, Now(MAIN, update=TASK)) == {"correlator.encoders", "heads.linears"}
    names = [n for n, _ in method.named_parameters()]
    correlate, task = method.phases()[1].updates
    assert not any(correlate.parameters(n) for n in names if n.startswith("heads."))
    assert not any(task.parameters(n) for n in names if ".predictors." in n)
    assert correlate.rate == pytest.approx(0.05)


def test_validation_scores_the_same_pairs_each_time_and_draws_nothing(make_batch: MakeBatch) -> None:
    method, batch = made().eval(), make_batch(THREE)
    method.now = Now(PRETRAIN)
    with torch.no_grad():
        before = torch.get_rng_state()
        first, second = (method.losses(batch, method(batch))["correlation"] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    method.now = Now(MAIN)
    assert set(method.losses(batch, method(batch))) == {"task"}


def test_windows_end_with_epochs_or_after_steps(make_batch: MakeBatch) -> None:
    batch = make_batch(THREE)
    epochs, steps = started(made()), started(made(window=2))
    for method in (epochs, steps):
        for _ in range(3):
            method.losses(batch, method(batch))
            method.stepped()
    assert (int(epochs.feeding.count), int(steps.feeding.count)) == (3, 1)
    assert epochs.feeding.before.isnan()
    assert not steps.feeding.before.isnan()
    epochs.now = steps.now = Now(MAIN, epoch=1)
    epochs.begin(NOTHING)
    steps.begin(NOTHING)
    assert not epochs.feeding.before.isnan()
    assert int(steps.feeding.count) == 1


def test_teacher_and_level_are_for_training_only() -> None:
    method = started(made())
    assert len(method.teacher) == sum(p.numel() for p in method.correlator.parameters())
    assert not {"teacher", "feeding.level"} & method.state_dict().keys()
    assert {"teacher", "feeding.level", "feeding.before"} <= {n for n, _ in method.named_buffers()}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tolerance": -1.0}, "tolerance and window must not be negative"), ({"levels": 0}, "levels must be above 0")],
)
def test_options_that_cannot_be_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made(**options)


def test_triples_need_three_modalities() -> None:
    with pytest.raises(OptionError, match="together 'triples' needs three modalities, the corpus has 2"):
        CurriculumWSMCL(Schema(THREE.modalities[:2], (SCORE,)), together="triples")


def planted(seed: int, rows: int = 64, wrong: float = 0.0) -> tuple[Batch, Tensor]:
    """Every modality tells the label and who the sample is; a share of labels is ``wrong``: (batch, which ones)."""
    fixed, drawn = torch.Generator().manual_seed(0), torch.Generator().manual_seed(500 + seed)
    label = 6 * torch.rand(rows, generator=drawn) - 3
    own = torch.randn(rows, 2, generator=drawn)
    streams = {}
    for n in NAMES:
        said = torch.cat([label[:, None], own], dim=1) @ torch.randn(3, 6, generator=fixed)
        values = said + 0.1 * torch.randn(rows, 6, generator=drawn)
        streams[n] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    bad = torch.rand(rows, generator=drawn) < wrong
    label = torch.where(bad, -3 * label.sign(), label)
    return Batch(streams, {"sentiment": label}, [str(i) for i in range(rows)]), bad


def pretrained(steps: int, **options: object) -> CurriculumWSMCL:
    torch.manual_seed(1)
    method = made(width=16, **options).train()
    method.now = Now(PRETRAIN)
    optimizer = torch.optim.AdamW(method.correlator.parameters(), 5e-3)
    for step in range(steps):
        batch, _ = planted(step)
        optimizer.zero_grad()
        method.losses(batch, method(batch))["correlation"].backward()
        optimizer.step()
    return method


@pytest.fixture(scope="module")
def teacher() -> CurriculumWSMCL:
    return pretrained(400)


@pytest.mark.slow
def test_scores_follow_the_distance_of_labels_and_are_lower_for_matches(teacher: CurriculumWSMCL) -> None:
    batch, _ = planted(-1, 200)
    with torch.no_grad():
        pool = teacher.pool(batch)
        said = teacher.correlator(batch, pool)
    match, wanted = torch.cat([p.match for p in pool]), torch.cat([p.score for p in pool])
    assert spearmanr(said[~match], wanted[~match]).statistic > 0.6
    assert said[match].mean() < said[~match].mean() - 0.1


@pytest.mark.slow
def test_without_weak_labels_scores_do_not_follow_the_distance_of_labels() -> None:
    method, (batch, _) = pretrained(400, supervised=False), planted(-1, 200)
    with torch.no_grad():
        pool = made().pool(batch)
        said = method.correlator(batch, pool)
    match, wanted = torch.cat([p.match for p in pool]), torch.cat([p.score for p in pool])
    assert abs(spearmanr(said[~match], wanted[~match]).statistic) < 0.3


@pytest.mark.slow
def test_most_of_what_is_discarded_has_a_wrong_label(teacher: CurriculumWSMCL) -> None:
    method, (batch, bad) = started(teacher), planted(-2, 300, wrong=0.1)
    pool = method.pool(batch)
    wanted = torch.cat([p.score for p in pool])
    with torch.no_grad():
        errors = (method.correlator(batch, pool) - wanted).abs()
    hard = method.difficulty(batch, pool, errors, wanted)
    match, rows = torch.cat([p.match for p in pool]), torch.cat([p.rows for p in pool])
    spoiled = bad[rows].any(1)[~match]
    discarded = hard[~match].argsort(descending=True)[: round(0.1 * len(spoiled))]
    assert spoiled[discarded].float().mean() > 0.5
    assert spoiled[discarded].float().mean() > 2 * spoiled.float().mean()
