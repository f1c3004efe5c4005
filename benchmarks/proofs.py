"""Methods and audits on real data, each against what it claims to improve on; every interval counts whole groups.

    python benchmarks/proofs.py                    about half an hour on two cores
    python benchmarks/proofs.py --only agm gram    some of it; other rows stay as they are

Finished runs in ``--out`` are reused. Written to ``results/proofs.json`` and ``proofs.md``. Entries that are compared
have the same encoders, learning rate, epochs and batch size; nothing was tuned on these data.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np

from measure import RESULTS, machine
from polymodal.audit.base import Panel, mean_over_groups
from polymodal.audit.importance import Importance
from polymodal.audit.shapley import Shapley
from polymodal.data.progress import console
from polymodal.score import paired_difference, summarise
from polymodal.train.fit import fit
from polymodal.train.run import Run

Row = dict[str, Any]
MINILM = {"text": "minilm?layers=3"}
FOLDS = range(5)


@dataclass(frozen=True)
class Entry:
    """One side of a comparison: a method on sources whose test samples are pooled."""

    name: str
    method: str
    sources: tuple[str, ...]
    options: Row = field(default_factory=dict)
    encode: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """Entries that differ in one thing; each but the first is compared with the first."""

    what: str
    entries: tuple[Entry, ...]
    seeds: tuple[int, ...] = (1111,)
    metrics: tuple[str, ...] = ()


def domain(call: str) -> str:
    return f"benchmarks/domains.py:{call}"


def agm() -> list[Claim]:
    sources = tuple(domain(f"ravdess?fold={k}") for k in FOLDS)
    base = {"width": 64, "context": "gru", "dropout": 0.3}
    training = {"epochs": 20, "batch_size": 32, "lr": 1e-3, "patience": 6}
    around = [
        Entry(f"agm, alpha {alpha:g}", "agm", sources, {"base_options": base, "alpha": alpha} | training)
        for alpha in (1.0, 3.0)
    ]
    plain = Entry("late-fusion", "late-fusion", sources, base | training)
    return [Claim("RAVDESS, 8 emotions, five folds by actor", (plain, *around))]


def argf() -> list[Claim]:
    source = ("benchmarks/corpora.py:cmu_mosi",)
    training = {"epochs": 25, "batch_size": 32, "lr": 1e-3, "patience": 8}
    plain = Entry("late-fusion", "late-fusion", source, {"width": 64, "dropout": 0.3} | training, MINILM)
    own = {"widest": 512, "momentum": 0.5, "clip": 0.0, "schedule": "constant"} | training
    without = Entry("argf, no adversary (alpha 0)", "argf", source, {"alpha": 0.0} | own, MINILM)
    entries = (without, Entry("argf", "argf", source, own, MINILM), plain)
    return [Claim("CMU-MOSI text + audio, standard split", entries, seeds=(1111, 1112, 1113))]


def mmpda() -> list[Claim]:
    training = {"width": 32, "heads": 4, "layers": 1, "dropout": 0.2, "epochs": 20, "batch_size": 48, "lr": 1e-3}
    training |= {"patience": 8, "balance": "domain"}

    def mixed(members: dict[str, str]) -> str:
        places = ",".join(f"{name}=({domain(call)})" for name, call in members.items())
        return f"mix:{places}?unlabelled=target&test=target&unify=true"

    cases = [mixed({d: f"trial?fold={k}&domain={d}" for d in ("a", "b", "c", "target")}) for k in FOLDS]
    sexes = [
        mixed({"source": f"ravdess?sex={a}&fold={k}", "target": f"ravdess?sex={b}&fold={k}"})
        for (a, b), k in product((("male", "female"), ("female", "male")), FOLDS)
    ]
    german = [mixed({"source": "voice?corpus=ravdess", "target": f"voice?corpus=emodb&half={h}"}) for h in (0, 1)]
    english = [mixed({"source": "voice?corpus=emodb", "target": f"voice?corpus=ravdess&half={h}"}) for h in (0, 1)]
    places = {
        "Real-life Trial, three groups of cases to a fourth": cases,
        "RAVDESS, actors of one sex to those of the other": sexes,
        "RAVDESS to EmoDB, six emotions, sound": german,
        "EmoDB to RAVDESS, six emotions, sound": english,
    }
    return [
        Claim(
            what,
            tuple(
                Entry(name, "mmpda", tuple(sources), {"strength": strength} | training)
                for name, strength in (("mmpda on the sources alone", 0.0), ("mmpda", 1.0))
            ),
            seeds=(1111, 1112) if "EmoDB" in what or "Trial" in what else (1111,),
        )
        for what, sources in places.items()
    ]


def gram() -> list[Claim]:
    options = {"width": 64, "hidden": 64, "dropout": 0.2, "epochs": 30, "batch_size": 64, "lr": 1e-3, "patience": 6}
    source = ("benchmarks/corpora.py:cmu_mosi?match=sample",)
    entry = Entry("gram", "gram", source, options, MINILM)
    metrics = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")
    clips = replace(entry, sources=tuple(domain(f"ravdess?fold={k}&match=sample") for k in FOLDS), encode={})
    return [
        Claim("CMU-MOSI, words find the sound of the same utterance", (entry,), (1111, 1112, 1113), metrics),
        Claim("RAVDESS, the face finds the voice of a clip", (clips,), metrics=metrics),
    ]


PLAN = {"agm": agm, "argf": argf, "mmpda": mmpda, "gram": gram}


def trained(out: Path, seeds: Sequence[int], entry: Entry, number: int) -> tuple[str, int, Row]:
    """Return the name of an entry, the number of a source, and what its run says of the test split."""
    console.quiet = True
    folder = out / f"{entry.name}-{digest(entry, number):08x}"
    source = entry.sources[number]
    run = fit(
        entry.method, source, options=entry.options, encode=entry.encode, seeds=seeds, out=folder, device="cpu",
        resume=(folder / "run.json").is_file(),
    )  # fmt: skip
    corpus = run.corpus()
    columns = [corpus["test"].with_groups(run.predict(corpus, seed=seed)) for seed in seeds]
    found: Row = {"columns": columns, "groups": columns[0]["group"], "hash": corpus.hash}
    found["run"] = str(folder)
    return entry.name, number, found


def cost(entry: Entry) -> float:
    """Return the processor seconds of an epoch on the entry's first source: that of three epochs less that of one."""
    console.quiet = True
    taken: dict[int, float] = {}
    for epochs in (1, 3, 1, 3):
        with TemporaryDirectory() as place:
            began = time.process_time()
            own: Row = {"options": entry.options | {"epochs": epochs}, "encode": entry.encode, "device": "cpu"}
            fit(entry.method, entry.sources[0], out=Path(place) / "run", **own)
            taken[epochs] = min(time.process_time() - began, taken.get(epochs, np.inf))
    return (taken[3] - taken[1]) / 2


