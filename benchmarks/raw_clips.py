"""Raw clips to a label, end to end: does the road hold, what does an epoch cost, and what is held in memory?

python benchmarks/raw_clips.py        needs the real clips and the face model in ../shared or $POLYMODAL_SHARED

The 11 clips of GRID are cut twice. Scores: 0.4 s before and after the sentence against 0.4 s within it (is somebody
talking?), speakers of test unseen. Time and memory: whole clips of 3 s. Pixels at 10 frames per second, log-mel frames,
and the sentence, which tells nothing.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from clips import COMMAND, GRID, SHARED
from measure import MemoryPeak, in_fresh_process, save

PARTS = {"lbbc2a": "valid", "swiz3n": "valid", "lwbsza": "test", "lbax4n": "test"}
TALKING = {(0.0, 0.4): "no", (2.55, 2.95): "no", (1.0, 1.4): "yes", (1.3, 1.7): "yes"}
METHODS = {"semanticmac": ["--preset", "clips"], "late-fusion": [], "mult": [], "linear": []}
EPOCHS, SEEDS = 6, "1111,1112,1113"
PART_SIZES = (0, 8)


def table(path: Path, cuts: dict[tuple[float, float], str]) -> Path:
    """Write a row for each of ``cuts`` (start, end -> label) of every clip."""
    with (GRID / "clips.csv").open() as file:
        rows = [(GRID / "clips_s1" / f"{r['clip']}.mpg", r["text"], "s1") for r in csv.DictReader(file)]
    with (GRID / "clips_other_speakers.csv").open() as file:
        rows += [(GRID / r["file"], r["text"], Path(r["file"]).stem) for r in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "start", "end", "text", "talking", "speaker", "split"])
        for clip, text, speaker in rows:
            for (start, end), label in cuts.items():
                writer.writerow([clip, start, end, text, label, speaker, PARTS.get(speaker, "train")])
    return path


def extracted(clips: Path, store: Path) -> float:
    """Extract the table ``clips`` into ``store`` and return the seconds."""
    began = time.perf_counter()
    seen = ["--vision", "crops", "--fps", "10", "--audio", "logmel", "--text", "given", "--target", "talking"]
    command = [*COMMAND, "extract", str(clips), "--out", str(store), *seen, "--assets", str(SHARED / "models")]
    subprocess.run(command, check=True)
    return round(time.perf_counter() - began, 1)


def scored(store: Path, method: str, run: Path) -> float:
    """Fit and evaluate ``method`` and return the accuracy on test, the mean over seeds."""
    fit = [*COMMAND, "fit", method, "--data", str(store), "--out", str(run), "--seeds", SEEDS, *METHODS[method]]
    trained = [] if method == "linear" else ["--epochs", str(EPOCHS), "--set", "batch_size=8", "drop_last=false"]
    subprocess.run([*fit, *trained], check=True)
    subprocess.run([*COMMAND, "evaluate", str(run)], check=True, stdout=subprocess.DEVNULL)
    return accuracy(json.loads((run / "evaluation/scores.json").read_text()))


def accuracy(scores: Any) -> float:
    """Return the accuracy of complete input on test."""
    wanted = ("complete", "accuracy", "test")
    (row,) = [row for row in scores["rows"] if (row["condition"], row["metric"], row["split"]) == wanted]
    return float(row["mean"])


def vision_transformer(folder: Path) -> Path:
    """Write a random ViT of the size of ViT-tiny for crops of 112 x 112: time and memory do not depend on weights."""
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
    ViTModel(ViTConfig(**sizes, num_hidden_layers=12, image_size=112, patch_size=16)).save_pretrained(folder)
    return folder


def measure(store: str, method: str, size: str, options: str, encoder: str) -> dict[str, float]:
    """Train for three epochs in this process: seconds of processor time of the faster of the last two, private memory
    at its highest above what was there before."""
    import torch

    from polymodal.data.loader import Loader
    from polymodal.data.sources import load_corpus
    from polymodal.methods import build, find_method
    from polymodal.methods.base import View

    torch.set_num_threads(1)
    torch.manual_seed(0)
    corpus = load_corpus(store)
    schema = corpus.schema.with_encoders({"vision": encoder} if encoder else {})
    loader = Loader(corpus.splits["train"], schema, int(size), normalizer=corpus.normalizer)
    trained = build(find_method(method), schema, json.loads(options))
    trained.prepare(View(train=loader.epoch, valid=loader.epoch))
    optimizer, seconds = torch.optim.AdamW(trained.parameters()), []
    with MemoryPeak() as memory:
        for epoch in range(3):
            began = time.process_time()
            for batch in loader.epoch(epoch):
                optimizer.zero_grad()
                sum(trained.train().losses(batch, trained(batch)).values(), torch.zeros(())).backward()
                optimizer.step()
            seconds.append(time.process_time() - began)
    return {"epoch_cpu_s": round(min(seconds[1:]), 2), "peak_mib": round(memory.peak - memory.start)}


def main() -> None:
    if not GRID.is_dir():
        raise SystemExit(f"no real clips at {GRID}; set POLYMODAL_SHARED")
    windows = json.dumps({"tokens": 4, "layers": 1, "window": {"audio": 100}})
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        short, whole = work / "talking", work / "whole"
        figures: dict[str, Any] = {"extract_s": extracted(table(work / "talking.csv", TALKING), short)}
        extracted(table(work / "whole.csv", {(0.0, 3.0): "yes", (0.0, 2.9): "no"}), whole)
        figures["epoch"] = {}
        for method in ("semanticmac", "late-fusion", "mult"):
            options = windows if method == "semanticmac" else "{}"
            figures["epoch"][method] = in_fresh_process(__file__, str(whole), method, "7", options, "")
            print(method, figures["epoch"][method], flush=True)
        network = str(vision_transformer(work / "vit"))
        for part in PART_SIZES:
            for encoder, size in (("", "14"), (network, "4")):
                options = json.dumps(json.loads(windows) | {"part": part})
                found = in_fresh_process(__file__, str(whole), "semanticmac", size, options, encoder)
                figures.setdefault("ViT-tiny" if encoder else "patches", {})[f"part={part}"] = found
                print(part, Path(encoder).name, found, flush=True)
        figures["accuracy"] = {}
        for method in METHODS:
            figures["accuracy"][method] = scored(short, method, work / f"run-{method}")
            print(method, figures["accuracy"][method], flush=True)
    save("raw_clips", figures)


if __name__ == "__main__":
    if len(sys.argv) == 6:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        main()
