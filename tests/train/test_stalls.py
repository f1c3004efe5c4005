"""What the loop does so that a GPU never waits for it, seen on a CPU: when values are read, when batches are made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from polymodal.core import DataError, Modality, Output, Schema, Target, TrainingError
from polymodal.methods.base import Method, Phase, Update
from polymodal.train.ahead import ahead
from polymodal.train.watch import Watch

SCHEMA = Schema((Modality("x", "vector", 1),), (Target("y", "regression", (-3.0, 3.0)),))
READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.unique", "aten.equal", "aten.item")


class Reads(TorchDispatchMode):
    """Notes each operation whose result a GPU would have to be waited for, and the step that it falls into."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, str]] = []
        self.step = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(READS):
            self.seen.append((self.step, str(func)))
        return func(*args, **(kwargs or {}))


class Plain(Method):
    """A line; tells ``reads`` when a step is done."""

    def __init__(self, reads: Reads) -> None:
        super().__init__(SCHEMA)
        self.line, self.critic, self.reads = nn.Linear(1, 1).double(), nn.Linear(1, 1).double(), reads

    def forward(self, batch: Any) -> Output:
        return Output({"y": self.line(batch.x)[:, 0]})

    def losses(self, batch: Any, output: Output) -> dict[str, Tensor]:
        if self.now.update == "critic":
            return {"critic": self.critic(batch.x).square().mean()}
        return {"task": (output.predictions["y"] - batch.y).square().mean()}

    def stepped(self) -> None:
        self.reads.step += 1


class Two(Plain):
    def phases(self) -> list[Phase]:
        return [Phase(updates=tuple(Update(n, lambda name, n=n: name.startswith(n)) for n in ("line", "critic")))]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    found = Reads()
    for name in ("tolist", "numpy", "cpu", "__array__"):  # these pass the dispatcher by
        called = getattr(Tensor, name)

        def noted(tensor: Tensor, *args: Any, called: Any = called, name: str = name, **kwargs: Any) -> Any:
            found.seen.append((found.step, name))
            return called(tensor, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, noted)
    return found


@pytest.mark.parametrize(("kind", "late"), [(Plain, 1), (Two, 2)])
@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "clip": 0.0}, {"accumulate": 2}])
def test_between_the_steps_of_an_epoch_one_flag_is_read_for_each_update_of_the_step_before(
    train: Callable[..., Any], line: Any, reads: Reads, kind: type[Plain], late: int, options: dict[str, Any]
) -> None:
    method = kind(reads)
    with reads:
        train(method, line, epochs=1, batch_size=4, **options)
    group = options.get("accumulate", 1)
    within = [(step, name) for step, name in reads.seen if 0 < step < 6 // group]
    assert within == [
        (step, "aten._local_scalar_dense.default") for step in range(1, 6 // group) for _ in range(late * group)
    ]
    assert len([step for step, _ in reads.seen if step == 0]) == late * group - 1  # the first has none before it


def test_a_flag_is_read_when_the_next_one_is_under_way() -> None:
    order: list[str] = []

    class Ordered(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            order.append(str(func).split(".")[1])
            return func(*args, **(kwargs or {}))

    watch, fine = Watch(), {"task": torch.tensor(1.0)}
    watch.note(fine, ["a"], 1, 1)
    with Ordered():
        watch.note(fine, ["b"], 1, 2)
    assert order.index("all") < order.index("_local_scalar_dense")


def test_what_is_no_number_is_told_once_with_its_place() -> None:
    watch = Watch()
    watch.note({"task": torch.tensor(1.0), "far": torch.tensor(-torch.inf)}, [str(i) for i in range(11)], 3, 7)
    named = r"far became -inf in epoch 3, batch 7, samples 0, 1, 2, 3, 4, 5, 6, 7 and 3 more; lower --lr"
    with pytest.raises(TrainingError, match=named):
        watch.note({"task": torch.tensor(1.0)}, ["later"], 3, 8)
    watch.settle()


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_batches_made_ahead_are_those_made_in_place(depth: int) -> None:
    with ahead(lambda n: n * n, range(9), depth) as squares:
        assert list(squares) == [n * n for n in range(9)]
    with ahead(lambda n: n, [], depth) as nothing:
        assert list(nothing) == []


def test_no_more_batches_are_made_ahead_than_asked_for() -> None:
    made: list[int] = []

    def make(n: int) -> int:
        made.append(n)
        return n

    with ahead(make, range(9), 2) as items:
        assert next(items) == 0
        _wait(lambda: len(made) == 3)
        time.sleep(0.05)
        assert made == [0, 1, 2]
        assert next(items) == 1
        _wait(lambda: len(made) == 4)
    assert made == [0, 1, 2, 3]


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not until():
        assert time.monotonic() < end
        time.sleep(0.001)


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("batches")]


def _failing(n: int) -> int:
    if n == 3:
        raise DataError("sample 3 of train is damaged; extract it again")
    return n


@pytest.mark.parametrize("depth", [0, 2])
def test_what_a_batch_raises_is_raised_in_its_place_and_the_thread_ends(depth: int) -> None:
    seen = []

    def use() -> None:
        with ahead(_failing, range(9), depth) as items:
            for item in items:
                seen.append(item)

    with pytest.raises(DataError, match="sample 3 of train is damaged; extract it again"):
        use()
    assert seen == [0, 1, 2]
    assert _threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, TrainingError])
def test_the_thread_ends_when_training_is_interrupted(error: type[BaseException]) -> None:
    def use() -> None:
        with ahead(lambda n: n, range(9), 2) as items:
            assert next(items) == 0
            assert len(_threads()) == 1
            raise error

    with pytest.raises(error):
        use()
    assert _threads() == []


@pytest.fixture
def asynchronous(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The loop as on a GPU, but for what needs one."""
    from polymodal.train import loop

    made = ahead
    monkeypatch.setattr(loop, "ahead", lambda make, orders, depth: made(make, orders, 2))
    yield
    assert _threads() == []


def test_training_on_batches_made_ahead_is_the_same_to_the_last_bit(
    train: Callable[..., Any], line: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def run() -> Path:
        torch.manual_seed(0)
        folder: Path = train(Two(Reads()), line, epochs=3, batch_size=4, accumulate=2).folder
        return folder

    plain = run()
    request.getfixturevalue("asynchronous")
    threaded = run()
    for file in ("best.safetensors", "last.safetensors"):
        assert (plain / file).read_bytes() == (threaded / file).read_bytes()


@pytest.mark.usefixtures("asynchronous")
def test_an_error_in_a_batch_made_ahead_is_told_as_it_is(train: Callable[..., Any], line: Any) -> None:
    line.batch = lambda rows, epoch: _failing(3)
    with pytest.raises(DataError, match="sample 3 of train is damaged"):
        train(Plain(Reads()), line, epochs=1, batch_size=4)
