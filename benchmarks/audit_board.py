"""What audits find in the five best methods of the published board, on five of its corpora, and what they cost.

    python benchmarks/audit_board.py                          # from the repository root; 20 minutes of a shared core
    python benchmarks/audit_board.py --corpora cmu_mosi       # one corpus; the others stay as they are

Which five: of the entries that the board ranks beside its floor (what their training knew of absence is the same; other
entries are ranked among themselves, over fields of one or two), those of best mean rank over all corpora, without the
floor and without cascades, which are two trainings each; of equal ones the first on the board. Each is trained with
one seed, the board's first, with the preset and settings of its entry and, over these, the options that the board's
search chose for it on that very training split (``searches`` of ``board.json``; every fold has its own).

Where a corpus comes in folds, every sample is judged by the one training that never saw its group, and an audit asks
about the samples of all folds at once: intervals are over groups, which are too few in a single fold. ``fairness``
compares by all columns that a corpus has. Cost is processor time as a ratio of that of the training, of all five for
folds; reading the corpus is in neither. A finished cell stays in ``--out``, also the parts of one that was cut off;
what was trained with other settings is not reused. Writes ``results/audit_board.json`` and ``audit_board.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from audit_board_page import page
from measure import RESULTS, machine
from polymodal.audit.base import Findings, Panel, Said
from polymodal.audit.subject import Subject, audit_subject, columns_of, place_of, subject_of_run
from polymodal.bench.board import Board, Entry
from polymodal.bench.published import Published
from polymodal.bench.ranks import rank_entries
from polymodal.core import Batch, DataError, OptionError
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.progress import console
from polymodal.data.sources import load_corpus
from polymodal.data.split import Split
from polymodal.data.standardise import Normalizer
from polymodal.methods import method_ids
from polymodal.train.fit import train
from polymodal.train.plan import prepare
from polymodal.train.run import Run

Row = dict[str, Any]
BOARD = RESULTS / "board"
CORPORA = ("cmu_mosi", "ravdess_av", "meld_text", "mfeat_digits", "faircv")
AUDITS = ("importance", "shapley", "pid", "dilution", "interference", "bias", "fairness")
COUNT = 5


def best(board: Board, count: int = COUNT) -> list[tuple[Entry, float]]:
    """Return the entries that are audited with their mean ranks, best first; see above for the rule."""
    known = {e.name: e for e in board.entries}
    floor = next(e for e in board.entries if e.floor)
    ranking = rank_entries(board, prior=floor.prior)
    ranked = [(known[n], rank) for n, rank in zip(ranking.names, ranking.ranks, strict=True)]
    return [(e, rank) for e, rank in ranked if not e.floor and e.method in method_ids()][:count]


def tuned(board: Board, entry: str, corpus: str, source: str) -> Row:
    """Return the options that the board's search chose; nothing where it holds none."""
    asked = (entry, corpus, source)
    return next((dict(s.options) for s in board.searches if (s.entry, s.corpus, s.source) == asked), {})


class OwnFold:
    """Each sample is judged by the run whose test split has it.

    Args:
        runs: one per fold.
        tested: their test splits.
    """

    def __init__(self, runs: Sequence[Run], tested: Sequence[Split]) -> None:
        self.schema = runs[0].schema
        self._panels = [Panel([run.method()], [run.normalizer]) for run in runs]
        self._home = {sample: fold for fold, split in enumerate(tested) for sample in split.ids}

    def __call__(self, batch: Batch) -> Said:
        """Return the answers; the batch is not standardised."""
        homes = torch.tensor([self._home[sample] for sample in batch.ids])
        found: Said = {}
        for fold in homes.unique().tolist():
            rows = (homes == fold).nonzero()[:, 0]
            for name, values in self._panels[fold](batch.select(rows)).items():
                found.setdefault(name, values.new_zeros(len(batch), *values.shape[1:]))[rows] = values
        return found


def subject(runs: Sequence[Run], corpora: Sequence[Corpus]) -> Subject:
    """Return who is asked about the test samples: a run, or the runs of folds, out of fold."""
    if len(runs) == 1:
        return subject_of_run(runs[0], corpora[0])
    tested = [corpus["test"] for corpus in corpora]
    whole = corpora[0].with_split("test", Split.joined(tested))
    judge, loader = OwnFold(runs, tested), Loader(whole["test"], whole.schema, 32, normalizer=Normalizer({}, {}))
    place, columns = place_of(whole, "test"), columns_of(whole, "test")
    return Subject(
        runs[0].path.parent.name, judge, loader.epoch, place, lambda: (judge, loader.epoch), columns, runs[0].seeds
    )


@cache
def loaded(source: str) -> Corpus:
    return load_corpus(source)


