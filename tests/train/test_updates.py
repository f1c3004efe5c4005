"""Alternating updates are what one would write by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

from polymodal import load_corpus
from polymodal.core import Modality, OptionError, Output, Schema, Target
from polymodal.methods import build, find_method
from polymodal.methods.base import Group, Method, Now, Phase, Update, View
from polymodal.train.checkpoint import load_checkpoint

SCHEMA = Schema((Modality("x", "vector", 1),), (Target("y", "regression", (-3.0, 3.0)),))
EXACT = {"atol": 1e-9, "rtol": 1e-6}
Train = Callable[..., Any]


def starting(*names: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(names)


class Hand:
    """AdamW (``beta1 = 0.9``) or SGD with momentum, from their papers; no weight decay."""

    def __init__(self, parameters: list[Tensor], lr: float, sgd: bool = False) -> None:
        self.parameters, self.lr, self.sgd, self.step = parameters, lr, sgd, 0
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def move(self, gradients: tuple[Tensor, ...]) -> None:
        self.step += 1
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            if self.sgd:
                m.mul_(0.9).add_(g)
                p.sub_(self.lr * m)
                continue
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            p.sub_(self.lr * (m / (1 - 0.9**self.step)) / ((v / (1 - 0.999**self.step)).sqrt() + 1e-8))


def _batches(line: Any, epochs: int) -> Iterator[Any]:
    for epoch in range(epochs):
        for rows in line.plan(epoch):
            yield line.batch(rows, epoch)


class Weighing(Method):
    """Learns to weigh samples: the weights are those after which one step on the weighed loss leaves the least error.

    ``min over v of L(theta - eta * d/dtheta sum_i w_i(v) l_i(theta))``, then a step of theta with these weights.
    """

    eta = 0.3

    def __init__(self) -> None:
        super().__init__(SCHEMA)
        torch.manual_seed(1)
        self.net, self.weigher = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()

    def forward(self, batch: Any) -> Output:
        return Output({"y": self.net(batch.x)[:, 0]})

    def losses(self, batch: Any, output: Output) -> dict[str, Tensor]:
        errors = (output.predictions["y"] - batch.y).square()
        weights = torch.sigmoid(self.weigher(batch.x)[:, 0])
        if self.now.update == "weigh":
            theta = dict(self.net.named_parameters())
            gradients = torch.autograd.grad((weights * errors).mean(), list(theta.values()), create_graph=True)
            moved = {n: p - self.eta * g for (n, p), g in zip(theta.items(), gradients, strict=True)}
            return {"after": (functional_call(self.net, moved, (batch.x,))[:, 0] - batch.y).square().mean()}
        return {"task": errors.mean() if self.now.update == "" else (weights.detach() * errors).mean()}

    def phases(self) -> list[Phase]:
        return [Phase(updates=(Update("weigh", starting("weigher"), rate=3.0), Update("fit", starting("net"))))]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_second_order_updates_are_those_written_by_hand(train: Train, line: Any, optimizer: str) -> None:
    options = {"weight_decay": 0.0, "clip": 0.0, "optimizer": optimizer}
    method = Weighing()
    done = train(method, line, epochs=3, batch_size=4, lr=0.02, **options)

    twin = Weighing()
    theta, v = list(twin.net.parameters()), list(twin.weigher.parameters())
    by_fit, by_weigh = Hand(theta, 0.02, optimizer == "sgd"), Hand(v, 0.06, optimizer == "sgd")
    for batch in _batches(line, 3):
        x, y = batch.x[:, 0], batch.y
        (a, b), (c, d) = ((w[0, 0].detach(), bias[0].detach()) for w, bias in (theta, v))
        c, d = c.requires_grad_(), d.requires_grad_()
        weights = 1 / (1 + torch.exp(-(c * x + d)))
        slopes = 2 * (a * x + b - y) * weights
        a2, b2 = a - twin.eta * (slopes * x).mean(), b - twin.eta * slopes.mean()
        c_slope, d_slope = torch.autograd.grad((a2 * x + b2 - y).square().mean(), (c, d))
        by_weigh.move((c_slope[None, None], d_slope[None]))
        weights = 1 / (1 + torch.exp(-(v[0][0, 0] * x + v[1][0]))).detach()
        slopes = 2 * (a * x + b - y) * weights
        by_fit.move(((slopes * x).mean()[None, None], slopes.mean()[None]))
    for name, value in twin.named_parameters():
        torch.testing.assert_close(done.weights[-1][name], value.detach(), **EXACT)
    assert not torch.equal(done.weights[0]["weigher.weight"], done.weights[-1]["weigher.weight"])
    assert set(done.records[0]["train"]) == {"loss", "weigh/after", "fit/task"}
    assert done.records[0]["lr"] == pytest.approx({"weigh/new": 0.06, "fit/new": 0.02})


class Adversarial(Method):
    """Four updates: an encoder that a decoder reads, that predicts, and that hides the sign of x from a critic."""

    def __init__(self) -> None:
        super().__init__(SCHEMA)
        torch.manual_seed(2)
        self.encoder, self.decoder = nn.Linear(1, 3).double(), nn.Linear(3, 1).double()
        self.head, self.critic = nn.Linear(3, 1).double(), nn.Linear(3, 1).double()

    def forward(self, batch: Any) -> Output:
        code = torch.tanh(self.encoder(batch.x))
        return Output({"y": self.head(code)[:, 0]}, {"code": code})

    def losses(self, batch: Any, output: Output) -> dict[str, Tensor]:
        code, sign = output.representations["code"], (batch.x > 0).double()
        if self.now.update == "decode":
            return {"decoding": (self.decoder(code) - batch.x).square().mean()}
        if self.now.update == "critic":
            return {"sign": F.binary_cross_entropy_with_logits(self.critic(code), sign)}
        if self.now.update == "hide":
            return {"hidden": F.binary_cross_entropy_with_logits(self.critic(code), 1 - sign)}
        return {"task": (output.predictions["y"] - batch.y).square().mean()}

    def phases(self) -> list[Phase]:
        updates = (
            Update("decode", starting("encoder", "decoder")),
            Update("critic", starting("critic"), rate=2.0),
            Update("hide", starting("encoder"), rate=0.5, every=2, shares=("decode",)),
            Update("predict", starting("head")),
        )
        return [Phase(updates=updates)]


def test_four_updates_two_of_which_share_an_encoder_are_those_written_by_hand(train: Train, line: Any) -> None:
    done = train(Adversarial(), line, epochs=3, batch_size=4, lr=0.02, weight_decay=0.0, clip=0.0)

    twin, step = Adversarial(), 0
    encoder = list(twin.encoder.parameters())
    decode = Hand([*encoder, *twin.decoder.parameters()], 0.02)
    critic = Hand(list(twin.critic.parameters()), 0.04)
    hide, predict = Hand(encoder, 0.01), Hand(list(twin.head.parameters()), 0.02)
    for batch in _batches(line, 3):
        step += 1
        sign = (batch.x > 0).double()

        def code(batch: Any = batch) -> Tensor:
            return torch.tanh(twin.encoder(batch.x))

        def descend(hand: Hand, loss: Tensor) -> None:
            hand.move(torch.autograd.grad(loss, hand.parameters))

        descend(decode, (twin.decoder(code()) - batch.x).square().mean())
        descend(critic, F.binary_cross_entropy_with_logits(twin.critic(code()), sign))
        if step % 2 == 0:
            descend(hide, F.binary_cross_entropy_with_logits(twin.critic(code()), 1 - sign))
        descend(predict, (twin.head(code())[:, 0] - batch.y).square().mean())
    for name, value in twin.named_parameters():
        torch.testing.assert_close(done.weights[-1][name], value.detach(), **EXACT)
    assert done.records[-1]["step"] == step == 18


def test_an_update_gives_gradients_to_its_own_parameters_alone(train: Train, line: Any) -> None:
    method = Adversarial()
    seen: dict[str, set[str]] = {}

    def note(optimizer: Any, args: Any, kwargs: Any) -> None:
        given = {n.partition(".")[0] for n, p in method.named_parameters() if p.grad is not None}
        seen.setdefault(method.now.update, set()).update(given)

    handle = register_optimizer_step_pre_hook(note)
    train(method, line, epochs=1, batch_size=4)
    handle.remove()
    assert seen == {"decode": {"encoder", "decoder"}, "critic": {"critic"}, "hide": {"encoder"}, "predict": {"head"}}


def test_updates_over_accumulated_batches_are_those_over_one_large_batch(train: Train, line: Any) -> None:
    class Small(type(line)):  # type: ignore[misc]
        def plan(self, epoch: int) -> list[Any]:
            return [rows[half : half + 2] for rows in super().plan(epoch) for half in (0, 2)]

    ends = []
    for problem, options in ((line, {"batch_size": 4}), (Small(), {"batch_size": 2, "accumulate": 2})):
        done = train(Adversarial(), problem, epochs=3, lr=0.02, **options)
        assert done.records[-1]["step"] == 18
        ends.append(done)
    for name, value in ends[0].weights[-1].items():
        torch.testing.assert_close(value, ends[1].weights[-1][name], **EXACT)
    assert ends[0].records[-1]["train"] == pytest.approx(ends[1].records[-1]["train"], rel=1e-5)


class Watching(Adversarial):
    """Notes where training stands, whenever it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Now, bool]] = []

    def forward(self, batch: Any) -> Output:
        self.seen.append(("forward", self.now, self.training))
        return super().forward(batch)

    def begin(self, view: View) -> None:
        assert sum(len(batch.y) for batch in view.train()) == 24
        self.seen.append(("begin", self.now, self.training))

    def stepped(self) -> None:
        self.seen.append(("stepped", self.now, self.training))

    def phases(self) -> list[Phase]:
        return [
            Phase("warm", 0.5, starting("encoder", "head")),
            Phase("game", 0.5, updates=super().phases()[0].updates),
        ]


