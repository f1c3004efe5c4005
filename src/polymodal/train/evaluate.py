"""``polymodal.evaluate``: a run on complete input, every subset of modalities, and under stress.

Importing it costs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core.conditions import COMPLETE
from polymodal.core.errors import DataError, OptionError
from polymodal.core.locks import one_writer

if TYPE_CHECKING:
    from polymodal.data.corpus import Corpus
    from polymodal.stress import Point, Prior, Protocol
    from polymodal.train.abstain import Abstainer
    from polymodal.train.answers import Answers
    from polymodal.train.infer import Columns
    from polymodal.train.run import Run

PROTOCOL = {
    "selection": "Lowest validation task loss; the same checkpoint for every metric.",
    "seeds": "Mean and population standard deviation over seeds.",
    "interval": "95% of the mean over seeds: groups (samples where none are known) are left out one block at a time, "
    "and seeds vary; none below {few} groups.",
    "stress": "On standardised features of the test split; a sample's mask follows from its id alone.",
    "drop": "Complete input minus the condition, above 0 where that is worse; as a share of what complete input gains "
    "over the best guess that sees nothing.",
    "area": "Area under the line through the points (trapezoids, complete input at 0) divided by its width.",
}

FOLDS = (
    "Each sample of the run's own corpus is predicted by the models of the fold that held its group out, and all are "
    "scored once, as test; what no fold held out is predicted by the mean over the folds of each seed."
)


def evaluate(
    run: Run | str | Path,
    data: str | Corpus | None = None,
    *,
    subsets: bool = True,
    stress: Sequence[str] = (),
    protocol: str | None = None,
    abstain_at: float | None = None,
) -> dict[str, Any]:
    """Score a run on every test split and save scores, predictions and representations in its folder.

    Args:
        run: a Run or its folder.
        data: another corpus with the same modalities and targets; default: the run's own.
        subsets: also with every proper subset of the modalities present.
        stress: also under these (see ``polymodal.stress``), for example ``missing:rate=0.1/0.3/0.5``.
        protocol: name of a whole protocol (see ``stress.named``), which says the subsets and the stress.
        abstain_at: also tell what happens where the run stays silent to keep this mean error (see ``train.abstain``).

    Returns:
        What is written to ``evaluation/scores.json`` (``evaluation-<name>-<hash>`` for another corpus): ``run``,
        ``method``, ``data``, ``protocol``, ``prior`` (see ``stress.prior``), ``seeds``, and, NaN as None,

        - ``rows``: one figure each (see ``core.estimate.ScoreRow``), by split, target, condition and metric;
        - ``robustness``: per split and target what the conditions cost (see ``score.Robustness``);
        - ``calibration``: per split and target (see ``train.calibrate.reliability``);
        - ``selective``: per split and target (see ``train.abstain.held``), where ``abstain_at`` is given;
        - ``novelty``: per split the share of samples that are unlike the training data (see ``train.novelty``), where
          that is known, and not of samples that it was measured on;
        - ``agreement``: of the raters of each split, where they are known (see ``train.agreement.rater_rows``).

        Predictions are in ``predictions.parquet`` beside it (see ``train.predictions``).

    Raises:
        RunError, DataError: as ``Run.load``, ``Run.corpus``; no test split; another process writes into the run.
        OptionError: as ``stress.sweep``, ``stress.named``; a protocol beside subsets or stress of one's own; an error
            that the run cannot promise.
    """
    from polymodal.stress import named, sweeps
    from polymodal.train.abstain import Abstainer
    from polymodal.train.answers import Answers
    from polymodal.train.run import Run

    abstainer = None if abstain_at is None else Abstainer(abstain_at)
    asked = named(protocol) if protocol is not None else None  # mistakes are told before anything is read
    if asked and (stress or not subsets):
        raise OptionError(f"protocol {asked.name} says itself which subsets and stress are tested; leave these out")
    sweeps(stress)
    opened = run if isinstance(run, Run) else Run.load(run)
    if abstainer:
        abstainer.check(opened)
    with one_writer(opened.path):
        return _evaluated(opened, Answers(opened, opened.corpus(data)), asked, stress, subsets, abstainer)


def _evaluated(
    opened: Run,
    answers: Answers,
    asked: Protocol | None,
    stress: Sequence[str],
    subsets: bool,
    abstainer: Abstainer | None,
) -> dict[str, Any]:
    """Return what ``evaluate`` returns and writes; nobody else writes into the run meanwhile."""
    from polymodal.data.progress import console
    from polymodal.stress import conditions, prior
    from polymodal.train.checkpoint import write_json

    corpus = answers.corpus
    if not corpus.test_splits:
        raise DataError(f"{corpus.source} has no test split, only {', '.join(corpus.splits)}; name one test")
    points = asked.conditions(corpus.schema) if asked else conditions(corpus.schema, stress, subsets=subsets)
    figures, tables = _collect(opened, answers, points, abstainer)
    known = prior(opened.config["recipe"]["train_stress"], answers.method.drops)
    warnings = [*_seen(opened, corpus), *_told(opened, asked, known)]
    about = {"source": corpus.source, "name": corpus.name, "hash": corpus.hash}
    scores = {
        "run": opened.path.name,
        "method": opened.config["method"],
        "data": {**about, "modalities": list(corpus.schema.names), "warnings": warnings},
        "protocol": _protocol(opened, asked),
        "prior": known,
        "seeds": opened.seeds,
        **figures,
    }
    folder = opened.path / evaluation_name(opened, corpus)
    _write_tables(folder, tables, answers.fused)
    write_json(folder / "scores.json", scores)
    if warnings:
        console.print(f"warning: {'; '.join(warnings)}", soft_wrap=True)
    return scores


def evaluation_name(run: Run, corpus: Corpus) -> str:
    """Return the folder within a run that holds its evaluation on ``corpus``; ``evaluation`` if it is the run's own."""
    own = corpus.hash == run.config["data"]["hash"]
    return "evaluation" if own else f"evaluation-{corpus.name}-{corpus.hash[:8]}"


