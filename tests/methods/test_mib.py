"""MIB: what its card says must be observable."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Schema, Stream, Target
from polymodal.methods.mib import MIB
from polymodal.nn.bottleneck import QuietBottleneck, mean_kl
from polymodal.train.recipe import load_preset

MakeBatch = Callable[..., Batch]

SENTIMENT = Target("sentiment", "regression", (-3.0, 3.0))
SCHEMA = Schema(
    (Modality("text", "sequence", 6), Modality("audio", "sequence", 5), Modality("vision", "sequence", 4)), (SENTIMENT,)
)
PAPER = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 74), Modality("vision", "sequence", 47)),
    (SENTIMENT,),
)
BERT = (30_522 + 512 + 2 + 2) * 768 + 12 * (4 * 769 * 768 + 769 * 3072 + 3073 * 768 + 4 * 768)
"""Parameters of BERT-base without its pooler: embeddings and their norm, then twelve layers."""
SMALL: dict[str, Any] = {"width": 8, "hidden": 16, "layers": 1, "heads": 2}


def small(schema: Schema = SCHEMA, **options: Any) -> MIB:
    return MIB(schema, **{**SMALL, **options})


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def touched(method: nn.Module, loss: Tensor) -> set[str]:
    """First parts of the names of the parameters that ``loss`` reaches with a gradient other than zero."""
    named = dict(method.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {n for n, g in zip(named, gradients, strict=True) if g is not None and g.any()}


def test_the_kl_has_its_closed_form() -> None:
    rows, zeros = torch.ones(4, dtype=torch.bool), torch.zeros(4, 50)
    assert mean_kl(zeros, zeros, rows).item() == pytest.approx(0, abs=1e-6)
    assert mean_kl(zeros + 3, zeros, rows).item() == pytest.approx(4.5)
    assert mean_kl(zeros, zeros + 2 * log(0.0067153), rows).item() == pytest.approx(4.503382, abs=1e-4)


def test_an_untrained_bottleneck_is_nearly_free_of_noise() -> None:
    bottleneck = QuietBottleneck(50, 1024)
    for linear in (bottleneck.mean, bottleneck.spread):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    here = torch.ones(20_000, dtype=torch.bool)
    z, mean, log_variance = bottleneck(torch.randn(20_000, 50), here, True)
    assert not mean.any()
    assert torch.allclose((log_variance / 2).exp(), torch.tensor(0.0067153), atol=1e-7)
    assert mean_kl(mean, log_variance, here).item() == pytest.approx(4.503382, abs=1e-5)
    assert z.std().item() == pytest.approx(0.0067153, rel=0.01)


def test_an_extreme_spread_has_a_finite_cost_and_gradient() -> None:
    bottleneck = QuietBottleneck(2, 2)
    nn.init.constant_(bottleneck.spread.bias, -1e4)
    z, mean, log_variance = bottleneck(torch.randn(3, 2), torch.ones(3, dtype=torch.bool), True)
    (mean_kl(mean, log_variance, torch.ones(3, dtype=torch.bool)) + z.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in bottleneck.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("variant", "published"),
    [("none", 109_216_699), ("early", 109_371_423), ("late", 109_681_024), ("complete", 109_835_748)],
)
def test_has_the_parameters_of_the_published_table(variant: Any, published: int) -> None:
    assert parameters(MIB(PAPER, variant=variant)) + BERT == published


def test_a_bottleneck_has_the_parameters_of_the_paper() -> None:
    assert parameters(QuietBottleneck(50, 1024)) == 154_724


def losses_of(method: MIB, batch: Batch) -> dict[str, Tensor]:
    method.train()
    torch.manual_seed(1)
    return method.losses(batch, method(batch))


def test_each_variant_pays_where_its_bottlenecks_are(make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA)
    unimodal = {f"{term}/{n}" for term in ("unimodal", "kl") for n in SCHEMA.names}
    wanted = {
        "none": {"task"},
        "early": {"task", "kl/fused"},
        "late": {"task", *unimodal},
        "complete": {"task", "kl/fused", *unimodal},
    }
    for variant, names in wanted.items():
        method = small(variant=variant)
        assert losses_of(method, batch).keys() == names
        codes = {n for n in method(batch).representations if n.startswith("z_")}
        assert codes == ({"z_text", "z_audio", "z_vision"} if variant in ("late", "complete") else set())
        assert set(method.eval().losses(batch, method(batch))) == {"task"}


def test_the_fused_head_of_the_late_variant_learns_from_the_task_alone(make_batch: MakeBatch) -> None:
    method = small(variant="late")
    for name, loss in losses_of(method, make_batch(SCHEMA)).items():
        reached = {n.split(".")[0] for n in touched(method, loss)}
        assert ({"heads", "fusion"} <= reached) == (name == "task")
        assert ({"heads", "fusion"} & reached == set()) == (name != "task")


def test_nothing_is_detached(make_batch: MakeBatch) -> None:
    method = small()
    losses = losses_of(method, make_batch(SCHEMA))
    own = {"encoders.audio", "bottlenecks.audio"}
    everywhere = {f"{part}.{n}" for part in ("encoders", "bottlenecks") for n in SCHEMA.names}
    for name, wanted in {"task": everywhere, "kl/fused": everywhere, "unimodal/audio": own, "kl/audio": own}.items():
        reached = {".".join(n.split(".")[:2]) for n in touched(method, losses[name])}
        assert reached & everywhere == wanted, name


def test_a_beta_changes_its_own_kl_only(make_batch: MakeBatch) -> None:
    batch, betas = make_batch(SCHEMA), {"text": 0.1, "audio": 0.2, "vision": 0.3, "fused": 0.4, "depth": 9.0}
    results = []
    for audio in (0.2, 0.6):
        torch.manual_seed(0)
        results.append(losses_of(small(beta={**betas, "audio": audio}), batch))
    for name, before in results[0].items():
        assert results[1][name].item() == pytest.approx((3 if name == "kl/audio" else 1) * before.item())


def test_the_weight_of_the_task_is_the_papers_or_the_codes(make_batch: MakeBatch) -> None:
    batch, results = make_batch(SCHEMA), []
    for weight in (1.0, 2.0):
        torch.manual_seed(0)
        results.append(losses_of(small(task_weight=weight), batch))
    assert results[1]["task"].item() == pytest.approx(2 * results[0]["task"].item())
    assert results[1]["unimodal/text"].item() == pytest.approx(results[0]["unimodal/text"].item())


@pytest.mark.parametrize(("variant", "fusion"), [("complete", "concat"), ("late", "experts"), ("early", "sum")])
def test_the_mean_is_deterministic_and_samples_vary(variant: Any, fusion: Any, make_batch: MakeBatch) -> None:
    batch = make_batch(SCHEMA)
    mean = small(variant=variant, fusion=fusion).eval()
    sample = small(variant=variant, fusion=fusion, eval_mode="sample").eval()
    sample.load_state_dict(mean.state_dict())
    with torch.no_grad():
        first, second = (mean(batch).predictions["sentiment"] for _ in range(2))
        drawn = torch.stack([sample(batch).predictions["sentiment"] for _ in range(300)])
    assert torch.equal(first, second)
    assert (drawn.std(0) > 0).all()
    assert torch.allclose(drawn.mean(0), first, atol=0.05)


MANY = Schema(
    (*SCHEMA.modalities, Modality("face", "vector", 3)), (SENTIMENT, Target("mood", "multilabel", classes=("a", "b")))
)


@pytest.mark.parametrize("fusion", ["concat", "sum", "product", "tensor", "low-rank", "graph", "experts"])
@pytest.mark.parametrize("schema", [SCHEMA, MANY], ids=["three", "four"])
def test_every_operator_trains_and_ignores_batch_mates(fusion: Any, schema: Schema, make_batch: MakeBatch) -> None:
    if fusion == "tensor" and schema is MANY:
        with pytest.raises(OptionError, match=r"fusion 'tensor' has 9\^4 cells with 4 modalities; use 'low-rank'"):
            small(schema, fusion=fusion)
        return
    method = small(schema, fusion=fusion, variant="late" if fusion == "experts" else "complete")
    batch = make_batch(schema).without("audio", rows=torch.arange(8) < 3)
    losses = method.losses(batch, method(batch))
    sum(losses.values(), torch.zeros(())).backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    method.eval()
    with torch.no_grad():
        together = method(batch).predictions["sentiment"]
        for row in (0, 5):
            streams = {
                n: Stream(s.tensor[[row]], None if s.lengths is None else s.lengths[[row]], s.present[[row]])
                for n, s in batch.streams.items()
            }
            alone = method(Batch(streams, {}, ["x"])).predictions["sentiment"]
            torch.testing.assert_close(alone, together[[row]], rtol=1e-5, atol=1e-5)


def test_experts_are_weighed_by_their_certainty_and_an_absent_one_has_no_say(make_batch: MakeBatch) -> None:
    method, batch = small(variant="late", fusion="experts").eval(), make_batch(SCHEMA)
    without = method(batch.without("audio")).representations["fused"]
    assert not torch.allclose(method(batch).representations["fused"], without)
    nn.init.constant_(method.bottlenecks["audio"].spread.bias, 1e4)
    torch.testing.assert_close(method(batch).representations["fused"], without, rtol=1e-5, atol=1e-5)


def test_text_is_convolved_and_other_sequences_are_read_by_a_transformer() -> None:
    schema = Schema((*MANY.modalities, Modality("words", "text")), (SENTIMENT,))
    contexts = {n: encoder.context is not None for n, encoder in small(schema).encoders.items()}
    assert contexts == {"text": False, "audio": True, "vision": True, "face": False, "words": False}


def test_the_last_true_step_or_the_mean_of_all_is_read() -> None:
    schema = Schema((Modality("text", "sequence", 2),), (SENTIMENT,))
    x = torch.randn(1, 9, 2, requires_grad=True)
    stream = Stream(x, torch.tensor([6]), torch.tensor([True]))
    for pool, reached in (("last", [4, 5]), ("mean", [0, 1, 2, 3, 4, 5])):
        encoder = small(schema, pool=pool).encoders["text"]
        (gradient,) = torch.autograd.grad(
            encoder(Stream(x * stream.mask.unsqueeze(-1), stream.lengths, stream.present)).square().sum(), x
        )
        assert gradient[0].abs().sum(1).nonzero()[:, 0].tolist() == reached


def test_the_mean_of_steps_is_no_linear_map_of_the_features() -> None:
    schema = Schema((Modality("text", "sequence", 2),), (SENTIMENT,))
    x, lengths, here = torch.randn(4, 6, 2), torch.full((4,), 6), torch.ones(4, dtype=torch.bool)
    for pool, opposed in (("last", True), ("mean", False)):
        encoder = small(schema, pool=pool).encoders["text"]
        one, other = (encoder(Stream(sign * x, lengths, here)) for sign in (1, -1))
        assert torch.allclose(one, -other, atol=1e-6) == opposed


def test_dropout_falls_on_what_the_bottlenecks_read(make_batch: MakeBatch) -> None:
    method, batch = small(dropout=0.5).train(), make_batch(SCHEMA)
    seen: list[Tensor] = []
    method.bottlenecks["text"].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    method(batch)
    method.eval()(batch)
    dropped, whole = ((x == 0).float().mean().item() for x in seen)
    assert 0.2 < dropped < 0.8
    assert whole < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 9, "heads": 2}, "heads must divide width, got heads=2 and width=9"),
        ({"beta": -1.0}, "beta of text must not be negative"),
        ({"beta": {"text": 1.0, "fused": 1.0}}, "beta has no value for audio, vision"),
        ({"fusion": "experts"}, "fusion 'experts' multiplies the codes of variant 'late'; it has none in 'complete'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"embed_dropout": 1.0}, "embed_dropout must be at least 0 and below 1"),
        ({"task_weight": 0.0}, "task_weight must be above 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        small(**options)


NOISY = Schema((Modality("signal", "vector", 4), Modality("noise", "vector", 4)), (SENTIMENT,))


def planted(rows: int) -> Batch:
    """One modality is the label in four noisy copies, the other says nothing."""
    factor, here = torch.randn(rows), torch.ones(rows, dtype=torch.bool)
    signal = Stream(factor[:, None] + 0.3 * torch.randn(rows, 4), None, here)
    noise = Stream(torch.randn(rows, 4), None, here)
    return Batch({"signal": signal, "noise": noise}, {"sentiment": factor}, [str(i) for i in range(rows)])


def trained(steps: int = 500, rate: float = 5e-3, **options: Any) -> tuple[dict[str, float], float]:
    """KL of each modality's code in nats per dimension, and the mean absolute error on new data."""
    torch.manual_seed(0)
    method = MIB(NOISY, **{"width": 8, "hidden": 32, "heads": 2, **options})
    optimiser = torch.optim.Adam(method.parameters(), rate)
    for _ in range(steps):
        batch = planted(64)
        optimiser.zero_grad()
        sum(method.losses(batch, method(batch)).values(), torch.zeros(())).backward()
        optimiser.step()
    batch = planted(512)
    with torch.no_grad():
        output = method.eval()(batch)
    found = output.representations
    kl = {n: mean_kl(found[f"mean_{n}"], found[f"log_variance_{n}"], batch[n].present).item() for n in NOISY.names}
    return kl, (output.predictions["sentiment"] - batch.targets["sentiment"]).abs().mean().item()


@pytest.mark.slow
def test_the_bottleneck_forgets_planted_noise_and_keeps_the_signal() -> None:
    kl, error = trained(beta=0.1)
    assert kl["noise"] < 0.03  # from 4.5 untrained
    assert kl["signal"] > 0.4
    assert error < 0.25  # 0.8 by always guessing the middle, about 0.12 at best


@pytest.mark.slow
def test_at_the_price_and_rate_of_its_preset_it_forgets_planted_noise() -> None:
    preset = load_preset("mib", "cpu")
    kl, error = trained(1000, preset["training"]["lr"], width=50, heads=5, **preset["method"])
    assert kl["noise"] < 0.3  # from 4.5 untrained
    assert kl["noise"] < 0.5 * kl["signal"]
    assert error < 0.3  # 0.8 by always guessing the middle


@pytest.mark.slow
def test_without_a_price_noise_is_kept_and_with_a_high_one_everything_is_lost() -> None:
    free, _ = trained(beta=0.0)
    assert free["noise"] > 1
    kl, error = trained(beta=3.0)
    assert max(kl.values()) < 0.2
    assert error > 0.6