def trained(entry: Entry, source: str, options: Row, seed: int, folder: Path) -> tuple[Run, float]:
    """Return the run in ``folder``, trained where it is not yet, and the processor time of its training."""
    clock = folder.with_suffix(".seconds.json")
    if not clock.is_file():
        shutil.rmtree(folder, ignore_errors=True)  # begun, not finished: its time is not known
        names = loaded(source).schema.names
        frozen, own = (
            {n: e for n, e in entry.settings.get(kind, {}).items() if n in names} for kind in ("encode", "encoder")
        )
        plan = prepare(
            entry.method, source, preset=entry.preset or None, options=options, encoder=own, encode=frozen,
            seeds=[seed], load=lambda asked: loaded(str(asked)),
        )  # fmt: skip
        started = time.process_time()
        train(plan, folder, device="cpu", resume=False, checkpoint_seconds=math.inf, calibrated=False)
        clock.write_text(json.dumps(time.process_time() - started))
    return Run.load(folder), float(json.loads(clock.read_text()))


def told(findings: Findings, seconds: float) -> Row:
    """Return what an audit found as it is stored."""

    def short(x: float | None) -> float | None:
        return None if x is None or math.isnan(x) else round(x, 4)

    lines = [
        {"part": e.part, "what": e.what, "value": short(e.value), "low": short(e.low), "high": short(e.high)}
        | {"count": e.count, "groups": e.groups}
        for e in findings.evidence
    ]
    return {
        "seconds": round(seconds, 2), "refused": findings.refused, "found": findings.found, "notes": findings.notes,
        "evidence": lines,
    }  # fmt: skip


def cell(board: Board, entry: Entry, corpus: str, sources: Sequence[str], seed: int, out: Path) -> Row:
    """Return what every audit finds in ``entry`` on ``corpus`` and costs; what is there already is not done again."""
    common = {k: v for k, v in entry.settings.items() if k not in ("encode", "encoder")}
    options = {source: common | tuned(board, entry.name, corpus, source) for source in sources}
    key = hashlib.sha256(json.dumps([entry.method, entry.preset, options, seed]).encode()).hexdigest()[:8]
    folder = out / f"{corpus}-{entry.name}-{key}".replace(" ", "")
    folder.mkdir(parents=True, exist_ok=True)
    done = [trained(entry, s, options[s], seed, folder / f"fold-{i}") for i, s in enumerate(sources)]
    training = sum(seconds for _, seconds in done)
    print(f"  trained in {training:.1f} s", flush=True)
    kept = folder / "audits.json"
    found: dict[str, Row] = json.loads(kept.read_text()) if kept.is_file() else {}
    asked = subject([run for run, _ in done], [loaded(s) for s in sources])
    for audit in [a for a in AUDITS if a not in found]:
        by = sorted(asked.columns) if audit == "fairness" else []
        started = time.process_time()
        try:
            findings = audit_subject(asked, [audit], by)[audit]
        except (OptionError, DataError) as error:
            findings = Findings(audit, "", [], {}, refused=str(error))
        found[audit] = told(findings, time.process_time() - started)
        kept.write_text(json.dumps(found))
        print(f"  {audit}: {'not asked' if findings.refused else found[audit]['seconds']}", flush=True)
    return {
        "method": entry.name, "preset": entry.preset, "options": options, "training": round(training, 2),
        "audits": found,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA), help="default: all five")
    parser.add_argument("--out", type=Path, default=Path("runs/audit-board"), help="folder of the runs")
    options = parser.parse_args()
    console.quiet = True
    torch.set_num_threads(1)
    published = Published.load(BOARD)
    board, file = published.board, RESULTS / "audit_board.json"
    digest = hashlib.sha256(b"".join((BOARD / n).read_bytes() for n in ("board.json", "figures.parquet"))).hexdigest()[
        :16
    ]
    entries = best(board)
    about = {
        "board": {"date": board.made["date"], "hash": digest, "title": board.title},
        "entries": [{"name": e.name, "rank": round(rank, 2)} for e, rank in entries],
        "asked": list(CORPORA),
        "audits": list(AUDITS),
    }
    stored: Row = json.loads(file.read_text()) if file.is_file() else {}
    found: Row = stored.get("corpora", {}) if stored.get("board") == about["board"] else {}
    for name in options.corpora:
        info = next(c for c in board.corpora if c.name == name)
        about_machine, rows = machine(), []
        for source, content in zip(info.sources, info.hashes, strict=True):
            if loaded(source).hash != content:
                raise SystemExit(f"{source} is not what the board was made with; make the board anew, or take its data")
        for number, (entry, _) in enumerate(entries, start=1):
            print(f"{name}: {entry.name} ({number} of {len(entries)})", flush=True)
            rows.append(cell(board, entry, name, info.sources, board.seeds[0], options.out))
        loaded.cache_clear()
        found[name] = {
            "machine": about_machine | {"threads": os.environ.get("OMP_NUM_THREADS", "1")},
            "task": info.task, "folds": len(info.sources), "seed": board.seeds[0], "rows": rows,
        }  # fmt: skip
        text = json.dumps(about | {"corpora": {c: found[c] for c in CORPORA if c in found}})
        file.write_text(text + "\n")
        (RESULTS / "audit_board.md").write_text(page(json.loads(text)))


if __name__ == "__main__":
    main()
