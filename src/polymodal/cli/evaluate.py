"""``polymodal evaluate``."""

from __future__ import annotations

from typing import Any

from polymodal.cli.lists import Stresses
from polymodal.cli.text import print_json

EXAMPLES = {
    "evaluate": """\
  polymodal evaluate runs/mmcl-talk
  polymodal evaluate runs/mmcl-mosi --data other_corpus.pkl
  polymodal evaluate runs/mmcl-talk --stress missing:rate=0.1/0.3/0.5/0.7 noise:audio,snr=20/10/0
  polymodal evaluate runs/mmcl-talk --protocol missmac
  polymodal evaluate runs/mmcl-talk --json > scores.json"""
}


def evaluate(
    run: str,
    *,
    data: str | None = None,
    stress: Stresses = [],  # noqa: B006 (never changed)
    protocol: str | None = None,
    json: bool = False,
) -> int:
    """Score a run on complete input, on every subset of its modalities and under stress, and write its report.

    Args:
        run: folder of a run
        data: another corpus with the same modalities and targets
        stress: also under these, several strengths separated by slashes (docs/stress.md)
        protocol: in place of these, a whole protocol: missmac, missbench, cyin or complete (docs/stress.md)
        json: print the scores as JSON
    """
    from polymodal.data.progress import console
    from polymodal.report import write_report
    from polymodal.train.evaluate import evaluate as score
    from polymodal.train.evaluate import evaluation_name
    from polymodal.train.run import Run

    opened = Run.load(run)
    corpus = opened.corpus(data)
    scores = score(opened, corpus if data else None, stress=stress, protocol=protocol)
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
    for column in ("split", "present", "mean", "± seeds", "95% interval", "n", "groups"):
        table.add_column(column, justify="left" if column in ("split", "present") else "right")
    for row in first:
        table.add_row(row["split"], " + ".join(row["present"]), *_cells(row))
    for row in scores["stress"]:
        if row["main"] and row["target"] == main[0]["target"]:
            name = f"area under {row['series']}" if row["stress"] == "area" else row["stress"]
            table.add_row(row["split"], name, *_cells(row))
    out = Console(highlight=False)
    out.print(table)
    if any(row["low"] is None and row["least"] is not None for row in scores["rows"]):
        out.print(f"a .. b: lowest and highest of single groups; {first[0]['groups']} are too few for an interval")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    mean, std, low, high = ("-" if row[k] is None else f"{row[k]:.3f}" for k in ("mean", "std", "low", "high"))
    between = f"{low} to {high}"
    if row["low"] is None and row["least"] is not None:
        between = f"{row['least']:.3f} .. {row['most']:.3f}"
    return mean, std, between, str(row["count"]), str(row["groups"])
