"""From a run of several modalities to a run that needs some of them: its weights, its streams, nothing else."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from polymodal.core import OptionError
from polymodal.core.options import split_source
from polymodal.core.records import read_record, sealed
from polymodal.data.encode import encode_corpus
from polymodal.data.sources import load_corpus
from polymodal.data.standardise import Normalizer
from polymodal.methods import build, find_method
from polymodal.methods.base import Method
from polymodal.train.calibration import FILE
from polymodal.train.checkpoint import load_checkpoint, save_checkpoint, write_json
from polymodal.train.members import home_of
from polymodal.train.novelty import Novelty
from polymodal.train.opening import open_run, run_folder
from polymodal.train.records import CalibrationRecord, signed
from polymodal.train.run import Run


def deploy(run: Run, keep: Collection[str], out: str | Path | None = None) -> Run:
    """Write what ``run`` is on the modalities ``keep`` as a run of its own, and return it.

    Its schema, statistics, calibration, novelty and weights hold nothing of the other modalities; what it says is what
    ``run`` says of samples without them. Its corpus is that of ``run`` with ``?modalities=``. All that is taken over is
    read before anything is written.

    Args:
        run: of a method that is ``modular``, with finished seeds.
        keep: names of modalities.
        out: new folder; default ``runs/<name of the run>-<modalities>``, numbered where taken.

    Raises:
        OptionError: a method that does not come apart, or nothing to leave out.
        DataError: an unknown modality; the run's corpus is not there or has changed.
        RunError: weights that cannot be read or are not those of the method, a folder that cannot be written.
    """
    whole, cls = run.schema, find_method(run.config["method_source"])
    for name in keep:
        whole.modality(name)
    kept = tuple(n for n in whole.names if n in keep)
    if not kept or kept == whole.names:
        raise OptionError(f"keep some of {', '.join(whole.names)}, not {'all' if kept else 'none'} of them")
    source = _narrowed(run.config["data"]["source"], kept)
    if not cls.modular:
        raise OptionError(
            f"{run.config['method']} does not come apart by modality: {run.path} is one network for "
            f"{', '.join(whole.names)}; fit on {source}, or fit a method that does, such as eo-colearning"
        )
    part = build(cls, whole.only(kept), run.config["options"])
    novelty = Novelty.read(run)
    for member in run.members:
        run.method(member.seed, member.fold)  # which says if its weights are missing, damaged or others
    folder = run_folder(out, f"{run.path.resolve().name}-{'-'.join(kept)}", resume=False)
    open_run(folder, _config(run, kept, source, part), resume=False)
    for fold in run.folds:
        home = folder / home_of(fold)
        home.mkdir(exist_ok=True)
        known = run.normalizer_of(fold)
        write_json(home / "normalizer.json", Normalizer(_only(known.mean, kept), _only(known.std, kept)).to_dict())
        _calibration(run.path / home_of(fold), home, kept)
    _calibration(run.path, folder, kept)
    if novelty:
        novelty.only(kept).write(folder)
    for member in run.members:
        _weights(run.path / member.place, folder / member.place, part)
    return Run.load(folder)


def _narrowed(source: str, kept: tuple[str, ...]) -> str:
    """Return the source with nothing but the modalities ``kept``."""
    place, options = split_source(source)
    return f"{place}?{'&'.join(f'{n}={v}' for n, v in (options | {'modalities': ','.join(kept)}).items())}"


def _only(values: dict[str, Any], kept: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in kept}


def _config(run: Run, kept: tuple[str, ...], source: str, part: Method) -> dict[str, Any]:
    """Return ``run.json``, with where the run is from under ``deployed``."""
    run.corpus()  # which says if it has changed since
    encode = _only(run.config["data"]["encode"], kept)
    corpus = encode_corpus(load_corpus(source), encode)
    about = run.config["data"] | {
        "source": source,
        "name": corpus.name,
        "hash": corpus.hash,
        "schema": part.schema.to_dict(),
        "encode": encode,
    }
    return run.config | {
        "data": about,
        "parameters": sum(p.numel() for p in part.parameters() if p.requires_grad),
        "deployed": {"run": run.path.resolve().name, "trained_with": list(run.schema.names)},
        "command": shlex.join(["polymodal", "deploy", str(run.path), "--keep", ",".join(kept)]),
    }


def _calibration(home: Path, new: Path, kept: tuple[str, ...]) -> None:
    """Take over what was measured with nothing but ``kept``: the predictions are the same."""
    if (home / FILE).is_file():
        measured: dict[str, Any] = dict(read_record(home / FILE, CalibrationRecord, "make it again with fit --resume"))
        subsets = [s for s in measured["subsets"] if set(s["present"]) <= set(kept)]
        write_json(new / FILE, sealed(measured | {"subsets": subsets}))


def _weights(place: Path, new: Path, part: Method) -> None:
    """Take over the weights of one training, and its record."""
    new.mkdir(parents=True, exist_ok=True)
    tensors, state = load_checkpoint(place / "best.safetensors")
    names = [f"model.{name}" for name in part.state_dict()]
    save_checkpoint(new / "best.safetensors", {n: tensors[n] for n in names if n in tensors}, state)
    if (place / "metrics.jsonl").is_file():
        shutil.copyfile(place / "metrics.jsonl", new / "metrics.jsonl")
    # Last, as it says that this training is done; its checksums are those of what was written above.
    write_json(new / "result.json", signed(json.loads((place / "result.json").read_text()), new))
