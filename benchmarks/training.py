"""Training loop: length-bucketed batches against padding to the corpus maximum, and cost against corpus size.

    python benchmarks/training.py            about 10 minutes on 2 cores
    python benchmarks/training.py --quick

Every measurement runs in a process of its own; ratios are taken within one run of this script.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
import time
from pathlib import Path

from measure import MemoryPeak, in_fresh_process, save

METHODS = {
    "late-fusion": {"width": 64},
    "mmcl": {"width": 64},
}


def write_pickle(path: Path, samples: int) -> None:
    """Write a planted corpus as an unaligned MMSA pickle: zero-padded to 50 / 375 / 500 steps, widths 768 / 5 / 20."""
    import numpy as np

    from polymodal import load_corpus

    steps = {"text": 50, "audio": 375, "vision": 500}
    layout = {}
    for name, split in load_corpus(f"synthetic:mosi-shaped?n={samples}").splits.items():
        part = layout[name] = {"id": list(split.ids), "regression_labels": split.targets["sentiment"]}
        for modality, length in steps.items():
            column = split.columns[modality]
            part[modality] = np.zeros((len(split), length, column.width), np.float32)
            for row in range(len(split)):
                part[modality][row, : column.lengths[row]] = column[row]
            part[f"{modality}_lengths"] = column.lengths.tolist()
        ids = np.zeros((len(split), 3, steps["text"]), np.float32)
        ids[:, 1] = np.arange(steps["text"]) < split.columns["text"].lengths[:, None]
        part["text_bert"] = ids
    path.write_bytes(pickle.dumps(layout, protocol=4))


def one_epoch(source: str, method_name: str, bucket: bool, options: dict[str, int]) -> dict[str, float]:
    """Train one epoch (after three warm-up steps) and return samples per second and memory above the loaded corpus."""
    import torch

    from polymodal import load_corpus
    from polymodal.data.loader import Loader
    from polymodal.methods import build, find_method

    opened = time.perf_counter()
    corpus = load_corpus(source)
    loader = Loader(
        corpus["train"], corpus.schema, 32, normalizer=corpus.normalizer, shuffle=True, bucket=bucket, drop_last=True
    )
    torch.manual_seed(0)
    method = build(find_method(method_name), corpus.schema, options).train()
    optimizer = torch.optim.AdamW(method.parameters())

    def step(batch) -> None:
        losses = method.losses(batch, method(batch))
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    first = next(iter(loader.epoch(0)))
    to_first_batch = time.perf_counter() - opened
    for _ in range(3):
        step(first)
    seen = 0
    with MemoryPeak() as memory:
        started = time.perf_counter()
        for batch in loader.epoch(1):
            step(batch)
            seen += len(batch)
        seconds = time.perf_counter() - started
    return {
        "samples": seen,
        "seconds": round(seconds, 2),
        "samples_per_second": round(seen / seconds, 1),
        "seconds_to_first_batch": round(to_first_batch, 2),
        "private_mib_loaded": round(memory.start),
        "private_mib_peak": round(memory.peak),
    }


def main() -> None:
    if len(sys.argv) > 2:
        source, method, bucket = sys.argv[1:4]
        options = {**METHODS.get(method, {}), **json.loads(sys.argv[4])}
        print(json.dumps(one_epoch(source, method, bucket == "bucketed", options)))
        return
    from polymodal import load_corpus
    from polymodal.data.store import write_store

    quick = "--quick" in sys.argv
    padding, size = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mosi_shaped.pkl"
        write_pickle(file, 200 if quick else 1284)
        for method in METHODS:
            rows = {how: in_fresh_process(__file__, str(file), method, how, "{}") for how in ("bucketed", "padded")}
            speed = rows["bucketed"]["samples_per_second"] / rows["padded"]["samples_per_second"]
            padding[method] = {**rows, "times_faster": round(speed, 2)}
            print(method, json.dumps(padding[method]))
        for samples in (300, 600) if quick else (1_000, 10_000, 100_000):
            store = Path(folder) / f"store-{samples}"
            write_store(load_corpus(f"synthetic:talk?n={samples}"), store)
            bytes_on_disk = sum(f.stat().st_size for f in store.rglob("*.arrow"))
            row = in_fresh_process(__file__, str(store), "late-fusion", "bucketed", json.dumps({"width": 32}))
            size[samples] = {**row, "store_mib": round(bytes_on_disk / 2**20, 1)}
            print(samples, json.dumps(size[samples]))
    if not quick:
        save("training", {"bucketed_against_padded": padding, "epoch_against_corpus_size": size})


if __name__ == "__main__":
    main()
