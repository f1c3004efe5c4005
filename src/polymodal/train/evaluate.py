"""``polymodal.evaluate``: a run on complete input and on every subset of modalities. Importing it costs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core.errors import DataError

if TYPE_CHECKING:
    from polymodal.data.corpus import Corpus
    from polymodal.train.run import Run

PROTOCOL = {
    "selection": "Lowest validation task loss; the same checkpoint for every metric.",
    "seeds": "Mean and population standard deviation over seeds.",
    "interval": "95% percentile bootstrap over samples of the mean over seeds, {resamples} resamples.",
}


def evaluate(
    run: Run | str | Path, data: str | Corpus | None = None, *, subsets: bool = True, resamples: int = 2000
) -> dict[str, Any]:
    """Score a run on every test split and save scores, predictions and representations in its folder.

    Args:
        run: a Run or its folder.
        data: another corpus with the same modalities and targets; default: the run's own.
        subsets: also with every proper subset of the modalities present.
        resamples: of the bootstrap behind the intervals.

    Returns:
        What is written to ``evaluation/scores.json`` (``evaluation-<name>-<hash>`` for another corpus): ``run``,
        ``method``, ``data``, ``protocol``, ``seeds``, ``rows``, one per split, subset, target and metric, and
        ``calibration``, one per split and target (see ``train.calibrate.reliability``).

    Raises:
        RunError, DataError: as ``Run.load``, ``Run.corpus``; no test split.
    """
    from polymodal.train.run import Run

    opened = run if isinstance(run, Run) else Run.load(run)
    corpus = opened.corpus(data)
    if not corpus.test_splits:
        raise DataError(f"{corpus.source} has no test split, only {', '.join(corpus.splits)}; name one test")
    folder = opened.path / evaluation_name(opened, corpus)
    return _Evaluation(opened, corpus, folder, resamples).run_all(subsets)


def evaluation_name(run: Run, corpus: Corpus) -> str:
    """Return the folder within a run that holds its evaluation on ``corpus``; ``evaluation`` if it is the run's own."""
    own = corpus.hash == run.config["data"]["hash"]
    return "evaluation" if own else f"evaluation-{corpus.name}-{corpus.hash[:8]}"


class _Evaluation:
    """Collects predictions of all seeds, splits and subsets, then scores them."""

    def __init__(self, run: Run, corpus: Corpus, folder: Path, resamples: int) -> None:
        self.run, self.corpus, self.folder, self.resamples = run, corpus, folder, resamples
        self.rows: list[dict[str, Any]] = []
        self.calibration: list[dict[str, Any]] = []
        self.tables: list[Any] = []
        self.fused: dict[str, Any] = {}

    def run_all(self, subsets: bool) -> dict[str, Any]:
        from itertools import combinations

        from polymodal.data.progress import progress_bar
        from polymodal.train.checkpoint import write_json

        names, seeds = self.corpus.schema.names, self.run.seeds
        sizes = range(len(names), 0, -1) if subsets else [len(names)]
        conditions = [kept for size in sizes for kept in combinations(names, size)]
        methods = {seed: self.run.method(seed) for seed in seeds}
        with progress_bar() as bar:
            task = bar.add_task("evaluating", total=len(conditions) * len(self.corpus.test_splits))
            for split in self.corpus.test_splits:
                for kept in conditions:
                    self._condition(methods, split, kept)
                    bar.advance(task)
        config = self.run.config
        scores = {
            "run": self.run.path.name,
            "method": config["method"],
            "data": {"source": self.corpus.source, "name": self.corpus.name, "hash": self.corpus.hash},
            "protocol": {
                **{k: v.format(resamples=self.resamples) for k, v in PROTOCOL.items()},
                "absence": "Handled by the method."
                if config["handles_absence"]
                else "Not handled by the method: it is fed zeros.",
            },
            "seeds": seeds,
            "rows": self.rows,
            "calibration": self.calibration,
        }
        self._write_tables()
        write_json(self.folder / "scores.json", scores)
        return scores

    def _condition(self, methods: dict[int, Any], split: str, kept: tuple[str, ...]) -> None:
        """Predict ``split`` with only ``kept`` present, for every seed, and score it."""
        import numpy as np

        from polymodal.score import main_metric, metric_names, summarise
        from polymodal.train.calibrate import reliability
        from polymodal.train.infer import infer

        names = self.corpus.schema.names
        complete = kept == names
        absent = [n for n in names if n not in kept]
        loader = self.run.loader(self.corpus, split)
        by_seed = []
        for seed, method in methods.items():
            keep = ("fused",) if complete and not self.fused else ()
            columns, _, representations = infer(method, loader.epoch(), absent=absent, keep=keep)
            if keep:
                self.fused = {"fused": representations["fused"], "id": columns["id"]}
            by_seed.append(columns)
            self._add_table(columns, seed, split, kept)
        if complete:
            rows = reliability(self.run, self.corpus[split], by_seed)
            self.calibration += [{"split": split, **row} for row in rows]
        for target in self.corpus.schema.joint_targets:
            key = f"{target.name}/probability"
            found = summarise(
                target,
                by_seed[0][f"{target.name}/true"],
                np.stack([c[f"{target.name}/predicted"] for c in by_seed]),
                np.stack([c[key] for c in by_seed]) if key in by_seed[0] else None,
                resamples=self.resamples,
            )
            better = metric_names(target)
            for metric, summary in found.items():
                self.rows.append(
                    {
                        "split": split,
                        "present": list(kept),
                        "complete": complete,
                        "target": target.name,
                        "metric": metric,
                        "higher_is_better": better[metric],
                        "main": metric == main_metric(target),
                        **{k: _number(getattr(summary, k)) for k in ("mean", "std", "low", "high")},
                        "count": summary.count,
                        "seeds": [_number(v) for v in summary.seeds],
                    }
                )

    def _add_table(self, columns: dict[str, Any], seed: int, split: str, kept: tuple[str, ...]) -> None:
        import pyarrow as pa

        rows = len(columns["id"])
        data: dict[str, Any] = {
            "seed": pa.array([seed] * rows, pa.int64()),
            "split": pa.array([split] * rows),
            "present": pa.array(["+".join(kept)] * rows),
        }
        for name, values in columns.items():
            data[name] = pa.array(list(values) if values.ndim > 1 else values.tolist() if name == "id" else values)
        self.tables.append(pa.table(data))

    def _write_tables(self) -> None:
        import os

        import numpy as np
        import pyarrow as pa
        from pyarrow import parquet

        from polymodal.core import RunError

        try:
            self.folder.mkdir(exist_ok=True)
            partial = self.folder / ".predictions.partial"
            parquet.write_table(pa.concat_tables(self.tables), partial)
            os.replace(partial, self.folder / "predictions.parquet")
            with (self.folder / ".representations.partial").open("wb") as file:
                np.savez(file, **self.fused)
            os.replace(self.folder / ".representations.partial", self.folder / "representations.npz")
        except OSError as error:
            for partial in self.folder.glob(".*.partial"):
                partial.unlink(missing_ok=True)
            raise RunError(f"cannot write {self.folder}: {error.strerror or error}; free space and try again") from None


def _number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or value != value else float(value)
