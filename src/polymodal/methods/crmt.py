"""CRMT: every modality is to tell the classes apart by itself; how far what was seen may move is proven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods._seam import SeamedWrapper
from polymodal.methods._subsets import evaluating
from polymodal.methods._wrapper import task_names
from polymodal.methods.base import Now, Phase, Update, View, fraction, positive
from polymodal.nn.certified import CertifiedHead, Norm, margin_loss
from polymodal.nn.heads import task_losses
from polymodal.nn.inputs import Inputs
from polymodal.nn.masking import mean_where

TUNE = "tune"


class CRMT(SeamedWrapper):
    """Certifiable Robust Multi-modal Training (Yang et al., ICLR 2024, arXiv 2402.06244), on the vectors of any method
    with a seam.

    What is predicted is a sum over modalities m of what each says of each class, by orthonormal directions W~,

        h = sum_m a_m * h_m + b,   h_m = W~_m z_m,

    with a weight a per modality and class. Step 1, the base's phases with its losses on h, adds ``rho`` times

        mean log(sum_m sum_(k != y) exp(h_m,k - h_m,y) + 1e-5),

    so that no modality is left with a small margin. Step 2, ``tune``, moves a alone, up the certified radius

        r = min_k (h_y - h_k) / |sum_m (|a_y| tau_y + |a_k| tau_k)^2|^(1/2),

    tau the steepest slope of h_m,c over its input that the training split shows: weight leaves the modality that is
    easily moved. It is a maximum over samples, an estimate.

    ``<target>/radius`` in the output is r of the likeliest class with the slopes over the vectors z, which are the
    lengths of W~, known exactly: no change of a sample's vectors, all modalities together, that is shorter changes the
    class. That is a proof for vectors, not for clips: what an encoder makes of a small change of its input is not
    bounded. A sum learns nothing that only several modalities together tell.

    Departures: the least over all rivals, not over the strongest one; an absent modality has no margin and does not
    move; raw text is moved as embedded. The base's own fusion goes on learning the task on the vectors, as ``plain``,
    but teaches the encoders nothing. Of the paper's variants of step 1, adversarial inputs and mixup are left out. The
    epoch of step 2 is chosen by the mean radius on validation. Phases and updates of the base without a task loss are
    left as they are.

    Seen on a planted fragile modality: more right under an attack on it than plain joint training once the first step
    has converged (200 steps: 0.99 against 0.11 at most); after 60 steps it was less (0.73 against 0.80).

    Args:
        schema: what the batches hold.
        base: the method, an id or ``file.py:Class``.
        base_options: its options; what is not given has its default.
        rho: weight of the margins; 0 leaves them out.
        weight: a at first.
        norm: what W~ is: ``orthogonal`` rows, ``rows`` of length 1 as in the paper's code, or ``none``: W as it is.
        tune_share: share of the epochs for step 2, in [0, 1); 0 leaves it out.
        tune_rate: factor on the learning rate in step 2; the paper has 0.03, with gradient descent.

    Output: the base's, ``<target>/scores`` (batch, modalities, classes) h_m; outside of training ``<target>/radius``.
    """

    family = "around any method"
    paper = (
        "Yang, Wei, Liang & Hu, Quantifying and Enhancing Multi-modal Robustness with Modality Preference, ICLR 2024, "
        "arXiv:2402.06244"
    )
    tasks = frozenset({"classification"})
    modality_counts = (2, 99)

    def __init__(
        self,
        schema: Schema,
        *,
        base: str = "late-fusion",
        base_options: dict[str, Any] = {},  # noqa: B006 (never changed)
        rho: float = 2.0,
        weight: float = 0.1,
        norm: Norm = "orthogonal",
        tune_share: float = 0.25,
        tune_rate: float = 1.0,
    ) -> None:
        super().__init__(schema, base, base_options)
        positive(weight=weight, tune_rate=tune_rate)
        fraction(tune_share=tune_share)
        if rho < 0:
            raise OptionError(f"rho must not be negative, got {rho}")
        most, least = max(len(t.classes) for t in schema.joint_targets), min(self.widths.values())
        if norm == "orthogonal" and most >= least:
            raise OptionError(
                f"{most} classes have no orthogonal directions in the vectors of {base!r}, which are {least} wide at "
                "least; make these wider, or take norm=rows"
            )
        self.rho, self.tune_share, self.tune_rate = rho, tune_share, tune_rate
        widths = [self.widths[n] for n in schema.names]
        self.certified = torch.nn.ModuleList(
            CertifiedHead(widths, len(t.classes), weight, norm) for t in schema.joint_targets
        )

    @property
    def tuning(self) -> bool:
        """Whether step 2 is on its way."""
        return self.now.phase == TUNE

    def inner(self, now: Now) -> Now:
        """Return the base's own phase; in step 2 it stands where its last one ended."""
        return Now(self.base.phases()[-1].name) if now.phase == TUNE else now

    def phases(self) -> list[Phase]:
        """The base's phases, then the weights alone."""
        own = [replace(p, share=(1 - self.tune_share) * p.share) for p in super().phases()]
        tune = Update(TUNE, _is_weight, rate=self.tune_rate)
        return [*own, Phase(TUNE, self.tune_share, updates=(tune,), select=("radius",))] if self.tune_share else own

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return the base's vectors; in step 2 as in evaluation."""
        with self._frozen() if self.tuning else nullcontext():
            return super().encode(batch)

    def fused(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return h, and the base's representations with those named above."""
        with self._frozen() if self.tuning else nullcontext():
            found = dict(super().fused(vectors, present).representations)
        predictions = {}
        for name, head in self._heads():
            found[f"{name}/scores"] = scores = head.scores(vectors.values())
            predictions[name] = head(scores)
            if not self.training:
                found[f"{name}/radius"] = head.certificate(scores, present)
        return Output(predictions, found)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the base's losses and, in training, ``margin`` and ``plain``; in step 2 ``radius``, minus its mean."""
        if self.tuning:
            radii = self._named("radius", {n: -self._radius(batch, output, n, head) for n, head in self._heads()})
            return radii if self.training else super().losses(batch, output) | radii
        losses = super().losses(batch, output)
        if not self.training or not task_names(losses):
            return losses
        if self.rho:
            losses |= self._named("margin", {n: self.rho * self._margin(batch, output, n) for n, _ in self._heads()})
        still = {n: v.detach() for n, v in self.vectors(output).items()}
        plain = task_losses(self.schema, batch, self.base.fuse(still, batch.present))
        return losses | {"plain": torch.stack(list(plain.values())).sum()}

    def _heads(self) -> Iterator[tuple[str, CertifiedHead]]:
        for target, head in zip(self.schema.joint_targets, self.certified, strict=True):
            assert isinstance(head, CertifiedHead)
            yield target.name, head

    def _named(self, name: str, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return terms of targets as losses: ``name``, or ``name/<target>`` over their number."""
        if len(terms) == 1:
            return {name: next(iter(terms.values()))}
        return {f"{name}/{target}": term / len(terms) for target, term in terms.items()}

    def _margin(self, batch: Batch, output: Output, target: str) -> Tensor:
        label = batch.targets[target].clamp(min=0)
        losses = margin_loss(output.representations[f"{target}/scores"], batch.present, label)
        return mean_where(losses, batch.labelled(target))

    def _radius(self, batch: Batch, output: Output, target: str, head: CertifiedHead) -> Tensor:
        """Return the mean r of the true class, by the slopes that were measured."""
        scores, label = output.representations[f"{target}/scores"].detach(), batch.targets[target].clamp(min=0)
        return mean_where(head.radius(scores, batch.present, head.slopes, label), batch.labelled(target))

    def begin(self, view: View) -> None:
        """Tell the base that an epoch begins, or, before step 2, measure the slopes."""
        if not self.tuning:
            super().begin(view)
        elif not self.now.epoch:
            self.measure(view.train())

    def stepped(self) -> None:
        """Tell the base that a step is done; in step 2 it stands still."""
        if not self.tuning:
            super().stepped()

    def measure(self, batches: Iterable[Batch]) -> None:
        """Set tau: for each modality and class the steepest slope of the score over the modality's input."""
        for _, head in self._heads():
            head.slopes.zero_()
        for batch in batches:
            with torch.enable_grad(), evaluating(self.base), _leaves(self.base) as leaves:
                vectors = self.base.encode(batch)
                for _, head in self._heads():
                    scores, inputs = head.scores(vectors.values()), [leaves[n] for n in self.schema.names]
                    for c in range(scores.shape[2]):
                        slopes = torch.autograd.grad(scores[..., c].sum(), inputs, retain_graph=True)
                        steepest = torch.stack([torch.linalg.vector_norm(s.flatten(1), dim=1).max() for s in slopes])
                        head.slopes[:, c] = torch.maximum(head.slopes[:, c], steepest)

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """Let the base neither learn nor count for a while."""
        with torch.no_grad(), evaluating(self.base):
            yield


def _is_weight(name: str) -> bool:
    return name.startswith("certified.") and name.endswith(".weights")


@contextmanager
def _leaves(module: torch.nn.Module) -> Iterator[dict[str, Tensor]]:
    """Give gradients to all that encoders read meanwhile: modality -> the tensor, in the dictionary that is yielded."""
    found: dict[str, Tensor] = {}

    def cut(inputs: torch.nn.Module, given: Any, streams: dict[str, Stream]) -> dict[str, Stream]:
        found.update({n: s.tensor.detach().requires_grad_() for n, s in streams.items()})
        return {n: replace(s, values=found[n]) for n, s in streams.items()}

    handles = [m.register_forward_hook(cut) for m in module.modules() if isinstance(m, Inputs)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
