"""MACIL-SD: which steps are picked, what is contrasted with what, how the teacher is mixed in, and planted steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.base import Now, View
from polymodal.methods.macil_sd import MacilSD
from polymodal.nn.instances import Semibags, aligned, picks, set_contrast, top, top_mean
from polymodal.nn.step_scores import mix, momentum

MakeBatch = Callable[..., Batch]

EVENT = Target("event", "classification", classes=("nothing", "event"))
TAGS = Target("tags", "multilabel", classes=("shout", "laugh"))
AV = Schema((Modality("audio", "sequence", 8), Modality("vision", "sequence", 8)), (EVENT,))
SMALL: dict[str, Any] = {"width": 8, "heads": 2}


def test_one_step_in_sixteen_and_one_more_speaks_for_a_sample() -> None:
    assert picks(torch.tensor([200, 16, 15, 1, 0])).tolist() == [13, 2, 1, 1, 0]


def test_padding_is_never_picked() -> None:
    scores = torch.tensor([[1.0, 3.0, 9.0, -9.0], [-5.0, -6.0, -7.0, 0.0]])
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    assert top(scores, mask).tolist() == [[False, True, False, False], [True, False, False, False]]
    assert top(scores, mask, lowest=True).tolist() == [[True, False, False, False], [False, False, True, False]]
    torch.testing.assert_close(top_mean(scores[..., None], mask)[:, 0], torch.tensor([3.0, -5.0]))
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    torch.testing.assert_close(top_mean(scores[..., None], nothing), torch.zeros(2, 1))


def test_the_highest_steps_are_averaged() -> None:
    scores = torch.randn(3, 40, 2, generator=torch.Generator().manual_seed(0))
    wanted = scores.sort(dim=1, descending=True)[0][:, :3].mean(1)
    torch.testing.assert_close(top_mean(scores, torch.ones(3, 40, dtype=torch.bool)), wanted)


def test_steps_of_other_lengths_meet_at_the_same_share_of_the_sample() -> None:
    values = torch.arange(4.0)[None, :, None].repeat(3, 1, 1)
    found = aligned(values, torch.tensor([4, 2, 0]), torch.tensor([4, 4, 3]), 5)[..., 0]
    torch.testing.assert_close(found, torch.tensor([[0.0, 1, 2, 3, 0], [0.0, 0, 1, 1, 0], [0.0] * 5]))


@pytest.mark.parametrize("count", [1, 7])
def test_the_contrast_has_its_closed_forms(count: int) -> None:
    one, weights = torch.ones(2, 4), torch.ones(2)
    equal = set_contrast(one, one, torch.ones(count, 4), 0.1, weights).item()
    assert equal == pytest.approx(math.log(1 + count), abs=1e-5)
    apart = set_contrast(one, one, -torch.ones(count, 4), 0.1, weights).item()
    assert apart == pytest.approx(math.log1p(count * math.exp(-20)), abs=1e-5)


def test_the_ramps_of_contrast_and_momentum(make_batch: MakeBatch) -> None:
    assert [momentum(0.91, share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.91, 0.955, 1.0])
    method, batch = MacilSD(AV, **SMALL, dropout=0.0).train(), make_batch(AV, 16)
    unweighted = method._contrast(method(batch)).item()
    assert unweighted > 1e-3
    for epoch, weight in ((0, 0.0), (5, 0.5), (15, 1.5), (40, 1.5)):
        method.now = Now(epoch=epoch)
        found = method.losses(batch, method(batch))
        assert found.get("contrast", torch.zeros(())).item() == pytest.approx(weight * unweighted, rel=1e-4)


def test_mixed_in_whole_the_teacher_is_the_network_but_for_the_other_modalities() -> None:
    method = MacilSD(AV, **SMALL)
    audio = method.network.maps["audio"].weight.detach().clone()
    before = {n: p.detach().clone() for n, p in method.network.named_parameters()}
    mix(method.network, method.teacher, 1.0)
    for name, parameter in method.network.named_parameters():
        torch.testing.assert_close(parameter, before[name], msg=name)
    mix(method.network, method.teacher, 0.0)
    taught = dict(method.teacher.named_parameters())
    assert set(before) - set(taught) == {"maps.audio.weight", "maps.audio.bias"}
    for name, parameter in method.network.named_parameters():
        if name in taught:
            torch.testing.assert_close(parameter, taught[name], msg=name)
    torch.testing.assert_close(method.network.maps["audio"].weight, audio)


def test_the_teacher_is_mixed_in_at_every_epoch_but_the_first(make_batch: MakeBatch) -> None:
    method, batch = MacilSD(AV, **SMALL), make_batch(AV)
    view, own = View(lambda: [batch], lambda: [batch]), method.network.classifier.weight.detach().clone()
    method.now = Now(epoch=0, share=0.0)
    method.begin(view)
    torch.testing.assert_close(method.network.classifier.weight, own)
    method.now = Now(epoch=25, share=0.5)
    method.begin(view)
    wanted = 0.955 * own + 0.045 * method.teacher.classifier.weight
    torch.testing.assert_close(method.network.classifier.weight, wanted)


def test_the_networks_learn_apart_the_teacher_at_a_fifth_of_the_rate(make_batch: MakeBatch) -> None:
    method, batch = MacilSD(AV, **SMALL).train(), make_batch(AV)
    method.losses(batch, method(batch))["teacher"].backward()
    assert all(p.grad is None for p in method.network.parameters())
    assert all(p.grad is not None for p in method.teacher.parameters())
    rates = {name: g.rate for g in method.parameter_groups() for name in g.parameters}
    assert {rate for name, rate in rates.items() if name.startswith("teacher.")} == {0.2}
    assert {rate for name, rate in rates.items() if name.startswith("network.")} == {1.0}


def test_negatives_are_of_the_other_modality_and_the_positive_is_of_the_same_sample() -> None:
    """Three samples of 40 steps, the first two taken for the event: seen in what the contrast of audio moves."""
    g = torch.Generator().manual_seed(0)
    states = [torch.randn(3, 40, 4, generator=g).requires_grad_() for _ in range(2)]
    scores = [torch.randn(3, 40, generator=g) for _ in range(2)]
    mask, taken = torch.ones(3, 40, dtype=torch.bool), torch.tensor([True, True, False])
    audio, vision = (Semibags.of(x, s, mask) for x, s in zip(states, scores, strict=True))
    audio.against(vision, taken, 0.1).backward()
    heard, seen = (x.grad.abs().sum(2) > 0 for x in states if x.grad is not None)
    assert heard.tolist() == (audio.high & taken[:, None]).tolist()
    assert seen.tolist() == (vision.high | vision.low).tolist()

    def heard_of_the_first(changed: float) -> Tensor:
        """The gradient of the first sample's audio, where the high steps of the second one's vision are others."""
        audible = states[0].detach().clone().requires_grad_()
        visible = states[1].detach().clone()
        visible[1] += changed * vision.high[1][:, None]
        bags = [Semibags.of(x, s, mask) for x, s in zip((audible, visible), scores, strict=True)]
        bags[0].against(bags[1], taken, 0.1).backward()
        assert audible.grad is not None
        return audible.grad[0]

    torch.testing.assert_close(heard_of_the_first(3.0), heard_of_the_first(0.0))
    nothing = audio.against(vision, torch.zeros(3, dtype=torch.bool), 0.1).item()
    everything = audio.against(vision, torch.ones(3, dtype=torch.bool), 0.1).item()
    assert (nothing, everything) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_what_is_said_of_a_sample_is_the_mean_of_its_highest_steps(make_batch: MakeBatch) -> None:
    schema = Schema(AV.modalities, (EVENT, TAGS))
    method, batch = MacilSD(schema, **SMALL, normal="event").eval(), make_batch(schema, longest=30)
    with torch.no_grad():
        output = method(batch)
    lengths = torch.maximum(batch["audio"].mask.sum(1), batch["vision"].mask.sum(1))
    steps = output.representations["tags/steps"]
    assert steps.shape == (8, int(lengths.max()), 2)
    behind = steps[torch.arange(steps.shape[1]) >= lengths[:, None]]
    torch.testing.assert_close(behind, torch.zeros_like(behind))
    for row, count in enumerate(picks(lengths).tolist()):
        logits = steps[row, : int(lengths[row])].logit().sort(dim=0, descending=True)[0][:count]
        torch.testing.assert_close(output.predictions["tags"][row], logits.mean(0), rtol=1e-4, atol=1e-4)
    # Of the class in which nothing happens the logit is 0.
    torch.testing.assert_close(output.predictions["event"][:, 1], torch.zeros(8))


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match="primary names 'visoin', which is no modality; did you mean 'vision'"):
        MacilSD(AV, primary="visoin")
    with pytest.raises(OptionError, match="normal names 'quiet', which is no class of event"):
        MacilSD(AV, normal="quiet")
    with pytest.raises(OptionError, match="contrast must be 0 or more and distill from 0 to 1"):
        MacilSD(AV, distill=2.0)


WAYS = {
    n: torch.nn.functional.normalize(torch.randn(8, generator=torch.Generator().manual_seed(i)), dim=0)
    for i, n in enumerate(AV.names)
}


def planted(seed: int, rows: int) -> tuple[Batch, dict[str, Tensor]]:
    """Sequences of 24 to 40 steps; in every second sample four steps of each modality, at times of their own, show the
    event. Returns the batch and these steps."""
    g = torch.Generator().manual_seed(seed)
    event, lengths = torch.randint(0, 2, (rows,), generator=g), torch.randint(24, 41, (rows,), generator=g)
    mask, streams, truth = torch.arange(40) < lengths[:, None], {}, {}
    for name in AV.names:
        values = torch.randn(rows, 40, 8, generator=g)
        start = (torch.rand(rows, generator=g) * (lengths - 4)).long()[:, None]
        truth[name] = (torch.arange(40) >= start) & (torch.arange(40) < start + 4) & (event == 1)[:, None]
        values += 2.0 * WAYS[name] * truth[name][..., None]
        streams[name] = Stream(values * mask[..., None], lengths.clone(), torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"event": event}, [str(i) for i in range(rows)]), truth


def auc(scores: Tensor, true: Tensor) -> float:
    rank = scores.argsort().argsort().double()
    hits, misses = int(true.sum()), int((~true).sum())
    return float((rank[true].sum() - hits * (hits - 1) / 2) / (hits * misses))


def step_auc(seed: int, epochs: int = 20, **options: float) -> float:
    """Mean over modalities of the area under the curve of its own steps, on other samples than it learned from."""
    torch.manual_seed(seed)
    method, (batch, _), (test, truth) = MacilSD(AV, width=32, **options), planted(seed, 192), planted(seed + 100, 300)
    named, view = dict(method.named_parameters()), View(lambda: [batch], lambda: [batch])
    groups = [{"params": [named[n] for n in g.parameters], "lr": 2e-3 * g.rate} for g in method.parameter_groups()]
    optimizer = torch.optim.Adam(groups)
    for epoch in range(epochs):
        method.now = Now(epoch=epoch, share=epoch / epochs)
        method.begin(view)
        for rows in torch.randperm(192).split(32):
            some = batch.select(rows)
            optimizer.zero_grad()
            torch.stack(list(method.train().losses(some, method(some)).values())).sum().backward()
            optimizer.step()
    with torch.no_grad():
        said = method.eval()(test).representations
    mask = test["audio"].mask
    found = [
        auc(said[f"event/steps/{n}"][..., 1][mask[:, : said["event/steps"].shape[1]]], truth[n][mask]) for n in AV.names
    ]
    return sum(found) / 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_asynchronous_steps_are_found_and_by_contrast_better(seed: int) -> None:
    plain, contrasted = step_auc(seed, contrast=0.0, distill=1.0), step_auc(seed, distill=1.0)
    assert contrasted > 0.88, (plain, contrasted)
    assert contrasted > plain + 0.015, (plain, contrasted)


@pytest.mark.slow
def test_with_its_teacher_too_the_steps_are_found() -> None:
    """On these samples the teacher adds nothing to the contrast."""
    assert step_auc(2) > 0.84
