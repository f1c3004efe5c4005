"""MDiCo: modalities that learn from each other in training and predict each for itself."""

from __future__ import annotations

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Target
from polymodal.core.batch import known_labels
from polymodal.methods.base import Phase, Seamed, View, fraction, positive
from polymodal.nn.contrast import info_nce
from polymodal.nn.heads import sample_losses, task_losses
from polymodal.nn.inputs import Inputs, Projected, utterance_encoder
from polymodal.nn.masking import mean_where
from polymodal.nn.sequence import Context, Pooling
from polymodal.nn.subnet import PresentNorm


class EoColearning(Seamed):
    """MDiCo (Mena et al., Machine Learning 114, 2025, arXiv 2510.19579): train with all modalities, deploy any.

    Every modality m has a predictor of its own, that sees no other modality. Its specific encoder gives u_m, of which
    one half is useful and one is not, its shared encoder c_m gives s_m = ReLU(BN(W c_m)), and a linear head predicts
    from [useful u_m; s_m]. In training the modalities meet in

        L = L_main + auxiliary L_aux + contrast L_con + modality L_mod,
        L_main = mean_m loss(y_m, y),   L_aux = mean_m (loss(aux(useful u_m), y) + loss(aux(s_m), y)) / 2,
        L_con = sum_(i != j) InfoNCE(s_i, s_j),   L_mod = mean_m (CE(D(useful u_m), m) + CE(D'(other u_m), m)) / 2,

    so that s_m carries what the other modalities know of the sample. The auxiliary head and the discriminators D, D'
    are linear and shared by all modalities; candidates of a contrast are the samples of the batch in the other
    modality, log B if all are equal. ``polymodal deploy RUN --keep audio`` makes a run of that modality alone.
    The run as a whole predicts the mean of what the modalities that are there say; with one modality this is a plain
    predictor, and all three weights at 0 train each as if alone.

    The loss of a number is the squared error over the variance of training labels: 1 for who says their mean.

    Departures: encoders are this library's; losses of classes are not weighted (``balance=class`` does that for
    batches); a sample without a modality takes no part in that modality's losses; the second discriminator gets the
    other half of u_m, as the paper draws it, where the released code gives it s_m; the epoch is chosen by L_main.

    Args:
        schema: what the batches hold.
        width: features of u_m and c_m; even, their halves are what is compared.
        context: network over the steps of a sequence: bidirectional ``lstm`` or ``gru``, ``transformer``, ``none``.
        pool: how its states become one vector: ``last``, ``mean``, ``attention``.
        kernel: steps seen by the input convolution; 1 is a linear map.
        dropout: inside the encoders.
        auxiliary: weight of L_aux.
        contrast: weight of L_con.
        modality: weight of L_mod.
        temperature: of the contrast.
    """

    family = "missing and noisy input"
    paper = (
        "Mena, Ienco, Dantas, Interdonato & Dengel, Multi-modal Co-learning for Earth Observation: Enhancing "
        "Single-modality Models via Modality Collaboration, Machine Learning 114, 2025, arXiv:2510.19579"
    )
    modular = True

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        context: Context = "lstm",
        pool: Pooling = "attention",
        kernel: int = 1,
        dropout: float = 0.2,
        auxiliary: float = 1.0,
        contrast: float = 1.0,
        modality: float = 1.0,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(schema)
        positive(width=width, kernel=kernel, temperature=temperature)
        fraction(dropout=dropout)
        if width % 2:
            raise OptionError(f"width must be even, its halves are two parts of a vector; got {width}")
        if min(auxiliary, contrast, modality) < 0:
            raise OptionError("auxiliary, contrast and modality are weights, which must not be negative")
        self.auxiliary, self.contrast, self.modality, self.temperature = auxiliary, contrast, modality, temperature
        self.width, self.part = width, width // 2
        self.inputs = Inputs(schema)

        def encoders() -> nn.ModuleDict:
            found = nn.ModuleDict()
            for name, about in self.inputs.modalities.items():
                utterance = utterance_encoder(about, width, context=context, pool=pool, kernel=kernel, dropout=dropout)
                found[name] = Projected(utterance, nn.Linear(width, width))
            return found

        self.specific, self.shared = encoders(), encoders()
        self.projections = nn.ModuleDict({n: nn.Linear(width, self.part) for n in schema.names})
        self.norms = nn.ModuleDict({n: PresentNorm(self.part) for n in schema.names})
        self.heads = nn.ModuleDict({n: _linears(schema, width) for n in schema.names})
        self.scales = nn.ModuleList(Scale(t) for t in schema.joint_targets)
        self.together = len(schema.names) > 1
        if self.together:
            self.auxiliary_head = _linears(schema, self.part)
            self.useful_judges, self.other_judges = _judges(schema, self.part), _judges(schema, self.part)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return [useful u_m; s_m; other u_m] of every modality, ``(batch, 3 width / 2)``."""
        found = {}
        for name, stream in self.inputs(batch).items():
            useful, other = self.specific[name](stream).split(self.part, dim=1)
            shared = self.norms[name](self.projections[name](self.shared[name](stream)), stream.present).relu()
            found[name] = torch.cat([useful, shared, other], dim=1)
        return found

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return the mean of what the modalities that are there say, of all where none is, and their vectors."""
        shares = present.float()
        shares = shares + 1 - shares.amax(1, keepdim=True)  # all have their say where none is there
        shares = shares / shares.sum(1, keepdim=True)

        def mean(parts: list[Tensor]) -> Tensor:
            stacked = torch.stack(parts, dim=1)
            return (stacked * shares.view(*shares.shape, *[1] * (stacked.dim() - 2))).sum(1)

        said = [self._say(self.heads[n], vectors[n][:, : self.width]) for n in self.schema.names]
        predictions = {t.name: mean([one[t.name] for one in said]) for t in self.schema.joint_targets}
        fused = mean([vectors[n][:, : self.width] for n in self.schema.names])
        return Output(predictions, {**vectors, "fused": fused})

    def _say(self, head: nn.Module, features: Tensor) -> dict[str, Tensor]:
        """Return what a head says of every target."""
        assert isinstance(head, nn.ModuleList)
        places = zip(self._scaled(), head, strict=True)
        return {s.target.name: s(s.target.spec.prediction(linear(features))) for s, linear in places}

    def _scaled(self) -> list[Scale]:
        return list(self.scales)  # type: ignore[arg-type]  # a list of modules

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return L_main, in training with what the modalities learn from each other; in evaluation with the task loss
        of the mean of their predictions."""
        vectors = {n: output.representations[n].split(self.part, dim=1) for n in self.schema.names}
        main = [
            self._loss(batch, n, self.heads[n], torch.cat([useful, shared], dim=1))
            for n, (useful, shared, _) in vectors.items()
        ]
        losses = {"main": torch.stack(main).mean()}
        if not self.training:
            return losses | task_losses(self.schema, batch, output)
        return losses | (self._together(batch, vectors) if self.together else {})

    def _together(self, batch: Batch, vectors: dict[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        if self.auxiliary:
            parts = [self._loss(batch, n, self.auxiliary_head, x) for n, own in vectors.items() for x in own[:2]]
            losses["auxiliary"] = self.auxiliary * torch.stack(parts).mean()
        if self.contrast:
            pairs = [
                info_nce(vectors[i][1], vectors[j][1], self.temperature, batch[i].present & batch[j].present)
                for i, j in permutations(self.schema.names, 2)
            ]
            losses["contrast"] = self.contrast * torch.stack(pairs).sum()
        if self.modality:
            parts = []
            for number, (name, (useful, _, other)) in enumerate(vectors.items()):
                label = torch.full((len(batch),), number, device=useful.device)
                for judges, x in ((self.useful_judges, useful), (self.other_judges, other)):
                    said = torch.cat([judge(x) for judge in judges.values()], dim=1)
                    found = F.cross_entropy(said.float(), label, reduction="none")
                    parts.append(mean_where(found, batch[name].present))
            losses["modality"] = self.modality * torch.stack(parts).mean()
        return losses

    def _loss(self, batch: Batch, name: str, head: nn.Module, features: Tensor) -> Tensor:
        """Return the loss of ``head`` on samples that have the modality ``name``, the mean over targets."""
        said, terms = self._say(head, features), []
        for scale in self._scaled():
            goal = scale.target
            losses, known = sample_losses(goal, said[goal.name], batch.targets[goal.name], squared=True)
            terms.append(mean_where(losses / scale.unit, known & batch[name].present))
        return torch.stack(terms).mean()

    def prepare(self, view: View) -> None:
        """Learn mean and deviation of the training labels."""
        labels = [batch.targets for batch in view.train()]
        for scale in self._scaled():
            scale.fit(torch.cat([found[scale.target.name] for found in labels]))

    def phases(self) -> list[Phase]:
        """Return one phase, whose epoch is chosen by what each modality says alone."""
        return [Phase(select=("main",))]


class Scale(nn.Module):
    """Brings a standardised number to the scale of its labels; leaves any other answer as it is."""

    mean: Tensor
    std: Tensor

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target, self.number = target, target.spec.answer == "number"
        if self.number:
            self.register_buffer("mean", torch.tensor(sum(target.range or (0.0, 0.0)) / 2))
            self.register_buffer("std", torch.tensor(1.0))

    def forward(self, said: Tensor) -> Tensor:
        """Return the number."""
        return self.mean + self.std * said if self.number else said

    @property
    def unit(self) -> Tensor | float:
        """What a loss is divided by: the variance of labels, or 1."""
        return self.std.square() if self.number else 1.0

    def fit(self, labels: Tensor) -> None:
        """Take mean and deviation of known ``labels`` (samples,)."""
        known = labels[known_labels(labels)].float()
        if self.number and len(known) and float(known.std(correction=0)) > 0:
            self.mean.copy_(known.mean())
            self.std.copy_(known.std(correction=0))


def _linears(schema: Schema, width: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width, t.spec.width) for t in schema.joint_targets)


def _judges(schema: Schema, width: int) -> nn.ModuleDict:
    """Return a linear discriminator of modalities, one output each, so that it has parts."""
    return nn.ModuleDict({n: nn.Linear(width, 1) for n in schema.names})
