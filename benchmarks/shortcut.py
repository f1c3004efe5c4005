"""What a shortcut costs when it breaks: from test to test_ood, of methods against shortcuts and of plain fusion.

    python benchmarks/shortcut.py                   all, about 10 minutes of one core
    python benchmarks/shortcut.py --only planted    some of it; other rows stay as they are

Trainings of a case share data, rate, epochs and batches; nothing was tuned on these data, and every method chooses its
epoch by a validation split that has the shortcut. Written to ``results/shortcut.json`` and ``shortcut.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from corpora_shortcut import FILE as WORDS
from measure import RESULTS, machine
from polymodal.core import Measure
from polymodal.data.progress import console
from polymodal.data.sources import load_corpus
from polymodal.score.compare import Comparison, compare_tables
from polymodal.score.intervals import Blocks
from polymodal.train.fit import fit

Row = dict[str, Any]
STRENGTHS = (0.0, 0.3, 0.6, 0.9)
SEEDS = (11, 12, 13)
PLAIN = "late-fusion"
OPTIONS: dict[str, Row] = {
    PLAIN: {"width": 32, "context": "none", "pool": "mean", "dropout": 0.1},
    "camib": {"width": 30, "joint": 32, "hidden": 64, "layers": 0, "dropout": 0.1},
    "mmci": {"width": 32, "heads": 4, "layers": 1},
    "midg": {"width": 32, "heads": 4, "layers": 0},
}
TRAINING = {"epochs": 10, "batch_size": 64, "lr": 4e-3, "patience": 10}


@dataclass(frozen=True)
class Case:
    """A kind of corpus, by the strength of its shortcut, and the methods that are put to it."""

    what: str
    source: Callable[[float], str]
    methods: tuple[str, ...]
    strengths: tuple[float, ...] = STRENGTHS


def _domains(strength: float) -> str:
    parts = {"a": (strength, 1), "b": (strength / 3, 2), "new": (strength, 3)}
    members = ",".join(f"{n}=(synthetic:biased?n=400&shortcut={s:g}&seed={k})" for n, (s, k) in parts.items())
    return f"mix:{members}?unseen=new&test=new"


CASES = {
    "planted": Case(
        "planted: mood, a channel of vision as shortcut",
        lambda strength: f"synthetic:biased?shortcut={strength:g}",
        (PLAIN, "camib", "mmci"),
    ),
    "domains": Case(
        "planted: two sources, the shortcut a third as strong in one; an unseen domain", _domains, (PLAIN, "midg")
    ),
    "words": Case(
        "CMU-MOSI, a common word as shortcut",
        lambda strength: f"{WORDS}:mosi_words?strength={strength:g}",
        (PLAIN, "camib", "mmci"),
        (0.0, 0.9),
    ),
}


def hits(method: str, source: str) -> tuple[dict[str, Any], dict[str, Sequence[str]], float]:
    """Train a method; return which samples of each test split it gets right ``(seeds, samples)``, on which side of the
    scale for a number, their groups, and the processor seconds of a training."""
    console.quiet = True
    corpus, started = load_corpus(source), time.process_time()
    target = corpus.schema.joint_targets[0]
    with TemporaryDirectory() as folder:
        options = OPTIONS[method] | TRAINING
        run = fit(method, corpus, options=options, seeds=SEEDS, out=Path(folder) / "run", device="cpu")
        seconds = (time.process_time() - started) / len(SEEDS)
        right, groups = {}, {}
        for part in ("test", "test_ood"):
            rows = []
            for seed in SEEDS:
                said = run.predict(corpus, part, seed=seed)
                true, predicted = (said[f"{target.name}/{name}"] for name in ("true", "predicted"))
                number = target.spec.answer == "number"
                rows.append((true > 0) == (predicted > 0) if number else true == predicted)
            right[part], groups[part] = np.stack(rows).astype(float), corpus[part].groups
    return right, groups, seconds


def tables(right: dict[str, Any], weights: dict[str, float]) -> list[dict[str, Measure]]:
    """Return for each seed the sum of the splits' accuracies times ``weights``, as a measure of both splits joined."""

    def measure(parts: dict[str, Any]) -> Measure:
        size = len(parts["test"])

        def value(times: Any) -> Any:
            shares = {"test": times[:, :size], "test_ood": times[:, size:]}
            return sum(w * (shares[n] @ parts[n]) / shares[n].sum(1) for n, w in weights.items())

        return Measure(value, size + len(parts["test_ood"]))

    return [{"it": measure({n: x[k] for n, x in right.items()})} for k in range(len(right["test"]))]


