"""A run: the folder that training leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polymodal.core import DataError, OptionError, PolymodalError, RunError, Schema
from polymodal.core.records import digest_of, read_record
from polymodal.data.corpus import Corpus
from polymodal.data.encode import encode_corpus, is_plugin
from polymodal.data.folds import POOLED, Dealt, Folds, deal
from polymodal.data.loader import Loader
from polymodal.data.sources import load_corpus
from polymodal.data.split import Split
from polymodal.data.standardise import Normalizer
from polymodal.data.store import verify
from polymodal.methods import build, find_method
from polymodal.methods.base import Method
from polymodal.train.answers import Answers
from polymodal.train.calibration import FILE as CALIBRATION
from polymodal.train.calibration import Calibration
from polymodal.train.checkpoint import load_weights
from polymodal.train.encoders import with_own_encoders
from polymodal.train.infer import Columns
from polymodal.train.members import Member, folds_of, home_of
from polymodal.train.records import AGAIN, ResultRecord, RunRecord, read_statistics, schema_of


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``run.json`` of a run folder; RunError where it is missing or damaged."""
    file = folder / "run.json"
    if (folder / "cascade.json").is_file():
        raise RunError(
            f"{folder} is a cascade, which only evaluate, audit, predict and serve read; give its small run, named in "
            "cascade.json"
        )
    if not file.is_file():
        raise RunError(f"{folder} is not a run (no run.json); make one with: polymodal fit METHOD --data SRC")
    config: Any = read_record(file, RunRecord, AGAIN)
    schema_of(config, file)
    return with_own_encoders(config)


@dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
        path: its folder.
        config: ``run.json``: method, options, recipe, data, seeds, folds where there are any, versions, command.
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
        """Seeds whose training is finished, in all folds where there are any.

        Raises:
            RunError: none is.
        """
        done = [
            s
            for s in self.config["seeds"]
            if all((self.path / Member(s, fold).place / "result.json").is_file() for fold in self.folds)
        ]
        if not done:
            raise RunError(
                f"{self.path} has no finished seed; continue with: {self.config['command']} --out {self.path} --resume"
            )
        return done

    @property
    def folds(self) -> list[int] | list[None]:
        """Numbers of the folds; one None in a run without folds."""
        return folds_of(self.config)

    @property
    def crossed(self) -> bool:
        """Whether this is a run of folds."""
        return "folds" in self.config

    @property
    def members(self) -> list[Member]:
        """Finished trainings: those of ``seeds``, in every fold. What they say together is the mean."""
        return [Member(seed, fold) for seed in self.seeds for fold in self.folds]

    def results(self, fold: int | None = None) -> dict[int, dict[str, Any]]:
        """Return ``result.json`` of every finished seed: best epoch, validation loss, why training ended.

        Args:
            fold: of a run of folds; default the first.
        """
        return {s: self._result(s, fold) for s in self.seeds}

    def _result(self, seed: int, fold: int | None) -> dict[str, Any]:
        return dict(read_record(self._place(seed, fold) / "result.json", ResultRecord, AGAIN))

    def method(self, seed: int | None = None, fold: int | None = None) -> Method:
        """Return the method with the best weights of ``seed``, and of ``fold`` in a run of folds (default: the first
        of each), in evaluation mode.

        Raises:
            RunError: the weights are missing, damaged, or not those that training wrote.
        """
        method = self._built()
        seed = self.seeds[0] if seed is None else seed
        file = self._place(seed, fold) / "best.safetensors"
        _check_digest(file, self._result(seed, fold).get("weights"))
        load_weights(method, file)
        return method.eval()

    def _built(self) -> Method:
        """Return the method without its weights; RunError where its options or schema make none."""
        schema = self.schema
        try:
            method_class = find_method(self.config["method_source"])
        except OptionError as error:
            raise OptionError(f"{self.path / 'run.json'}: {error}") from None
        try:
            return build(method_class, schema, self.config["options"])
        except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError, MemoryError) as error:
            if isinstance(error, PolymodalError):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
            raise RunError(f"{self.path / 'run.json'}: its options make no method ({reason}); {AGAIN}") from None

    def _place(self, seed: int, fold: int | None) -> Path:
        return self.path / Member(seed, self.folds[0] if fold is None else fold).place

    @property
    def calibration(self) -> Calibration | None:
        """How sure the mean of the finished members is; None where that was not, or could not be measured."""
        return self._calibrated(self.path)

    def calibration_of(self, fold: int) -> Calibration | None:
        """How sure the mean of the seeds of ``fold`` is, by the fold's own validation part."""
        return self._calibrated(self.path / home_of(fold))

    def _calibrated(self, folder: Path) -> Calibration | None:
        found, known = Calibration.read(folder, self.seeds), {target.name for target in self.schema.targets}
        if found and (others := {name for targets in found.figures.values() for name in targets} - known):
            raise RunError(
                f"{folder / CALIBRATION} is of {', '.join(sorted(others))}, which the run does not predict; delete it, "
                "or make it again with fit --resume"
            )
        return found

    @property
    def normalizer(self) -> Normalizer:
        """Statistics of the training split; RunError where they are missing, as in a run of folds (several)."""
        return self.normalizer_of(None)

    def normalizer_of(self, fold: int | None) -> Normalizer:
        """Statistics of the training part of ``fold``; RunError where they are missing, damaged or changed."""
        file = self.path / home_of(fold) / "normalizer.json"
        stored = read_statistics(file, self.schema)
        for result in file.parent.glob("seed-*/result.json"):
            _check_digest(file, read_record(result, ResultRecord, AGAIN).get("normalizer"))
        return Normalizer.from_dict(stored)

    def dealt(self, corpus: Corpus) -> Dealt:
        """Return the run's own corpus in its folds.

        Raises:
            RunError: the folds cannot be made again from ``corpus``.
        """
        stored = self.config["folds"]
        # A run from a hub does not bring the names of its groups along.
        again = "groups" not in stored
        folds = (
            deal(corpus, stored["scheme"], splits=stored.get("splits", POOLED)) if again else Folds.from_dict(stored)
        )
        dealt = Dealt(corpus, folds)
        if dealt.hash != stored["hash"]:
            raise RunError(
                f"the folds of {self.path} cannot be made again from {corpus.source}: its groups have changed"
            )
        return dealt

    def corpus(self, data: str | Corpus | None = None) -> Corpus:
        """Return the run's corpus, or ``data`` prepared like it: same encoders, normalised as in training (in a run of
        folds, where every fold has statistics of its own, not yet).

        Raises:
            DataError: its modalities or targets are not those the run was trained on.
        """
        about = self.config["data"]
        corpus = verify(load_corpus(data if data is not None else about["source"]))
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
        return replace(corpus, stored_normalizer=None if self.crossed else self.normalizer)

    def _is_raw(self, corpus: Corpus, name: str, encoder: str) -> bool:
        """Whether modality ``name`` of ``corpus`` is what ``encoder`` reads, rather than what it returns."""
        found = corpus.schema.modality(name)
        return found.kind == "text" or (is_plugin(encoder) and found != self.schema.modality(name))

    def loader(self, corpus: Corpus, split: str | Split, fold: int | None = None) -> Loader:
        """Return evaluation batches of a split, standardised for the members of ``fold``.

        Args:
            corpus: from ``self.corpus``.
            split: its name, or samples of the corpus.
            fold: needed in a run of folds; without one, batches are as the corpus has them (see ``data.standardise``).
        """
        rows = corpus[split] if isinstance(split, str) else split
        if not self.crossed:
            normalizer = corpus.normalizer
        else:
            normalizer = Normalizer({}, {}) if fold is None else self.normalizer_of(fold)
        return Loader(rows, corpus.schema, self.config["recipe"]["batch_size"], normalizer=normalizer)

    def predict(self, corpus: Corpus, split: str = "test", *, seed: int | None = None) -> Columns:
        """Return prediction columns (see ``core.Scores``) of one seed on a split of a corpus from ``self.corpus``.

        A run of folds predicts its own corpus out of fold (see ``train.answers``).
        """
        return Answers(self, corpus).of(self.seeds[0] if seed is None else seed, split)


def _check_digest(file: Path, wanted: str | None) -> None:
    """Raise RunError where ``file`` is there and is not the one that training wrote; older runs do not say which."""
    if wanted is not None and file.is_file() and digest_of(file) != wanted:
        raise RunError(
            f"{file} is not what training wrote: its checksum is not that of result.json; restore the file, or {AGAIN}"
        )


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
