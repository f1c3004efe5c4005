"""``polymodal.fit``: from a method's name and a corpus to a run folder. Importing this costs no torch."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core.errors import DataError, OptionError, nearest
from polymodal.core.options import FoldScheme, Seeds, read_value
from polymodal.train.members import Member, members_of
from polymodal.train.opening import open_run, run_folder, untouched_by_mistakes
from polymodal.train.recipe import SECTIONS, Recipe, advice, load_preset, sort_options

if TYPE_CHECKING:
    from polymodal.data.corpus import Corpus
    from polymodal.data.folds import Dealt
    from polymodal.train.run import Run


def fit(
    method: str,
    data: str | Corpus,
    *,
    preset: str | None = None,
    options: dict[str, Any] | None = None,
    encoder: dict[str, str] | None = None,
    encode: dict[str, str] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    precision: str | None = None,
    train_stress: str | None = None,
    seeds: Sequence[int] = (1111,),
    folds: FoldScheme | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 60.0,
) -> Run:
    """Train ``method`` on ``data``, once per seed (and fold), and return the run.

    What is not given comes from the preset, then from the defaults of the method and of ``Recipe``.

    Args:
        method: id (see ``polymodal methods``), ``package.module:Class`` or ``file.py:Class``.
        data: source as in ``load_corpus``, or a Corpus.
        preset: name of a shipped preset or path of a YAML file.
        options: options of the method or fields of ``Recipe``, by name.
        encoder: modality -> encoder that trains with the method, see ``Schema.with_encoders``.
        encode: modality -> frozen encoder, see ``data.encode.encode_corpus``; ``none`` for none.
        epochs: passes over the training split at most.
        batch_size: samples per step.
        lr: learning rate of new parameters.
        precision: ``32`` or ``bf16-mixed``.
        train_stress: stress on the training data as augmentation, for example ``missing:rate=0.3`` (see ``Recipe``).
        seeds: one training each, of every fold where there are folds.
        folds: number of folds, 3 or more, or ``leave-one-group-out``, for cross-validation by groups (see
            ``data.folds``); None to keep the splits of the corpus.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        out: run folder; default ``runs/<method>-<corpus>``, numbered where taken.
        resume: continue the run in ``out`` where it stopped.
        checkpoint_seconds: longest time between checkpoints within an epoch.

    Raises:
        OptionError: unknown method, option, preset or device.
        DataError: the corpus cannot be read or used.
        RunError: ``out`` cannot be written, holds another run, or does not fit what is asked to resume.
        TrainingError: a loss became NaN or infinite.
    """
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "precision": precision,
        "train_stress": train_stress,
    }
    asked = (options or {}) | {name: value for name, value in given.items() if value is not None}
    plan = prepare(
        method,
        data,
        preset=preset,
        options=asked,
        encoder=encoder or {},
        encode=encode or {},
        seeds=seeds,
        folds=folds,
    )
    folder = run_folder(out, f"{plan.config['method']}-{plan.corpus.name}", resume)
    with untouched_by_mistakes(folder):
        return train(plan, folder, device=device, resume=resume, checkpoint_seconds=checkpoint_seconds)


@dataclass(frozen=True)
class Plan:
    """A training that is decided but not begun.

    Attributes:
        config: what ``run.json`` will hold.
        corpus: encoded.
        recipe: training hyper-parameters.
        dealt: the corpus in folds; None to train on its own splits.
    """

    config: dict[str, Any]
    corpus: Corpus
    recipe: Recipe
    dealt: Dealt | None = None

    def of_fold(self, fold: int | None) -> Plan:
        """Return the plan of one fold: its corpus has the parts of the fold as splits."""
        return replace(self, corpus=self.dealt.corpus(fold)) if self.dealt and fold is not None else self


def prepare(
    method: str,
    data: str | Corpus,
    *,
    preset: str | None = None,
    options: dict[str, Any],
    encoder: dict[str, str],
    encode: dict[str, str],
    seeds: Sequence[int],
    folds: FoldScheme | None = None,
    load: Callable[[str | Corpus], Corpus] | None = None,
) -> Plan:
    """Resolve what ``fit`` was asked for and check it; ``options`` hold those of the method and of ``Recipe``.

    Args:
        load: returns the corpus of a source; default ``load_corpus``.

    Raises:
        OptionError, DataError: as ``fit``.
    """
    from polymodal.data.encode import encode_corpus
    from polymodal.data.folds import Dealt, deal
    from polymodal.data.leaks import leaks
    from polymodal.data.sources import load_corpus
    from polymodal.methods import find_method, method_id
    from polymodal.stress import parse_stress
    from polymodal.train.encoders import choose_encoders

    seeds = read_value("seeds", list(seeds), Seeds)
    method_class = find_method(method)
    chosen = load_preset(method_id(method_class), preset) if preset else {name: {} for name in SECTIONS}
    method_options, recipe_options = sort_options(method_class, options)
    recipe = Recipe().with_options({**chosen["training"], **recipe_options})
    corpus = (load or load_corpus)(data)
    for split in ("train", "valid") if folds is None else ():
        if split not in corpus.splits:
            raise DataError(f"{corpus.source} has no {split} split, needed to fit; it has {', '.join(corpus.splits)}")
    for name in parse_stress(recipe.train_stress).modalities if recipe.train_stress else ():
        corpus.schema.modality(name)
    trained, frozen = choose_encoders(corpus.schema, chosen, encoder, encode)
    raw = None if folds is None else Dealt(corpus, deal(corpus, folds))
    warnings = raw.warnings() if raw else leaks(corpus)
    corpus = encode_corpus(corpus, frozen)
    corpus = replace(corpus, schema=corpus.schema.with_encoders(trained))
    options = {**chosen["method"], **method_options}
    dealt = Dealt(corpus, raw.folds) if raw else None
    return Plan(
        _config(method, method_class, options, recipe, corpus, frozen, seeds, warnings, dealt), corpus, recipe, dealt
    )


def _config(
    method: str,
    method_class: Any,
    options: dict[str, Any],
    recipe: Recipe,
    corpus: Corpus,
    frozen: dict[str, str],
    seeds: Sequence[int],
    warnings: Sequence[str],
    dealt: Dealt | None,
) -> dict[str, Any]:
    """Return what identifies the run, and what a reader of it wants to know; building the method checks the options."""
    from dataclasses import asdict

    import torch

    from polymodal._version import __version__
    from polymodal.methods import build, method_id

    built = build(method_class, corpus.schema, options)
    changed = {n: v for n, v in asdict(recipe).items() if v != getattr(Recipe(), n)} | options
    command = ["polymodal", "fit", method, "--data", corpus.source]
    for name, value in changed.items():
        command += ["--set", f"{name}={_plain(value)}"]
    for option, encoders in (("--encoder", corpus.schema.encoders), ("--encode", frozen)):
        for name, spec in encoders.items():
            command += [option, f"{name}={spec}"]
    command += ["--seeds", ",".join(map(str, seeds))]
    command += ["--folds", str(dealt.folds.scheme)] if dealt else []
    return {
        "polymodal": __version__,
        "code": code_digest(),
        "method": method_id(method_class),
        "method_source": method,
        "paper": method_class.paper,
        "handles_absence": method_class.handles_absence,
        "options": _resolved(method_class, options),
        "recipe": asdict(recipe),
        "data": {
            "source": corpus.source,
            "name": corpus.name,
            "hash": corpus.hash,
            "schema": corpus.schema.to_dict(),
            "encode": frozen,
            "extraction": corpus.extraction,
            "sizes": {name: len(split) for name, split in corpus.splits.items()},
            "warnings": list(warnings),
        },
        "seeds": list(seeds),
        **({"folds": dealt.folds.to_dict() | {"hash": dealt.hash, "notes": dealt.notes()}} if dealt else {}),
        "parameters": sum(p.numel() for p in built.parameters() if p.requires_grad),
        "command": shlex.join(command),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _resolved(method_class: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return every option of the method with its value, as JSON holds it: a run must not change with a default."""
    import inspect
    import json

    parameters = inspect.signature(method_class.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    resolved: dict[str, Any] = json.loads(json.dumps({**defaults, **options}))
    return resolved


def _plain(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def code_digest() -> str:
    """Return a digest of the package's Python files: a result belongs to the code that made it."""
    import hashlib

    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def train(
    plan: Plan,
    folder: Path,
    *,
    device: str,
    resume: bool,
    checkpoint_seconds: float = 60.0,
    calibrated: bool = True,
) -> Run:
    """Train every seed, of every fold, that has no result yet, then measure how sure they are (``calibrated``).

    Raises:
        OptionError, RunError, TrainingError: as ``fit``.
    """
    from polymodal.data.progress import console
    from polymodal.train.calibrate import calibrate
    from polymodal.train.checkpoint import write_json
    from polymodal.train.run import Run

    config = plan.config
    fabric = open_fabric(device, plan.recipe.precision)
    first = fabric.global_rank == 0
    if first:
        open_run(folder, config, resume)
    fabric.barrier()

    def say(line: str) -> None:
        if first:
            console.print(line, soft_wrap=True)

    say(f"{config['method']}: {config['parameters']:,} parameters, {config['data']['sizes']}, into {folder}")
    if plan.dealt:
        say("; ".join([f"{plan.dealt.folds}, train, valid and test pooled", *config["folds"]["notes"]]))
    if config["data"]["warnings"]:
        say(f"warning: {'; '.join(config['data']['warnings'])}")
    for member in members_of(config):
        place, own = folder / member.place, plan.of_fold(member.fold)
        if first:
            place.parent.mkdir(exist_ok=True)
            if not (place.parent / "normalizer.json").is_file():
                write_json(place.parent / "normalizer.json", own.corpus.normalizer.to_dict())
        if (place / "result.json").is_file():
            say(f"{member} is done already")
            continue
        place.mkdir(parents=True, exist_ok=True)
        result = train_member(own, member, place, fabric, say, checkpoint_seconds)
        if first:
            write_json(place / "result.json", result)
        fabric.barrier()
        more = advice(result["best_epoch"], result["epochs"], plan.recipe.patience)
        why = f"{result['stopped']}; {more}" if more else result["stopped"]
        say(f"{member}: best epoch {result['best_epoch']} of {result['epochs']} ({why})")
    if first and calibrated:
        calibrate(Run.load(folder), plan.corpus, fabric.device)
    fabric.barrier()
    return Run.load(folder)


def train_member(
    plan: Plan, member: Member, place: Path, fabric: Any, say: Callable[[str], None], checkpoint_seconds: float
) -> dict[str, Any]:
    """Train ``member`` on the splits of ``plan`` into ``place`` and return what ``result.json`` holds."""
    from polymodal.core import seed_torch
    from polymodal.data.progress import progress_bar
    from polymodal.methods import build, find_method
    from polymodal.train.loop import Trainer
    from polymodal.train.problem import CorpusProblem

    seed = member.seed
    seed_torch(seed)
    method = build(find_method(plan.config["method_source"]), plan.corpus.schema, plan.config["options"])
    problem = CorpusProblem(plan.corpus, plan.recipe, seed)
    with progress_bar() as bar:
        trainer = Trainer(
            method, problem, plan.recipe, seed, place, fabric, bar, say, checkpoint_seconds, name=str(member)
        )
        return trainer.fit()


def open_fabric(device: str, precision: str) -> Any:
    """Return Fabric for ``device``; under torchrun, one process per device with gradients averaged."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    if device not in ("auto", "cpu", "cuda", "mps"):
        raise OptionError(f"unknown device {device!r}{nearest(device, ('auto', 'cpu', 'cuda', 'mps'))}")
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # A modality that no sample of a batch has leaves parameters without gradients: DDP must look for them.
    strategy: Any = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=device,
            devices=local,
            num_nodes=max(1, world // local),
            strategy=strategy,
            precision="32-true" if precision == "32" else "bf16-mixed",
        )
    except (RuntimeError, ValueError) as error:
        raise OptionError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}; try --device cpu") from None
    fabric.launch()
    return fabric
