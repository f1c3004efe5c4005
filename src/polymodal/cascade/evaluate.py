"""``polymodal evaluate`` of a cascade: what it says, what that costs, and what another budget would have brought."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.cascade.asking import LargeModel, Questions
from polymodal.cascade.curve import Point, curve, plot, table
from polymodal.cascade.fit import errors
from polymodal.cascade.folder import read_cascade
from polymodal.cascade.large import fitted_with, open_large, samples_of
from polymodal.cascade.models import small_run
from polymodal.cascade.records import Records, run
from polymodal.cascade.routing import Answers, Array, Rule
from polymodal.cascade.speaker import Speaker, prepared, target_of
from polymodal.cascade.voice import Sureness
from polymodal.core import DataError, RunError, Target
from polymodal.core.estimate import plain
from polymodal.core.locks import one_writer
from polymodal.data.corpus import Corpus
from polymodal.data.sources import load_corpus
from polymodal.data.split import Split
from polymodal.report.metrics import label
from polymodal.score import summarise
from polymodal.score.statistics import spearman
from polymodal.train.checkpoint import write_json
from polymodal.train.predictions import FILE as PREDICTIONS
from polymodal.train.predictions import write_table


@dataclass(frozen=True)
class Opened:
    """A cascade with the corpus that it is asked about."""

    target: Target
    rule: Rule
    speaker: Speaker
    large: LargeModel
    raw: Corpus
    own: bool


def evaluate_cascade(folder: str | Path, data: str | Corpus | None = None) -> dict[str, Any]:
    """Score a cascade on every test split and write scores, records of all samples, a table and a plot in its folder.

    A large model whose every question costs is asked what the cascade asks it, no more: the curve ends there, and what
    chance would have brought is not known.

    Args:
        folder: of the cascade.
        data: another corpus; default the one that it was fitted on.

    Returns:
        What is written to ``evaluation/scores.json`` (``evaluation-NAME-HASH`` for another corpus): ``rows``, every
        metric of the small model, of the large one where it was asked about all, and of the cascade; ``splits``, for
        each of them ``curve`` (see ``curve.Point``), ``gain`` (mean difference to chance over all shares), the rank
        correlations ``spearman`` (of uncertainty and the small model's error) and ``spearman_mended`` (of uncertainty
        and what is mended by asking the large one), ``stages`` and ``calls``; ``usage`` and ``notes``.

    Raises:
        RunError, DataError: as ``fit_cascade``; a run or corpus that has changed since, a corpus without test split;
            another process writes into the cascade.
    """
    home = Path(folder)
    opened = open_cascade(home, data)
    if not opened.raw.test_splits:
        raise DataError(f"{opened.raw.source} has no test split, only {', '.join(opened.raw.splits)}; name one test")
    with one_writer(home):
        return _evaluated(home, opened)


def _evaluated(home: Path, opened: Opened) -> dict[str, Any]:
    """Return what ``evaluate_cascade`` returns and writes; nobody else writes into the cascade meanwhile."""
    place = home / ("evaluation" if opened.own else f"evaluation-{opened.raw.name}-{opened.raw.hash[:8]}")
    try:
        place.mkdir(exist_ok=True)
    except OSError as problem:
        raise RunError(f"cannot make {place}: {problem.strerror}; free space and try again") from None
    scores: dict[str, Any] = {
        "method": "u-acs",
        "target": opened.target.name,
        "data": {"source": opened.raw.source, "name": opened.raw.name, "hash": opened.raw.hash},
        "large": opened.large.name,
        "rule": plain(opened.rule),
        "error": _error_name(opened.target),
        "rows": [],
        "splits": {},
    }
    tables, pages = [], []
    for name in opened.raw.test_splits:
        rows, found, points, records = _split(opened, name)
        scores["rows"] += rows
        scores["splits"][name] = found
        tables.append(_parquet(opened.target, name, opened.speaker.corpus[name], records))
        figure = plot(points, found["escalated"], _error_name(opened.target))
        figure.savefig(place / f"curve-{name}.png", dpi=150)
        pages.append(f"## {name}\n\n![error against share](curve-{name}.png)\n\n{table(points)}\n")
    scores["usage"], scores["notes"] = opened.large.usage, opened.large.notes
    write_table(tables, place / PREDICTIONS)
    (place / "curve.md").write_text(f"# {_error_name(opened.target)} of {opened.target.name}\n\n" + "\n".join(pages))
    write_json(place / "scores.json", scores)
    return scores


def open_cascade(home: Path, data: str | Corpus | None = None) -> Opened:
    """Return the cascade in ``home`` with both models and the corpus that they are asked about.

    Args:
        data: another corpus; default the one that it was fitted on.

    Raises:
        RunError, DataError: as ``evaluate_cascade``.
    """
    stored = read_cascade(home)
    small = small_run(home, stored)
    raw = load_corpus(data if data is not None else stored["data"]["source"])
    own = raw.hash == stored["data"]["hash"]
    if data is None and not own:
        raise DataError(f"{raw.source} has changed since {home} was fitted; evaluate with --data to go on")
    target = target_of(small, stored["target"])
    speaker = Speaker(small, target, prepared(small, raw), Sureness(**stored["small"]["sureness"]))
    about = stored["large"]
    known = Sureness(**about["sureness"]) if about["sureness"] else None
    large = open_large(about["spec"], target, raw, home, known, about.get("digest"))
    large.notes += fitted_with(about["name"], large)
    return Opened(target, Rule(**stored["rule"]), speaker, large, raw, own)


def _split(opened: Opened, name: str) -> tuple[list[dict[str, Any]], dict[str, Any], list[Point], Records]:
    """Return the figures, the account and the curve of a test split, and the records of its samples."""
    target, split = opened.target, opened.speaker.corpus[name]
    small = opened.speaker.answers(split)
    questions = Questions(opened.large, samples_of(opened.raw, name, opened.large), small)
    records = run(opened.rule, questions)
    costly = opened.large.costly
    sent = opened.rule.escalated(small.u) if costly else np.ones(len(split), bool)
    whole = run(opened.rule, questions, sent)
    true = split.targets[target.name]
    known = np.asarray(target.spec.known(true))
    if not known.any():
        raise DataError(f"{opened.raw.source}: no sample of {name} has a label of {target.name!r}")
    own, other = _filled(target, true, known, small.y), _filled(target, true, known, whole.score)
    groups = np.asarray(split.groups) if len(split.groups) else None
    points, gain = curve(whole, own, other, known, groups, float(sent.mean()))
    answers = {"small": small.y, "cascade": records.score}
    if bool(sent.all()):
        answers["large"] = _first(questions.first, small)
    rows = [row for who, y in answers.items() for row in _figures(target, name, who, true, y, split)]
    account = {
        "samples": len(split),
        "escalated": float((records.calls > 0).mean()),
        "asked_again": float((records.calls > 1).mean()),
        "calls": int(records.calls.sum()),
        "stages": records.by_stage,
        "spearman": _ranks(small.u[known], own[known]),
        # An error that both models make is not mended by asking the large one.
        "spearman_mended": _ranks(small.u[known], (own - other)[known]) if bool(sent.all()) else None,
        "curve": plain(points),
        "curve_to": float(sent.mean()),
        "gain": plain(gain),
    }
    return rows, plain(account), points, records


def _filled(target: Target, true: Array, known: Array, answers: Array) -> Array:
    """Return the error of each answer, 0 where the label is not known."""
    found = np.zeros(len(true))
    found[known] = errors(target, true[known], answers[known])
    return found


def _ranks(unsure: Array, values: Array) -> float:
    """Return the rank correlation of uncertainty and ``values``, both ``(samples,)``."""
    return float(spearman(unsure, values)(np.ones((1, len(values))))[0])


def _first(large: Answers, small: Answers) -> Array:
    """Return what the large model alone says; where it says nothing, what is left is the small one."""
    return np.where(np.isnan(large.y), small.y, large.y)


def _figures(target: Target, name: str, who: str, true: Array, answers: Array, split: Split) -> list[dict[str, Any]]:
    """Return every metric of one set of answers; those that need probabilities are left out."""
    groups = split.groups if len(split.groups) else None
    figures = summarise(target, true, answers.astype(true.dtype)[None], groups=groups)
    return [
        {"split": name, "who": who, "metric": metric, "main": metric == target.spec.main, **plain(estimate)}
        for metric, estimate in figures.items()
        if estimate.count
    ]


def _parquet(target: Target, name: str, split: Split, records: Records) -> Any:
    import pyarrow as pa

    columns = {"split": [name] * len(split), **records.columns, "true": split.targets[target.name]}
    if len(split.groups):
        columns["group"] = [str(g) for g in split.groups]
    return pa.table(columns)


def _error_name(target: Target) -> str:
    """Return what the error of a sample is called."""
    metric = target.spec.sample_metric
    return f"1 - {label(metric)}" if target.spec.metrics[metric] else label(metric)
