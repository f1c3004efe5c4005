"""Training steps of this checkout against those of an earlier one, in turn: processor time of the same batches.

    git worktree add ../earlier COMMIT
    python benchmarks/versions.py ../earlier         about 10 minutes on one core

MOSI-shaped planted sequences (50 / 375 / 500 steps, widths 768 / 5 / 20), five length-bucketed batches of 16, forward,
backward and update; one thread, a fresh process per version and round, minimum over the rounds. Written to
``results/versions.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from measure import save

HERE = Path(__file__).resolve().parents[1]
METHODS = ("mult", "mfn", "mfm", "graph-mfn", "ef-lstm", "lmf", "tfn", "lf-dnn", "misa", "self-mm")
OPTIONS = {"mult": {"width": 40, "heads": 10, "layers": 4}}
BATCHES = 5


def steps() -> dict[str, float]:
    """Return the processor seconds of one step on each batch, summed, the better of two."""
    import torch

    from polymodal import load_corpus
    from polymodal.data.loader import Loader
    from polymodal.methods import build, find_method

    torch.set_num_threads(1)
    corpus, found = load_corpus("synthetic:mosi-shaped?n=160"), {}
    for name in METHODS:
        torch.manual_seed(0)
        method = build(find_method(name), corpus.schema, OPTIONS.get(name, {})).train()
        optimizer = torch.optim.AdamW(method.parameters(), lr=1e-4)
        loader = Loader(corpus["train"], corpus.schema, 16, normalizer=corpus.normalizer, bucket=True)
        batches = list(loader.epoch())[:BATCHES]
        best = [float("inf")] * len(batches)
        for index in [0, *range(len(batches)), *range(len(batches))]:  # the first warms up
            began = time.process_time()
            loss = sum(method.losses(batches[index], method(batches[index])).values())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()
            best[index] = min(best[index], time.process_time() - began)
        found[name] = sum(best)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path, nargs="?", help="another checkout of polymodal")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.earlier is None:  # a worker
        print(json.dumps(steps()))
        return
    if not (arguments.earlier / "src" / "polymodal").is_dir():
        parser.error(f"{arguments.earlier} is no checkout: it has no src/polymodal; make one with git worktree add")
    rounds: dict[str, list[dict[str, float]]] = {"earlier": [], "now": []}
    for _ in range(arguments.rounds):
        for side, root in (("earlier", arguments.earlier.resolve()), ("now", HERE)):
            settings = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
            done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True, env=settings)
            rounds[side].append(json.loads(done.stdout.splitlines()[-1]))
    best = {side: {m: min(r[m] for r in found) for m in METHODS} for side, found in rounds.items()}
    for name in METHODS:
        before, now = best["earlier"][name], best["now"][name]
        print(f"| {name} | {before:.2f} s | {now:.2f} s | {before / now:.2f}x |")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=arguments.earlier, capture_output=True, text=True, check=True
    )
    save("versions", {"earlier": commit.stdout.strip(), "seconds": best})


if __name__ == "__main__":
    main()
