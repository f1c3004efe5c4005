"""``polymodal evaluate``."""

from __future__ import annotations

from typing import Any

from polymodal.cli.text import print_json

EXAMPLES = {
    "evaluate": """\
  polymodal evaluate runs/mmcl-talk
  polymodal evaluate runs/mmcl-mosi --data other_corpus.pkl
  polymodal evaluate runs/mmcl-talk --json > scores.json"""
}


def evaluate(run: str, *, data: str | None = None, resamples: int = 2000, json: bool = False) -> int:
    """Score a run on complete input and on every subset of its modalities, and write its report.

    Args:
        run: folder of a run
        data: another corpus with the same modalities and targets
        resamples: of the bootstrap behind the intervals
        json: print the scores as JSON
    """
    from polymodal.data.progress import console
    from polymodal.report import write_report
    from polymodal.train.evaluate import evaluate as score
    from polymodal.train.evaluate import evaluation_name
    from polymodal.train.run import Run

    opened = Run.load(run)
    corpus = opened.corpus(data)
    scores = score(opened, corpus if data else None, resamples=resamples)
    report = write_report(opened.path, evaluation=evaluation_name(opened, corpus))
    if json:
        print_json(scores)
    else:
        print_scores(scores)
        console.print(f"report: {report}", soft_wrap=True)
    return 0


def print_scores(scores: dict[str, Any]) -> None:
    """Print the main metric on every split and subset as a table."""
    from rich.console import Console
    from rich.table import Table

    main = [row for row in scores["rows"] if row["main"]]
    first = [row for row in main if row["target"] == main[0]["target"]]
    arrow = "higher is better" if first[0]["higher_is_better"] else "lower is better"
    title = f"{scores['method']}: {first[0]['metric']} of {first[0]['target']} ({arrow})"
    table = Table(box=None, header_style="bold", title=title, title_justify="left")
    for column in ("split", "present", "mean", "± seeds", "95% interval", "n"):
        table.add_column(column, justify="left" if column in ("split", "present") else "right")
    for row in first:
        cells = ["-" if row[k] is None else f"{row[k]:.3f}" for k in ("mean", "std", "low", "high")]
        interval = f"{cells[2]} to {cells[3]}"
        table.add_row(row["split"], " + ".join(row["present"]), cells[0], cells[1], interval, str(row["count"]))
    Console(highlight=False).print(table)
