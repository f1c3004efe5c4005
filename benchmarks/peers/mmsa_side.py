"""MMSA's half of the comparison: runs in MMSA's virtual environment and does what ``compare.py`` tells it.

    python mmsa_side.py '{"row": "lmf", "task": "epochs", "folder": ..., "data": "unaligned", "threads": 2, ...}'

``MMSA_run`` stops on a machine without a GPU at ``torch.cuda.set_device``. This script calls what that function calls
after it: loader, model, trainer, as they are shipped. For ``mult`` one more line is neutralised, an argument of torch's
scheduler that is gone (``verbose``). The train loader is wrapped so that it waits for its turn.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from gate import Gate, Stopped, forget_peak, memory_mib
from MMSA.config import get_config_regression
from MMSA.data_loader import MMDataLoader
from MMSA.models import AMIO
from MMSA.trains import ATIO
from MMSA.utils import setup_seed


class Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """Torch's, with the argument it had."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, verbose: bool, **options: Any) -> None:
        super().__init__(optimizer, **options)


class Waiting:
    """A data loader that waits for its turn: at every pass, or, with ``steps``, after that many batches."""

    def __init__(self, loader: Any, gate: Gate, *, steps: int, skip: int) -> None:
        self.loader, self.gate, self.steps, self.skip = loader, gate, steps, skip

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if self.skip:
            self.skip -= 1
            yield from self.loader
            return
        if not self.steps:
            self.gate.turn()
        for number, batch in enumerate(self.loader):
            if self.steps and number % self.steps == 0:
                self.gate.turn()
            self.gate.mark()
            yield batch


class Passes:
    """A data loader that ends training, by an exception, after ``count`` passes."""

    def __init__(self, loader: Any, count: int) -> None:
        self.loader, self.count = loader, count

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if not self.count:
            raise Stopped
        self.count -= 1
        return iter(self.loader)


def settings(job: dict[str, Any], folder: Path) -> Any:
    """Return MMSA's arguments as ``MMSA_run`` completes them."""
    args = get_config_regression(job["row"], "mosi")
    args.update(
        device=torch.device("cpu"),
        train_mode="regression",
        custom_feature=str(Path(job["folder"]) / f"{job['data']}.pkl"),
        feature_T="",
        feature_A="",
        feature_V="",
        cur_seed=1,
        model_save_path=folder / "best.pth",
    )
    if "pretrained" in args:
        args["pretrained"] = str(Path(job["folder"]) / "bert")
    return args


def time_units(job: dict[str, Any], args: Any, gate: Gate) -> None:
    """Train; every unit, a pass with validation or some steps, when the benchmark says so."""
    setup_seed(1111)
    loaders = MMDataLoader(args, 0)
    model = AMIO(args)
    trainer = ATIO().getTrain(args)
    steps = job["steps"] if job["task"] == "steps" else 0
    # Self-MM makes one pass first, to fill its labels.
    loaders["train"] = Waiting(loaders["train"], gate, steps=steps, skip=int(job["row"] == "self_mm"))
    count = sum(p.numel() for p in model.parameters())
    gate.say(parameters=count, loaded_mib=memory_mib("VmRSS"))
    forget_peak()
    trainer.do_train(model, loaders)


def time_loading(args: Any, gate: Gate) -> None:
    """Report seconds from the file to the first training batch."""
    gate.turn()
    started = time.perf_counter()
    loaders = MMDataLoader(args, 0)
    next(islice(iter(loaders["train"]), 1))
    gate.say(seconds=round(time.perf_counter() - started, 3), peak_mib=memory_mib("VmHWM"), now_mib=memory_mib("VmRSS"))


def score(job: dict[str, Any], args: Any, gate: Gate) -> None:
    """Train every seed to its end and report the test scores of the checkpoint that validation chose."""
    for seed in job["seeds"]:
        setup_seed(seed)
        started = time.perf_counter()
        loaders = MMDataLoader(args, 0)
        model = AMIO(args)
        trainer = ATIO().getTrain(args)
        with suppress(Stopped):
            trainer.do_train(model, {**loaders, "train": Passes(loaders["train"], job["epochs"])})
        model.load_state_dict(torch.load(args.model_save_path))
        found = trainer.do_test(model, loaders["test"], mode="TEST")
        seconds = round(time.perf_counter() - started, 1)
        gate.say(seed=seed, mae=float(found["MAE"]), corr=float(found["Corr"]), seconds=seconds)


def main() -> None:
    job, gate = json.loads(sys.argv[1]), Gate()
    torch.set_num_threads(job["threads"])
    for name in ("MULT", "MMIM"):
        sys.modules[f"MMSA.trains.singleTask.{name}"].ReduceLROnPlateau = Plateau  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        args = settings(job, Path(folder))
        with suppress(Stopped):
            if job["task"] == "load":
                time_loading(args, gate)
            elif job["task"] == "score":
                score(job, args, gate)
            else:
                time_units(job, args, gate)


if __name__ == "__main__":
    main()
