"""What audits find on CMU-MOSI and what they cost, and how far their estimates are from what was planted.

    POLYMODAL_SHARED=../shared python benchmarks/audits.py      # a quarter of an hour on a shared core

Two runs on words and voice of CMU-MOSI, one with an encoder of words that trains with the method, one on frozen MiniLM
states. Cost is processor time as a ratio of that of the run's training with one seed. Runs stay in ``--out``; the time
of a finished one is kept there. Writes ``results/audits.json`` and ``audits.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import polymodal
from measure import RESULTS, machine, save
from polymodal.audit._codes import coded
from polymodal.audit.pid import NAMES
from polymodal.audit.run import audit_run
from polymodal.score.decomposition import decompose
from polymodal.score.information import joint

SOURCE = "benchmarks/corpora.py:cmu_mosi"
RUNS: dict[str, dict[str, str]] = {"words trained": {}, "frozen MiniLM": {"text": "minilm?layers=3"}}
AUDITS = ("importance", "shapley", "pid", "dilution", "interference")
KINDS = ("redundant", "unique", "synergy", "and", "noisy")
SAMPLES = (700,)


def trained(name: str, folder: Path, epochs: int) -> float:
    """Train the run in ``folder`` where it is not yet; return the processor time of its training."""
    clock = folder.with_suffix(".seconds.json")
    if not clock.is_file():
        started = time.process_time()
        polymodal.fit(
            "late-fusion", SOURCE, encode=RUNS[name] or {"text": "none"}, epochs=epochs, seeds=(1111,), device="cpu",
            options={"dropout": 0.3, "batch_size": 32}, out=folder,
        )  # fmt: skip
        clock.write_text(json.dumps(time.process_time() - started))
    return float(json.loads(clock.read_text()))


def asked(name: str, folder: Path, training: float) -> list[dict[str, Any]]:
    """Return what every audit finds and costs; those that are done are kept beside the run."""
    kept = folder.with_suffix(".audits.json")
    found: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else []
    for audit in [a for a in AUDITS if a not in {one["audit"] for one in found}]:
        started = time.process_time()
        findings = audit_run(folder, [audit])[audit]
        seconds = time.process_time() - started
        lines = [[e.part, e.what, e.value, e.low, e.high] for e in findings.evidence]
        found.append(
            {
                "run": name, "audit": audit, "seconds": seconds, "training": training, "ratio": seconds / training,
                "found": findings.found, "evidence": lines,
            }
        )  # fmt: skip
        kept.write_text(json.dumps(found))
    return found


def bits(kind: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two sources and a label, 0 or 1 each."""
    a, b, noise = rng.integers(2, size=count), rng.integers(2, size=count), rng.random((2, count))
    return {
        "redundant": (a, a, a),
        "unique": (a, b, a),
        "synergy": (a, b, a ^ b),
        "and": (a, b, a & b),
        "noisy": (a ^ (noise[0] < 0.1), a ^ (noise[1] < 0.2), a),
    }[kind]


def estimated(kind: str, count: int, seed: int) -> np.ndarray:
    """Return the parts that are found in six noisy features of each source."""
    rng = np.random.default_rng(seed)
    first, second, label = bits(kind, count, rng)
    means = np.random.default_rng(5).normal(size=(2, 2, 6))
    shown = [m[x] + 0.3 * rng.normal(size=(count, 6)) for m, x in zip(means, (first, second), strict=True)]
    return coded(shown[0], shown[1], label).parts()


def seen(kind: str, count: int, seed: int) -> np.ndarray:
    """Return the parts that whoever sees the bits of these samples counts; the true ones where the samples are many."""
    exact = decompose(joint(bits(kind, count, np.random.default_rng(seed)), (2, 2, 2)))
    return np.array([exact.redundant, exact.first, exact.second, exact.synergy])


def planted(seeds: int) -> list[dict[str, Any]]:
    found = []
    for kind in KINDS:
        truth = seen(kind, 10**6, 0)
        for count in SAMPLES:
            chosen = range(1, seeds + 1)
            ours, counted = (np.stack([f(kind, count, seed) for seed in chosen]) for f in (estimated, seen))
            worst, beyond = (np.abs(ours - other).max(0).tolist() for other in (truth, counted))
            found.append(
                {"kind": kind, "samples": count, "truth": truth.tolist(), "worst": worst, "beyond_samples": beyond}
            )
    return found


def page(runs: list[dict[str, Any]], plants: list[dict[str, Any]], seeds: int) -> str:
    about = machine()
    lines = [
        "# Audits of CMU-MOSI",
        "",
        f"`python benchmarks/audits.py`, {about['date']}, {about['cores']} shared cores ({about['processor']}), Python "
        f"{about['python']}, torch {about['torch']}. Words and voice, test split (686 utterances of 31 "
        "videos); 95 % intervals over whole videos.",
        "",
        "## What an audit costs",
        "",
        "Processor time, and its ratio to the training of the run with one seed. `-`: not measured yet; with a frozen "
        "encoder, `dilution` reads all texts seven times more, which takes minutes.",
        "",
        "| audit | " + " | ".join(f"{n}: s | of a training" for n in RUNS) + " |",
        "| --- |" + " --: | --: |" * len(RUNS),
    ]
    for audit in AUDITS:
        known = {r["run"]: r for r in runs if r["audit"] == audit}
        cells = [f"{known[n]['seconds']:.1f} | {known[n]['ratio']:.2f}" if n in known else "- | -" for n in RUNS]
        lines.append(f"| `{audit}` | {' | '.join(cells)} |")
    lines += ["", f"## `pid` on planted bits: largest error, seeds 1 to {seeds}", ""]
    names = [n.format("1", "2") for n in NAMES]
    lines += [
        "In bits; each bit is seen as six features under noise. In brackets: from what is counted in the same samples "
        "by whoever sees the bits themselves; the rest of an error is that of 700 samples.",
        "",
        "| planted | samples | " + " | ".join(f"{n}: truth | error" for n in names) + " |",
        "| --- | --: |" + " --: | --: |" * 4,
    ]
    for p in plants:
        errors = zip(p["truth"], p["worst"], p["beyond_samples"], strict=True)
        cells = [f"{t:.3f} | {e:.3f} ({b:.3f})" for t, e, b in errors]
        lines.append(f"| {p['kind']} | {p['samples']} | {' | '.join(cells)} |")
    for name in RUNS:
        lines += ["", f"## Found: {name}", ""]
        lines += [f"- `{r['audit']}`: {sentence}" for r in runs if r["run"] == name for sentence in r["found"]]
        lines += ["", "| audit | figure | value | 95 % interval |", "| --- | --- | --: | --: |"]
        for r in runs:
            for part, what, value, low, high in r["evidence"] if r["run"] == name and r["audit"] in AUDITS[2:] else ():
                between = "" if low is None else f"{low:.3f} to {high:.3f}"
                lines.append(f"| {r['audit']} | {part}: {what} | {value:.3f} | {between} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/audits-benchmark"))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    runs = []
    for number, name in enumerate(RUNS):
        folder = options.out / f"run{number}"
        runs += asked(name, folder, trained(name, folder, options.epochs))
    plants = planted(options.seeds)
    save("audits", {"runs": runs, "planted": plants, "epochs": options.epochs})
    (RESULTS / "audits.md").write_text(page(runs, plants, options.seeds))


if __name__ == "__main__":
    main()