def digest(entry: Entry, number: int) -> int:
    """Return a number that changes with the settings."""
    return crc32(json.dumps([entry.method, entry.options, entry.sources[number], entry.encode]).encode())


def judged(claim: Claim, found: dict[tuple[str, int], Row]) -> list[Row]:
    """Return the rows of a claim: each entry's figures, and its difference from the first entry."""
    rows: list[Row] = []
    target = Run.load(found[claim.entries[0].name, 0]["run"]).schema.joint_targets[0]
    main, reference = target.spec.main, None
    for entry in claim.entries:
        parts = [found[entry.name, number] for number in range(len(entry.sources))]
        true, predicted = (
            np.concatenate([np.stack([c[f"{target.name}/{name}"] for c in p["columns"]]) for p in parts], axis=1)
            for name in ("true", "predicted")
        )
        groups = np.concatenate([p["groups"] for p in parts])
        summary = summarise(target, true[0], predicted, groups=groups)
        row: Row = {"claim": claim.what, "entry": entry.name, "metric": main, "seeds": list(claim.seeds)}
        row["data"] = [p["hash"] for p in parts]
        shown = claim.metrics or (main,)
        row["figures"] = {n: {k: tidy(v) for k, v in vars(summary[n]).items() if k != "seeds"} for n in shown}
        if reference is None:
            reference = predicted
        else:
            against = paired_difference(target, true[0], predicted, reference, main, groups=groups)
            row["difference"] = {k: tidy(v) for k, v in vars(against).items()}
        chance = target.spec.chance(true[0])
        row["chance"] = {n: tidy(chance[n]) for n in shown if n in chance}
        rows.append(row)
    return rows


