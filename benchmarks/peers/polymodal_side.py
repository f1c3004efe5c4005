"""Our half of the comparison: does what ``compare.py`` tells it, like ``mmsa_side.py``.

Training is ``polymodal.train.loop.Trainer``, checkpoints, records and validation included; only its loaders wait for
their turn. ``"bucket": false`` pads every batch to the corpus maximum as MMSA does. ``"hidden": true`` declares the
padding as data and standardises nothing: every sample gets the length of the array, as MMSA reads it.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gate import Gate, Stopped, forget_peak, memory_mib
from lightning_fabric import Fabric
from rich.progress import Progress
from rows import ROWS, Row

from polymodal.core import Batch, seed_torch
from polymodal.data import mmsa
from polymodal.data.corpus import Corpus
from polymodal.data.loader import Loader
from polymodal.data.pickles import read_pickle
from polymodal.data.ragged import Array
from polymodal.data.sources import load_corpus
from polymodal.data.standardise import Normalizer
from polymodal.methods import build, find_method
from polymodal.score import evaluate
from polymodal.train.checkpoint import load_weights
from polymodal.train.infer import infer
from polymodal.train.loop import Trainer
from polymodal.train.problem import CorpusProblem
from polymodal.train.recipe import Recipe
from polymodal.train.stage import Stage


class Paced(Loader):
    """A loader that marks every batch."""

    gate: Gate

    def batch(self, rows: Array) -> Batch:
        """Return the batch."""
        self.gate.mark()
        return super().batch(rows)


class Chosen(Paced):
    """A loader whose epoch is a few batches, taken evenly from the shortest to the longest, again and again."""

    steps: int

    def plan(self, epoch: int) -> list[Array]:
        """Wait for the turn, then return the batches."""
        whole = super().plan(epoch)
        if self.bucket:
            whole.sort(key=lambda rows: int(self._cost[rows].max()))
        middles = ((np.arange(self.steps) + 0.5) * len(whole) / self.steps).astype(int)
        self.gate.turn()
        return [whole[i] for i in middles]


class Timed(CorpusProblem):
    """A corpus whose training batches wait for their turn, in ``steps`` before every unit of steps."""

    gate: Gate
    steps: int

    def _loader(self, split: str, *, shuffle: bool) -> Loader:
        loader = super()._loader(split, shuffle=shuffle)
        if shuffle:
            loader.__class__ = Chosen if self.steps else Paced
            loader.__dict__ |= {"gate": self.gate, "steps": self.steps}
        return loader


class Turns(Trainer):
    """A trainer that waits for its turn before every epoch, or leaves that to units of ``steps``."""

    gate: Gate
    steps: int

    def _epoch(self, stage: Stage) -> None:
        if not self.steps:
            self.gate.turn()
        super()._epoch(stage)

    def _finish_epoch(self, stage: Stage, means: dict[str, float], seconds: float) -> None:
        if not self.steps:  # a unit of steps has no validation
            super()._finish_epoch(stage, means, seconds)


def load(job: dict[str, Any]) -> Corpus:
    """Return the corpus of a row; with ``hidden``, without true lengths."""
    path = Path(job["folder"]) / f"{job['data']}.pkl"
    if not job.get("hidden"):
        return load_corpus(f"{path}?text={job['text']}")
    data = read_pickle(path)
    for part in data.values():
        part["text_bert"][:, 1] = 1
        for name in ("audio", "vision"):
            part[f"{name}_lengths"] = [part[name].shape[1]] * len(part["id"])
    return mmsa.read(data, path, text=job["text"])


def make_trainer(job: dict[str, Any], corpus: Corpus, folder: Path, seed: int, gate: Gate | None) -> Trainer:
    """Return the trainer of a row."""
    row: Row = ROWS[job["row"]]
    recipe = Recipe().with_options({**row.recipe, "bucket": job["bucket"], "epochs": job["epochs"]})
    seed_torch(seed)
    schema = corpus.schema
    if job["text"] == "raw":
        schema = schema.with_encoders({"text": str(Path(job["folder"]) / "bert")})
    method = build(find_method(row.ours), schema, row.options)
    fabric, bar = Fabric(accelerator="cpu", devices=1), Progress(disable=True)
    trainer, problem = Trainer, CorpusProblem
    if gate:
        trainer, problem = Turns, Timed
        Turns.gate = Timed.gate = gate
        Turns.steps = Timed.steps = job["steps"] if job["task"] == "steps" else 0
    return trainer(method, problem(corpus, recipe, seed), recipe, seed, folder, fabric, bar, lambda line: None, 1e9)


def time_units(job: dict[str, Any], gate: Gate, folder: Path) -> None:
    """Train; every unit, an epoch or some steps, when the benchmark says so."""
    corpus = load(job)
    trainer = make_trainer(job, corpus, folder, 1111, gate)
    gc.collect()
    gate.say(
        parameters=sum(p.numel() for p in trainer.method.parameters()),
        loaded_mib=memory_mib("VmRSS"),
    )
    forget_peak()
    trainer.fit()


def time_loading(job: dict[str, Any], gate: Gate) -> None:
    """Report seconds from the file to the first training batch."""
    recipe = ROWS[job["row"]].recipe
    gate.turn()
    started = time.perf_counter()
    corpus = load(job)
    loader = Loader(
        corpus["train"],
        corpus.schema,
        recipe["batch_size"],
        normalizer=corpus.normalizer,
        shuffle=True,
        bucket=job["bucket"],
    )
    next(loader.epoch())
    gate.say(seconds=round(time.perf_counter() - started, 3), peak_mib=memory_mib("VmHWM"), now_mib=memory_mib("VmRSS"))


def score(job: dict[str, Any], gate: Gate, folder: Path) -> None:
    """Train every seed to its end and report the test scores of the checkpoint that validation chose."""
    corpus = load(job)
    if job.get("hidden"):
        corpus = replace(corpus, stored_normalizer=Normalizer({}, {}))
    target = corpus.schema.joint_targets[0]
    for seed in job["seeds"]:
        started, place = time.perf_counter(), folder / str(seed)
        place.mkdir()
        trainer = make_trainer(job, corpus, place, seed, None)
        trainer.fit()
        load_weights(trainer.method, place / "best.safetensors")
        test = Loader(
            corpus["test"],
            corpus.schema,
            trainer.recipe.batch_size,
            normalizer=corpus.normalizer,
            bucket=job["bucket"],
        )
        columns, _, _ = infer(trainer.method, test.epoch())
        found = evaluate(target, columns[f"{target.name}/true"], columns[f"{target.name}/predicted"])
        seconds = round(time.perf_counter() - started, 1)
        mae, corr = found["mae"][0], found["corr"][0]
        gate.say(seed=seed, mae=round(float(mae), 4), corr=round(float(corr), 4), seconds=seconds)


def main() -> None:
    job, gate = json.loads(sys.argv[1]), Gate()
    torch.set_num_threads(job["threads"])
    with tempfile.TemporaryDirectory() as folder, suppress(Stopped):
        if job["task"] == "load":
            time_loading(job, gate)
        elif job["task"] == "score":
            score(job, gate, Path(folder))
        else:
            time_units(job, gate, Path(folder))


if __name__ == "__main__":
    main()
