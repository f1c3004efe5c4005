"""Audits written into a folder, and read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polymodal.audit.base import Evidence, Findings
from polymodal.audit.subject import Subject, audit_subject, named_run, subject_of_run
from polymodal.core import RunError
from polymodal.core.records import read_json
from polymodal.data.corpus import Corpus
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

    An audit that makes no sense for the run is refused in a sentence (``Findings.refused``), and the others go on.

    Args:
        run: a Run or its folder.
        names: of audits, see ``audit_names``.
        data: another corpus with the same modalities and targets; default: the run's own.
        split: of the corpus; in a run of folds ``test`` is all of its own, each sample judged by the members of the
            fold that held it out.
        by: columns about samples that ``fairness`` compares by.

    Raises:
        OptionError, DataError: as ``audit_subject``.
        RunError, DataError: as ``Run.load`` and ``Run.corpus``; no such split; a folder that cannot be written.
    """
    opened = named_run(run)
    subject = subject_of_run(opened, data, split)
    found = audit_subject(subject, names, by)
    write_audits(opened.path, subject, found)
    return found


def write_audits(home: Path, subject: Subject, found: Mapping[str, Findings]) -> None:
    """Write ``audit/<name>.json`` and, sample by sample, ``audit/<name>.parquet`` below ``home``.

    Raises:
        RunError: they cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = home / FOLDER
    for name, findings in found.items():
        try:
            folder.mkdir(exist_ok=True)
            if findings.samples:
                pq.write_table(pa.table(findings.samples), folder / f"{name}.parquet")
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written: {error.strerror or error}; free space or mend its rights"
            ) from None
        write_json(folder / f"{name}.json", described(subject, findings))


def described(subject: Subject, findings: Findings) -> dict[str, Any]:
    """Return findings without the samples, and what they are about, as JSON holds them."""
    plain = {key: value for key, value in asdict(findings).items() if key != "samples"}
    return {"data": dict(subject.place), "judge": subject.name, "seeds": list(subject.seeds), **plain}


def read_audits(folder: Path) -> list[dict[str, Any]]:
    """Return what audits have written into a run folder, as ``opened`` returns it, sorted by name.

    Raises:
        RunError: a damaged file.
    """
    found = []
    for file in sorted((folder / FOLDER).glob("*.json")):
        about = read_json(file, f"repeat the audit: polymodal audit {folder}")
        try:
            found.append(opened(about))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{file} is damaged ({error}); repeat the audit: polymodal audit {folder}") from None
    return found


def opened(about: dict[str, Any]) -> dict[str, Any]:
    """Return what ``described`` made, ``evidence`` as ``Evidence``, with the ``place`` in words."""
    evidence = [Evidence(**line) for line in about["evidence"]]
    place = f"{about['data']['source']}, split {about['data']['split']}"
    older = {"asked": "", "found": [], "limits": [], "refused": ""}  # a file from before these were told
    return older | about | {"evidence": evidence, "place": place}
