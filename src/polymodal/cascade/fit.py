"""``polymodal fit u-acs``: a cascade of a small run and a large model, its thresholds fitted on validation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polymodal.cascade.asking import Questions
from polymodal.cascade.folder import FILE, digest, relative
from polymodal.cascade.large import digest_of_run, open_large, samples_of, unsure_of
from polymodal.cascade.records import run
from polymodal.cascade.routing import Agreed, Answers, Array, Rule
from polymodal.cascade.speaker import Speaker, prepared, target_of
from polymodal.cascade.thresholds import GRID, best_large, by_budget, by_error
from polymodal.core import OptionError, RunError, Target
from polymodal.core.locks import one_writer
from polymodal.data.corpus import Corpus
from polymodal.data.sources import load_corpus
from polymodal.score import sample_scores
from polymodal.train.checkpoint import write_json
from polymodal.train.run import Run

OTHERWISE = ", or choose another --out"


def fit_cascade(
    small: str | Path,
    large: str,
    data: str | Corpus,
    *,
    rho: float = 0.3,
    by: Literal["budget", "error"] = "budget",
    agreed: Agreed = "average",
    target: str | None = None,
    out: str | Path,
) -> dict[str, Any]:
    """Fit the thresholds of a cascade on the validation split of ``data`` and write its folder.

    Args:
        small: folder of a run; its answers stand where it is sure.
        large: ``run:FOLDER``, ``file:answers.jsonl`` or ``http`` (see ``large.open_large``).
        data: source with a validation split that neither model trained on.
        rho: share of the samples that the large model is asked about.
        by: what the small model's threshold is fitted by: the ``budget`` rho, or ``error``, so that what it keeps has
            no higher an error than the large model has on all samples, which the large model is asked about.
        agreed: see ``routing.Rule``.
        target: what the cascade is about; default the first target of the small run.
        out: folder of the cascade.

    Returns:
        What is written to ``cascade.json``.

    Raises:
        RunError, DataError: a run, file or corpus that cannot be read or does not fit the others;
            another process writes into ``out``.
        OptionError: an unknown large model, a target that is neither a number nor a class, a small run that is equally
            sure of everything.
    """
    home = Path(out)
    if home.exists() and not (home / FILE).is_file() and {f.name for f in home.iterdir()} - {".lock"}:
        raise OptionError(f"{home} holds something else than a cascade; choose another --out")
    # A folder is made when there is something to put in; one that is there is held while the large model is asked.
    with one_writer(home, OTHERWISE) if home.is_dir() else nullcontext():
        return _fitted(small, large, data, rho, by, agreed, target, home)


def _fitted(
    small: str | Path,
    large: str,
    data: str | Corpus,
    rho: float,
    by: Literal["budget", "error"],
    agreed: Agreed,
    target: str | None,
    home: Path,
) -> dict[str, Any]:
    """Return what is written to ``cascade.json`` in ``home``; see ``fit_cascade``."""
    opened = Run.load(small)
    about = target_of(opened, target)
    raw = load_corpus(data)
    speaker = Speaker(opened, about, prepared(opened, raw))
    asked = open_large(large, about, raw)
    split = speaker.corpus["valid"]
    answers, true = speaker.answers(split), split.targets[about.name]
    known = np.asarray(about.spec.known(true))
    questions = Questions(asked, samples_of(raw, "valid", asked), answers)
    if np.ptp(answers.u) < 1e-9 and by == "budget" and 0 < rho < 1:
        raise OptionError(
            f"{opened.path} is equally sure of every validation sample (uncertainty from {speaker.sureness.basis}), so "
            "that none can be chosen; use ubm, a run of classes, or several seeds"
        )
    threshold = by_budget(answers.u, rho) if by == "budget" else _by_error(about, true, known, answers, questions)
    error = _error(about, true, known)
    rule = best_large(Rule(threshold, max(GRID), agreed, middle_of(about, true[known])), questions, error)
    record = run(rule, questions)
    if (record.calls > 0).any() and not (record.stage != "failed")[record.calls > 0].any():
        asked.notes.append("no answer of the large model was there to fit its threshold on; fit again when it answers")
    fitted = {
        "by": by,
        "rho": rho if by == "budget" else None,
        "samples": len(split),
        "escalated": float((record.calls > 0).mean()),
        "asked_again": float((record.calls > 1).mean()),
        "stages": record.by_stage,
        "error": {"metric": about.spec.sample_metric, "small": error(answers.y), "cascade": error(record.score)},
        "usage": asked.usage,
        "notes": asked.notes,
    }
    unsure = unsure_of(asked)
    written = {
        "method": "u-acs",
        "small": {
            "run": relative(str(small), home),
            "digest": digest(opened.path),
            "sureness": asdict(speaker.sureness),
        },
        "large": {
            "spec": relative(large, home),
            "name": asked.name,
            "sureness": asdict(unsure) if unsure else None,
            "digest": digest_of_run(asked),
        },
        "target": about.name,
        "rule": asdict(rule),
        "data": {"source": raw.source, "name": raw.name, "hash": raw.hash},
        "fitted": fitted,
    }
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"cannot make {home}: {problem.strerror}; choose another --out") from None
    with one_writer(home, OTHERWISE):
        write_json(home / FILE, written)
    return written


def middle_of(target: Target, labels: Array) -> float | None:
    """Return the middle of a number's scale, on whose sides answers agree: of its range, else of the ``labels``; None
    for classes."""
    if target.spec.answer == "class":
        return None
    return sum(target.range) / 2 if target.range else float(np.median(labels))


def errors(target: Target, true: Array, answers: Array) -> Array:
    """Return the error of each answer to a known label: absolute, or 1 for a wrong class and 0 for a right one."""
    better = target.spec.metrics[target.spec.sample_metric]
    scores = sample_scores(target, true, answers.astype(true.dtype))
    return np.asarray(1 - scores if better else scores)


def _error(target: Target, true: Array, known: Array) -> Callable[[Array], float]:
    def error(answers: Array) -> float:
        return float(errors(target, true[known], answers[known]).mean())

    return error


def _by_error(target: Target, true: Array, known: Array, small: Answers, questions: Questions) -> float:
    questions.ask(known)
    # Where the large model said nothing, the small one's answer is what one would have got.
    large = np.where(np.isnan(questions.first.y), small.y, questions.first.y)
    own, other = (errors(target, true[known], y[known]) for y in (small.y, large))
    return by_error(small.u[known], own, other)
