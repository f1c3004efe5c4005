"""``polymodal audit``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli.lists import Names
from polymodal.cli.text import print_json
from polymodal.core.locks import one_writer

if TYPE_CHECKING:
    from polymodal.audit.base import Findings
    from polymodal.audit.subject import Subject

EXAMPLES = {
    "audit": """\
  polymodal audit runs/mmcl-mosi
  polymodal audit runs/mmcl-mosi --with pid interference --html page.html
  polymodal audit runs/cascade --with importance shapley --split valid --json
  polymodal audit runs/hiring --with fairness --by sex,age --data 'stores/hiring?about=people.csv'
  polymodal audit file:answers.jsonl --data mosi.pkl --with pid --html page.html"""
}


def audit(
    run: str,
    *,
    with_: Names = ["importance", "shapley"],  # noqa: B006 (the option is called --with; never changed)
    data: str | None = None,
    split: str = "test",
    html: str | None = None,
    by: Names = [],  # noqa: B006 (never changed)
    json: bool = False,
) -> int:
    """Ask a model what it looks at and what would change its answers, sample by sample; write tables and a page.

    Args:
        run: folder of a run or of a cascade, or file:answers.jsonl, a large model's recorded answers
        with_: audits: importance (which modality is needed to be right), shapley (how far each moves predictions), pid
            (what modalities say together, alone, only jointly), dilution (words added to the text), insertion (what
            words cost that say what another modality shows), interference (what is not needed says something else),
            fairness (whether answers differ by whom they are about), bias (kinds of samples that are got wrong more
            often than the rest of their class)
        data: another corpus with the same modalities and targets
        split: of the corpus
        html: a page of these audits, and the same as JSON beside it
        by: columns about samples that fairness compares by, such as sex
        json: print the findings as JSON
    """
    subject, home = _subject(run, data, split, html)
    with one_writer(home) if home else nullcontext():  # the pages, too, are of these findings
        _audit(subject, home, list(dict.fromkeys(with_)), by, html, json)
    return 0


def _audit(subject: Subject, home: Path | None, names: list[str], by: list[str], html: str | None, json: bool) -> None:
    """Audit, write what was found and print it."""
    from dataclasses import asdict

    from polymodal.audit.run import FOLDER, write_audits
    from polymodal.audit.subject import audit_subject
    from polymodal.data.progress import console
    from polymodal.report import write_report
    from polymodal.report.audits import write_audit_page

    found = audit_subject(subject, names, by)
    if home:
        write_audits(home, subject, found)
    page = write_audit_page(subject, found, Path(html)) if html else None
    if json:
        print_json({n: {k: v for k, v in asdict(f).items() if k != "samples"} for n, f in found.items()})
        return
    for name, findings in found.items():
        _print(name, findings)
        if home and not findings.refused:
            console.print(f"each sample: {home / FOLDER / name}.parquet", soft_wrap=True)
    if page:
        console.print(f"page: {page}, the same as JSON: {page.with_suffix('.json')}", soft_wrap=True)
    if home and (home / "run.json").is_file() and (home / "evaluation" / "scores.json").is_file():
        console.print(f"report: {write_report(home)}", soft_wrap=True)


def _subject(run: str, data: str | None, split: str, html: str | None) -> tuple[Subject, Path | None]:
    """Return who is asked, and the folder that takes the findings; OptionError where there is no place for them."""
    from polymodal.audit.subject import subject_of_run
    from polymodal.cascade.folder import is_cascade
    from polymodal.cascade.judge import subject_of_answers, subject_of_cascade
    from polymodal.core import OptionError
    from polymodal.train.run import Run

    kind, _, place = run.partition(":")
    if kind == "file" and place:
        if data is None or html is None:
            raise OptionError(f"{run} needs --data, what the answers are about, and --html, where the page goes")
        return subject_of_answers(place, data, split), None
    if is_cascade(run):
        return subject_of_cascade(run, data, split), Path(run)
    opened = Run.load(run)
    return subject_of_run(opened, data, split), opened.path


def _print(name: str, findings: Findings) -> None:
    from rich.table import Table

    from polymodal.data.progress import screen
    from polymodal.report.audits import written

    console = screen()
    if findings.refused:
        console.print(f"{name} was not asked: {findings.refused}", soft_wrap=True, markup=False)
        return
    table = Table(box=None, header_style="bold", title=findings.title, title_justify="left")
    table.add_column("")
    for column in ("mean", "95% interval over groups", "samples", "groups"):
        table.add_column(column, justify="right")
    part = ""
    for line in findings.evidence:
        if line.part != part:
            part = line.part
            table.add_row(part)
        value, interval = written(line)
        what = f"  {line.what}" if part else line.what
        table.add_row(what, value, interval or "-", str(line.count), str(line.groups))
    console.print(table)
    for sentence in (*findings.found, *findings.notes):
        console.print(sentence, soft_wrap=True, markup=False)
