"""MFM: what its card says must be observable."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Stream, Target
from polymodal.methods import build, find_method
from polymodal.methods.mfm import Decoder, mmd_to_normal
from polymodal.nn.memory import unroll
from polymodal.train.recipe import load_preset

SCORE = Target("sentiment", "regression", (-3.0, 3.0))
MOSI = Schema(
    (Modality("text", "sequence", 768), Modality("audio", "sequence", 5), Modality("vision", "sequence", 20)), (SCORE,)
)
NAMES = ("text", "audio", "vision")
SMALL = Schema(tuple(Modality(n, "sequence", 4) for n in NAMES), (Target("y", "regression"),))
TINY = {
    "hidden": 12,
    "private": 8,
    "memory": 8,
    "units": 12,
    "code": 8,
    "factor": 8,
    "factors": 4,
    "dropout": 0.0,
}


def make(schema: Schema = SMALL, seed: int = 1, **options) -> nn.Module:
    torch.manual_seed(seed)
    return build(find_method("mfm"), schema, {**TINY, **options})


def planted(rows: int, seed: int, steps: int = 3) -> Batch:
    """Every modality mixes a shared factor, the label, with one of its own."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(7))
    shared, own = torch.randn(rows, 1, generator=random), torch.randn(rows, 3, generator=random)
    lengths, here = torch.full((rows,), steps), torch.ones(rows, dtype=torch.bool)
    streams = {}
    for i, name in enumerate(NAMES):
        signal = torch.cat([shared, own[:, i : i + 1]], 1) @ mixing[i]
        values = signal[:, None] + 0.3 * torch.randn(rows, steps, 4, generator=random)
        streams[name] = Stream(values, lengths, here)
    targets = {"y": shared[:, 0], **{f"own_{n}": own[:, i] for i, n in enumerate(NAMES)}}
    return Batch(streams, targets, [str(i) for i in range(rows)])


def test_the_parameter_count_is_the_published_configurations_without_its_unused_layers():
    method = make(
        MOSI,
        hidden={"text": 128, "audio": 32, "vision": 128},
        private={"text": 64, "audio": 80, "vision": 80},
        memory=64,
        units={"attention": 32, "proposal": 64, "retain": 32, "update": 64, "head": 64},
        code=80,
        factor=64,
        factors={"text": 32, "audio": 16, "vision": 64},
    )
    assert sum(p.numel() for p in method.parameters()) == 1_416_123 - 45_313


def mean_mmd(make_codes, kernel: str, n: int = 64, draws: int = 400) -> float:
    torch.manual_seed(0)
    everyone = torch.ones(n, dtype=torch.bool)
    return torch.stack([mmd_to_normal(make_codes(n, 64), everyone, kernel) for _ in range(draws)]).mean().item()


def test_the_released_estimator_has_its_expected_values_and_prefers_a_collapsed_code():
    n = d = 64
    kappa, cross = (1 + 4 / d**2) ** (-d / 2), (1 + 2 / d**2) ** (-d / 2)
    normal, collapsed = mean_mmd(torch.randn, "released"), mean_mmd(torch.zeros, "released")
    assert normal == pytest.approx(2 / n * (1 - kappa), rel=0.05)
    assert collapsed == pytest.approx(1 + 1 / n + (1 - 1 / n) * kappa - 2 * cross, rel=0.05)
    assert collapsed < normal


def test_the_corrected_estimator_is_zero_for_normal_codes_and_prefers_them():
    d = 64
    kappa, cross = (1 + 4 / d) ** (-d / 2), (1 + 2 / d) ** (-d / 2)
    normal, collapsed = mean_mmd(torch.randn, "corrected"), mean_mmd(torch.zeros, "corrected")
    assert abs(normal) < 1e-3
    assert collapsed == pytest.approx(1 + kappa - 2 * cross, rel=0.02)
    assert collapsed > 100 * abs(normal)


@pytest.mark.parametrize("kernel", ["corrected", "released"])
def test_masked_rows_do_not_count_and_one_row_is_no_sample(kernel):
    z, mask = torch.randn(6, 3), torch.tensor([True, True, False, True, True, False])
    values = []
    for fill in (0.0, 50.0):
        torch.manual_seed(1)
        values.append(mmd_to_normal(torch.where(mask[:, None], z, torch.tensor(fill)), mask, kernel))
    assert torch.equal(*values)
    assert mmd_to_normal(z, torch.arange(6) == 2, kernel) == 0


def test_the_papers_preset_pulls_codes_as_hard_as_the_authors_did():
    """Their weight goes with their kernel: the corrected one has a gradient some hundred times as long."""
    options = load_preset("mfm", "paper")["method"]
    z, mask, pull = 0.5 * torch.randn(32, options["code"]), torch.ones(32, dtype=torch.bool), {}
    for kernel in ("released", "corrected", options["kernel"]):
        torch.manual_seed(0)
        code = z.clone().requires_grad_()
        (options["mmd"] * mmd_to_normal(code, mask, kernel)).backward()
        pull[kernel] = code.grad.norm().item()
    assert pull[options["kernel"]] == pull["released"]
    assert pull["corrected"] > 50 * pull["released"]


