"""MIDG: experts for every set of modalities, whose gates keep what means the same in all domains."""

from __future__ import annotations

from itertools import combinations
from math import log
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, DataError, OptionError, Output, Schema, Stream
from polymodal.methods.base import Method, View, divides, fraction, positive
from polymodal.nn.attention import Attention
from polymodal.nn.discrepancy import moment_gap
from polymodal.nn.environments import Environments
from polymodal.nn.experts import best_weights, load_balance
from polymodal.nn.gradient import ramp, scale_gradient
from polymodal.nn.heads import Heads, task_loss, task_losses
from polymodal.nn.inputs import Inputs
from polymodal.nn.intervention import deep_heads
from polymodal.nn.masking import masked_mean, mean_where
from polymodal.nn.sequence import masked_softmax
from polymodal.nn.tokens import Tokens, side_by_side

Pool = Literal["all", "single", "joint"]
Gate = Literal["soft", "hard", "none"]
Invariance = Literal["moments", "adversarial"]

OPEN = log(9)
"""Where gates begin: sigmoid(OPEN) = 0.9."""


class MIDG(Method):
    """Mixture of Invariant experts for Domain Generalisation (Li, Luo & Hu, 2025, arXiv 2512.07430).

    It learns from labelled source domains and is tested on others (``mix:a,b,c?unseen=c&test=c``). An adapter adds to
    the tokens of every modality what they and their attention over the other modalities' tokens say: ``A = W_up
    GELU(W_down [H; attention])``, W_up zero at first; k is its mean, u that of ``H + A``. There is an expert for every
    set of modalities: a perceptron on the u of its set times a gate in (0, 1), the same for all samples. A router on
    all u mixes those whose modalities are there; heads read the mixture z and all k, which nothing aligns. In training,
    weighted:

    - ``invariance``: between any two domains, mean over experts of the squared distance of means and CORAL
      (``moments``), or the cross entropy of a domain classifier behind a reversed gradient (``adversarial``);
    - ``sparsity``: the mean opening of all gates; ``balance``: of the router's load, 1 when even;
    - ``expert``: the task loss of every expert alone, by shared linear heads.

    Certain are experts over combinations of modalities, invariance, and an adapter whose input mixes modalities; all
    else is reconstructed. A domain without any label in training is refused: the target is never seen. Without domains
    there are ``environments``: clusters of the mean features of all modalities that are no words.

    Departures: no outside knowledge and no stage that trains adapters first; encoders learn from every loss; no V-REx,
    and no order of text before video in the gates. On planted domains whose face turns round, alignment lowers the
    error in the new one, but trained end to end gates do not close on the face; on frozen experts they do.

    Args:
        schema: what the batches hold.
        width: features of a token and of an expert.
        heads: of the adapter's attention; must divide ``width``.
        layers: of the transformer that reads a sequence other than text.
        adapter: whether there are adapters.
        pool: experts for ``all`` sets, ``single`` modalities, or one for all of them, ``joint``.
        gate: ``soft``, ``hard`` (0 or 1, with the gradient of the soft one), or ``none``.
        top: experts that each sample uses, noise on the router in training; 0 for all.
        invariance: as above.
        align, sparse, balance, expert: weights of the four losses.
        environments: clusters where the corpus has no domains; 1 for none.
        dropout: in encoders and experts.

    Output: ``fused`` is z; ``router`` (batch, experts); ``u_<n>`` and, with adapters, ``k_<n>`` of each modality; in
    training also ``experts`` (batch, experts, width).
    """

    family = "cause and domains"
    paper = (
        "Li, Luo & Hu, MIDG: Mixture of Invariant Experts with knowledge injection for Domain Generalization in "
        "Multimodal Sentiment Analysis, 2025, arXiv:2512.07430"
    )
    modality_counts = (1, 6)

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        adapter: bool = True,
        pool: Pool = "all",
        gate: Gate = "soft",
        top: int = 0,
        invariance: Invariance = "moments",
        align: float = 0.1,
        sparse: float = 1e-3,
        balance: float = 1e-2,
        expert: float = 0.1,
        environments: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, environments=environments)
        fraction(dropout=dropout)
        divides(width, heads=heads)
        if min(layers, align, sparse, balance, expert) < 0:
            raise OptionError("layers, align, sparse, balance and expert must not be negative")
        names = schema.names
        sizes = {"all": range(1, len(names) + 1), "single": (1,), "joint": (len(names),)}[pool]
        self.sets = [c for size in sizes for c in combinations(range(len(names)), size)]
        if not 0 <= top <= len(self.sets):
            raise OptionError(f"top must lie between 0 and {len(self.sets)}, the number of experts, got {top}")
        self.top, self.lone = top, pool == "joint"
        self.align, self.sparse, self.balance, self.expert = align, sparse, balance, expert
        self.inputs = Inputs(schema)
        self.tokens = Tokens(self.inputs.modalities, width, plain=schema.language, layers=layers, dropout=dropout)
        self.adapters = nn.ModuleDict({n: Adapter(width, heads) for n in names if adapter and len(names) > 1})
        self.gates = nn.ParameterList(
            nn.Parameter(torch.full((len(c) * width,), OPEN)) for c in self.sets if gate != "none"
        )
        self.hard = gate == "hard"
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(len(c) * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))
            for c in self.sets
        )
        self.router = nn.Linear(len(names) * width, len(self.sets))
        self.heads = deep_heads(schema, (1 + len(self.adapters)) * width, width)
        self.expert_heads = Heads(schema, width)
        self.environments = None if schema.domains else _environments(schema, environments)
        count = len(schema.domains) or (environments if self.environments else 1)
        self.critic = nn.Linear(width, count) if invariance == "adversarial" and count > 1 else None

    def prepare(self, view: View) -> None:
        """Refuse a domain that has no label; find the environments."""
        if self.environments is not None:
            self.environments.fit(batch.streams for batch in view.train())
        elif self.schema.domains:
            seen, labelled = set(), set()
            for batch in view.train():
                assert batch.domain is not None
                known = torch.stack([batch.labelled(t.name) for t in self.schema.joint_targets]).any(0)
                seen |= set(batch.domain.tolist())
                labelled |= set(batch.domain[known].tolist())
            for number in sorted(seen - labelled):
                name = self.schema.domains[number]
                raise DataError(
                    f"domain {name!r} is in the training split without a label; midg generalises to domains that it "
                    f"has not seen: leave it out of training with mix:...?unseen={name}"
                )

    def forward(self, batch: Batch) -> Output:
        """Return predictions and every representation named above."""
        tokens, present = self.tokens(self.inputs(batch)), batch.present
        added = {n: self.adapters[n](s, _others(tokens, n)) for n, s in tokens.items() if n in self.adapters}
        u = {n: masked_mean(s.tensor + added[n] if n in added else s.tensor, s.mask) for n, s in tokens.items()}
        k = {n: masked_mean(a, tokens[n].mask) for n, a in added.items()}
        z = torch.stack([self._expert(i, list(u.values())) for i in range(len(self.sets))], dim=1)
        router = self._route(torch.cat(list(u.values()), dim=1), self.there(present))
        fused = (router.unsqueeze(2) * z).sum(1)
        named = {"fused": fused, "router": router} | {f"u_{n}": x for n, x in u.items()}
        named |= {f"k_{n}": x for n, x in k.items()} | ({"experts": z} if self.training else {})
        return Output(self.heads(torch.cat([fused, *k.values()], dim=1)), named)

    def there(self, present: Tensor) -> Tensor:
        """Return which experts ``(batch, experts)`` have all of their modalities; a lone one makes do with any."""
        columns = [present[:, list(c)] for c in self.sets]
        return torch.stack([c.any(1) if self.lone else c.all(1) for c in columns], dim=1)

    def opening(self, number: int) -> Tensor:
        """Return the gate of an expert, ``(inputs,)``."""
        soft = self.gates[number].sigmoid()
        return soft + ((soft > 0.5).to(soft) - soft).detach() if self.hard else soft

    def _expert(self, number: int, u: list[Tensor]) -> Tensor:
        x = torch.cat([u[i] for i in self.sets[number]], dim=1)
        z: Tensor = self.experts[number](x * self.opening(number) if len(self.gates) else x)
        return z

    def _route(self, u: Tensor, there: Tensor) -> Tensor:
        logits = self.router(u)
        if self.top and self.training:
            logits = logits + torch.randn_like(logits) / len(self.sets)
        shares = masked_softmax(logits, there)
        return best_weights(shares, self.top) if self.top else shares

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, the four other losses, weighted."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        z, router, there = (
            output.representations["experts"],
            output.representations["router"],
            self.there(batch.present),
        )
        losses["invariance"] = self.align * self.invariance(batch, z, there)
        if len(self.gates):
            losses["sparsity"] = self.sparse * torch.stack([g.sigmoid().mean() for g in self.gates]).mean()
        somebody = there.any(1)
        # Nobody there, nothing to balance: the mean over no sample would be NaN.
        even = load_balance(router[somebody], max(1, self.top)) if somebody.any() else router.sum() * 0
        losses["balance"] = self.balance * even
        said = [self.expert_heads(own) for own in z.unbind(1)]
        terms = [
            task_loss(t, s[t.name], batch.targets[t.name], rows)
            for s, rows in zip(said, there.unbind(1), strict=True)
            for t in self.schema.joint_targets
        ]
        losses["expert"] = self.expert * torch.stack(terms).mean()
        return losses

    def invariance(self, batch: Batch, z: Tensor, there: Tensor) -> Tensor:
        """Return how much experts ``z`` (batch, experts, width) differ between domains, or tell of them; 0 for one."""
        domain = self.environments(batch.streams) if self.environments is not None else batch.domain
        if domain is None:
            return z.sum() * 0
        if self.critic is not None:
            said = self.critic(scale_gradient(z, -ramp(self.now.share)))
            wanted = domain.unsqueeze(1).expand(-1, len(self.sets))
            return mean_where(F.cross_entropy(said.flatten(0, 1), wanted.flatten(), reduction="none"), there.flatten())
        rows = {int(d): domain == d for d in domain.unique()}
        terms = [
            moment_gap(own, own, rows[a] & here, rows[b] & here)
            for own, here in zip(z.unbind(1), there.unbind(1), strict=True)
            for a, b in combinations(rows, 2)
        ]
        return torch.stack(terms).mean() if terms else z.sum() * 0


