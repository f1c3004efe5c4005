"""TFN, LMF, LF-DNN, EF-LSTM: what their cards say must be observable."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.nn.axis import resample
from polymodal.nn.fusion import LowRankFusion, tensor_product
from polymodal.nn.subnet import PresentNorm

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
FACTORS = Schema(tuple(Modality(n, "vector", 1) for n in "atv"), (Target("y", "regression"),))


def parameters(method: str, schema: Schema = MOSI, **options) -> int:
    return sum(p.numel() for p in build(find_method(method), schema, options).parameters())


@pytest.mark.parametrize(
    ("method", "options", "count"),
    [
        ("tfn", {"widths": {"audio": 32, "vision": 128, "text": 32}}, 9_497_045 - 2),  # two stored constants
        ("lmf", {"widths": {"audio": 16, "vision": 128, "text": 64}, "rank": 3}, 505_071),
        ("lf-dnn", {"widths": {"audio": 16, "vision": 128, "text": 256}}, 597_171),
        ("ef-lstm", {}, 885_605 - 100),  # batch normalisation over time
    ],
)
def test_parameter_counts_are_those_of_the_published_configurations(method, options, count):
    assert parameters(method, **options) == count


def test_the_cube_holds_every_vector_and_product_once():
    a, t, v = (torch.randn(4, n) for n in (2, 3, 5))
    cube = tensor_product([a, t, v]).view(4, 3, 4, 6)
    assert (cube[:, 0, 0, 0] == 1).all()
    assert torch.equal(cube[:, 1:, 0, 0], a)
    assert torch.equal(cube[:, 0, 1:, 0], t)
    assert torch.equal(cube[:, 0, 0, 1:], v)
    assert torch.allclose(cube[:, 1:, 1:, 1:], torch.einsum("bi,bj,bk->bijk", a, t, v))


def test_tfn_never_leaves_the_range_and_starts_in_its_middle():
    schema = Schema(FACTORS.modalities, (Target("y", "regression", (1.0, 7.0)),))
    method = build(find_method("tfn"), schema, {}).eval()
    with torch.no_grad():
        wild = method(factors(64, scale=1e4)).predictions["y"]
        method.heads.linears[0].weight.zero_()
        still = method(factors(8)).predictions["y"]
    assert ((wild >= 1) & (wild <= 7)).all()
    assert torch.allclose(still, torch.full((8,), 4.0))


def factors(rows: int, scale: float = 1.0) -> Batch:
    """Three independent factors, their product as target."""
    here = torch.ones(rows, dtype=torch.bool)
    values = {n: scale * torch.randn(rows, 1) for n in "atv"}
    product = torch.stack(list(values.values())).prod(0)[:, 0]
    return Batch({n: Stream(x, None, here) for n, x in values.items()}, {"y": product}, [str(i) for i in range(rows)])


def low_rank_output(fusion: LowRankFusion, vectors: list[Tensor]) -> Tensor:
    """The same through the full weight tensor."""
    a, t, v = fusion.factors
    weights = torch.einsum("r,rio,rjo,rko->ijko", fusion.weights[0], a, t, v)
    cube = tensor_product(vectors).view(-1, *weights.shape[:3])
    return torch.einsum("bijk,ijko->bo", cube, weights) + fusion.bias


def test_lmf_is_a_read_out_of_tfns_cube_with_weights_of_low_rank():
    fusion = LowRankFusion([2, 3, 5], width=2, rank=3)
    nn.init.normal_(fusion.bias)
    vectors = [torch.randn(4, n) for n in (2, 3, 5)]
    assert torch.allclose(fusion(vectors), low_rank_output(fusion, vectors), atol=1e-5)


def test_lmf_grows_linearly_with_modalities_tfn_multiplies():
    def size(count: int) -> int:
        return sum(p.numel() for p in LowRankFusion([8] * count, 1, 4).factors)

    assert size(4) - size(3) == size(3) - size(2) == 4 * 9


def test_a_factor_that_is_only_its_constant_row_takes_the_modality_out():
    fusion = LowRankFusion([2, 3], width=1, rank=2)
    with torch.no_grad():
        fusion.factors[0].zero_()
        fusion.factors[0][:, 0] = 1
    other = torch.randn(5, 3)
    assert torch.allclose(fusion([torch.randn(5, 2), other]), fusion([torch.randn(5, 2), other]))


def test_every_fusion_parameter_of_lmf_moves_and_rank_terms_may_be_permuted():
    fusion = LowRankFusion([2, 3], width=1, rank=3)
    vectors = [torch.randn(6, 2), torch.randn(6, 3)]
    before, out = [p.detach().clone() for p in fusion.parameters()], fusion(vectors)
    torch.optim.SGD(fusion.parameters(), 0.1).zero_grad()
    out.square().sum().backward()
    torch.optim.SGD(fusion.parameters(), 0.1).step()
    assert all((p != b).any() for p, b in zip(fusion.parameters(), before, strict=True))
    out, order = fusion(vectors), torch.tensor([2, 0, 1])
    with torch.no_grad():
        for parameter in fusion.factors:
            parameter.copy_(parameter[order])
        fusion.weights.copy_(fusion.weights[:, order])
    assert torch.allclose(fusion(vectors), out, atol=1e-6)


def fit(method: nn.Module, steps: int, batch: Batch) -> float:
    """Final mean squared error after full-batch Adam."""
    optimiser = torch.optim.Adam(method.parameters(), 0.02)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = (method(batch).predictions["y"] - batch.targets["y"]).square().mean()
        loss.backward()
        optimiser.step()
    return loss.item()


class Linear(nn.Module):
    """The product read by a fusion alone, without encoders."""

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, batch: Batch) -> Output:
        return Output({"y": self.fusion([s.tensor for s in batch.streams.values()])[:, 0]})


@pytest.mark.slow
def test_a_triple_product_is_fitted_at_rank_one_and_two_need_rank_two():
    torch.manual_seed(0)
    batch = factors(256)
    assert fit(Linear(LowRankFusion([1, 1, 1], 1, 1)), 800, batch) < 0.05 * batch.targets["y"].var().item()
    pairs = {n: torch.randn(256, 2) for n in "atv"}
    both = torch.stack(list(pairs.values())).prod(0).sum(1)
    here = torch.ones(256, dtype=torch.bool)
    double = Batch({n: Stream(x, None, here) for n, x in pairs.items()}, {"y": both}, batch.ids)
    best = {rank: min(fit(Linear(LowRankFusion([2, 2, 2], 1, rank)), 600, double) for _ in range(3)) for rank in (1, 2)}
    assert best[2] < 0.1 * both.var().item() < 0.3 * both.var().item() < best[1]


def test_the_embeddings_are_the_slices_of_lf_dnns_concatenation_and_a_silenced_one_changes_nothing():
    method = build(find_method("lf-dnn"), FACTORS, {"width": 4}).eval()
    batch, other = factors(8), factors(8)
    with torch.no_grad():
        method.mix[1].weight[:, 4:8] = 0  # the columns of the second modality
        changed = Batch({**batch.streams, "t": other.streams["t"]}, batch.targets, batch.ids)
        assert torch.equal(method(batch).predictions["y"], method(changed).predictions["y"])


def test_pooled_modalities_ignore_order_and_text_does_not():
    schema = Schema((Modality("text", "sequence", 4), Modality("audio", "sequence", 4)), (SCORE,))
    method = build(find_method("lf-dnn"), schema, {}).eval()
    values, here = torch.randn(3, 6, 4), torch.ones(3, dtype=torch.bool)
    lengths = torch.tensor([6, 6, 6])
    forward, turned = Stream(values, lengths, here), Stream(values.flip(1), lengths, here)

    def predict(text: Stream, audio: Stream) -> Tensor:
        with torch.no_grad():
            return method(Batch({"text": text, "audio": audio}, {}, ["a", "b", "c"])).predictions["sentiment"]

    base = predict(forward, forward)
    assert torch.allclose(predict(forward, turned), base, atol=1e-6)
    assert not torch.allclose(predict(turned, forward), base, atol=1e-4)


@pytest.mark.slow
def test_ef_lstm_sees_what_happens_at_the_same_time_and_lf_dnn_does_not():
    torch.manual_seed(1)
    schema = Schema((Modality("text", "sequence", 1), Modality("audio", "sequence", 1)), (Target("y", "regression"),))
    text, audio = torch.randn(2, 128, 6, 1).unbind()
    here, lengths = torch.ones(128, dtype=torch.bool), torch.full((128,), 6)
    batch = Batch(
        {"text": Stream(text, lengths, here), "audio": Stream(audio, lengths, here)},
        {"y": (text * audio).sum((1, 2))},
        [str(i) for i in range(128)],
    )
    early = build(find_method("ef-lstm"), schema, {"layers": 1, "hidden": 32, "dropout": 0.0})
    late = build(find_method("lf-dnn"), schema, {"width": 32, "head": 32, "dropout": 0.0, "recurrent": ()})
    assert fit(early, 300, batch) < 0.5 * fit(late, 300, batch)


def test_present_norm_equals_batch_norm_and_ignores_absent_rows():
    ours, plain = PresentNorm(3), nn.BatchNorm1d(3)
    x, present = torch.randn(6, 3), torch.tensor([True, True, False, True, True, True])
    out = ours(torch.where(present[:, None], x, torch.tensor(1e6)), present)
    expected = plain(x[present])
    assert torch.allclose(out[present], expected, atol=1e-6)
    assert not out[~present].any()
    assert torch.allclose(ours.running_mean, plain.running_mean)
    alone = ours(x[:1], present[:1])
    assert alone.isfinite().all()


def test_widths_of_an_unknown_modality_are_refused():
    with pytest.raises(OptionError, match="did you mean 'vision'"):
        parameters("tfn", widths={"visoin": 3})


def test_resampling_averages_what_overlaps():
    stream = Stream(torch.arange(10.0).view(1, 10, 1), torch.tensor([10]), torch.ones(1, dtype=torch.bool))
    assert resample(stream, torch.tensor([5]), 5)[0, :, 0].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]


def test_weight_decay_leaves_the_bias_of_low_rank_fusion_alone_and_old_weights_load() -> None:
    method = build(find_method("lmf"), MOSI, {})
    decayed = {n for g in method.parameter_groups() if g.decay for n in g.parameters}
    assert "fusion.bias" not in decayed
    assert {"fusion.weights", "fusion.factors.0"} <= decayed
    old = {n: t[None] if n == "fusion.bias" else t for n, t in method.state_dict().items()}
    other = build(find_method("lmf"), MOSI, {})
    other.load_state_dict({**old, "fusion.bias": old["fusion.bias"] + 1})
    assert torch.equal(other.fusion.bias, method.fusion.bias + 1)
