"""Audits of a run: asked, written into its folder, read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polymodal.audit import find_audit
from polymodal.audit._asked import Known
from polymodal.audit._worded import Batches, worded
from polymodal.audit.base import Evidence, Findings, Judge
from polymodal.audit.panels import judge_of
from polymodal.core import DataError, OptionError, RunError
from polymodal.data.corpus import Corpus
from polymodal.data.progress import progress_bar
from polymodal.data.sources import load_corpus
from polymodal.train.checkpoint import write_json
from polymodal.train.run import Run

FOLDER = "audit"


def audit_run(
    run: Run | str | Path,
    names: Sequence[str],
    data: str | Corpus | None = None,
    *,
    split: str = "test",
    by: Sequence[str] = (),
) -> dict[str, Findings]:
    """Audit the mean of a run's members on one split and write ``audit/<name>.json`` and ``.parquet`` into its folder.

    Args:
        run: a Run or its folder.
        names: of audits, see ``audit_names``.
        data: another corpus with the same modalities and targets; default: the run's own.
        split: of the corpus; in a run of folds ``test`` is all of its own, each sample judged by the members of the
            fold that held it out.
        by: columns about samples that ``fairness`` compares by.

    Raises:
        OptionError: no such audit, none named, or more modalities than can be audited.
        RunError, DataError: as ``Run.load`` and ``Run.corpus``; no such split; a folder that cannot be written.
    """
    if not names:
        raise OptionError("name at least one audit; see polymodal audit --help")
    audits = {name: find_audit(name) for name in names}
    opened = run if isinstance(run, Run) else Run.load(run)
    corpus = opened.corpus(data)
    if any(t.spec.answer == "match" for t in corpus.schema.joint_targets):
        raise DataError(f"{opened.path} retrieves; audits ask for values or classes")
    judge, corpus = judge_of(opened, corpus, split)
    loader = opened.loader(corpus, split)
    part = corpus[split]
    known = Known({n: dict(zip(part.ids, values, strict=True)) for n, values in part.about.items()}, tuple(by))
    found: dict[str, Findings] = {}
    with progress_bar() as bar:
        task = bar.add_task("auditing", total=len(audits))
        for name, audit in audits.items():
            asking = audit(known) if getattr(audit, "reads_columns", False) else audit()
            asked: tuple[Judge, Batches] = (judge, loader.epoch)
            if getattr(audit, "reads_text", False):
                raw = load_corpus(opened.config["data"]["source"] if data is None else data)
                asked = worded(judge, loader.epoch, raw, opened.config["data"]["encode"])
            found[name] = asking.run(*asked)
            _write(opened, name, corpus, split, found[name])
            bar.advance(task)
    return found


def _write(run: Run, name: str, corpus: Corpus, split: str, findings: Findings) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = run.path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.table(findings.samples), folder / f"{name}.parquet")
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written: {error.strerror or error}; free space or mend its rights"
        ) from None
    about = {
        "data": {"source": corpus.source, "hash": corpus.hash, "split": split},
        "seeds": run.seeds,
        "title": findings.title,
        "about": findings.about,
        "evidence": [asdict(line) for line in findings.evidence],
        "notes": findings.notes,
        "asked": findings.asked,
        "found": findings.found,
        "limits": findings.limits,
    }
    write_json(folder / f"{name}.json", about)


def read_audits(folder: Path) -> list[dict[str, Any]]:
    """Return what audits have written into a run folder, ``evidence`` as ``Evidence``, sorted by name.

    Raises:
        RunError: a damaged file.
    """
    found = []
    for file in sorted((folder / FOLDER).glob("*.json")):
        try:
            about = json.loads(file.read_text())
            about["evidence"] = [Evidence(**line) for line in about["evidence"]]
            found.append(about | {"place": f"{about['data']['source']}, split {about['data']['split']}"})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{file} is damaged ({error}); repeat the audit: polymodal audit {folder}") from None
    return found
