"""HyCon: which pairs there are, what they cost in closed form, and what they do to planted classes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import silhouette_score
from torch import Tensor

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.hycon import HyCon, hard_pairs, pair_masks, weights

MakeBatch = Callable[..., Batch]

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MODALITIES = tuple(Modality(n, "vector", 6) for n in ("text", "audio", "vision"))
THREE = Schema(MODALITIES, (SCORE,))
FREE = {"sharpness": 0.0, "slack": 4.0}
EVERYONE = torch.ones(3, 3, dtype=torch.bool)


def made(**options: object) -> HyCon:
    return HyCon(THREE, width=8, dropout=0.0, **options)  # type: ignore[arg-type]


def anchor(positive: float, negative: float) -> tuple[Tensor, Tensor, Tensor]:
    """One anchor with one positive and one negative: cosines and both masks."""
    return torch.tensor([[positive, negative]]), torch.tensor([[True, False]]), torch.tensor([[False, True]])


@pytest.mark.parametrize(("cosine", "wanted"), [(1.0, 0.2**2), (0.0, 0.8**2), (0.8, 0.0)])
def test_the_term_of_one_sample_is_the_squared_distance_from_the_margin(cosine: float, wanted: float) -> None:
    s = torch.full((3, 3, 3, 3), cosine, requires_grad=True)
    loss = made(margin=0.8).semi_loss(s, EVERYONE)
    assert loss.item() == pytest.approx(wanted, abs=1e-6)
    (slope,) = torch.autograd.grad(loss, s)
    assert (slope.abs().max().item() < 1e-6) == (cosine == 0.8)


def test_the_term_of_one_sample_looks_at_its_own_modalities_only() -> None:
    s = torch.randn(3, 3, 3, 3)
    present = torch.tensor([[True, True, False], [True, True, True], [False, False, True]])
    own = [s[m, n, i, i] for i in range(3) for m in range(3) for n in range(m + 1, 3) if present[i, m] & present[i, n]]
    assert len(own) == 4
    wanted = torch.stack([(x - 0.9) ** 2 for x in own]).mean()
    torch.testing.assert_close(made().semi_loss(s, present), wanted)


@pytest.mark.parametrize(
    ("positive", "negative", "temperature", "wanted"),
    [(0.3, 0.3, 0.1, math.log(2)), (1.0, -1.0, 1.0, 0.126928), (1.0, -1.0, 1.0, math.log(1 + math.exp(-2)))],
)
def test_the_contrast_of_one_pair_of_each_kind(
    positive: float, negative: float, temperature: float, wanted: float
) -> None:
    loss = made(temperature=temperature, **FREE).contrast(*anchor(positive, negative))
    assert loss.item() == pytest.approx(wanted, abs=1e-6)


def test_the_contrast_is_blind_to_a_shift_that_the_refinement_sees(make_batch: MakeBatch) -> None:
    method, batch = made(**FREE), make_batch(THREE)
    low, high = anchor(0.1, -0.9), anchor(1.0, 0.0)
    torch.testing.assert_close(method.contrast(*low), method.contrast(*high))
    batch.targets["sentiment"] = torch.tensor([2.0, -2.0] * 4)
    same = batch.targets["sentiment"].unsqueeze(0) == batch.targets["sentiment"].unsqueeze(1)
    cosine = torch.where(same, 0.1, -0.9).expand(3, 3, 8, 8)
    for across, ideal in ((False, 1.0), (True, 0.9)):
        before, after = (method.class_loss(s, batch, across=across) for s in (cosine, cosine + 0.9))
        wanted = 0.3 * ((0.1 - ideal) ** 2 - (1.0 - ideal) ** 2)
        assert (before - after).item() == pytest.approx(wanted, abs=1e-5)


def test_without_refinement_the_classes_loss_is_blind_to_a_shift_too(make_batch: MakeBatch) -> None:
    method, batch, cosine = made(refine=0.0), make_batch(THREE), torch.rand(3, 3, 8, 8) - 0.9
    for across in (False, True):
        before, after = (method.class_loss(s, batch, across=across) for s in (cosine, cosine + 0.7))
        assert before.item() > 0
        torch.testing.assert_close(before, after)


def test_a_scale_has_sides_or_seven_classes(make_batch: MakeBatch) -> None:
    batch = make_batch(THREE)
    batch.targets["sentiment"] = torch.tensor([1.0, 3.0] * 4)
    sides, seven = (made(classes=rule, refine=0.0, **FREE) for rule in ("sign", "round"))
    cosine = torch.zeros(3, 3, 8, 8)
    assert sides.class_loss(cosine, batch, across=False).item() == pytest.approx(0, abs=1e-6)  # one class: no anchor
    # Three others of the same class and four of another, all as near.
    assert seven.class_loss(cosine, batch, across=False).item() == pytest.approx(math.log(7 / 3), abs=1e-5)


@pytest.mark.parametrize(("form", "wanted"), [("ratio", -0.9 / (0.9 + 0.3)), ("difference", 2 - 0.8 - 0.4)])
def test_other_forms_of_the_contrast(form: str, wanted: float) -> None:
    loss = made(pair_loss=form, **FREE).contrast(*anchor(0.8, -0.4))
    assert loss.item() == pytest.approx(wanted, abs=1e-6)


def test_pairs_are_those_of_the_definition() -> None:
    classes = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    positives, negatives = pair_masks(classes, torch.ones(8, dtype=torch.bool), torch.ones(8, 3, dtype=torch.bool))
    within = torch.eye(3, dtype=torch.bool)[:, :, None, None]
    assert int((positives & within).sum()) == 3 * 8 * (8 // 2 - 1)
    assert int((positives & ~within).sum()) == 6 * 8 * (8 // 2 - 1)
    assert int((negatives & within).sum()) == 3 * 8 * 4
    assert not positives.diagonal(dim1=2, dim2=3).any()
    assert not negatives.diagonal(dim1=2, dim2=3).any()


def test_what_is_absent_or_without_a_label_is_in_no_pair() -> None:
    present = torch.ones(4, 3, dtype=torch.bool)
    present[1, 2] = False
    known = torch.tensor([True, True, True, False])
    for mask in pair_masks(torch.tensor([0, 0, 1, 1]), known, present):
        assert not mask[:, :, 3].any()
        assert not mask[:, :, :, 3].any()
        assert not mask[2, :, 1].any()
        assert not mask[:, 2, :, 1].any()
        assert mask[0, 1].any()


def slow(method: HyCon, batch: Batch, vectors: dict[str, Tensor], across: bool) -> Tensor:
    """The contrast with refinement, by loops over its definition."""
    h = {n: F.normalize(v, dim=1) for n, v in vectors.items()}
    c, size, ideal = batch.targets["sentiment"].sign(), len(batch), method.margin if across else 1.0
    anchors, far = [], []
    for m in h:
        for n in h:
            if (m != n) != across:
                continue
            for i in range(size):
                s = [h[m][i] @ h[n][j] for j in range(size)]
                positives = [s[j] for j in range(size) if j != i and c[j] == c[i]]
                negatives = [s[j] for j in range(size) if c[j] != c[i]]
                far += [(x - ideal) ** 2 for x in positives]
                if not positives or not negatives:
                    continue
                up, down = (torch.stack(x) for x in (positives, negatives))
                hard_up = up[up + 1 - ideal < down.max() + method.slack]
                hard_down = down[down > up.min() + 1 - ideal - method.slack]
                if not len(hard_up):
                    assert not len(hard_down)
                    continue
                w_up, w_down = torch.exp(-method.sharpness * hard_up), torch.exp(method.sharpness * hard_down)
                w_up, w_down = (w.detach() / w.detach().mean() for w in (w_up, w_down))
                a = (w_up * torch.exp(hard_up / method.temperature)).sum()
                b = (w_down * torch.exp(hard_down / method.temperature)).sum()
                anchors.append(-torch.log(a / (a + b)))
    return torch.stack(anchors).mean() + method.refine * torch.stack(far).mean()


@pytest.mark.parametrize("options", [{}, FREE, {"slack": 0.01, "sharpness": 3.0}])
def test_both_contrasts_agree_with_loops_and_so_do_their_gradients(
    options: dict[str, float], make_batch: MakeBatch
) -> None:
    method, batch = made(intra=0.5, inter=0.7, **options).train(), make_batch(THREE, 9)
    output = method(batch)
    vectors = {n: output.representations[n] for n in THREE.names}
    losses = method.losses(batch, output)
    for name, weight, across in (("intra", 0.5, False), ("inter", 0.7, True)):
        wanted = weight * slow(method, batch, vectors, across)
        torch.testing.assert_close(losses[name], wanted, rtol=1e-4, atol=1e-5)
        parts = [[*torch.autograd.grad(x, [*vectors.values()], retain_graph=True)] for x in (losses[name], wanted)]
        torch.testing.assert_close(*parts, rtol=1e-3, atol=1e-5)


def test_without_choice_and_weights_the_contrast_is_the_plain_one() -> None:
    s = 2 * torch.rand(2, 5, 5, dtype=torch.float64) - 1
    classes = torch.tensor([0, 1, 0, 1, 1])
    up, down = (x[0, 1].expand(2, 5, 5) for x in pair_masks(classes, classes >= 0, torch.ones(5, 2, dtype=torch.bool)))
    e = torch.exp(s / 0.1)
    plain = -torch.log((e * up).sum(-1) / ((e * up).sum(-1) + (e * down).sum(-1))).mean()
    torch.testing.assert_close(made(**FREE).contrast(s, up, down), plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights(s, up, 0.0), up.double(), rtol=1e-12, atol=1e-12)


def test_hard_pairs_come_in_both_kinds_or_not_at_all() -> None:
    s, up, down = anchor(0.9, 0.1)
    assert not torch.stack(hard_pairs(s, up, down, slack=0.1)).any()
    torch.testing.assert_close(torch.stack(hard_pairs(s, up, down, slack=0.81)), torch.stack([up, down]))
    assert not torch.stack(hard_pairs(s, up, down, slack=0.81, shift=0.1)).any()


def test_lengths_of_vectors_and_the_order_of_samples_and_modalities_change_nothing(make_batch: MakeBatch) -> None:
    method, batch = made().train(), make_batch(THREE)
    output = method(batch)
    wanted = method.losses(batch, output)
    for name, factor in zip(THREE.names, (0.1, 3.0, 20.0), strict=True):
        output.representations[name] = factor * output.representations[name]
    torch.testing.assert_close(method.losses(batch, output), wanted)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    shuffled = batch.select(order)
    torch.testing.assert_close(method.losses(shuffled, method(shuffled)), wanted)
    text, audio = output.representations["text"], output.representations["audio"]
    output.representations.update(text=audio, audio=text)
    torch.testing.assert_close(method.losses(batch, output), wanted)


def test_alone_or_without_labels_a_sample_is_in_no_contrast_of_classes(make_batch: MakeBatch) -> None:
    method, batch = made().train(), make_batch(THREE)
    one = batch.select(torch.tensor([0]))
    losses = method.losses(one, method(one))
    assert [losses[n].item() for n in ("intra", "inter")] == pytest.approx([0, 0], abs=1e-6)
    assert losses["semi"].item() > 0
    batch.targets["sentiment"][:] = torch.nan
    losses = method.losses(batch, method(batch))
    assert [losses[n].item() for n in ("intra", "inter", "task")] == pytest.approx([0, 0, 0], abs=1e-6)
    assert losses["semi"].item() > 0


def test_contrasts_are_for_training_and_a_weight_of_0_leaves_one_out(make_batch: MakeBatch) -> None:
    batch = make_batch(THREE)
    for method, names in (
        (made().eval(), {"task"}),
        (made(semi=0.0, inter=0.0).train(), {"task", "intra"}),
        (made().train(), {"task", "semi", "intra", "inter"}),
    ):
        assert set(method.losses(batch, method(batch))) == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 1.5}, "margin must not exceed 1"),
        ({"intra": -0.1}, "intra is a weight and must not be negative"),
        ({"slack": -1.0}, "slack not be negative"),
    ],
)
def test_weights_and_margins_that_cannot_be_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made(**options)


def clouds(seed: int, rows: int = 64) -> Batch:
    """Every modality is the centre of the sample's side, an offset of its own, and noise."""
    fixed, drawn = torch.Generator().manual_seed(0), torch.Generator().manual_seed(500 + seed)
    side = torch.randint(0, 2, (rows,), generator=drawn)
    streams = {}
    for name in THREE.names:
        centres, offset = torch.randn(2, 6, generator=fixed), 2 * torch.randn(6, generator=fixed)
        values = 0.7 * centres[side] + offset + torch.randn(rows, 6, generator=drawn)
        streams[name] = Stream(values, None, torch.ones(rows, dtype=torch.bool))
    return Batch(streams, {"sentiment": 4.0 * side - 2}, [str(i) for i in range(rows)])


