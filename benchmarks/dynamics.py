"""What methods that balance modalities do for the one that learns slowly, and what they cost.

    python benchmarks/dynamics.py                   all, about 10 minutes of one core
    python benchmarks/dynamics.py --only cost       some of it; the rest stays as it is
    python benchmarks/dynamics.py --only mcr

``planted.py:speeds`` tells a class twice: at once, and by an event in noise. Trained on both, a network leaves the
event half unlearned. A method is added by a line of ``TRIALS``. Written to ``results/dynamics.json`` and
``dynamics.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, median, stdev
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression

from measure import RESULTS, machine
from planted import FILE as PLANTED
from polymodal.core import Batch
from polymodal.data.loader import Loader
from polymodal.data.progress import console
from polymodal.data.sources import load_corpus
from polymodal.methods import build, find_method
from polymodal.methods.base import Method, Now, Seamed, View
from polymodal.train.fit import fit
from polymodal.train.infer import infer

Row = dict[str, Any]
SEEDS = (11, 12, 13)
PLAIN = "late-fusion"
SMALL = {"width": 16}
ROUND = {"base": PLAIN, "base_options": SMALL}
TRAINING = {"epochs": 15, "batch_size": 32, "lr": 2e-3, "patience": 15}
TRIALS: dict[str, tuple[str, Row]] = {
    PLAIN: (PLAIN, SMALL),
    "late-fusion, slow alone": (PLAIN, SMALL),
    "agm": ("agm", ROUND),
    "iemf": ("iemf", ROUND),
    "iemf, heads without modulation": ("iemf", ROUND | {"modulate": False}),
    "mcr": ("mcr", ROUND),
    "mcr, heads and contrast without the game": ("mcr", ROUND | {"competition": 0.0}),
    "crmt": ("crmt", ROUND),
    "crmt, without margins and step 2": ("crmt", ROUND | {"rho": 0.0, "tune_share": 0.0}),
    "mcr around iemf": ("mcr", {"base": "iemf", "base_options": ROUND}),
}
AROUND = ("agm", "iemf", "mcr", "crmt")
BASES: dict[str, Row] = {PLAIN: {}, "mmcl": {}, "curriculum-wsmcl": {}}


def learned(name: str, seed: int, rows: int) -> dict[str, float]:
    """Train once; return accuracies: of everything, of ``slow`` alone, and of a linear probe on the vector of it."""
    method_id, options = TRIALS[name]
    source = f"{PLANTED}:speeds?seed={seed}&n={rows}" + ("&modalities=slow" if name.endswith("alone") else "")
    with TemporaryDirectory() as folder, console.capture():
        corpus = load_corpus(source)
        run = fit(method_id, corpus, options=options | TRAINING, seeds=(seed,), out=Path(folder) / "run", device="cpu")
        method, test, train = run.method(seed), run.loader(corpus, "test"), run.loader(corpus, "train")
        absent = [n for n in corpus.schema.names if n != "slow"]
        columns = [infer(method, test.epoch(), absent=gone)[0] for gone in ((), absent)]
    right = [float((c["kind/true"] == c["kind/predicted"]).mean()) for c in columns]
    return {"all": right[0], "slow alone": right[1], "probe of slow": _probed(method, train, test)}


def _probed(method: Method, train: Loader, test: Loader) -> float:
    while not isinstance(method, Seamed):
        method = method.base  # type: ignore[assignment]  # of a wrapper
    method.eval()
    told = []
    for loader in (train, test):
        with torch.no_grad():
            pairs = [(method.encode(b)["slow"], b.targets["kind"]) for b in loader.epoch()]
        told.append([torch.cat(part).numpy() for part in zip(*pairs, strict=True)])
    probe = LogisticRegression(max_iter=1000).fit(*told[0])
    return float(probe.score(*told[1]))


def cost(base: str, options: Row, rounds: int = 9) -> dict[str, float]:
    """Return processor time of a training step around ``base``, as a multiple of that of ``base``; methods in turn."""
    corpus = load_corpus(f"{PLANTED}:speeds?n=200")
    batch = Loader(corpus["train"], corpus.schema, 32).batch(torch.arange(32).numpy())
    chosen = {base: options} | {name: {"base": base, "base_options": options} for name in AROUND}
    methods = {name: _ready(build(find_method(name), corpus.schema, o), batch) for name, o in chosen.items()}
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds + 1):
        for name, method in methods.items():
            began = time.process_time()
            for _ in range(5):
                method.zero_grad()
                torch.stack(list(method.losses(batch, method(batch)).values())).sum().backward()
            spent[name].append(time.process_time() - began)
    return {name: median(seconds[1:]) / median(spent[base][1:]) for name, seconds in spent.items()}


def _ready(method: Method, batch: Batch) -> Method:
    """Return a method in the last phase and update of its base, where methods learn their task."""
    method.prepare(View(train=lambda: [batch], valid=lambda: [batch]))
    phase = [p for p in method.phases() if p.name != "tune"][-1]
    method.now = Now(phase.name, update=phase.updates[-1].name if phase.updates else "")
    return method.train()


def table(figures: Row) -> str:
    """Return the results as Markdown."""
    about = machine()
    lines = [
        "# Balance between modalities",
        "",
        f"`python benchmarks/dynamics.py`, {about['date']}, one of {about['cores']} cores ({about['processor']}), "
        f"shared with other work, torch {about['torch']}.",
        "",
        "## The modality that learns slowly",
        "",
        f"Accuracy on 600 test samples of `planted.py:speeds` (four classes), mean +- standard deviation of "
        f"{len(SEEDS)} seeds, which draw data and training: with both modalities, with `slow` alone, and of a linear "
        "probe on the vector that the encoder makes of `slow`. Around late-fusion; no option was tuned.",
        "",
        "| trained | both | slow alone | probe of slow |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in [n for n in TRIALS if n in figures]:
        cells = [f"{mean(v):.3f} +- {stdev(v):.3f}" if len(v) > 1 else f"{v[0]:.3f}" for v in figures[name].values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    costs = figures.get("cost", {})
    if costs:
        head = (
            "Processor time of a training step (forward, losses, backward; 32 samples), as a multiple of the base's; "
        )
        lines += ["", "## Cost", "", f"{head}of `crmt` in step 1, of methods with phases in the last one.", ""]
        lines += [f"| base | {' | '.join(AROUND)} |", "| --- |" + " ---: |" * len(AROUND)]
        lines += [f"| {base} | {' | '.join(f'{row[n]:.2f}' for n in AROUND)} |" for base, row in costs.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Balance between modalities: gain and cost.")
    parser.add_argument("--only", choices=["cost", *TRIALS], nargs="+", help="measure these again, keep the others")
    parser.add_argument("--rows", type=int, default=700, help="training samples")
    given = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "dynamics.json"
    figures: Row = json.loads(file.read_text())["figures"] if given.only and file.is_file() else {}
    for name in given.only or ["cost", *TRIALS]:
        if name == "cost":
            figures[name] = {b: {n: round(x, 2) for n, x in cost(b, o).items()} for b, o in BASES.items()}
        else:
            found = [learned(name, seed, given.rows) for seed in SEEDS]
            figures[name] = {part: [round(row[part], 4) for row in found] for part in found[0]}
        print(name, figures[name], flush=True)
        file.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n")
        (RESULTS / "dynamics.md").write_text(table(figures))


if __name__ == "__main__":
    main()
