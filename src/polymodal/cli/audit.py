"""``polymodal audit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polymodal.cli.lists import Names
from polymodal.cli.text import print_json

if TYPE_CHECKING:
    from polymodal.audit.base import Findings

EXAMPLES = {
    "audit": """\
  polymodal audit runs/mmcl-mosi
  polymodal audit runs/mmcl-mosi --with importance
  polymodal audit runs/mmcl-mosi --with importance shapley --split valid --json
  polymodal audit runs/hiring --with fairness --by sex,age --data 'stores/hiring?about=people.csv'"""
}


def audit(
    run: str,
    *,
    with_: Names = ["importance", "shapley"],  # noqa: B006 (the option is called --with; never changed)
    data: str | None = None,
    split: str = "test",
    by: Names = [],  # noqa: B006 (never changed)
    json: bool = False,
) -> int:
    """Ask a run what each modality is worth to it, sample by sample; write tables and renew the run's report.

    Args:
        run: folder of a run
        with_: audits: importance (which modality is needed to be right), shapley (how far each moves predictions),
            fairness (whether answers differ by whom they are about), insertion (what words cost that say what another
            modality shows), bias (kinds of samples that are got wrong more often than the rest of their class)
        data: another corpus with the same modalities and targets
        split: of the corpus
        by: columns about samples that fairness compares by, such as sex
        json: print the findings as JSON
    """
    from dataclasses import asdict

    from polymodal.audit.run import FOLDER, audit_run
    from polymodal.data.progress import console
    from polymodal.report import write_report
    from polymodal.train.run import Run

    opened = Run.load(run)
    found = audit_run(opened, list(dict.fromkeys(with_)), data, split=split, by=by)
    if json:
        print_json({n: {k: v for k, v in asdict(f).items() if k != "samples"} for n, f in found.items()})
        return 0
    for name, findings in found.items():
        _print(findings)
        console.print(f"each sample: {opened.path / FOLDER / name}.parquet", soft_wrap=True)
    if (opened.path / "evaluation" / "scores.json").is_file():
        console.print(f"report: {write_report(opened.path)}", soft_wrap=True)
    return 0


def _print(findings: Findings) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", title=findings.title, title_justify="left")
    table.add_column("")
    for column in ("mean", "95% interval over groups", "samples", "groups"):
        table.add_column(column, justify="right")
    for line in findings.evidence:
        interval = "-" if line.low is None or line.high is None else f"{line.low:.3f} to {line.high:.3f}"
        table.add_row(line.what, f"{line.value:.3f}", interval, str(line.count), str(line.groups))
    console = Console(highlight=False)
    console.print(table)
    for note in findings.notes:
        console.print(note)