def trained(terms: set[str], **options: float) -> tuple[list[float], float]:
    """Learn from ``terms`` of the losses alone.

    Return by how much the silhouette of the sides grew, averaged over modalities, and the mean cosine of two
    modalities of a sample.
    """
    torch.manual_seed(1)
    method, test = made(**FREE, **options).train(), clouds(-1, 300)
    before = silhouettes(method, test)
    optimizer = torch.optim.AdamW(method.train().parameters(), 3e-3)
    for step in range(150):
        batch = clouds(step)
        optimizer.zero_grad()
        torch.stack([v for k, v in method.losses(batch, method(batch)).items() if k in terms]).sum().backward()
        optimizer.step()
    grown = [b - a for a, b in zip(before, silhouettes(method, test), strict=True)]
    with torch.no_grad():
        h = [F.normalize(x, dim=1) for x in method.eval().encode(test).values()]
    return grown, torch.cat([(h[a] * h[b]).sum(1) for a, b in ((0, 1), (0, 2), (1, 2))]).mean().item()


def silhouettes(method: HyCon, batch: Batch) -> list[float]:
    """Return the silhouette of the sides within each modality, by cosines."""
    with torch.no_grad():
        vectors = [F.normalize(x, dim=1) for x in method.eval().encode(batch).values()]
    return [float(silhouette_score(x.numpy(), batch.targets["sentiment"].numpy())) for x in vectors]


