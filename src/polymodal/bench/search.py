"""Search of hyper-parameters with Optuna, on the validation loss of one seed: the same budget for every entry."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.bench.job import Cell, prepared
from polymodal.bench.keys import content_key
from polymodal.bench.plan import Search
from polymodal.core import DataError, OptionError, PolymodalError
from polymodal.core.locks import locked
from polymodal.data.progress import console
from polymodal.train.fit import open_fabric, train_member
from polymodal.train.members import Member
from polymodal.train.plan import Plan
from polymodal.train.space import default_space, logarithmic

if TYPE_CHECKING:
    from optuna import Trial

WARM = 3
"""Epochs that every trial gets."""


def check_optuna() -> None:
    """OptionError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise OptionError("a search needs Optuna; try: pip install 'polymodal[search]'") from None


@dataclass(frozen=True)
class Found:
    """What a search found and cost.

    Attributes:
        options: the best, over those of the entry; empty where there was nothing to search.
        trials: trainings that ended, given up and failed ones among them.
        epochs: that they took, all together.
    """

    options: dict[str, Any] = field(default_factory=dict)
    trials: int = 0
    epochs: int = 0


def run_search(task: tuple[Cell, Search]) -> Found:
    """Return the best options of an entry on a source.

    The first trial has the entry's own settings, so that a search cannot end worse on validation. A trial whose best
    validation loss so far is worse than the median of those before it, at the same epoch, is given up. Trials that are
    given up or fail (options that do not go together, a loss that becomes infinite) count. A search that was stopped,
    or killed, goes on and ends where one that was not would have ended.
    """
    cell, search = task
    console.quiet = True
    try:
        plan, method = prepared(cell)
    except (DataError, OptionError):
        return Found()  # `run_cell` will say why
    own = {**plan.config["options"], **plan.config["recipe"]}
    space = {name: what for name, what in (search.space or default_space(own)).items() if name in own}
    if not space or not method.phases():  # fitted in closed form: it chooses on validation by itself
        return Found()
    digest = hashlib.sha256(json.dumps([content_key(plan, method, cell.device), space], sort_keys=True).encode())
    place = cell.folder / "search"
    place.mkdir(parents=True, exist_ok=True)
    name = f"{plan.config['method']}-{cell.corpus}-{digest.hexdigest()[:12]}"
    with locked(place / f".{name}.lock"):  # two entries with equal settings are one search
        return _searched(cell, search.trials, {option: own[option] for option in space}, space, place / f"{name}.log")


def _searched(cell: Cell, trials: int, own: dict[str, Any], space: dict[str, Any], log: Path) -> Found:
    """Return what the search with the journal ``log`` finds in ``trials``; no other process uses this journal."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for left in log.parent.glob(f"{log.name}.lock*"):  # of a process that was killed: Optuna would wait half a minute
        left.unlink()
    study = optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(str(log))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=WARM),
        load_if_exists=True,
    )
    # A trial that was killed is still said to be running: it counts for nothing, and another takes its place.
    ends = tuple(state for state in TrialState if state.is_finished())
    done = len(study.get_trials(deepcopy=False, states=ends))
    if not done and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(own)
    for number in range(done, trials):
        # Of its own seed: what a trial draws depends on those that have ended, not on where a process began.
        study.sampler = optuna.samplers.TPESampler(seed=cell.seed + number)
        study.optimize(
            lambda trial: _try(trial, cell, space, log.with_suffix(".trial")),
            n_trials=1,
            catch=(PolymodalError, RuntimeError),
        )
    ended = study.get_trials(deepcopy=False, states=ends)
    finished = [t for t in ended if t.state == TrialState.COMPLETE]
    best = min(finished, key=lambda t: t.value or 0.0).params if finished else {}
    return Found(best, len(ended), sum(len(t.intermediate_values) for t in ended))


def _try(trial: Trial, cell: Cell, space: dict[str, Any], place: Path) -> float:
    plan, _ = prepared(replace(cell, tuned={name: suggest(trial, name, what) for name, what in space.items()}))
    shutil.rmtree(place, ignore_errors=True)  # of a trial that was killed
    place.mkdir()
    try:
        return trained_loss(plan, cell, trial, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def suggest(trial: Trial, name: str, what: Any) -> Any:
    """Draw option ``name`` from ``[low, high]`` or ``{choices: [...]}``."""
    if isinstance(what, dict):
        return trial.suggest_categorical(name, what["choices"])
    low, high = what
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high)
    return trial.suggest_float(name, low, high, log=logarithmic(low, high))


def trained_loss(plan: Plan, cell: Cell, trial: Trial, place: Path) -> float:
    """Train once, in the empty folder ``place``, and return the best validation loss.

    Raises:
        TrialPruned: it is not worth going on.
    """
    import optuna

    def judge(epoch: int, loss: float) -> None:
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    fabric = open_fabric(cell.device, plan.recipe.precision)
    found = train_member(plan, Member(cell.seed), place, fabric, lambda line: None, math.inf, judge)
    return float(found["valid_loss"])
