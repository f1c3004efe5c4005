"""``polymodal.evaluate``: a run on complete input, every subset of modalities, and under stress.

Importing it costs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core.errors import DataError, OptionError

if TYPE_CHECKING:
    from polymodal.core import Target
    from polymodal.data.corpus import Corpus
    from polymodal.stress import Point, Prior, Protocol
    from polymodal.train.answers import Answers
    from polymodal.train.infer import Columns
    from polymodal.train.run import Run

PROTOCOL = {
    "selection": "Lowest validation task loss; the same checkpoint for every metric.",
    "seeds": "Mean and population standard deviation over seeds.",
    "interval": "95% of the mean over seeds: groups (samples where none are known) are left out one block at a time, "
    "and seeds vary; none below {few} groups.",
    "stress": "On standardised features of the test split; a sample's mask follows from its id alone.",
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
) -> dict[str, Any]:
    """Score a run on every test split and save scores, predictions and representations in its folder.

    Args:
        run: a Run or its folder.
        data: another corpus with the same modalities and targets; default: the run's own.
        subsets: also with every proper subset of the modalities present.
        stress: also under these (see ``polymodal.stress``), for example ``missing:rate=0.1/0.3/0.5``.
        protocol: name of a whole protocol (see ``stress.named``), which says the subsets and the stress.

    Returns:
        What is written to ``evaluation/scores.json`` (``evaluation-<name>-<hash>`` for another corpus): ``run``,
        ``method``, ``data``, ``protocol``, ``prior`` (see ``stress.prior``), ``seeds``, ``rows``, one per split,
        subset, target and metric, ``calibration``, one per split and target (see ``train.calibrate.reliability``),
        and ``stress``, like ``rows`` with ``stress``, ``series`` and ``value`` (see ``stress.Point``); the area under a
        curve has ``stress`` ``area``. Predictions are in ``predictions.parquet`` beside it (see
        ``train.predictions``).

    Raises:
        RunError, DataError: as ``Run.load``, ``Run.corpus``; no test split.
        OptionError: as ``stress.sweep``, ``stress.named``; a protocol beside subsets or stress of one's own.
    """
    from polymodal.data.progress import console
    from polymodal.stress import conditions, named, sweeps
    from polymodal.train.answers import Answers
    from polymodal.train.run import Run

    asked = named(protocol) if protocol is not None else None  # mistakes are told before anything is read
    if asked and (stress or not subsets):
        raise OptionError(f"protocol {asked.name} says itself which subsets and stress are tested; leave these out")
    sweeps(stress)
    opened = run if isinstance(run, Run) else Run.load(run)
    corpus = opened.corpus(data)
    answers = Answers(opened, corpus)
    if not answers.corpus.test_splits:
        raise DataError(f"{corpus.source} has no test split, only {', '.join(corpus.splits)}; name one test")
    folder = opened.path / evaluation_name(opened, corpus)
    if asked:
        subsets, stress = asked.subsets, asked.stress(corpus.schema)
    points = conditions(corpus.schema, stress, subsets=subsets)
    scores = _Evaluation(opened, answers, folder, asked).run_all(points)
    if scores["data"]["warnings"]:
        console.print(f"warning: {'; '.join(scores['data']['warnings'])}", soft_wrap=True)
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


def _told(run: Run, asked: Protocol | None, prior: Prior) -> list[str]:
    """Return that training saw samples with something taken away, where the protocol forbids it."""
    if asked is None or not asked.subsets or prior != "told":
        return []
    stress = run.config["recipe"]["train_stress"]
    return [f"{asked.name} is for models trained on complete samples, this one was told of absence ({stress})"]


class _Evaluation:
    """Collects predictions of all seeds, splits and conditions, then scores them."""

    def __init__(self, run: Run, answers: Answers, folder: Path, asked: Protocol | None) -> None:
        self.run, self.folder, self.asked = run, folder, asked
        self.answers, self.corpus = answers, answers.corpus
        self.rows: list[dict[str, Any]] = []
        self.stress: list[dict[str, Any]] = []
        self.calibration: list[dict[str, Any]] = []
        self.tables: list[Any] = []

    def run_all(self, points: list[Point]) -> dict[str, Any]:
        from polymodal.data.progress import progress_bar
        from polymodal.score.intervals import FEW
        from polymodal.stress import prior
        from polymodal.train.checkpoint import write_json

        seeds, splits = self.run.seeds, self.corpus.test_splits
        with progress_bar() as bar:
            task = bar.add_task("evaluating", total=len(points) * len(splits))
            for split in splits:
                curves: dict[str, list[tuple[float, list[Columns]]]] = {}
                complete, *rest = points
                whole = self._point(split, complete)
                bar.advance(task)
                for point in rest:
                    columns = self._point(split, point)
                    if point.series:
                        curves.setdefault(point.series, []).append((point.value, columns))
                    bar.advance(task)
                for series, curve in curves.items():
                    self._area(split, series, whole, curve)
        config = self.run.config
        known = prior(config["recipe"]["train_stress"], self.answers.method.drops)
        scores = {
            "run": self.run.path.name,
            "method": config["method"],
            "data": {
                "source": self.corpus.source,
                "name": self.corpus.name,
                "hash": self.corpus.hash,
                "warnings": [*_seen(self.run, self.corpus), *_told(self.run, self.asked, known)],
            },
            "protocol": {
                **({"name": self.asked.name, "says": self.asked.says} if self.asked else {}),
                **{k: v.format(few=FEW) for k, v in PROTOCOL.items()},
                **({"folds": FOLDS} if self.run.crossed else {}),
                "absence": "Handled by the method."
                if config["handles_absence"]
                else "Not handled by the method: it is fed zeros.",
            },
            "prior": known,
            "seeds": seeds,
            "rows": self.rows,
            "stress": self.stress,
            "calibration": self.calibration,
        }
        self._write_tables()
        write_json(self.folder / "scores.json", scores)
        return scores

    def _point(self, split: str, point: Point) -> list[Columns]:
        """Predict ``split`` under a condition, for every seed, and score it."""
        from polymodal.stress import COMPLETE
        from polymodal.train.calibrate import reliability
        from polymodal.train.predictions import as_table

        complete = point.text == COMPLETE
        by_seed = []
        for seed in self.run.seeds:
            keep = ("fused",) if complete and not self.answers.fused else ()
            by_seed.append(self.answers.of(seed, split, point.stress, keep=keep))
            self.tables.append(as_table(by_seed[-1], seed=seed, split=split, condition=point.text))
        if complete:
            rows = reliability(self.run, self.corpus[split], by_seed)
            self.calibration += [{"split": split, **row} for row in rows]
        kept = self.corpus.schema.names if complete else point.stress.kept
        if kept:
            self.rows += self._score(by_seed, {"split": split, "present": list(kept), "complete": complete})
        else:
            place = {"split": split, "stress": point.text, "series": point.series, "value": _number(point.value)}
            self.stress += self._score(by_seed, place)
        return by_seed

    def _score(self, by_seed: list[Columns], place: dict[str, Any]) -> list[dict[str, Any]]:
        from polymodal.score import summarise_tables

        blocks = _blocks(by_seed[0])
        return [
            row
            for target in self.corpus.schema.joint_targets
            for row in _rows(
                target,
                summarise_tables(_measures(target, by_seed), blocks),
                place,
                target.spec.chance(by_seed[0][f"{target.name}/true"]),
            )
        ]

    def _area(self, split: str, series: str, complete: list[Columns], curve: list[tuple[float, list[Columns]]]) -> None:
        """Score the area under the curve of ``series``, in its first target's main metric and all the others."""
        from polymodal.score import area_measures, summarise_tables
        from polymodal.stress import curve_places

        values = [value for value, _ in curve]
        places = curve_places(series, values, len(self.corpus.schema.names))
        if places is None:
            return
        parts = [complete, *(columns for _, columns in curve)] if len(places) > len(curve) else [c for _, c in curve]
        place = {"split": split, "stress": "area", "series": series, "value": None}
        for target in self.corpus.schema.joint_targets:
            tables = [_measures(target, columns) for columns in parts]
            by_seed = [area_measures(places, [table[i] for table in tables]) for i in range(len(tables[0]))]
            found = summarise_tables(by_seed, _blocks(complete[0]))
            self.stress += _rows(target, found, place)

    def _write_tables(self) -> None:
        import os

        import numpy as np

        from polymodal.core import RunError
        from polymodal.train.predictions import write_table

        try:
            self.folder.mkdir(exist_ok=True)
            write_table(self.tables, self.folder)
            with (self.folder / ".representations.partial").open("wb") as stream:
                np.savez(stream, **self.answers.fused)
            os.replace(self.folder / ".representations.partial", self.folder / "representations.npz")
        except OSError as error:
            for partial in self.folder.glob(".*.partial"):
                partial.unlink(missing_ok=True)
            raise RunError(f"cannot write {self.folder}: {error.strerror or error}; free space and try again") from None


