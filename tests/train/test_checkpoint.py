"""Checkpoints: exact, without pickle, old or new but never half."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from polymodal.core import RunError
from polymodal.train.checkpoint import (
    load_checkpoint,
    load_weights,
    optimizer_tensors,
    restore_buffers,
    restore_optimizers,
    save_checkpoint,
    training_buffers,
    write_json,
)


def test_tensors_and_state_come_back_exactly(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(3), "c": torch.tensor(1.5, dtype=torch.bfloat16)}
    state = {"epoch": 3, "best": 0.1 + 0.2, "sums": {"task": 1e-17}}
    save_checkpoint(tmp_path / "x.safetensors", tensors, state)
    found, about = load_checkpoint(tmp_path / "x.safetensors")
    assert about == state
    assert all(found[n].dtype == t.dtype and torch.equal(found[n], t) for n, t in tensors.items())
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    tensors = {f"n{i}": torch.full((2,), float(i)) for i in range(20)}
    save_checkpoint(tmp_path / "a", tensors, {"x": 1, "y": 2})
    save_checkpoint(tmp_path / "b", dict(reversed(tensors.items())), {"x": 1, "y": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    base = torch.randn(4, 4)
    save_checkpoint(tmp_path / "x", {"a": base, "b": base.T, "c": base[1:]}, {})
    found, _ = load_checkpoint(tmp_path / "x")
    assert torch.equal(found["b"], base.T)
    assert torch.equal(found["c"], base[1:])


def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    save_checkpoint(path, {"a": torch.zeros(1)}, {"epoch": 1})

    def full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polymodal.train.checkpoint.save_file", full)
    with pytest.raises(RunError, match=r"cannot write .*No space left.*free space"):
        save_checkpoint(path, {"a": torch.ones(1)}, {"epoch": 2})
    assert load_checkpoint(path)[1] == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("content", [b"", b"garbage" * 9, b"\xff" * 100])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(RunError, match=r"cannot be read .*train the run again") as caught:
        load_checkpoint(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_half_a_checkpoint_and_none_are_one_sentence(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", {"a": torch.zeros(1000)}, {})
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:2000])
    for name in ("x", "missing"):
        with pytest.raises(RunError, match="cannot be read"):
            load_checkpoint(tmp_path / name)


def test_what_a_kill_leaves_of_a_checkpoint_is_gone_after_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(tensors: object, file: Path, metadata: object) -> None:
        file.with_name(".tmp1a2b3c").write_bytes(b"half")  # as safetensors does: its own name, beside the file
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr("polymodal.train.checkpoint.save_file", killed)
        with pytest.raises(SystemExit):
            save_checkpoint(tmp_path / "x", {"a": torch.ones(2)}, {})
    assert next(tmp_path.rglob(".tmp1a2b3c"))
    save_checkpoint(tmp_path / "x", {"a": torch.ones(2)}, {})
    (tmp_path / ".x.partial").write_bytes(b"half of an older version's")
    save_checkpoint(tmp_path / "x", {"a": torch.ones(2)}, {})
    assert [path.name for path in tmp_path.rglob("*")] == ["x"]


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", {"model.weight": torch.zeros(2, 2), "model.bias": torch.zeros(2)}, {"epoch": 4})
    linear = nn.Linear(2, 2)
    assert load_weights(linear, tmp_path / "x") == {"epoch": 4}
    assert linear.weight.sum() == 0
    with pytest.raises(RunError, match="does not fit"):
        load_weights(nn.Linear(3, 2), tmp_path / "x")
    with pytest.raises(RunError, match="does not fit"):
        load_weights(nn.Sequential(nn.Linear(2, 2)), tmp_path / "x")


def test_an_optimiser_goes_on_exactly_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def steps(weights: nn.Parameter, optimizer: torch.optim.Optimizer, targets: list[float]) -> None:
        for target in targets:
            optimizer.zero_grad()
            (weights - target).square().sum().backward()
            optimizer.step()

    def start() -> tuple[nn.Parameter, torch.optim.Optimizer]:
        weights = nn.Parameter(torch.arange(3.0))
        return weights, torch.optim.AdamW([weights], lr=0.1)

    through, optimizer = start()
    steps(through, optimizer, [1, 2, 3, 4])
    first, optimizer = start()
    steps(first, optimizer, [1, 2])
    save_checkpoint(tmp_path / "x", optimizer_tensors([optimizer]) | {"weights": first}, {})
    second, optimizer = start()
    tensors, _ = load_checkpoint(tmp_path / "x")
    second.data.copy_(tensors["weights"])
    restore_optimizers([optimizer], tensors)
    steps(second, optimizer, [3, 4])
    assert torch.equal(through, second)


def test_buffers_that_are_no_weights_come_back_in_any_shape() -> None:
    def made(rows: int) -> nn.Sequential:
        module = nn.Sequential(nn.BatchNorm1d(2), nn.Identity())
        module.register_buffer("seen", torch.arange(rows), persistent=False)
        module[1].register_buffer("memory", torch.rand(rows, 2), persistent=False)
        return module

    module, other = made(3), made(0)
    tensors = training_buffers(module)
    assert set(tensors) == {"buffer.seen", "buffer.1.memory"}
    restore_buffers(other, {**tensors, "model.seen": torch.zeros(1)})
    assert torch.equal(other.seen, module.seen)
    assert torch.equal(other[1].memory, module[1].memory)
    assert set(training_buffers(other)) == set(tensors)


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    assert (tmp_path / "a.json").read_text() == '{\n "x": 1\n}'
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_json(tmp_path / "file" / "a.json", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "file"]
