"""Fairness of answers on FairCVtest, with and without removal, and by sex of speakers; slices and words put in.

    python benchmarks/fairness.py                   all, about 10 minutes of one core
    python benchmarks/fairness.py --only gender     some of it; other rows stay as they are

Every run of FairCVtest is asked about the blind labels, the scores that the applications deserve, whatever labels it
was trained on. Nothing was tuned on the test split. Written to ``results/fairness.json`` and ``fairness.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measure import RESULTS, machine
from polymodal.audit.base import Evidence, Findings
from polymodal.audit.run import audit_run
from polymodal.data.progress import console
from polymodal.train.fit import fit

Row = dict[str, Any]
CORPORA = f"{Path(__file__).parent / 'corpora.py'}"
SEEDS = (1, 2, 3)
BASE: Row = {"width": 32}
TRAINING: Row = {"epochs": 20, "batch_size": 64, "patience": 20}
HIDDEN: Row = {"base": "late-fusion", "base_options": BASE}

CONDITIONS: dict[str, tuple[str, Row, str, str]] = {
    "blind labels": ("late-fusion", BASE, "blind", "embedding"),
    "biased labels": ("late-fusion", BASE, "biased", "embedding"),
    "biased labels, agnostic faces": ("late-fusion", BASE, "biased", "agnostic"),
    "biased labels, sensitive-nets, delta": ("sensitive-nets", HIDDEN, "biased", "embedding"),
    "biased labels, sensitive-nets, reversal": (
        "sensitive-nets",
        {**HIDDEN, "hiding": "reversal", "strength": 1.0},
        "biased",
        "embedding",
    ),
}
"""What is trained: method, options, labels, faces."""

SPEECH = {"emodb": ("emodb", "sex"), "ravdess": ("ravdess_av", "sex")}
"""Corpora of speakers whose sex is known, five folds by speaker, the linear floor."""

OTHERS = {"insertion": "cmu_mosi", "bias": "ravdess_av"}
"""Audit -> corpus about which a small late fusion is asked."""


def faircv(bias: str) -> list[Row]:
    """Return a row per condition: figures of the mean of three seeds, on the 720 test profiles."""
    rows = []
    for name, (method, options, label, face) in CONDITIONS.items():
        with TemporaryDirectory() as folder:
            source = f"{CORPORA}:faircv?bias={bias}&face={face}"
            started = time.process_time()
            run = fit(
                method,
                f"{source}&label={label}&domain={bias}",
                options=options | TRAINING,
                seeds=SEEDS,
                out=Path(folder) / "run",
                device="cpu",
            )
            trained = (time.process_time() - started) / len(SEEDS)
            started = time.process_time()
            found = audit_run(run, ["fairness"], f"{source}&label=blind", by=[bias])["fairness"]
            rows.append(_row(name, found, trained, time.process_time() - started))
    return rows


def speech(corpus: str, column: str) -> list[Row]:
    """Return the row of a linear run of five folds, asked about every sample out of fold."""
    with TemporaryDirectory() as folder:
        started = time.process_time()
        run = fit("linear", f"{CORPORA}:{corpus}", folds=5, seeds=(1,), out=Path(folder) / "run", device="cpu")
        trained = (time.process_time() - started) / 5
        started = time.process_time()
        found = audit_run(run, ["fairness"], by=[column])["fairness"]
        return [_row(f"{corpus}, linear, by {column}", found, trained, time.process_time() - started)]


def other(audit: str, corpus: str) -> list[Row]:
    """Return the row of one audit of a small late fusion: of three seeds, or of five folds where slices need groups."""
    options = {"width": 32, "context": "none", "pool": "mean", "epochs": 10, "patience": 10}
    with TemporaryDirectory() as folder:
        started = time.process_time()
        source = f"{CORPORA}:{corpus}"
        folds, seeds = (5, SEEDS[:1]) if audit == "bias" else (None, SEEDS)
        out = Path(folder) / "run"
        run = fit("late-fusion", source, options=options, seeds=seeds, folds=folds, out=out, device="cpu")
        trained = (time.process_time() - started) / (folds or len(seeds))
        started = time.process_time()
        found = audit_run(run, [audit])[audit]
        return [_row(f"{corpus}, late-fusion", found, trained, time.process_time() - started)]


def _row(name: str, found: Findings, trained: float, audited: float) -> Row:
    print(name, *found.found, sep="\n  ", flush=True)
    return {
        "name": name,
        "seconds of a training": round(trained, 1),
        "cost in trainings": round(audited / trained, 2),
        "found": found.found,
        "evidence": {e.what: _tidy(e) for e in found.evidence},
    }


def _tidy(line: Evidence) -> Row:
    numbers = {"value": line.value, "low": line.low, "high": line.high}
    rounded = {k: None if v is None else round(v, 4) for k, v in numbers.items()}
    return {**rounded, "count": line.count, "groups": line.groups}


SHOWN = {
    "gap in answers": "answer",
    "gap in shares chosen": "chosen: upper quarter",
    "gap where deserved": "chosen where deserved: upper quarter",
}


def page(stored: Row) -> str:
    """Return the tables."""
    lines = [
        "# Fairness of answers",
        "",
        "`python benchmarks/fairness.py`. FairCVtest, 720 test profiles, the mean of three seeds, 95 % intervals over "
        "profiles (seeds are not resampled); whatever the training labels, profiles are judged by the blind ones. Gaps "
        "are of the first gender or ethnic group from the others; *chosen* is the upper quarter of all answers, "
        "*deserved* the upper quarter of blind labels. *told*: balanced accuracy of a probe. *cost*: processor time of "
        "the audit over that of one training.",
    ]
    for bias in ("gender", "ethnicity"):
        if bias in stored:
            lines += ["", f"## FairCVtest, {bias}", "", _about(stored[bias]["machine"]), ""]
            lines += _table(stored[bias]["rows"], bias)
    titles = {name: f"{corpus}, by {column} of the speaker" for name, (corpus, column) in SPEECH.items()}
    titles |= {name: f"{name}, {corpus}, late-fusion" for name, corpus in OTHERS.items()}
    for name, title in titles.items():
        if name in stored:
            lines += ["", f"## {title}", "", _about(stored[name]["machine"]), ""]
            for row in stored[name]["rows"]:
                lines += ["| figure | value | samples / groups |", "| --- | --- | ---: |"]
                lines += [f"| {w} | {_cell(e)} | {e['count']} / {e['groups']} |" for w, e in row["evidence"].items()]
                cost = f"Cost: {row['cost in trainings']} trainings of {row['seconds of a training']} CPU s."
                lines += ["", " ".join([*row["found"], cost])]
    return "\n".join(lines) + "\n"


def _table(rows: list[Row], bias: str) -> list[str]:
    first = {"gender": "g0 from g1", "ethnicity": "e0 from not e0"}[bias]
    names = {k: f"difference, {first}: {v}" for k, v in SHOWN.items()}
    names |= {
        "ratio of shares": f"ratio of lowest to highest by {bias}: chosen: upper quarter",
        "divergence": f"divergence of answers by {bias}",
        "the same at random": f"the same with {bias} dealt at random",
        "told from what is kept": f"{bias} told from what the model keeps",
        "told from answers": f"{bias} told from its answers",
        "told from inputs": f"{bias} told from its inputs",
    }
    lines = [f"| trained on | {' | '.join(names)} | mean error of each | CPU s of a training | cost |"]
    lines.append("| --- |" + " ---: |" * (len(names) + 3))
    for row in rows:
        evidence = row["evidence"]
        errors = [_cell(e) for w, e in evidence.items() if w.endswith(": error") and w.startswith(f"{bias} ")]
        cells = [row["name"], *(_cell(evidence[w]) if w in evidence else "" for w in names.values())]
        cells += ["; ".join(errors), f"{row['seconds of a training']}", f"{row['cost in trainings']}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(line: Row) -> str:
    interval = "" if line["low"] is None else f" ({line['low']:.3f} to {line['high']:.3f})"
    return f"{line['value']:.3f}{interval}"


def _about(about: Row) -> str:
    return (
        f"{about['date']}, one of {about['cores']} cores ({about['processor']}, shared with other work), torch "
        f"{about['torch']}."
    )


def main() -> None:
    console.quiet = True
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["gender", "ethnicity", *SPEECH, *OTHERS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    file = RESULTS / "fairness.json"
    for name in parser.parse_args().only:
        if name in OTHERS:
            rows = other(name, OTHERS[name])
        else:
            rows = speech(*SPEECH[name]) if name in SPEECH else faircv(name)
        stored: Row = json.loads(file.read_text()) if file.is_file() else {}
        stored[name] = {"machine": machine(), "rows": rows}
        file.write_text(json.dumps(stored, indent=1) + "\n")
        (RESULTS / "fairness.md").write_text(page(stored))


if __name__ == "__main__":
    main()
