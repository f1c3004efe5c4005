"""A run: the folder that training leaves behind."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polymodal.core import DataError, RunError, Schema
from polymodal.data.corpus import Corpus, Normalizer, Split
from polymodal.data.encode import encode_corpus, is_plugin
from polymodal.data.loader import Loader
from polymodal.data.sources import load_corpus
from polymodal.methods import build, find_method
from polymodal.methods.base import Method
from polymodal.train.calibration import Calibration
from polymodal.train.checkpoint import load_weights
from polymodal.train.encoders import with_own_encoders
from polymodal.train.infer import Columns, infer

_NEEDED = ("method", "method_source", "options", "recipe", "data", "seeds", "command")


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``run.json`` of a run folder; RunError where it is missing or damaged."""
    file = folder / "run.json"
    if not file.is_file():
        raise RunError(f"{folder} is not a run (no run.json); make one with: polymodal fit METHOD --data SRC")
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}); train the run again") from None
    missing = [key for key in _NEEDED if not isinstance(config, dict) or key not in config]
    if missing:
        raise RunError(f"{file} is damaged: it lacks {', '.join(missing)}; train the run again")
    return with_own_encoders(config)


@dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
        path: its folder.
        config: ``run.json``: method, options, recipe, data, seeds, versions, command.
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Open a run folder; RunError where it is none."""
        return cls(Path(path), read_config(Path(path)))

    @property
    def schema(self) -> Schema:
        """Schema the method was built for (after encoding)."""
        return Schema.from_dict(self.config["data"]["schema"])

    @property
    def seeds(self) -> list[int]:
        """Seeds whose training is finished.

        Raises:
            RunError: none is.
        """
        done = [s for s in self.config["seeds"] if (self.path / f"seed-{s}" / "result.json").is_file()]
        if not done:
            raise RunError(
                f"{self.path} has no finished seed; continue with: {self.config['command']} --out {self.path} --resume"
            )
        return done

    def results(self) -> dict[int, dict[str, Any]]:
        """Return ``result.json`` of every finished seed: best epoch, validation loss, why training ended."""
        return {s: json.loads((self.path / f"seed-{s}" / "result.json").read_text()) for s in self.seeds}

    def method(self, seed: int | None = None) -> Method:
        """Return the method with the best weights of ``seed`` (default: the first), in evaluation mode."""
        chosen = self.seeds[0] if seed is None else seed
        method = build(find_method(self.config["method_source"]), self.schema, self.config["options"])
        load_weights(method, self.path / f"seed-{chosen}" / "best.safetensors")
        return method.eval()

    @property
    def calibration(self) -> Calibration | None:
        """How sure the mean of the finished seeds is; None where that was not, or could not be measured."""
        return Calibration.read(self.path, self.seeds)

    @property
    def normalizer(self) -> Normalizer:
        """Statistics of the training split; RunError where they are missing."""
        try:
            stored = json.loads((self.path / "normalizer.json").read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / 'normalizer.json'} cannot be read ({error}); train the run again") from None
        return Normalizer.from_dict(stored)

    def corpus(self, data: str | Corpus | None = None) -> Corpus:
        """Return the run's corpus, or ``data`` prepared like it: same encoders, normalised as in training.

        Raises:
            DataError: its modalities or targets are not those the run was trained on.
        """
        about = self.config["data"]
        corpus = load_corpus(data if data is not None else about["source"])
        missing = sorted(set(self.schema.names) - set(corpus.schema.names))
        if missing:
            raise DataError(
                f"{corpus.source} has no {' and no '.join(missing)} (only {', '.join(corpus.schema.names)}), which the "
                f"run {self.path} was trained on; extract the same features, or name them so"
            )
        corpus = encode_corpus(corpus, {n: s for n, s in about["encode"].items() if self._is_raw(corpus, n, s)})
        _check_fit(self, corpus)
        if data is None and corpus.hash != about["hash"]:
            raise DataError(f"{corpus.source} has changed since {self.path} was trained; evaluate with --data to go on")
        return replace(corpus, stored_normalizer=self.normalizer)

    def _is_raw(self, corpus: Corpus, name: str, encoder: str) -> bool:
        """Whether modality ``name`` of ``corpus`` is what ``encoder`` reads, rather than what it returns."""
        found = corpus.schema.modality(name)
        return found.kind == "text" or (is_plugin(encoder) and found != self.schema.modality(name))

    def loader(self, corpus: Corpus, split: str | Split) -> Loader:
        """Return evaluation batches of a split."""
        rows = corpus[split] if isinstance(split, str) else split
        return Loader(rows, corpus.schema, self.config["recipe"]["batch_size"], normalizer=corpus.normalizer)

    def predict(self, corpus: Corpus, split: str = "test", *, seed: int | None = None) -> Columns:
        """Return prediction columns (see ``core.Scores``) of one seed on a split of a corpus from ``self.corpus``."""
        return infer(self.method(seed), self.loader(corpus, split).epoch())[0]


def _check_fit(run: Run, corpus: Corpus) -> None:
    """DataError where ``corpus`` lacks something that ``run`` needs."""
    for wanted in run.schema.modalities:
        found = corpus.schema.modality(wanted.name)
        if found.form != wanted.form:
            raise DataError(
                f"{corpus.source}: {wanted.name} is {found.form}, the run {run.path} was trained on {wanted.form}; "
                "extract the same features"
            )
    if corpus.schema.names != run.schema.names:
        raise DataError(
            f"{corpus.source} has modalities {', '.join(corpus.schema.names)}, the run {run.path} was trained on "
            f"{', '.join(run.schema.names)}; add ?modalities={','.join(run.schema.names)}"
        )
    for target in run.schema.joint_targets:
        if corpus.schema.target(target.name) != target:
            raise DataError(
                f"{corpus.source}: target {target.name!r} has another task, range or classes than in {run.path}"
            )