def _blocks(columns: Columns) -> Any:
    """Return the samples of ``columns`` dealt by their groups."""
    from polymodal.score import Blocks

    return Blocks.of(len(columns["id"]), columns.get("group"))


def _measures(target: Target, by_seed: list[Columns]) -> list[Any]:
    """Return the measures of each seed's predictions for ``target``."""
    import numpy as np

    from polymodal.score import tables_by_seed

    key = f"{target.name}/probability"
    return tables_by_seed(
        target,
        by_seed[0][f"{target.name}/true"],
        np.stack([c[f"{target.name}/predicted"] for c in by_seed]),
        np.stack([c[key] for c in by_seed]) if key in by_seed[0] else None,
    )


def _rows(
    target: Target, found: dict[str, Any], place: dict[str, Any], chance: dict[str, float] | None = None
) -> list[dict[str, Any]]:
    """Return one row per metric; ``chance`` holds what guessing reaches, where that is known."""
    spec = target.spec
    return [
        {
            **place,
            "target": target.name,
            "metric": metric,
            "higher_is_better": spec.metrics[metric],
            "main": metric == spec.main,
            **{k: _number(getattr(summary, k)) for k in ("mean", "std", "low", "high", "least", "most")},
            "chance": (chance or {}).get(metric),
            "count": summary.count,
            "groups": summary.groups,
            "seeds": [_number(v) for v in summary.seeds],
        }
        for metric, summary in found.items()
    ]


def _number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or math.isnan(value) else float(value)
