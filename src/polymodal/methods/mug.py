"""MUG: labels of single modalities, learned by correcting the label of the whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods.base import Phase, Seamed, Update, View, fraction, named, positive
from polymodal.nn.contrast import info_nce
from polymodal.nn.correction import Corrector, LabelCodes
from polymodal.nn.fusion import ConcatFusion
from polymodal.nn.heads import Heads, task_loss, task_losses
from polymodal.nn.inputs import Inputs, Projected, vector_encoders
from polymodal.nn.masking import mean_where
from polymodal.nn.unimodal import UnimodalHeads

PRETRAIN, META, JOINT = "pretrain", "meta", "joint"
CORRECT, OWN, FUSE = "correct", "own", "fuse"

TEMPERATURE = 0.1
"""Of the contrast that brings projections of the whole to where modalities are."""

Codes = list[tuple[Tensor, Tensor]]
"""Per target the codes ``(batch, width)`` and which labels are known, ``(batch,)`` bool."""


class MUG(Seamed):
    """Meta-learned Unimodal signals with weak supervision (Mai et al., 2024, arXiv 2408.16029).

    x_m is the vector of modality m, x_M the fused one; D predict from them. The label y of the whole is a noisy one for
    a single modality; a network C_m corrects it, y~_m = C_m(x_m, y), and never sees a label of that modality.

    1. ``pretrain``: all D on y; projections P_m(x_M) are drawn to x_m by a contrast, both ways, so that what C_m learns
       of one holds for the other.
    2. ``meta``: three updates. ``correct`` moves C: on corrupted labels y^c it must give back the clean one,
       ``denoise * |C_m(P_m(x_M), y^c) - y|``; and one step of the maps that end in x_m, on y~_m in half of the batch,
       must help the other half: ``L_task(theta - inner * d/dtheta sum_m L(D_m(x_m), y~_m))``, differentiated through
       that step. ``own`` moves encoders and D_m on y~_m as it is, ``fuse`` the fusion and D_M on y.
    3. ``joint``: ``L_task + own * sum_m L(D_m(x_m), y~_m)`` with C as it is.

    The two denoising tasks, the projection and the three stages are the paper's; sizes, weights, corruption and what
    either level minimises are reconstructed. Departures: the step that is differentiated descends on half the squared
    error of a number, for the slope of an absolute error knows no label and C would learn nothing from it; it moves the
    last map of each encoder alone; C reads the directions of vectors, as the contrast aligns no lengths; y~ is computed
    anew in every batch, without a moving average; sequences are averaged after their transformer. Absent modalities are
    in no loss. A number is corrected by at most half its scale. On planted scores of modalities that count about
    equally in y, y~ is nearer to them than y is, averaged over modalities; that of one that counts a fifth is nearer
    from some starts and farther off from others.

    Args:
        schema: what the batches hold.
        width: features of every vector.
        layers: of the transformer that reads a sequence other than text.
        dropout: inside the encoders and on the fused vector.
        inner: rate of the step that is differentiated; 0 leaves the corruption alone to teach C.
        corrupted: share of labels that are corrupted for C.
        noise: deviation of the noise on a label, of a scale from -3 to 3.
        contrast: weight of the contrast.
        denoise: weight of the corrupted labels.
        own: weight of the modalities' own losses in the last phase.
        pretrain: share of the epochs for the first phase.
        meta: share of the epochs for the second.

    Output: ``fused``, and each modality's vector under its name; in training ``hidden`` (batch, modalities, width), of
    which the last maps make the vectors. ``unimodal_labels`` gives y~.
    """

    family = "labels"
    paper = (
        "Mai, Zhao, Zeng, Yao & Hu, Meta-Learn Unimodal Signals with Weak Supervision for Multimodal Sentiment "
        "Analysis, 2024, arXiv:2408.16029"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 50,
        layers: int = 3,
        dropout: float = 0.1,
        inner: float = 0.5,
        corrupted: float = 0.5,
        noise: float = 1.0,
        contrast: float = 0.1,
        denoise: float = 1.0,
        own: float = 0.2,
        pretrain: float = 0.15,
        meta: float = 0.25,
    ) -> None:
        super().__init__(schema)
        positive(width=width, layers=layers, pretrain=pretrain, meta=meta)
        fraction(dropout=dropout)
        if pretrain + meta >= 1:
            raise OptionError(f"pretrain and meta leave no epoch to the last phase, got {pretrain} and {meta}")
        if not 0 <= corrupted <= 1:
            raise OptionError(f"corrupted is a share, from 0 to 1, got {corrupted}")
        weights = {"inner": inner, "noise": noise, "contrast": contrast, "denoise": denoise, "own": own}
        for name, value in weights.items():
            if value < 0:
                raise OptionError(f"{name} must not be negative, got {value}")
        self.inner, self.share, self.noise, self.contrast = inner, corrupted, noise, contrast
        self.denoise, self.own, self.lengths = denoise, own, (pretrain, meta)
        self.inputs = Inputs(schema)
        self.encoders = vector_encoders(self.inputs.modalities, schema.language, width, layers=layers, dropout=dropout)
        self.drop = nn.Dropout(dropout)
        self.fusion = ConcatFusion([width] * len(schema.names), width)
        self.heads = Heads(schema, width)
        self.unimodal = UnimodalHeads(schema, schema.names, width)
        self.projectors = nn.ModuleDict(
            {n: nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for n in schema.names}
        )
        self.codes = LabelCodes(schema.joint_targets)
        self.correctors = nn.ModuleDict(
            {n: nn.ModuleList(Corrector(code, width) for code in self.codes) for n in schema.names}
        )

    def prepare(self, view: View) -> None:
        """Measure scales that have no range."""
        for code in self.codes:
            code.fill(view.train())

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {n: self.encoders[n](s) for n, s in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, the vectors and the fused one."""
        fused = self.drop(self.fusion(list(vectors.values()), present))
        return Output(self.heads(fused), {**vectors, "fused": fused})

    def forward(self, batch: Batch) -> Output:
        """Return what ``fuse`` does and, in training, what enters the modalities' last map."""
        if not self.training:
            return super().forward(batch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.now.update != CORRECT):
            hidden = {n: self._encoder(n).features(s) for n, s in self.inputs(batch).items()}
        vectors = {n: self._encoder(n).output(h) * batch[n].present[:, None] for n, h in hidden.items()}
        output = self.fuse(vectors, batch.present)
        return Output(output.predictions, {**output.representations, "hidden": torch.stack([*hidden.values()], dim=1)})

    def _encoder(self, name: str) -> Projected:
        found = self.encoders[name]
        assert isinstance(found, Projected)
        return found

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the losses of the phase and update at hand; outside of training, the task's."""
        phase, update = self.now.phase, self.now.update
        if self.training and update == CORRECT:
            return self.meta_losses(batch, output)
        losses = task_losses(self.schema, batch, output)
        if not self.training or update == FUSE:
            return losses
        vectors = {n: output.representations[n] for n in self.schema.names}
        if phase == PRETRAIN:
            losses |= {f"unimodal/{n}": self.unimodal.loss(batch, n, x) for n, x in vectors.items()}
            return losses | {"projection": self.contrast * self.projection_loss(batch, output)}
        codes = self.coded(batch)
        with torch.no_grad():
            labels = self.corrected(vectors, codes)
        everyone = torch.ones_like(codes[0][1])
        own = self.own_loss(batch, vectors, labels, codes, everyone)
        return {"own": own} if update == OWN else losses | {"own": self.own * own}

    def projection_loss(self, batch: Batch, output: Output) -> Tensor:
        """Return the contrast of projections of the whole with the modalities' vectors, both ways, summed over them."""
        terms = []
        for n, project in self.projectors.items():
            p, x, rows = project(output.representations["fused"]), output.representations[n], batch[n].present
            terms.append((info_nce(p, x, TEMPERATURE, rows) + info_nce(x, p, TEMPERATURE, rows)) / 2)
        return torch.stack(terms).sum()

    def coded(self, batch: Batch) -> Codes:
        """Return the labels as codes."""
        return [code(batch) for code in self.codes]

    def corrected(self, vectors: dict[str, Tensor], codes: Codes) -> dict[str, list[Tensor]]:
        """Return y~ as codes: modality -> one per target. The vectors get no gradient."""
        return {
            n: [correct(x.detach(), code) for correct, (code, _) in zip(self._of(n), codes, strict=True)]
            for n, x in vectors.items()
        }

    def _of(self, name: str) -> list[nn.Module]:
        """Return the correctors of modality ``name``, one per target."""
        return [*self.correctors[name].children()]

    def own_loss(
        self,
        batch: Batch,
        vectors: dict[str, Tensor],
        labels: dict[str, list[Tensor]],
        codes: Codes,
        rows: Tensor,
        *,
        squared: bool = False,
    ) -> Tensor:
        """Return the loss of the modalities' own predictions on ``labels``, summed over them, averaged over targets and
        over those of ``rows`` (batch,) that have the modality and a label."""
        terms = []
        for n, x in vectors.items():
            predictions = self.unimodal[n](x)
            for code, label, (_, known) in zip(self.codes, labels[n], codes, strict=True):
                errors = code.loss(predictions[code.target.name], label, squared=squared)
                terms.append(mean_where(errors, rows & known & batch[n].present))
        return torch.stack(terms).sum() / len(codes)

    def meta_losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return ``outer``, the task's loss in one half of the batch after a step on y~ in the other half, and
        ``denoise``."""
        names, found, codes = self.schema.names, output.representations, self.coded(batch)
        vectors = {n: found[n] for n in names}
        first = torch.arange(len(batch), device=found["fused"].device) % 2 == 0
        step = self.own_loss(batch, vectors, self.corrected(vectors, codes), codes, first, squared=True)
        maps = {n: dict(self._encoder(n).output.named_parameters()) for n in names}
        flat = [p for parameters in maps.values() for p in parameters.values()]
        slopes = iter(torch.autograd.grad(step, flat, create_graph=True))
        moved = {n: {k: p - self.inner * next(slopes) for k, p in own.items()} for n, own in maps.items()}
        after = {
            n: functional_call(self._encoder(n).output, moved[n], (h,)) * batch[n].present[:, None]
            for n, h in zip(names, found["hidden"].unbind(1), strict=True)
        }
        predictions = self.fuse(after, batch.present).predictions
        outer = [task_loss(t, predictions[t.name], batch.targets[t.name], ~first) for t in self.schema.joint_targets]
        return {
            "outer": torch.stack(outer).mean(),
            "denoise": self.denoise * self.denoising_loss(found["fused"], codes, ~first & batch.present.any(1)),
        }

    def denoising_loss(self, fused: Tensor, codes: Codes, rows: Tensor) -> Tensor:
        """Return how far corrupted labels, corrected by projections of ``fused``, are from the clean ones, averaged
        over modalities, targets and those of ``rows`` that have a label. It reaches the correctors alone."""
        terms = []
        for n, project in self.projectors.items():
            p = project(fused).detach()
            for code, correct, (clean, known) in zip(self.codes, self._of(n), codes, strict=True):
                restored = correct(p, code.corrupted(clean, known, self.share, self.noise))
                terms.append(mean_where(code.distance(restored, clean), rows & known))
        return torch.stack(terms).mean()

    @torch.no_grad()
    def unimodal_labels(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """Return y~: modality -> target -> numbers ``(batch,)`` on the target's scale or probabilities ``(batch,
        classes)``; NaN where the label of the whole is not known or the modality absent."""
        codes = self.coded(batch)
        found: dict[str, dict[str, Tensor]] = {}
        for n, labels in self.corrected(self.encode(batch), codes).items():
            found[n] = {}
            for code, label, (_, known) in zip(self.codes, labels, codes, strict=True):
                values, rows = code.labels(label), known & batch[n].present
                found[n][code.target.name] = values.where(rows.view(-1, *[1] * (values.dim() - 1)), torch.nan)
        return found

    def phases(self) -> list[Phase]:
        """Everything but the correctors; three updates; everything but correctors and projections."""
        correct = Update(CORRECT, named("correctors."))
        own = Update(OWN, named("inputs.", "encoders.", "unimodal."))
        fuse = Update(FUSE, named("fusion.", "heads."))
        pretrain, meta = self.lengths
        return [
            Phase(PRETRAIN, pretrain, lambda name: not name.startswith("correctors.")),
            Phase(META, meta, updates=(correct, own, fuse)),
            Phase(JOINT, 1 - pretrain - meta, lambda name: not name.startswith(("correctors.", "projectors."))),
        ]
