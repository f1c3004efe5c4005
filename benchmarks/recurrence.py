"""Bidirectional recurrence on a CPU: torch's packed sequence against ``nn.sequence.BiRecurrent``, same function.

    python benchmarks/recurrence.py

Forward and backward of one layer, batch 32, width 64; the minimum of five rounds, in turn, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from measure import save
from polymodal.nn.sequence import BiRecurrent

WIDTH, BATCH, REPEATS = 64, 32, 20


def milliseconds(work: Callable[[], torch.Tensor]) -> float:
    started = time.perf_counter()
    for _ in range(REPEATS):
        work().sum().backward()
    return (time.perf_counter() - started) / REPEATS * 1000


def compare(kind: str, longest: int) -> dict[str, float]:
    x = torch.randn(BATCH, longest, WIDTH)
    lengths = torch.randint(longest * 3 // 4, longest + 1, (BATCH,))
    lengths[0] = longest
    ours = BiRecurrent(kind, WIDTH, WIDTH // 2, layers=1, dropout=0.0)
    torchs = (nn.LSTM if kind == "lstm" else nn.GRU)(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)

    def packed() -> torch.Tensor:
        return torchs(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0].data

    def apart() -> torch.Tensor:
        return ours(x, lengths)[0]

    rounds = [(milliseconds(packed), milliseconds(apart)) for _ in range(5)]
    slow, fast = (min(column) for column in zip(*rounds, strict=True))
    return {"packed_ms": round(slow, 2), "birecurrent_ms": round(fast, 2), "times_faster": round(slow / fast, 2)}


def main() -> None:
    torch.set_num_threads(1)
    figures = {f"{kind}, {steps} steps": compare(kind, steps) for kind in ("lstm", "gru") for steps in (20, 70, 200)}
    for name, row in figures.items():
        print(name, row)
    save("recurrence", figures)


if __name__ == "__main__":
    main()
