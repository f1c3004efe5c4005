"""The loop does what the recipe says, seen through methods small enough to know the answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, OptionError, Output, Schema, Target, TrainingError
from polymodal.data.corpus import Corpus
from polymodal.data.split import build_split
from polymodal.methods.base import Group, Method, Phase, View
from polymodal.train.checkpoint import load_checkpoint
from polymodal.train.loop import deterministic
from polymodal.train.recipe import Recipe

SCHEMA = Schema((Modality("x", "vector", 3, normalize=False),), (Target("y", "regression", (-9.0, 9.0)),))


class Tiny(Method):
    """Two linear maps."""

    def __init__(self) -> None:
        super().__init__(SCHEMA)
        self.encoder, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, batch: Batch) -> Output:
        fused = torch.tanh(self.encoder(batch["x"].tensor))
        return Output({"y": self.head(fused)[:, 0]}, {"fused": fused})


class TwoPhases(Tiny):
    def phases(self) -> list[Phase]:
        return [Phase("first", 0.3, lambda n: n.startswith("encoder")), Phase("second", 0.7, lambda n: "head" in n)]


class Constant(Method):
    """Predicts one number, the only parameter, which starts at 0."""

    def __init__(self) -> None:
        super().__init__(SCHEMA)
        self.value = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> Output:
        return Output({"y": self.value.expand(len(batch))}, {})


class Frozen(Constant):
    """Its loss does not depend on its parameter."""

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        return {"task": output.predictions["y"].sum() * 0 + 1}


def _corpus(train: int = 16, label: Callable[[str], float] | None = None) -> Corpus:
    rng = np.random.default_rng(0)
    splits = {}
    for name, rows in {"train": train, "valid": 8}.items():
        x = rng.standard_normal((rows, 3))
        y = x @ [1.0, -1.0, 0.5] if label is None else np.full(rows, label(name))
        splits[name] = build_split(SCHEMA, [f"{name}{i}" for i in range(rows)], {"x": list(x)}, {"y": y})
    return Corpus("made", "made:corpus", SCHEMA, splits)


Train = Callable[..., Any]


def _rates(steps: list[dict[int, dict[str, Any]]]) -> list[float]:
    return [next(iter(step.values()))["lr"] for step in steps]


def test_training_learns(train: Train) -> None:
    done = train(Tiny(), _corpus(64), epochs=40, batch_size=16, lr=0.03)
    losses = [r["valid"]["loss"] for r in done.records]
    assert losses[-1] < 0.4 * losses[0]
    assert done.result["epochs"] == 40


def test_only_the_parameters_of_a_phase_move(train: Train) -> None:
    done = train(TwoPhases(), _corpus(), epochs=10, batch_size=8, lr=0.01)
    assert [r["phase"] for r in done.records] == ["first"] * 3 + ["second"] * 7
    assert [r["epoch"] for r in done.records] == list(range(1, 11))
    for epoch, (before, after) in enumerate(zip(done.weights, done.weights[1:], strict=False)):
        moved = {n for n in before if not torch.equal(before[n], after[n])}
        assert moved == {n for n in before if n.startswith("encoder" if epoch < 3 else "head")}


def test_phases_share_the_epochs_and_get_no_more_of_them(train: Train) -> None:
    done = train(TwoPhases(), _corpus(), epochs=5, batch_size=8)
    assert [r["phase"] for r in done.records] == ["first"] * 2 + ["second"] * 3
    short = train(TwoPhases(), _corpus(), epochs=1, batch_size=8)
    assert short.result["epochs"] == 2  # each phase gets one
    assert [line.split("  ")[1] for line in short.said] == ["epoch 1/2", "epoch 2/2"]


def test_the_best_epoch_is_one_of_the_last_phase(train: Train) -> None:
    done = train(TwoPhases(), _corpus(), epochs=10, batch_size=8, lr=0.01)
    last = [r for r in done.records if r["phase"] == "second"]
    assert done.result["best_epoch"] == min(last, key=lambda r: r["valid"]["loss"])["epoch"]


def test_accumulated_batches_equal_one_large_batch(train: Train) -> None:
    ends = []
    for options in ({"batch_size": 16}, {"batch_size": 4, "accumulate": 4}):
        torch.manual_seed(5)
        done = train(Tiny(), _corpus(), epochs=4, lr=0.05, **options)
        assert done.records[-1]["step"] == 4
        ends.append(done.weights[-1])
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], atol=1e-6, rtol=0)


def test_the_batches_left_over_by_accumulation_are_averaged_among_themselves(train: Train, steps: Any) -> None:
    method = Constant()
    train(method, _corpus(24, lambda name: 5.0), epochs=1, batch_size=8, accumulate=2, clip=0.0)
    # The loss is |value - 5|: a mean over batches has slope -1 however many batches there are.
    assert [step[id(method.value)]["gradient"].item() for step in steps] == [-1, -1]


def test_gradients_are_clipped_to_the_norm_asked_for(train: Train, steps: Any) -> None:
    def norms(clip: float) -> list[float]:
        steps.clear()
        torch.manual_seed(3)
        train(Tiny(), _corpus(), epochs=2, batch_size=8, clip=clip)
        return [math.sqrt(sum(float(v["gradient"].square().sum()) for v in step.values())) for step in steps]

    free = norms(0.0)
    clipped = norms(0.1)
    assert min(free) > 0.1
    assert clipped == pytest.approx([0.1] * 4, rel=1e-4)
    assert norms(1e6) == pytest.approx(free, rel=1e-4)


def test_a_constant_rate_stays(train: Train, steps: Any) -> None:
    train(Tiny(), _corpus(), epochs=2, batch_size=8, lr=0.5)
    assert _rates(steps) == [0.5] * 4


def test_a_cosine_falls_from_the_rate_to_nothing(train: Train, steps: Any) -> None:
    train(Tiny(), _corpus(), epochs=4, batch_size=8, lr=0.5, schedule="cosine")
    assert _rates(steps) == pytest.approx([0.25 * (1 + math.cos(math.pi * k / 8)) for k in range(8)])


def test_warmup_rises_in_equal_steps_to_the_rate(train: Train, steps: Any) -> None:
    train(Tiny(), _corpus(), epochs=4, batch_size=8, lr=0.5, warmup=0.5)
    assert _rates(steps) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5])


def test_a_plateau_halves_the_rate_and_then_training_stops(train: Train, steps: Any) -> None:
    done = train(Frozen(), _corpus(), epochs=20, batch_size=16, lr=0.4, patience=4, schedule="plateau")
    assert _rates(steps) == pytest.approx([0.4, 0.4, 0.4, 0.2, 0.2])
    assert done.result["stopped"] == "no better validation loss for 4 epochs"
    assert (done.result["epochs"], done.result["best_epoch"]) == (5, 1)


def test_the_best_weights_are_those_of_the_best_epoch(train: Train) -> None:
    # Training pulls the constant to 3, validation is best at 1.
    corpus = _corpus(16, lambda name: 3.0 if name == "train" else 1.0)
    done = train(Constant(), corpus, epochs=60, batch_size=8, lr=0.1, patience=3, weight_decay=0.0)
    losses = [r["valid"]["loss"] for r in done.records]
    best = int(np.argmin(losses))
    assert 2 < best + 1 == done.result["best_epoch"] == done.result["epochs"] - 3
    assert done.result["valid_loss"] == pytest.approx(losses[best])
    assert done.result["stopped"] == "no better validation loss for 3 epochs"
    tensors, state = load_checkpoint(done.folder / "best.safetensors")
    assert torch.equal(tensors["model.value"], done.weights[best + 1]["value"])
    assert state["epoch"] == best + 1
    last, _ = load_checkpoint(done.folder / "last.safetensors")
    assert torch.equal(last["model.value"], done.weights[-1]["value"])
    assert [r["best"] for r in done.records].count(True) == best + 1


def test_pretrained_parameters_have_their_rate_and_vectors_no_decay(train: Train, steps: Any) -> None:
    method = Tiny()
    method.encoder.is_pretrained = True  # type: ignore[assignment]
    train(method, _corpus(), epochs=1, batch_size=16, lr=0.5, lr_pretrained=0.01, weight_decay=0.2)
    assert len(steps) == 1
    found = {n: (steps[0][id(p)]["lr"], steps[0][id(p)]["decay"]) for n, p in method.named_parameters()}
    assert found == {
        "encoder.weight": (0.01, 0.2),
        "encoder.bias": (0.01, 0.0),
        "head.weight": (0.5, 0.2),
        "head.bias": (0.5, 0.0),
    }


def test_a_group_of_another_name_is_refused(train: Train) -> None:
    class Odd(Tiny):
        def parameter_groups(self) -> list[Group]:
            return [Group("old", ("head.weight",))]

    with pytest.raises(OptionError, match="'old' is neither 'pretrained' nor 'new'"):
        train(Odd(), _corpus())


def test_half_precision_computes_in_it_and_keeps_float32_weights(train: Train) -> None:
    seen = set()

    class Watched(Tiny):
        def forward(self, batch: Batch) -> Output:
            output = super().forward(batch)
            seen.add((batch["x"].tensor.dtype, batch.targets["y"].dtype, output.predictions["y"].dtype))
            return output

    done = train(Watched(), _corpus(), epochs=3, batch_size=8, precision="bf16-mixed")
    assert seen == {(torch.float32, torch.float32, torch.bfloat16)}
    assert all(w.dtype == torch.float32 and bool(torch.isfinite(w).all()) for w in done.weights[-1].values())
    assert all(math.isfinite(r["train"]["loss"]) for r in done.records)


class Poisoned(Tiny):
    """Fails from the second epoch on, in a way of the test's choice."""

    def __init__(self, harm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.harm, self.passes = harm, 0

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        losses = super().losses(batch, output)
        self.passes += self.training
        if self.training and self.passes > 3:
            losses["contrast"] = self.harm(self.head.weight.sum() * 0)
        return losses


def _all_finite(path: Path) -> bool:
    tensors, _ = load_checkpoint(path)
    return all(bool(torch.isfinite(t.float()).all()) for t in tensors.values())


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda zero: zero + torch.nan, "contrast became nan"),
        (lambda zero: zero + torch.inf, "contrast became inf"),
        # The root of 0 is 0, its slope infinite, and infinite times 0 is not a number.
        (torch.sqrt, "gradient norm became nan"),
    ],
)
def test_a_loss_or_gradient_that_is_no_number_stops_and_is_never_saved(
    train: Train, tmp_path: Path, harm: Callable[[Tensor], Tensor], named: str, clip: float
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(TrainingError) as caught:
        train(Poisoned(harm), _corpus(24), folder=folder, checkpoint_seconds=0, epochs=3, batch_size=8, clip=clip)
    message = str(caught.value)
    assert f"{named} in epoch 2, batch 1, samples train" in message
    assert "lower --lr" in message
    assert message.count("train") >= 8  # all samples of the batch are named
    assert _all_finite(folder / "last.safetensors")
    assert _all_finite(folder / "best.safetensors")
    assert load_checkpoint(folder / "last.safetensors")[1]["epoch"] == 1


def test_a_validation_loss_that_is_no_number_stops(train: Train, tmp_path: Path) -> None:
    class Bad(Tiny):
        def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
            return {n: v if self.training else v * torch.nan for n, v in super().losses(batch, output).items()}

    with pytest.raises(TrainingError, match="the validation loss became nan in epoch 1"):
        train(Bad(), _corpus(), folder=tmp_path / "run", epochs=2)
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_a_method_without_phases_is_fitted_by_prepare_alone(train: Train) -> None:
    class Closed(Constant):
        def phases(self) -> list[Phase]:
            return []

        def prepare(self, view: View) -> None:
            labels = torch.cat([b.targets["y"] for b in view.train()])
            self.value.data.copy_(labels.mean())

    done = train(Closed(), _corpus(16, lambda name: 2.0))
    assert done.result["stopped"] == "closed form"
    assert done.result["valid_loss"] == 0
    assert load_checkpoint(done.folder / "best.safetensors")[0]["model.value"] == 2


def test_figures_that_are_undefined_are_null_in_the_record(train: Train) -> None:
    done = train(Constant(), _corpus(), epochs=1)
    assert done.records[0]["figures"]["y"]["corr"] is None
    assert done.records[0]["figures"]["y"]["mae"] > 0


def test_tensorboard_can_be_read(train: Train) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = train(Tiny(), _corpus(), epochs=3, batch_size=8)
    events = EventAccumulator(str(done.folder / "tensorboard"))
    events.Reload()
    written = [(e.step, e.value) for e in events.Scalars("valid/loss")]
    assert written == [(r["epoch"], pytest.approx(r["valid"]["loss"])) for r in done.records]


def test_asking_for_determinism_leaves_torch_as_it_was() -> None:
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert (torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory) == before


@pytest.mark.parametrize("fresh", [True, False])
def test_train_stress_acts_on_training_and_validation(train: Train, fresh: bool) -> None:
    seen: list[tuple[bool, dict[str, bool]]] = []

    class Watching(Tiny):
        def forward(self, batch: Batch) -> Output:
            zero = (batch["x"].tensor == 0).all(1)
            seen.append((self.training, dict(zip(batch.ids, zero.tolist(), strict=True))))
            return super().forward(batch)

    train(Watching(), _corpus(16), epochs=3, batch_size=8, train_stress="drop:rate=0.5", fresh_masks=fresh)
    epochs = [[d for training, d in seen if training is t] for t in (True, False)]
    masks = [epochs[0][i] | epochs[0][i + 1] for i in (0, 2, 4)]
    assert all(0 < sum(mask.values()) < 16 for mask in masks)
    assert (masks[0] != masks[1]) is fresh
    assert epochs[1][0] == epochs[1][1] == epochs[1][2]  # the epochs are judged by the same masks
    assert any(epochs[1][0].values())


def test_a_wrong_train_stress_is_named_before_training() -> None:
    with pytest.raises(OptionError, match="there is no stress 'mising'"):
        Recipe(train_stress="mising:rate=0.2")