LOSS = {"test": 1.0, "test_ood": -1.0}


def against(
    own: dict[str, Any], plain: dict[str, Any], groups: dict[str, Any], weights: dict[str, float]
) -> Comparison:
    """Return how much more a method has of a weighted sum of accuracies than plain fusion, over groups and seeds."""
    both = [*groups["test"], *groups["test_ood"]]
    return compare_tables(tables(own, weights), tables(plain, weights), "it", Blocks.of(len(both), both))


def verdict(loss: Comparison, strength: float) -> str:
    """Return in words whether a method loses less than plain fusion."""
    if not strength:
        return "control"
    if not math.isfinite(loss.low) or loss.low <= 0 <= loss.high:
        return "cannot be told"
    return "holds" if loss.difference < 0 else "does not hold"


def measured(case: Case) -> list[Row]:
    """Return one row per strength and method."""
    rows: list[Row] = []
    for strength in case.strengths:
        plain: dict[str, Any] = {}
        for method in case.methods:
            right, groups, seconds = hits(method, case.source(strength))
            row = {"case": case.what, "strength": strength, "method": method, "seconds": round(seconds, 1)}
            row |= {part: round(float(x.mean()), 4) for part, x in right.items()}
            row["loss"] = round(row["test"] - row["test_ood"], 4)
            if method == PLAIN:
                plain = right
            else:
                loss = against(right, plain, groups, LOSS)
                row["verdict"] = verdict(loss, strength)
                row["loss against plain"] = _tidy(loss)
                for part in ("test", "test_ood"):
                    row[f"{part} against plain"] = _tidy(against(right, plain, groups, {part: 1.0}))
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def _tidy(found: Comparison) -> Row:
    return {k: round(v, 4) if math.isfinite(v) else None for k, v in vars(found).items()}


def page(stored: Row) -> str:
    """Return the table."""
    lines = [
        "# What a shortcut costs when it breaks",
        "",
        "`python benchmarks/shortcut.py`. Accuracy, mean of three seeds; loss: from test, where the shortcut is as in "
        "training, to test_ood, where it is turned round. Differences from late-fusion with 95 % intervals over groups "
        "(speakers, videos) and seeds, not corrected for their number. *holds*: the method loses less than "
        "late-fusion, *does not hold*: more, by more than luck. A method may lose less because it is worse on test.",
    ]
    for name in (n for n in CASES if n in stored):
        about = stored[name]["machine"]
        lines += [
            "",
            f"## {CASES[name].what}",
            "",
            f"{about['date']}, one of {about['cores']} cores ({about['processor']}, shared with other work), torch "
            f"{about['torch']}.",
            "",
            "| strength | method | test | test_ood | loss | loss against late-fusion | verdict | test against "
            "late-fusion | test_ood against late-fusion | CPU s |",
            "| ---: | --- | ---: | ---: | ---: | --- | --- | --- | --- | ---: |",
        ]
        for row in stored[name]["rows"]:
            differences = [_between(row.get(f"{part} against plain")) for part in ("loss", "test", "test_ood")]
            cells = [f"{row['strength']:g}", row["method"], *(f"{row[k]:.3f}" for k in ("test", "test_ood", "loss"))]
            cells += [differences[0], row.get("verdict", ""), *differences[1:], f"{row['seconds']:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _between(found: Row | None) -> str:
    if found is None:
        return ""
    interval = "(no interval)" if found["low"] is None else f"[{found['low']:+.3f}, {found['high']:+.3f}]"
    return f"{found['difference']:+.3f} {interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    file = RESULTS / "shortcut.json"
    for name in parser.parse_args().only:
        rows = measured(CASES[name])
        stored: Row = json.loads(file.read_text()) if file.is_file() else {}
        stored[name] = {"machine": machine(), "rows": rows}
        file.write_text(json.dumps(stored, indent=1) + "\n")
        (RESULTS / "shortcut.md").write_text(page(stored))


if __name__ == "__main__":
    main()
