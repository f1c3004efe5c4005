"""What runs on a CPU instead of torch's own, against torch's own, in the same run.

    python benchmarks/kernels.py

Forward and backward on one thread, both sides in turn; the minimum of nine rounds of processor time. "Products" were
tried and left out: those of a linear layer and its gradients, through oneDNN.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from measure import save
from polymodal.nn.fast import Dropout, attention
from polymodal.nn.sequence import BiRecurrent

ROUNDS, SECONDS = 9, 0.02
Work = Callable[[], object]


def dropout() -> Iterator[tuple[str, Work, Work]]:
    for shape in ((32, 512), (1600, 160), (32, 140_481)):  # the last is the cube of tfn
        x = torch.randn(shape, requires_grad=True)
        yield f"dropout {shape}", both_ways(partial(F.dropout, x, 0.3)), both_ways(partial(Dropout(0.3), x))


def attention_with_dropout() -> Iterator[tuple[str, Work, Work]]:
    for batch, heads, queries, keys, width in (
        (32, 4, 50, 50, 16),
        (16, 5, 100, 100, 8),
        (16, 10, 50, 375, 4),
        (16, 4, 200, 200, 32),
        (8, 10, 375, 500, 4),
    ):
        q, k, v = (torch.randn(batch, heads, n, width, requires_grad=True) for n in (queries, keys, keys))
        visible = torch.ones(batch, queries, keys, dtype=torch.bool)
        torchs = partial(F.scaled_dot_product_attention, q, k, v, visible.unsqueeze(1), 0.2)
        name = f"attention, batch {batch}, {heads} heads of {width}, {queries} x {keys} steps"
        yield name, both_ways(torchs), both_ways(partial(attention, q, k, v, visible, 0.2))


def recurrence() -> Iterator[tuple[str, Work, Work]]:
    for kind, steps in ((kind, steps) for kind in ("lstm", "gru") for steps in (20, 70, 200)):
        x, lengths = torch.randn(32, steps, 64), torch.linspace(steps * 3 // 4, steps, 32).long()
        torchs = (nn.LSTM if kind == "lstm" else nn.GRU)(64, 32, batch_first=True, bidirectional=True)
        ours = BiRecurrent(kind, 64, 32, layers=1, dropout=0.0)
        works = partial(packed, torchs, x, lengths), partial(apart, ours, x, lengths)
        yield f"both directions, {kind}, {steps} steps", *map(both_ways, works)


def packed(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    return rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0].data


def apart(rnn: BiRecurrent, x: Tensor, lengths: Tensor) -> Tensor:
    return rnn(x, lengths)[0]


def products() -> Iterator[tuple[str, Work, Work]]:
    for rows, width_in, width in ((640, 768, 768), (640, 3072, 768), (2560, 32, 128)):
        x, weight, slope = torch.randn(rows, width_in), torch.randn(width, width_in), torch.randn(rows, width)
        works = (partial(layer, multiply, x, weight, slope) for multiply in (torchs_product, onednns_product))
        yield f"products ({rows}, {width_in} -> {width})", *works


def layer(multiply: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    """The output, and the gradients of input and weights."""
    return multiply(x, weight), multiply(slope, weight.t()), multiply(slope.t(), x.t())


def torchs_product(x: Tensor, y: Tensor) -> Tensor:
    return x @ y.t()


def onednns_product(x: Tensor, y: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")


def both_ways(forward: Callable[[], Tensor]) -> Work:
    """Return what goes ``forward`` and back."""
    slope = torch.randn_like(forward())
    return lambda: forward().backward(slope)


def compare(torchs: Work, ours: Work) -> dict[str, float]:
    """Milliseconds of both, and their ratio."""
    repeats = max(1, int(SECONDS / seconds(torchs, 1)))
    rounds = [(seconds(torchs, repeats), seconds(ours, repeats)) for _ in range(ROUNDS)]
    before, after = (min(column) * 1000 for column in zip(*rounds, strict=True))
    return {"torch_ms": round(before, 3), "ours_ms": round(after, 3), "times_faster": round(before / after, 2)}


def seconds(work: Work, repeats: int) -> float:
    started = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - started) / repeats


def main() -> None:
    os.environ["POLYMODAL_FAST"] = "1"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures = {}
    print("| work | torch | ours | ratio |\n| --- | --- | --- | --- |")
    for pairs in (dropout, attention_with_dropout, recurrence, products):
        for name, torchs, ours in pairs():
            row = figures[name] = compare(torchs, ours)
            print(f"| {name} | {row['torch_ms']:.2f} ms | {row['ours_ms']:.2f} ms | {row['times_faster']:.2f}x |")
    save("kernels", figures)


if __name__ == "__main__":
    main()
