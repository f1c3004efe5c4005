"""From chosen candidates to one run: a method ``ensemble``, its members' weights in one file for every fold."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from polymodal.best.candidates import Candidate
from polymodal.best.ground import Ground
from polymodal.best.selection import Jury
from polymodal.data.corpus import Corpus
from polymodal.train.checkpoint import load_checkpoint, save_checkpoint, write_json
from polymodal.train.members import Member
from polymodal.train.plan import Plan, prepare
from polymodal.train.records import signed


@dataclass(frozen=True)
class Choice:
    """Which candidates make the ensemble.

    Attributes:
        jury: all of them, with what they said out of fold.
        candidates: they, in the same order.
        whole: weight of each, chosen on all samples.
        folds: weights for every fold, chosen on the samples of the other folds; none before ``in_folds``.
    """

    jury: Jury
    candidates: Sequence[Candidate]
    whole: list[float]
    folds: list[list[float]] = field(default_factory=list)

    @classmethod
    def of(cls, ground: Ground, candidates: Sequence[Candidate]) -> Choice:
        """Return the choice among ``candidates``, all of them done, on all samples."""
        jury = Jury(ground.targets, ground.labels, [ground.answers(c) for c in candidates])
        return cls(jury, candidates, jury.choose())

    def in_folds(self, ground: Ground) -> Choice:
        """Return the choice with weights of every fold too."""
        return replace(self, folds=[self.jury.choose(ground.others(fold)) for fold in ground.folds])

    @property
    def members(self) -> list[int]:
        """Numbers of the candidates that have a weight somewhere, those with most first."""
        total = [sum(weights) for weights in zip(self.whole, *self.folds, strict=True)]
        return sorted((n for n, weight in enumerate(total) if weight), key=lambda n: (-total[n], n))

    def nested(self, ground: Ground, weights: Sequence[Sequence[float]]) -> dict[str, torch.Tensor]:
        """Return predictions of all samples, each by the weights of its own fold, target by target; offsets are those
        of the other folds."""
        found: dict[str, torch.Tensor] = {}
        for fold, own in zip(ground.folds, weights, strict=True):
            for name, said in self.jury.decided(own, ground.others(fold)).items():
                found.setdefault(name, torch.empty_like(said))[ground.rows(fold)] = said[ground.rows(fold)]
        return found

    def single(self, ground: Ground) -> list[list[float]]:
        """Return for every fold all weight on the candidate that is best on the other folds."""
        found = []
        for fold in ground.folds:
            losses = [self.jury.loss(one, ground.others(fold)) for one in self.alone]
            found.append(self.alone[losses.index(min(losses))])
        return found

    @property
    def alone(self) -> list[list[float]]:
        """For every candidate the weights that leave it alone."""
        return [[float(n == m) for m in range(len(self.candidates))] for n in range(len(self.candidates))]


def planned(
    ground: Ground, corpus: Corpus, members: Sequence[Candidate], encode: dict[str, str], command: Sequence[str]
) -> Plan:
    """Return the ensemble as a training that is decided: what ``run.json`` will hold.

    Args:
        corpus: not encoded.
        encode: modality -> frozen encoder.
        command: that makes the run.
    """
    about = [
        {"method": c.method, "options": c.settled(ground.schema)[0], "modalities": list(c.modalities)} for c in members
    ]
    folds = ground.dealt.folds
    plan = prepare(
        "ensemble",
        corpus,
        options={"members": about},
        encoder={},
        encode=encode or dict.fromkeys(corpus.schema.texts, "none"),
        seeds=[ground.seed],
        folds=folds.scheme,
        dealt=folds.splits,
        load=lambda found: found,  # type: ignore[arg-type, return-value]  # it is loaded
    )
    plan.config["command"] = shlex.join(command)
    return plan


def assemble(ground: Ground, plan: Plan, choice: Choice, folder: Path) -> None:
    """Write the run; what an earlier, shorter search left there is replaced.

    Raises:
        RunError: a file cannot be read or written.
    """
    members = choice.members
    for stale in ("evaluation", "calibration.json", "report.html"):
        if (folder / stale).is_dir():
            shutil.rmtree(folder / stale)
        (folder / stale).unlink(missing_ok=True)
    for fold, weights in zip(ground.folds, choice.folds, strict=True):
        member = Member(ground.seed, fold)
        place = folder / member.place
        place.mkdir(parents=True, exist_ok=True)
        rows = ground.others(fold)
        offsets = choice.jury.offsets(weights, rows)
        tensors = {
            "model.weight": torch.tensor([weights[n] for n in members], dtype=torch.float32),
            "model.bias": torch.cat([torch.zeros(0), *offsets.values()]),
        }
        for number, n in enumerate(members):
            held, _ = load_checkpoint(ground.place(choice.candidates[n], fold) / "best.safetensors")
            tensors |= {
                f"model.members.{number}.{name.removeprefix('model.')}": tensor
                for name, tensor in held.items()
                if name.startswith("model.")
            }
        loss = choice.jury.loss(weights, rows)
        save_checkpoint(place / "best.safetensors", tensors, {"epoch": 0, "valid_loss": loss, "seed": ground.seed})
        write_json(folder / member.home / "normalizer.json", ground.dealt.corpus(fold).normalizer.to_dict())
        write_json(place / "result.json", signed(_result(ground, choice, fold, loss), place))
    write_json(folder / "run.json", json.loads(json.dumps(plan.config)))


def _result(ground: Ground, choice: Choice, fold: int, loss: float) -> dict[str, Any]:
    """Return what ``result.json`` holds of a fold: its members' trainings together."""
    own = [json.loads((ground.place(choice.candidates[n], fold) / "result.json").read_text()) for n in choice.members]
    return {
        "best_epoch": max(result["best_epoch"] for result in own),
        "epochs": max(result["epochs"] for result in own),
        "valid_loss": loss,
        "stopped": "weights chosen on the samples of the other folds",
        "seconds": round(sum(result["seconds"] for result in own), 2),
    }