class Adapter(nn.Module):
    """``W_up GELU(W_down [H; attention of H over the others])``: tokens -> ``(batch, steps, width)``, zero at first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.down, self.up = nn.Linear(2 * width, max(1, width // 4)), nn.Linear(max(1, width // 4), width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, own: Stream, others: tuple[Tensor, Tensor]) -> Tensor:
        """Return what is added to the tokens of ``own``.

        Args:
            own: tokens.
            others: those of all other modalities, and which are real.
        """
        x, (tokens, real) = own.tensor, others
        heard = self.attention(x, tokens, tokens, real.unsqueeze(1).expand(-1, x.shape[1], -1))
        return self.up(F.gelu(self.down(torch.cat([x, heard], dim=2)))) * own.mask.unsqueeze(2)


def _others(tokens: dict[str, Stream], name: str) -> tuple[Tensor, Tensor]:
    x, real, _ = side_by_side({n: s for n, s in tokens.items() if n != name})
    return x, real


def _environments(schema: Schema, count: int) -> Environments | None:
    """Return clusters of the features that are no words; None where there are none, or one is wanted."""
    seen = [m for m in schema.modalities if m.kind in ("sequence", "vector") and m.name not in schema.language]
    return Environments([m.name for m in seen], sum(m.width for m in seen), count) if seen and count > 1 else None