def test_the_method_is_told_where_training_stands(train: Train, line: Any) -> None:
    method = Watching()
    train(method, line, epochs=4, batch_size=4)
    begins = [now for what, now, _ in method.seen if what == "begin"]
    assert begins == [Now("warm", 0, 0.0), Now("warm", 1, 0.5), Now("game", 0, 0.0), Now("game", 1, 0.5)]
    assert sum(what == "stepped" for what, *_ in method.seen) == 4 * 6
    validated = [now for what, now, training in method.seen if what == "forward" and not training]
    assert validated == [Now("warm", 1, 0.5), Now("warm", 2, 1.0), Now("game", 1, 0.5), Now("game", 2, 1.0)]
    warm = [now for what, now, training in method.seen if what == "forward" and training and now.phase == "warm"]
    assert warm == [Now("warm", k // 6, k / 12) for k in range(12)]
    game = [now for what, now, training in method.seen if what == "forward" and training and now.phase == "game"]
    names = [["decode", "critic", "predict"], ["decode", "critic", "hide", "predict"]]
    assert game == [Now("game", k // 6, k / 12, name) for k in range(12) for name in names[k % 2]]
    ends = [i for i, (what, *_) in enumerate(method.seen) if what == "stepped"]
    assert all(method.seen[i - 1][1].update in ("", "predict") for i in ends)


def test_groups_and_updates_multiply_the_rate(train: Train, line: Any, steps: Any) -> None:
    class Grouped(Adversarial):
        def parameter_groups(self) -> list[Group]:
            first, *rest = super().parameter_groups()
            return [Group(first.name, first.parameters, first.decay, rate=10.0), *rest]

    method = Grouped()
    train(method, line, epochs=1, batch_size=4, lr=0.001)
    assert steps[1][id(method.critic.weight)]["lr"] == pytest.approx(0.02)
    assert steps[1][id(method.critic.bias)]["lr"] == pytest.approx(0.002)


def test_momentum_is_that_of_the_recipe(train: Train, line: Any) -> None:
    found = {}
    handle = register_optimizer_step_pre_hook(
        lambda o, a, k: found.update(
            {type(o).__name__: o.param_groups[0].get("momentum", o.param_groups[0].get("betas"))}
        )
    )
    for optimizer in ("adamw", "sgd"):
        train(Weighing(), line, epochs=1, batch_size=4, optimizer=optimizer, momentum=0.5)
    handle.remove()
    assert found == {"AdamW": (0.5, 0.999), "SGD": 0.5}


class Wrong(Adversarial):
    updates: ClassVar[tuple[Update, ...]] = ()

    def phases(self) -> list[Phase]:
        return [Phase(), Phase("game", updates=self.updates)]


@pytest.mark.parametrize(
    ("updates", "named"),
    [
        ([Update("a", starting("nothing"))], "update 'a' of phase 'game' moves no trainable parameter"),
        (
            [Update("a", starting("encoder")), Update("b", starting("encoder", "head"))],
            "update 'b' of phase 'game' moves encoder.bias and 1 more as 'a' does; add shares=",
        ),
        (
            [Update("first", starting("encoder")), Update("b", starting("encoder"), shares=("frist",))],
            "'frist', no update before it; did you mean 'first'",
        ),
        ([Update("a", starting("encoder"), shares=("a",))], "'a', no update before it"),
        ([Update("a", starting("encoder")), Update("a", starting("head"))], "two updates called 'a'"),
        ([Update("a", starting("encoder"), every=0)], "every >= 1 and rate > 0, got 0 and 1.0"),
    ],
)
def test_wrong_updates_are_named_before_training_starts(
    train: Train, line: Any, tmp_path: Path, updates: list[Update], named: str
) -> None:
    class Mine(Wrong):
        def prepare(self, view: View) -> None:
            pytest.fail("training has started")

    Mine.updates = tuple(updates)
    with pytest.raises(OptionError, match=named) as caught:
        train(Mine(), line, tmp_path / "run", epochs=2, batch_size=4)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "run").iterdir())


def test_a_phase_that_trains_nothing_is_named(train: Train, line: Any) -> None:
    class Idle(Adversarial):
        def phases(self) -> list[Phase]:
            return [Phase("idle", parameters=starting("nothing"))]

    with pytest.raises(OptionError, match="phase 'idle' moves no trainable parameter"):
        train(Idle(), line, epochs=1)


class Overshooting(Method):
    """Its first phase passes the best value of ``a``, which validation sees; the second trains ``b``."""

    def __init__(self) -> None:
        super().__init__(SCHEMA)
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, batch: Any) -> Output:
        return Output({"y": (self.a + self.b).expand(len(batch.ids))})

    def losses(self, batch: Any, output: Output) -> dict[str, Tensor]:
        return {"task": (output.predictions["y"] - (3.0 if self.training else 1.0)).square().mean()}

    def phases(self) -> list[Phase]:
        return [Phase("first", 0.5, starting("a")), Phase("second", 0.5, starting("b"))]


@pytest.fixture
def overshot(train: Train, line: Any, tmp_path: Path) -> Any:
    return train(Overshooting(), line, tmp_path / "whole", epochs=20, batch_size=4, lr=0.03, weight_decay=0.0)


def test_a_phase_begins_with_the_best_weights_of_the_one_before(overshot: Any) -> None:
    first = [r["valid"]["loss"] for r in overshot.records if r["phase"] == "first"]
    best = first.index(min(first))
    assert 0 < best < 9  # neither the first nor the last epoch
    after = {float(weights["a"]) for weights in overshot.weights[11:]}
    assert after == {float(overshot.weights[best + 1]["a"])}


@pytest.mark.parametrize("kill", [10, 11, 12])
def test_training_killed_where_phases_meet_goes_on_with_the_same_best_weights(
    overshot: Any, train: Train, line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: int
) -> None:
    def write(tracker: Any, record: dict[str, Any]) -> None:
        # The best weights of this epoch are on the disk, its checkpoint is not.
        if record["epoch"] == kill:
            raise KeyboardInterrupt

    def run() -> Any:
        options = {"epochs": 20, "batch_size": 4, "lr": 0.03, "weight_decay": 0.0}
        return train(Overshooting(), line, tmp_path / "killed", **options)

    with monkeypatch.context() as patched:
        patched.setattr("polymodal.train.tracker.Tracker.write", write)
        with pytest.raises(KeyboardInterrupt):
            run()
    resumed = run()
    for file in ("best.safetensors", "last.safetensors"):
        assert (resumed.folder / file).read_bytes() == (overshot.folder / file).read_bytes()
    assert load_checkpoint(resumed.folder / "last.safetensors")[1]["phase"] == 1


def test_missing_adapt_freezes_the_best_base_not_the_last(train: Train) -> None:
    corpus = load_corpus("synthetic:pair?n=24")
    options = {"base": "late-fusion", "base_options": {"width": 8, "dropout": 0.0}}
    method = build(find_method("missing-adapt"), corpus.schema, options)
    done = train(method, corpus, epochs=12, batch_size=8, lr=0.1, patience=99)
    phases = [r["phase"] for r in done.records]
    losses = [r["valid"]["loss"] for r, phase in zip(done.records, phases, strict=True) if phase != "adapt"]
    best = losses.index(min(losses))
    assert best < len(losses) - 1 < len(phases) - 1
    kept, last = done.weights[best + 1], done.weights[len(losses)]
    for weights in done.weights[len(losses) + 1 :]:
        assert all(torch.equal(value, kept[n]) for n, value in weights.items() if n.startswith("base."))
        assert any(not torch.equal(value, last[n]) for n, value in weights.items() if n.startswith("base."))
