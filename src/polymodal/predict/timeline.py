"""What a run says about a clip, over time; as JSON and as a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Any

from polymodal.core import Target
from polymodal.core.tasks import refuse_foreign
from polymodal.core.text import cell
from polymodal.media.types import Word
from polymodal.predict.routed import Routed
from polymodal.predict.together import Together
from polymodal.train.unlike import Unlike


@dataclass(frozen=True)
class Estimate:
    """What is said about one target of one utterance.

    Attributes:
        value, low, high: of a regression; the interval is None where the run is not calibrated for what is there.
        label: likeliest class of a classification.
        labels: classes of a multilabel target with a probability above 0.5; None for other tasks.
        probabilities: class -> probability; None for a regression, and where a class was named without any.
        baseline: what would be said if nothing was there: the value, the probability of ``label``, or a probability per
            class (multilabel); None where a model answered that cannot be asked so.
        contributions: modality that is there -> its share of the difference to ``baseline`` (Shapley value), like
            ``baseline``.
        radius: of a classification by a run that certifies its answers: how far what it makes of the modalities may
            move before the class changes; None elsewhere.
        together: how the modalities that are there go together (see ``predict.together``); None where fewer than two
            are, or it was not told.
        abstained: whether the run stays silent; None where it was not asked to.
        steps: class -> its probability in each of equal parts of the utterance, where the method finds steps.
        cascade: which of two models answered, and what both said; None where a run answers alone.
    """

    baseline: float | dict[str, float] | None
    contributions: dict[str, Any]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    probabilities: dict[str, float] | None = None
    radius: float | None = None
    together: Together | None = None
    abstained: bool | None = None
    steps: dict[str, tuple[float, ...]] | None = None
    cascade: Routed | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what belongs to the task and is known, for JSON."""
        common: dict[str, Any] = {"baseline": self.baseline, "contributions": self.contributions}
        common |= {} if self.together is None else {"together": self.together.to_dict()}
        common |= {} if self.abstained is None else {"abstained": self.abstained}
        if self.steps is not None:
            common["steps"] = {name: list(values) for name, values in self.steps.items()}
        common |= {} if self.cascade is None else {"cascade": self.cascade.to_dict()}
        if self.value is not None:
            return {"value": self.value, "low": self.low, "high": self.high, **common}
        said = {"label": self.label} if self.labels is None else {"labels": list(self.labels)}
        proven = {} if self.radius is None else {"radius": self.radius}
        return {**said, "probabilities": self.probabilities, **proven, **common}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Estimate:
        """Inverse of ``to_dict``."""
        labels, together, steps = data.get("labels"), data.get("together"), data.get("steps")
        cascade = data.get("cascade")
        told = {
            "labels": None if labels is None else tuple(labels),
            "together": None if together is None else Together(**together),
            "steps": None if steps is None else {name: tuple(values) for name, values in steps.items()},
            "cascade": None if cascade is None else Routed.from_dict(cascade),
        }
        return cls(**{**data, **told})