def _seen(run: Run, corpus: Corpus) -> list[str]:
    """Return what training may have seen of the test splits; of another corpus only a run of folds knows."""
    from polymodal.data.folds import Folds
    from polymodal.data.leaks import leaks

    about, folds = run.config["data"], run.config.get("folds", {})
    if corpus.hash == about["hash"]:
        return list(about["warnings"]) if "warnings" in about else leaks(corpus)
    return Folds.from_dict(folds).seen(corpus) if "groups" in folds else []


def _protocol(run: Run, asked: Protocol | None) -> dict[str, str]:
    """Return what the figures mean, in words."""
    from polymodal.score.intervals import FEW

    handled = (
        "Handled by the method." if run.config["handles_absence"] else "Not handled by the method: it is fed zeros."
    )
    return {
        **({"name": asked.name, "says": asked.says} if asked else {}),
        **{name: text.format(few=FEW) for name, text in PROTOCOL.items()},
        **({"folds": FOLDS} if run.crossed else {}),
        "absence": handled,
    }


def _told(run: Run, asked: Protocol | None, prior: Prior) -> list[str]:
    """Return that training saw samples with something taken away, where the protocol forbids it."""
    if asked is None or not asked.subsets or prior != "told":
        return []
    stress = run.config["recipe"]["train_stress"]
    return [f"{asked.name} is for models trained on complete samples, this one was told of absence ({stress})"]


def _collect(
    run: Run, answers: Answers, points: Sequence[Point], abstainer: Abstainer | None
) -> tuple[dict[str, list[Any]], list[Any]]:
    """Return the lists of ``scores.json``, and the tables of all that was predicted."""
    from polymodal.core.estimate import plain
    from polymodal.data.progress import progress_bar
    from polymodal.train.agreement import rater_rows
    from polymodal.train.calibrate import reliability, selective
    from polymodal.train.figures import figures_of
    from polymodal.train.novelty import Novelty, alarms
    from polymodal.train.predictions import as_table

    corpus, seeds = answers.corpus, run.seeds
    # A run of folds was measured on all of its own corpus.
    novelty = None if run.crossed and corpus.hash == run.config["data"]["hash"] else Novelty.read(run)
    parts = ("rows", "robustness", "calibration", "selective", "novelty", "agreement")
    figures: dict[str, list[Any]] = {part: [] for part in parts}
    tables = []
    with progress_bar() as bar:
        task = bar.add_task("evaluating", total=len(points) * len(corpus.test_splits))
        for split in corpus.test_splits:
            predicted: dict[str, list[Columns]] = {p.text: [] for p in points}
            for point in points:
                for seed in seeds:
                    # One set of representations is kept: that of the first seed, complete input.
                    keep = ("fused",) if point.text == COMPLETE and not answers.fused else ()
                    columns = answers.of(seed, split, point.stress, keep=keep)
                    predicted[point.text].append(columns)
                    tables.append(as_table(columns, seed=seed, split=split, condition=point.text))
                bar.advance(task)
            scored, costs = figures_of(split, corpus.schema, points, predicted)
            figures["rows"] += plain(scored)
            figures["robustness"] += [{"split": split, **plain(cost)} for cost in costs]
            reliable = reliability(run, corpus[split], predicted[COMPLETE])
            figures["calibration"] += [{"split": split, **row} for row in reliable]
            if abstainer:
                rows = selective(run, corpus[split], predicted[COMPLETE], abstainer)
                figures["selective"] += [{"split": split, "promised": abstainer.error, **row} for row in rows]
            if novelty:
                told = [one for batch in run.loader(corpus, split).epoch() for one in novelty.told(batch)]
                figures["novelty"] += [{"split": split, **alarms(told)}]
            figures["agreement"] += rater_rows(corpus, split, predicted[COMPLETE])
    return figures, tables


def _write_tables(folder: Path, tables: Sequence[Any], fused: dict[str, Any]) -> None:
    import os

    import numpy as np

    from polymodal.core import RunError
    from polymodal.train.predictions import FILE, write_table

    try:
        folder.mkdir(exist_ok=True)
        write_table(tables, folder / FILE)
        with (folder / ".representations.partial").open("wb") as stream:
            np.savez(stream, **fused)
        os.replace(folder / ".representations.partial", folder / "representations.npz")
    except OSError as error:
        for partial in folder.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {folder}: {error.strerror or error}; free space and try again") from None
