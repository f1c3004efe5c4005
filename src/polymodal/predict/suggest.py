"""Which clips of a folder, or samples of a corpus, to label next, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.core import DataError, OptionError, PolymodalError, RunError, Target
from polymodal.data.corpus import Corpus
from polymodal.data.ragged import Array
from polymodal.predict.asked import Asked, Asker
from polymodal.predict.candidates import Candidate, Gathered, folder_of_clips, read_clips, read_corpus
from polymodal.predict.choose import check_way, choose, newness, ranks
from polymodal.predict.predictor import Predictor


@dataclass(frozen=True)
class Suggestions:
    """What to label next, the most wanted first.

    Attributes:
        run: what was asked.
        source: folder or corpus.
        clips: whether candidates are clips of the folder ``source``.
        targets: to be labelled.
        chosen: the candidates.
        said: per candidate, target -> predicted number, class or list of classes.
        scores: of ``choose.SCORES`` -> per candidate; one that cannot be told is left out.
        reasons: per candidate, one phrase.
        candidates: how many there were.
        notes: what was missing or decided, one sentence each.
    """

    run: str
    source: str
    clips: bool
    targets: tuple[Target, ...]
    chosen: tuple[Candidate, ...]
    said: tuple[dict[str, Any], ...]
    scores: dict[str, tuple[float, ...]]
    reasons: tuple[str, ...]
    candidates: int
    notes: tuple[str, ...] = ()


def suggest(
    predictor: Predictor, source: str | Path | Corpus, count: int, *, by: str = "mixed", utterances: str = "clip"
) -> Suggestions:
    """Return which candidates of ``source`` to label next.

    Args:
        predictor: of the run that knows what is labelled already.
        source: folder with clips, or corpus or its source; of a corpus, its samples without a label, or all if none
            lacks one.
        count: how many, at least 1.
        by: one of ``choose.WAYS``.
        utterances: what of a clip is a candidate: ``clip``, ``speech`` or ``windows``.

    Raises:
        DataError: there is nothing to choose from.
        OptionError: a way that does not exist, or that cannot be told here.
        RunError: the run cannot be applied to ``source``.
    """
    if count < 1:
        raise OptionError(f"--n must be at least 1, got {count}")
    check_way(by)
    run, asker = predictor.run, Asker(predictor.run)
    notes: list[str] = []
    if any(t.spec.answer == "match" for t in run.schema.joint_targets):
        raise RunError(f"{run.path} finds samples for samples; there is no label to ask for")
    known = _learn(asker, notes)
    folder = None if isinstance(source, Corpus) else folder_of_clips(source)
    gathered = Gathered(asker)
    if folder is not None:
        read_clips(predictor, folder, utterances, gathered, notes)
    else:
        read_corpus(source if isinstance(source, Corpus) else str(source), gathered, notes)
    named = source.source if isinstance(source, Corpus) else str(source)
    if not gathered.candidates:
        raise DataError(f"{named} has nothing that {run.path} can judge: {'; '.join(notes) or 'it is empty'}")
    asked = gathered.asked
    scores = {"uncertainty": asked.uncertainty, "conflict": asked.conflict}
    if known is not None:
        scores["distance"] = newness(asked.features, known)
    if len(run.schema.names) < 2:
        del scores["conflict"]
    if not asker.varied:
        notes.append(
            "the run has one seed: its uncertainty tells samples of a regression apart by what is absent only; train "
            "several seeds for more"
        )
    rows = choose(by, scores, asked.features, count)
    return Suggestions(
        run=predictor.name,
        source=named,
        clips=folder is not None,
        targets=run.schema.joint_targets,
        chosen=tuple(gathered.candidates[i] for i in rows),
        said=tuple({t.name: _answer(t, asked.said[t.name][i]) for t in run.schema.joint_targets} for i in rows),
        scores={name: tuple(round(float(values[i]), 4) for i in rows) for name, values in scores.items()},
        reasons=tuple(_reason(by, i, scores, asked, run.schema.joint_targets[0]) for i in rows),
        candidates=len(gathered.candidates),
        notes=tuple(dict.fromkeys(notes)),
    )


def _learn(asker: Asker, notes: list[str]) -> Array | None:
    """Return what the run was trained on as features; None, with a note, where its corpus is not at hand."""
    try:
        corpus = asker.run.corpus()
        return asker.learn(asker.run.loader(corpus, "train").epoch())
    except PolymodalError as error:
        notes.append(f"distance from training cannot be told: {error}")
        return None


def _answer(target: Target, said: Array) -> Any:
    if target.spec.answer == "number":
        return round(float(said[0]), 4)
    if target.spec.answer == "class":
        return target.classes[int(said.argmax())]
    return [c for c, p in zip(target.classes, said, strict=True) if p > 0.5]


def _reason(by: str, row: int, scores: dict[str, Array], asked: Asked, target: Target) -> str:
    """Return one phrase: of the score asked for, or of the one in which the row stands highest."""
    if by == "diverse":
        return "typical of a part of the candidates that nothing else here stands for"
    place = {name: float(ranks(values)[row]) for name, values in scores.items()}
    best = by if by in place else max(place, key=place.__getitem__)
    if best == "distance":
        return f"unlike what the run was trained on, more so than {place[best]:.0%} of the candidates"
    if best == "conflict":
        there = [n for n, flags in asked.present.items() if flags[row]]
        said = (f"{n} alone says {_short(target, asked.single[target.name][n][row])}" for n in there)
        return ", ".join(said) if len(there) > 1 else "one modality only"
    return f"unsure: {_chances(target, asked.said[target.name][row])}"


def _short(target: Target, said: Array) -> str:
    answer = _answer(target, said)
    return (
        f"{answer:.2f}"
        if isinstance(answer, float)
        else answer
        if isinstance(answer, str)
        else "+".join(answer) or "none"
    )


def _chances(target: Target, said: Array) -> str:
    if target.spec.answer == "number":
        return f"{said[0]:.2f}, with a wide interval"
    first = np.argsort(-said)[:2] if target.spec.answer == "class" else np.argsort(np.abs(said - 0.5))[:2]
    return ", ".join(f"{target.classes[i]} {said[i]:.0%}" for i in first)