def reached(method: nn.Module, loss: Tensor) -> set[str]:
    """Top-level parts that get a gradient from ``loss``."""
    method.zero_grad()
    loss.backward(retain_graph=True)
    return {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}


def test_each_loss_reaches_the_parts_it_should():
    method, batch = make().train(), planted(16, 1)
    losses = method.losses(batch, method(batch))
    assert reached(method, losses["task"]) == {"joint", "code", "factor", "mix", "heads"}
    assert reached(method, losses["mmd"]) == {"joint", "code", "encoders"}
    generated = sum(losses[f"reconstruction/{n}"] for n in NAMES)
    assert reached(method, generated) == {"joint", "code", "factor", "encoders", "factors", "decoders"}


def test_one_reconstruction_trains_its_own_private_side_only():
    method, batch = make().train(), planted(16, 1)
    method.losses(batch, method(batch))["reconstruction/audio"].backward()
    touched = {n for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    private = {".".join(n.split(".")[:2]) for n in touched if n.startswith(("encoders", "factors", "decoders"))}
    assert private == {"encoders.audio", "factors.audio", "decoders.audio"}


def test_the_prediction_ignores_private_codes():
    method, batch = make().eval(), planted(8, 1)
    with torch.no_grad():
        before = method(batch)
        for parameter in method.encoders.parameters():
            parameter.normal_()
        after = method(batch)
    assert torch.equal(before.predictions["y"], after.predictions["y"])
    assert not torch.equal(before.representations["z_text"], after.representations["z_text"])


def test_a_private_factor_changes_its_own_modality_only():
    method = make().eval()
    fused, factors = torch.rand(5, 8), {n: torch.rand(5, 4) for n in NAMES}
    with torch.no_grad():
        base = method.reconstruct(fused, factors, 3)
        turned = method.reconstruct(fused, {**factors, "audio": torch.rand(5, 4)}, 3)
        other = method.reconstruct(torch.rand(5, 8), factors, 3)
    assert {n for n in NAMES if not torch.equal(base[n], turned[n])} == {"audio"}
    assert {n for n in NAMES if not torch.equal(base[n], other[n])} == set(NAMES)


def test_a_decoder_runs_on_its_own_state_after_the_first_step():
    decoder, x = Decoder(6, 3), torch.randn(4, 6)
    fast = unroll(decoder.projected(x, 5), decoder.recurrent())[0]
    h = c = torch.zeros(4, 6)
    given = x
    for step in fast:
        h, c = decoder.lstm(given, (h, c))
        given = h
        assert torch.allclose(step, h, atol=1e-6)


def test_padding_and_absent_samples_are_not_reconstructed():
    method, batch = make().train(), planted(6, 1)
    longer = {
        n: Stream(nn.functional.pad(s.tensor, (0, 0, 0, 9)), s.lengths, s.present) for n, s in batch.streams.items()
    }
    errors, padded = method(batch).representations, method(Batch(longer, {}, [])).representations
    for name in NAMES:
        assert torch.allclose(errors[f"error_{name}"], padded[f"error_{name}"], atol=1e-5)
    gone = torch.tensor([True, False, False, False, False, True])
    found = method(batch.without("audio", rows=gone)).representations
    assert torch.equal(found["error_audio"] == 0, gone)
    assert torch.equal((found["z_audio"] == 0).all(1), gone)


def test_evaluation_draws_no_noise_and_has_the_task_loss_only():
    method, batch = make().eval(), planted(6, 1)
    state = torch.get_rng_state()
    assert set(method.losses(batch, method(batch))) == {"task"}
    assert torch.equal(state, torch.get_rng_state())


def explained(x: Tensor, y: Tensor, new_x: Tensor, new_y: Tensor) -> float:
    """Share of variance that a linear probe explains on new samples."""
    # Units that never fire leave the probe short of rank; only this driver knows what to do then.
    x, new_x = (nn.functional.pad(a, (0, 1), value=1.0) for a in (x, new_x))
    guess = new_x @ torch.linalg.lstsq(x, y, driver="gelsd").solution
    return 1 - ((guess - new_y).square().mean() / new_y.var()).item()


@pytest.mark.slow
def test_a_probe_finds_the_label_in_the_joint_factor_and_not_in_the_private_ones():
    method, train, test = make().train(), planted(192, 1), planted(256, 2)
    optimiser = torch.optim.Adam(method.parameters(), 0.01)
    for _ in range(100):
        optimiser.zero_grad()
        sum(method.losses(train, method(train)).values()).backward()
        optimiser.step()
    with torch.no_grad():
        known: Output = method.eval()(train)
        new = method(test)

    def share(factor: str, target: str) -> float:
        a, b = known.representations[factor], new.representations[factor]
        return explained(a, train.targets[target], b, test.targets[target])

    assert share("fused", "y") > 0.9
    for name in NAMES:
        assert share(f"f_{name}", "y") < 0.5 < share(f"f_{name}", f"own_{name}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mmd": -1.0}, "mmd and reconstruction must not be negative"),
        ({"reconstruction": {"text": 1.0}}, "reconstruction has no value for audio, vision"),
        ({"dropout": {"factor": 0.5}}, "dropout names 'factor'"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(OptionError, match=message):
        make(**options)