def audits(found: dict[tuple[str, int], Row]) -> list[Row]:
    """Return what importance and Shapley values say of late-fusion on RAVDESS, over the actors of all folds."""
    rows = []
    for audit in (Importance, Shapley):
        pieces: list[Row] = []
        for (name, _), part in found.items():
            if name == "late-fusion":
                run = Run.load(part["run"])
                corpus = run.corpus()
                panel = Panel([run.method(seed) for seed in run.seeds])
                said = audit().run(panel, run.loader(corpus, "test").epoch)
                groups = corpus["test"].with_groups({"id": np.array(said.samples["id"])})["group"]
                pieces.append({"samples": said.samples, "groups": groups})
        for column in (c for c in pieces[0]["samples"] if c not in ("id", "group")):
            values = np.concatenate([np.asarray(p["samples"][column], dtype=object) for p in pieces])
            if not all(isinstance(v, int | float) for v in values):
                continue
            line = mean_over_groups(column, values.astype(float), np.concatenate([p["groups"] for p in pieces]))
            rows.append({"audit": audit.__name__, **{k: tidy(v) for k, v in vars(line).items()}})
    return rows


def tidy(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, str) or value is None:
        return value
    return None if np.isnan(value) else round(float(value), 6) if isinstance(value, float) else int(value)


def page(stored: Row) -> str:
    """Return the tables."""
    lines = ["| data | entry | metric | value | chance | difference from the first entry | groups | CPU s/epoch |"]
    lines.append("| --- | --- | --- | --- | --- | --- | ---: | ---: |")
    for row in (r for name in PLAN for r in stored.get(name, {}).get("rows", [])):
        for metric, f in row["figures"].items():
            d = row.get("difference")
            against = f"{d['difference']:+.3f} {between(d)}" if d and metric == row["metric"] else ""
            chance = row["chance"].get(metric)
            cells = [row["claim"], row["entry"], metric, f"{f['mean']:.3f} {between(f)}"]
            cells += ["" if chance is None else f"{chance:.3f}", against, str(f["groups"]), f"{row['seconds']:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| audit of late-fusion on RAVDESS | what | mean over samples | groups |",
        "| --- | --- | --- | ---: |",
    ]
    for line in stored.get("agm", {}).get("audits", []):
        value = f"{line['value']:.3f} {between(line)}"
        lines.append(f"| {line['audit']} | {line['what']} | {value} | {line['groups']} |")
    return "\n".join(lines) + "\n"


def between(figure: Row) -> str:
    """Return the interval, or the range over groups."""
    if figure.get("low") is not None:
        return f"[{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"({figure['least']:.3f} to {figure['most']:.3f} over groups)" if figure.get("least") is not None else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PLAN, default=list(PLAN))
    parser.add_argument("--out", type=Path, default=Path("runs/proofs"), help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    file = RESULTS / "proofs.json"
    stored: Row = json.loads(file.read_text()) if file.is_file() else {}
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for name in arguments.only:
            rows: list[Row] = []
            everything: dict[tuple[str, int], Row] = {}
            for claim in PLAN[name]():
                work = [(e, n) for e in claim.entries for n in range(len(e.sources))]
                job = partial(trained, arguments.out, claim.seeds)
                found = {(e, n): said for e, n, said in pool.map(job, *zip(*work, strict=True))}
                everything |= found
                rows += judged(claim, found)
                for row, seconds in zip(rows[-len(claim.entries) :], map(cost, claim.entries), strict=True):
                    row["seconds"] = round(seconds, 3)
                print(json.dumps(rows[-len(claim.entries) :], indent=1), flush=True)
            stored[name] = {"machine": machine(), "rows": rows}
            if name == "agm":
                stored[name]["audits"] = audits(everything)
            file.write_text(json.dumps(stored, indent=1) + "\n")
            (RESULTS / "proofs.md").write_text(page(stored))


if __name__ == "__main__":
    main()
