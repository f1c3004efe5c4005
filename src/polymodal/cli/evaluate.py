"""``polymodal evaluate``."""

from __future__ import annotations

import math
from typing import Any

from polymodal.cli import cascade
from polymodal.cli.lists import Stresses
from polymodal.cli.text import print_json
from polymodal.core.errors import OptionError
from polymodal.core.locks import one_writer
from polymodal.core.options import Positive

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
    abstain_at: Positive | None = None,
    json: bool = False,
) -> int:
    """Score a run on complete input, on every subset of its modalities and under stress, and write its report.

    Args:
        run: folder of a run, or of a cascade
        data: another corpus with the same modalities and targets
        stress: also under these, several strengths separated by slashes (docs/stress.md)
        protocol: in place of these, a whole protocol: missmac, missbench, cyin or complete (docs/stress.md)
        abstain_at: also tell how often the run is silent, and how good the rest, where this mean error is to be kept
        json: print the scores as JSON
    """
    from polymodal.cascade.folder import is_cascade

    if is_cascade(run):
        if stress or protocol or abstain_at:
            raise OptionError(
                f"{run} is a cascade, which is scored on complete input; leave out --stress, --protocol, --abstain-at"
            )
        return cascade.evaluate(run, data, json)
    from polymodal.data.progress import console
    from polymodal.report import write_report
    from polymodal.train.evaluate import evaluate as score
    from polymodal.train.evaluate import evaluation_name
    from polymodal.train.run import Run

    opened = Run.load(run)
    corpus = opened.corpus(data)
    with one_writer(opened.path):  # the report, too, is of these scores
        scores = score(opened, corpus if data else None, stress=stress, protocol=protocol, abstain_at=abstain_at)
        report = write_report(opened.path, evaluation=evaluation_name(opened, corpus))
    if json:
        print_json(scores)
    else:
        print_scores(scores)
        console.print(f"report: {report}", soft_wrap=True)
    return 0


def print_scores(scores: dict[str, Any]) -> None:
    """Print the main metric of the first target in every split and condition as a table, what one rater reaches where
    that is known, and in words what is lost."""
    from rich.table import Table

    from polymodal.data.progress import screen
    from polymodal.report.costs import cost_words
    from polymodal.report.rows import costs, rater_row, score_rows

    rows = score_rows(scores)
    first = next(row for row in rows if row.main)
    lines = [(row.subset or row.stress, row) for row in rows]
    lines += [(f"{row.method}, not the method", row) for row in map(rater_row, scores["agreement"])]
    lines = [(name, row) for name, row in lines if row.main and row.target == first.target]
    arrow = "higher is better" if first.higher_is_better else "lower is better"
    title = f"{first.method}: {first.metric} of {first.target} ({arrow})"
    table = Table(box=None, header_style="bold", title=title, title_justify="left")
    for column in ("split", "present", "mean", "± seeds", "95% interval", "n", "groups"):
        table.add_column(column, justify="left" if column in ("split", "present") else "right")
    for name, row in lines:
        between = f"{_number(row.low)} to {_number(row.high)}"
        if math.isfinite(row.least):
            between = f"{_number(row.least)} .. {_number(row.most)}"
        figures = (_number(row.mean), _number(row.std), between, str(row.count), str(row.groups))
        table.add_row(row.split, name, *figures)
    out = screen()
    out.print(table)
    if any(math.isfinite(row.least) for _, row in lines):
        out.print(f"a .. b: lowest and highest of single groups; {first.groups} are too few for an interval")
    for (split, target), found in costs(scores).items():
        if target == first.target:
            out.print(f"{split}: {cost_words(found, first.modalities)}", soft_wrap=True, markup=False)
    for row in scores["selective"]:
        rest = "of the rest none" if row["error"] is None else f"of the rest {row['error']:.3f}"
        words = (
            f"silent on {row['silent']:.0%}, mean error {rest} ({row['promised']:g} promised), of all {row['all']:.3f}"
        )
        out.print(f"{row['split']}: {row['target']} {words}", soft_wrap=True, markup=False)
    for row in scores["novelty"]:
        if row["count"]:
            out.print(f"{row['split']}: {row['share']:.0%} of {row['count']} samples are unlike the training data")


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"
