"""One small model instead of many: it learns from the labels and from what the ensemble said out of fold.

Ba & Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014; Hinton, Vinyals & Dean, 2015. What the ensemble says
of samples that its members learned from would be too sure, so it is asked out of fold only.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polymodal.best.assemble import Choice
from polymodal.best.candidates import Candidate
from polymodal.best.ground import Check, Ground, Timed, quiet
from polymodal.best.records import Record
from polymodal.core import Batch, DataError, Output, Schema, Target, seed_torch
from polymodal.data.corpus import Corpus
from polymodal.data.progress import progress_bar
from polymodal.methods._wrapper import Wrapper
from polymodal.methods.ensemble import averaged
from polymodal.train.calibrate import calibrate
from polymodal.train.checkpoint import load_checkpoint, save_checkpoint, write_json
from polymodal.train.loop import Trainer
from polymodal.train.members import Member
from polymodal.train.opening import open_run
from polymodal.train.plan import prepare
from polymodal.train.recipe import Recipe
from polymodal.train.records import signed
from polymodal.train.run import Run

FOLDER = "student"

SHARE = 0.5
"""Of the loss that is the distance from the ensemble; the rest is the method's own."""


class Taught(Wrapper):
    """A method that also learns to say what somebody said of the training samples.

    Args:
        schema: what the batches hold.
        base: id of the method.
        base_options: its options.
        ids: of the samples of which something was said.
        said: target -> ``(samples, ...)`` as of ``methods.ensemble.averaged``, in the order of ``ids``.
    """

    def __init__(
        self, schema: Schema, base: str, base_options: dict[str, Any], ids: Sequence[str], said: dict[str, Tensor]
    ) -> None:
        super().__init__(schema, base, base_options)
        self._rows, self._said = {name: row for row, name in enumerate(ids)}, said

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the base's losses and, in training, the distance from what was said as ``taught``."""
        own = super().losses(batch, output)
        if not self.training:
            return own
        rows = torch.tensor([self._rows[name] for name in batch.ids])
        apart = [
            distance(t, output.predictions[t.name], self._said[t.name][rows].to(output.predictions[t.name].device))
            for t in self.schema.joint_targets
        ]
        return {n: (1 - SHARE) * loss for n, loss in own.items()} | {"taught": SHARE * torch.stack(apart).mean()}


def distance(target: Target, prediction: Tensor, said: Tensor) -> Tensor:
    """Return how far predictions are from what was said: the loss of a number, the cross entropy of probabilities."""
    if target.spec.averaged != "probability":
        return target.spec.loss(prediction.float(), said).mean()
    if target.spec.answer == "class":
        return -(said * prediction.float().log_softmax(dim=1)).sum(1).mean()
    return torch.nn.functional.binary_cross_entropy_with_logits(prediction.float(), said)


def check_teachable(corpus: Corpus) -> None:
    """Raise DataError for a corpus whose splits a student cannot learn from."""
    lacking = [name for name in ("train", "valid") if name not in corpus.splits]
    if lacking:
        raise DataError(f"{corpus.source} has no {' and no '.join(lacking)} split, needed to distill; leave it out")


def pupil(ground: Ground, records: Sequence[Record]) -> Record | None:
    """Return the best candidate that reads every modality and learns by gradient; None where none was finished."""
    able = [
        r
        for r in records
        if r.candidate.modalities == ground.schema.names and ground.trains(r.candidate) and r.loss is not None
    ]
    return min(able, key=lambda r: r.loss or 0.0, default=None)


def teach(
    ground: Ground,
    choice: Choice,
    candidate: Candidate,
    corpus: Corpus,
    *,
    encode: dict[str, str],
    out: Path,
    check: Check,
) -> Run:
    """Train ``candidate`` on the splits of ``corpus`` and on what the ensemble said of them, into ``out``.

    Args:
        corpus: not encoded.
        encode: modality -> frozen encoder.

    Raises:
        OutOfTime: as ``check``.
    """
    options, recipe = candidate.settled(ground.schema)
    changed = {n: v for n, v in vars(recipe).items() if v != getattr(Recipe(), n)}
    plan = prepare(
        candidate.method,
        corpus,
        options=options | changed,
        encoder={},
        encode=encode or dict.fromkeys(corpus.schema.texts, "none"),
        seeds=[ground.seed],
        load=lambda found: found,  # type: ignore[arg-type, return-value]  # it is loaded
    )
    shutil.rmtree(out, ignore_errors=True)
    open_run(out, plan.config, False)
    place = out / Member(ground.seed).place
    place.mkdir(parents=True)
    write_json(out / "normalizer.json", plan.corpus.normalizer.to_dict())
    said = choice.nested(ground, choice.folds)
    means = {t.name: averaged(t, said[t.name]) for t in ground.targets}
    seed_torch(ground.seed)
    method = Taught(plan.corpus.schema, candidate.method, options, list(ground.dealt.pooled.ids), means)
    problem = Timed(plan.corpus, recipe, ground.seed, check)
    with progress_bar() as bar:
        trainer = Trainer(method, problem, recipe, ground.seed, place, ground.fabric, bar, quiet, 60.0, "student")
        result = trainer.fit()
    tensors, state = load_checkpoint(place / "best.safetensors")
    plain = {n.replace("model.base.", "model.", 1): t for n, t in tensors.items()}
    save_checkpoint(place / "best.safetensors", plain, state)
    (place / "last.safetensors").unlink(missing_ok=True)
    write_json(place / "result.json", signed(result, place))
    run = Run.load(out)
    calibrate(run, plan.corpus, ground.fabric.device)
    return run
