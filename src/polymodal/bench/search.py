"""Search of hyper-parameters with Optuna, on the validation loss of one seed: the same budget for every entry."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.bench.job import Cell, prepared
from polymodal.bench.keys import content_key
from polymodal.bench.plan import Search
from polymodal.core import DataError, OptionError, PolymodalError
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
        trials: trainings that were begun.
        epochs: that they took, all together.
    """

    options: dict[str, Any] = field(default_factory=dict)
    trials: int = 0
    epochs: int = 0


def run_search(task: tuple[Cell, Search]) -> Found:
    """Return the best options of an entry on a source.

    The first trial has the entry's own settings, so that a search cannot end worse on validation. A trial whose best
    validation loss so far is worse than the median of those before it, at the same epoch, is given up. Trials that are
    given up or fail (options that do not go together, a loss that becomes infinite) count. A search goes on where it
    was stopped.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    cell, search = task
    console.quiet = True
    optuna.logging.set_verbosity(optuna.logging.ERROR)
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
    log = place / f"{plan.config['method']}-{cell.corpus}-{digest.hexdigest()[:12]}.log"
    study = optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(str(log))),
        sampler=optuna.samplers.TPESampler(seed=cell.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=WARM),
        load_if_exists=True,
    )
    done = len(study.get_trials(deepcopy=False, states=tuple(s for s in optuna.trial.TrialState if s.is_finished())))
    if not study.trials:
        study.enqueue_trial({name: own[name] for name in space})
    study.optimize(
        lambda trial: _try(trial, cell, space),
        n_trials=max(0, search.trials - done),
        catch=(PolymodalError, RuntimeError),
    )
    finished = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    best = min(finished, key=lambda t: t.value or 0.0).params if finished else {}
    return Found(best, len(study.trials), sum(len(t.intermediate_values) for t in study.trials))


def _try(trial: Trial, cell: Cell, space: dict[str, Any]) -> float:
    plan, _ = prepared(replace(cell, tuned={name: suggest(trial, name, what) for name, what in space.items()}))
    return trained_loss(plan, cell, trial)


def suggest(trial: Trial, name: str, what: Any) -> Any:
    """Draw option ``name`` from ``[low, high]`` or ``{choices: [...]}``."""
    if isinstance(what, dict):
        return trial.suggest_categorical(name, what["choices"])
    low, high = what
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high)
    return trial.suggest_float(name, low, high, log=logarithmic(low, high))


def trained_loss(plan: Plan, cell: Cell, trial: Trial) -> float:
    """Train once and return the best validation loss; nothing is kept.

    Raises:
        TrialPruned: it is not worth going on.
    """
    import optuna

    def judge(epoch: int, loss: float) -> None:
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    fabric = open_fabric(cell.device, plan.recipe.precision)
    with tempfile.TemporaryDirectory(dir=cell.folder) as place:
        found = train_member(plan, Member(cell.seed), Path(place), fabric, lambda line: None, math.inf, judge)
    return float(found["valid_loss"])