@dataclass(frozen=True)
class Moment:
    """One utterance and what is said about it.

    Attributes:
        start, end: seconds.
        present: modalities of the run that were there.
        estimates: target -> Estimate.
        text, words, speaker: what was said by whom, as far as known.
        absent: modality of the run -> why it was not there, as far as known.
        unlike: how unlike the training data it is; None where that is not known.
    """

    start: float
    end: float
    present: tuple[str, ...]
    estimates: dict[str, Estimate]
    text: str = ""
    words: tuple[Word, ...] = ()
    speaker: str = ""
    absent: dict[str, str] = field(default_factory=dict)
    unlike: Unlike | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "start": self.start,
            "end": self.end,
            "speaker": self.speaker,
            "text": self.text,
            "words": [{"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in self.words],
            "present": list(self.present),
            "absent": self.absent,
            **({} if self.unlike is None else {"unlike": {**self.unlike._asdict(), "alarm": self.unlike.alarm}}),
            "estimates": {name: e.to_dict() for name, e in self.estimates.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Moment:
        """Inverse of ``to_dict``."""
        unlike = data.get("unlike")
        changed = {
            "present": tuple(data["present"]),
            "unlike": None if unlike is None else Unlike(unlike["p"], unlike["modality"]),
            "words": tuple(Word(**w) for w in data["words"]),
            "estimates": {name: Estimate.from_dict(e) for name, e in data["estimates"].items()},
        }
        return cls(**{**data, **changed})


@dataclass(frozen=True)
class Timeline:
    """A run applied to a clip.

    Attributes:
        clip: name of the clip.
        duration: seconds.
        run, method: what was applied.
        modalities, targets: of the run; targets that describe the whole sample.
        moments: one per utterance, in the order of time.
        level: of the intervals.
        calibrated: whether every estimate rests on a measured calibration.
        notes: what was missing, chosen or found wrong, one sentence each.
        seconds: stage -> seconds of work.
        abstain_at: mean error that the run was asked to keep by staying silent; None where it was not.
    """

    clip: str
    duration: float
    run: str
    method: str
    modalities: tuple[str, ...]
    targets: tuple[Target, ...]
    moments: tuple[Moment, ...]
    level: float = 0.9
    calibrated: bool = False
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    abstain_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; ``from_dict`` is its inverse."""
        targets = [
            {
                "name": t.name,
                "task": t.task,
                "answer": t.spec.answer,
                "range": list(t.range) if t.range else None,
                "classes": list(t.classes),
            }
            for t in self.targets
        ]
        return {
            "clip": self.clip,
            "duration": self.duration,
            "run": self.run,
            "method": self.method,
            "modalities": list(self.modalities),
            "targets": targets,
            "level": self.level,
            "calibrated": self.calibrated,
            "notes": list(self.notes),
            "seconds": self.seconds,
            **({} if self.abstain_at is None else {"abstain_at": self.abstain_at}),
            "utterances": [m.to_dict() for m in self.moments],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Timeline:
        """Inverse of ``to_dict``."""
        rest = {n: v for n, v in data.items() if n != "utterances"}
        refuse_foreign([t["task"] for t in data["targets"]], "the timeline")
        targets = (
            Target(t["name"], t["task"], tuple(t["range"]) if t["range"] else None, tuple(t["classes"]))
            for t in data["targets"]
        )
        changed = {
            "modalities": tuple(data["modalities"]),
            "notes": tuple(data["notes"]),
            "targets": tuple(targets),
            "moments": tuple(Moment.from_dict(u) for u in data["utterances"]),
        }
        return cls(**{**rest, **changed})

    def to_csv(self) -> str:
        """Return a table with one line per utterance; its columns depend on the run only.

        Columns of a target ``t``: ``t`` (value, label, or labels joined by ;), ``t/low``, ``t/high`` (regression) or
        ``t/probability/CLASS``, ``t/radius`` (of a run that certifies), ``t/baseline`` and ``t/contribution/MODALITY``
        (multilabel: each with ``/CLASS``), then ``t/together`` and, where the run was asked to keep an error,
        ``t/abstained``, with ``t`` empty where it is 1; of the target of a cascade, ``t/stage`` and the rest of
        ``Routed.columns``. ``unlike_p`` and ``unlike_modality`` belong to the whole line.
        """
        # A cascade's answers are of two runs, of which one alone may certify its own.
        proven = {t.name for t in self.targets if any(m.estimates[t.name].radius is not None for m in self.moments)}
        rows = [self._row(m, proven) for m in self.moments]
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["clip"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
        return out.getvalue()

    def _row(self, moment: Moment, proven: set[str]) -> dict[str, Any]:
        row: dict[str, Any] = {"clip": self.clip, "start": moment.start, "end": moment.end, "speaker": moment.speaker}
        row |= {"text": moment.text, "present": "+".join(moment.present)}
        row |= dict(zip(("unlike_p", "unlike_modality"), moment.unlike or (None, None), strict=True))
        for target in self.targets:
            name, e = target.name, moment.estimates[target.name]
            if e.value is not None:
                row |= {name: e.value, f"{name}/low": e.low, f"{name}/high": e.high}
            else:
                row[name] = e.label if e.labels is None else ";".join(e.labels)
                row |= _flat(f"{name}/probability", e.probabilities or dict.fromkeys(target.classes))
                row |= {f"{name}/radius": e.radius} if name in proven else {}
            row |= _flat(f"{name}/baseline", e.baseline)
            # What is absent keeps its columns: a table has the same ones whatever is in the clip.
            nothing = dict.fromkeys(target.classes) if target.spec.answer == "classes" else None
            for modality in self.modalities:
                row |= _flat(f"{name}/contribution/{modality}", e.contributions.get(modality, nothing))
            row[f"{name}/together"] = e.together.word if e.together else None
            if self.abstain_at is not None:
                row |= {f"{name}/abstained": int(bool(e.abstained)), **({name: None} if e.abstained else {})}
            row |= {} if e.cascade is None else e.cascade.columns(name)
        return row


def _flat(name: str, value: Any) -> dict[str, Any]:
    """Return one column for a number, one per key for a dictionary."""
    return {f"{name}/{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
