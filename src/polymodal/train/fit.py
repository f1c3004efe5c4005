"""``polymodal.fit``: from a method's name and a corpus to a run folder. Importing this costs no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core.errors import OptionError, nearest
from polymodal.core.locks import one_writer
from polymodal.core.options import FoldScheme
from polymodal.train.members import Member, members_of
from polymodal.train.opening import open_run, run_folder, untouched_by_mistakes
from polymodal.train.plan import Plan, prepare
from polymodal.train.recipe import advice
from polymodal.train.records import signed

if TYPE_CHECKING:
    from polymodal.data.corpus import Corpus
    from polymodal.train.problem import Problem
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
        OptionError, RunError, TrainingError: as ``fit``; RunError where another process writes into ``folder``.
    """
    config = plan.config
    fabric = open_fabric(device, plan.recipe.precision)
    first = fabric.global_rank == 0
    if first:
        open_run(folder, config, resume)
    fabric.barrier()
    with one_writer(folder, ", or choose another --out") if first else nullcontext():
        return _train(plan, folder, fabric, checkpoint_seconds, calibrated)


def _train(plan: Plan, folder: Path, fabric: Any, checkpoint_seconds: float, calibrated: bool) -> Run:
    """Train into the folder of a run that is there, and that no other process writes to."""
    from polymodal.data.progress import console
    from polymodal.train.calibrate import calibrate
    from polymodal.train.checkpoint import write_json
    from polymodal.train.run import Run

    config, first = plan.config, fabric.global_rank == 0

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
            write_json(place / "result.json", signed(result, place))
        fabric.barrier()
        more = advice(result["best_epoch"], result["epochs"], plan.recipe.patience)
        why = f"{result['stopped']}; {more}" if more else result["stopped"]
        say(f"{member}: best epoch {result['best_epoch']} of {result['epochs']} ({why})")
    if first and calibrated:
        calibrate(Run.load(folder), plan.corpus, fabric.device)
    fabric.barrier()
    return Run.load(folder)


def train_member(
    plan: Plan,
    member: Member,
    place: Path,
    fabric: Any,
    say: Callable[[str], None],
    checkpoint_seconds: float,
    watched: Callable[[int, float], None] | None = None,
    problem: Problem | None = None,
) -> dict[str, Any]:
    """Train ``member`` on the splits of ``plan`` into ``place`` and return what ``result.json`` holds.

    Args:
        watched: as in ``Trainer``.
        problem: what is learned, where it is not plainly the corpus of ``plan``.
    """
    from polymodal.core import seed_torch
    from polymodal.data.progress import progress_bar
    from polymodal.methods import build, find_method
    from polymodal.train.loop import Trainer
    from polymodal.train.problem import CorpusProblem

    seed = member.seed
    seed_torch(seed)
    method = build(find_method(plan.config["method_source"]), plan.corpus.schema, plan.config["options"])
    problem = problem or CorpusProblem(plan.corpus, plan.recipe, seed)
    with progress_bar() as bar:
        trainer = Trainer(
            method, problem, plan.recipe, seed, place, fabric, bar, say, checkpoint_seconds, str(member), watched
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