@pytest.mark.slow
def test_classes_gather_in_each_modality_by_the_contrasts_of_classes() -> None:
    # Without the task, which gathers classes by itself; 0.12 to 0.40 a modality over three seeds, `semi` 0.12 at most.
    both, _ = trained({"intra", "inter"}, intra=1.0, inter=1.0)
    semi, _ = trained({"semi"}, semi=1.0)
    assert min(both) > 0.1
    assert sum(both) > sum(semi) + 0.5


@pytest.mark.slow
def test_modalities_of_a_sample_meet_at_the_margin() -> None:
    for margin in (0.6, 0.9):
        _, cosine = trained({"task", "semi"}, semi=3.0, margin=margin)
        assert cosine == pytest.approx(margin, abs=0.05)


@pytest.mark.slow
def test_the_refinement_brings_samples_of_one_class_nearer() -> None:
    def positives(refine: float) -> list[float]:
        torch.manual_seed(1)
        method, test = made(**FREE, intra=1.0, refine=refine).train(), clouds(-1, 300)
        optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
        for step in range(100):
            batch = clouds(step)
            optimizer.zero_grad()
            method.losses(batch, method(batch))["intra"].backward()
            optimizer.step()
        label = test.targets["sentiment"]
        same = (label.unsqueeze(0) == label.unsqueeze(1)) & ~torch.eye(300, dtype=torch.bool)
        with torch.no_grad():
            found = [F.normalize(x, dim=1) for x in method.eval().encode(test).values()]
        return [(x @ x.T)[same].mean().item() for x in found]

    # 0.02 to 0.10 a modality over three seeds.
    assert min(b - a for a, b in zip(positives(0.0), positives(0.3), strict=True)) > 0.01
