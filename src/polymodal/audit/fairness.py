"""Fairness: whether answers differ by whom they are about, and whether the model can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from polymodal.audit._asked import Asked, Known, ask, figure
from polymodal.audit._parity import compared
from polymodal.audit._probe import balanced, told
from polymodal.audit.base import Evidence, Findings, Judge
from polymodal.core import Batch, DataError, OptionError, nearest
from polymodal.data.ragged import Array
from polymodal.score.intervals import Blocks

FEWEST = 10
"""Samples of a value at least; rarer ones are left out."""

FAIR = 0.8
"""Four fifths: a lower ratio of the rates of two values counts as adverse."""

BRING = "bring a table with SOURCE?about=people.csv"


class Fairness:
    """Parity, equal opportunity, and probes of what is kept (FairCVtest, Pena et al., CVPRW 2020, arXiv 2004.07173).

    For each value of a column (sex, age band) that is compared: the mean answer and error; the share of samples that
    are *chosen*, those given a class, or those in the upper quarter of all numbers; the same among those who deserve
    it by their label (equal opportunity). Differences are of one value from all others; the ratio is of the lowest
    share to the highest; for numbers also the mean Kullback-Leibler divergence between histograms of two values.
    Probes learn on some groups to tell the value on others, from the model's fused vector, from its answers, and from
    its inputs; balanced accuracy, 1 / values by chance.

    Departures: the released metrics fix 1000 chosen and the threshold of the blind labels; here it is a quarter of what
    is there, by the labels of the corpus asked about (an unbiased one may be asked about with ``--data``). Half a
    sample is added to every bin, for over shared bins alone a divergence can be negative. One probe, a support vector
    machine, instead of three.

    Args:
        known: columns, and those to compare by.

    Raises:
        OptionError: no column to compare by.
        DataError: one that is not there.
    """

    reads_columns = True

    def __init__(self, known: Known) -> None:
        if not known.by:
            raise OptionError(
                "fairness compares people; say by which column, --by COLUMN "
                f"(available: {', '.join(sorted(known.columns)) or f'none, {BRING}'})"
            )
        for column in known.by:
            if column not in known.columns:
                there = nearest(column, known.columns) if known.columns else f", nor any other; {BRING}"
                raise DataError(f"there is no column {column!r} about the samples{there}")
        self.known = known

    def run(self, judge: Judge, batches: Callable[[], Iterable[Batch]]) -> Findings:
        """Compare answers by every column; DataError where one has a single value."""
        target = judge.schema.joint_targets[0]
        asked = ask(judge, target, batches)
        evidence: list[Evidence] = []
        notes: list[str] = []
        samples: dict[str, list[object]] = {"id": list(asked.ids)}
        for column in self.known.by:
            values = self.known.of(column, asked.ids)
            samples[column] = values.tolist()
            kept, rare = _values(column, values)
            notes += rare
            evidence += compared(_part(asked, np.isin(values, kept)), values[np.isin(values, kept)], column, target)
            lines, right = _probes(_part(asked, np.isin(values, kept)), values[np.isin(values, kept)], column)
            evidence += lines
            if right is not None:
                whole = np.full(len(values), np.nan)
                whole[np.isin(values, kept)] = right
                samples[f"{column} told"] = whole.tolist()
            elif not asked.states:
                notes.append(
                    f"What is kept of {column} was not asked: a run of folds, or a judge that is no run, has no vector "
                    "that is one for all samples."
                )
        return Findings(
            "Fairness",
            "Rates and errors by whom answers are about, and probes (FairCVtest; Pena et al., CVPRW 2020).",
            evidence,
            samples,
            notes,
            asked=f"Do answers, and errors, differ by {' or '.join(self.known.by)}, and can the model tell?",
            found=_words(evidence),
            limits=[
                "Differences say nothing of their cause: labels, too, may be unfair, and errors and deserts are "
                "counted by them.",
                "What this probe does not find another one may; a column that is not there was not compared.",
            ],
        )


def _values(column: str, values: Array) -> tuple[list[str], list[str]]:
    """Return the values that can be compared, and notes on the others."""
    names, counts = np.unique(values, return_counts=True)
    sizes = {str(n): int(c) for n, c in zip(names, counts, strict=True)}
    kept = [n for n, c in sizes.items() if n and c >= FEWEST]
    if len(kept) < 2:
        raise DataError(
            f"column {column!r} has {len(kept)} values with at least {FEWEST} labelled samples each, and comparing "
            "takes two; ask about another split, or another column"
        )
    rare = [f"{n or 'unknown'} ({c})" for n, c in sizes.items() if n not in kept]
    return kept, [f"Of {column} left out, fewer than {FEWEST} samples or not known: {', '.join(rare)}."] if rare else []


def _part(asked: Asked, rows: Array) -> Asked:
    chosen = np.flatnonzero(rows)
    return Asked(
        [asked.ids[i] for i in chosen],
        asked.groups[rows],
        asked.said[rows],
        asked.true[rows],
        [s[rows] for s in asked.states],
        None if asked.inputs is None else asked.inputs[rows],
    )


def _probes(asked: Asked, values: Array, column: str) -> tuple[list[Evidence], Array | None]:
    """Return how well the column can be told, and for each sample how often it was, from the fused vectors."""
    blocks, part = Blocks.of(len(values), asked.groups), f"{column}: told by a probe"
    answers = asked.said.reshape(len(values), -1)
    sources = {"what the model keeps": asked.states, "its answers": [answers]}
    sources |= {"its inputs": [asked.inputs]} if asked.inputs is not None else {}
    lines, kept = [], None
    for name, vectors in sources.items():
        right = told(vectors, values, asked.groups) if vectors else None
        if right is None:
            continue
        kept = right if vectors is asked.states else kept
        count = int((~np.isnan(right)).sum())
        lines.append(figure(f"{column} told from {name}", balanced(right, values), count, blocks, part, (0.0, 1.0)))
    by_chance = 1 / len(np.unique(values))
    lines += [Evidence(f"{column} told by chance", by_chance, len(values), blocks.groups, part=part)] if lines else []
    return lines, kept


def _words(evidence: list[Evidence]) -> list[str]:
    """Return the differences that are surely there, the ratio and the probe in words."""
    sure = [
        e
        for e in evidence
        if e.what.startswith("difference") and e.low is not None and e.high is not None and not e.low <= 0 <= e.high
    ]
    found = [f"{_capital(e.what)}: {e.value:+.3f} ({e.low:+.3f} to {e.high:+.3f})." for e in sure]
    found = found or [
        "No difference is larger than chance would have it (95 % intervals, not corrected for their number)."
    ]
    adverse = [e for e in evidence if e.what.startswith("ratio") and e.value < FAIR]
    certain = [e for e in adverse if e.high is not None and e.high < FAIR]
    found += [f"The {e.what} is {_between(e)}, below four fifths." for e in certain]
    if count := len(adverse) - len(certain):
        which = f"{count} other ratios of shares are" if certain else f"{count} ratios of shares are"
        which = which if count > 1 else f"{'Another' if certain else 'One'} ratio of shares is"
        found.append(f"{which} below four fifths, which may be chance.")
    told_by_chance = {e.part: e.value for e in evidence if e.what.endswith("told by chance")}
    for e in evidence:
        if e.what.endswith("what the model keeps"):
            found.append(f"{_capital(e.what)}: {_between(e)}, {told_by_chance[e.part]:.2f} by chance.")
    return found


def _between(line: Evidence) -> str:
    return f"{line.value:.2f}" + ("" if line.low is None else f" ({line.low:.2f} to {line.high:.2f})")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


AUDIT = Fairness
