"""Random forests on pooled features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema, Target
from polymodal.core.batch import known_labels
from polymodal.methods._pooled import pooled, pooled_width
from polymodal.methods.base import Method, Phase, View, positive
from polymodal.nn.heads import task_loss

LEAST = (1, 3, 8)
"""Samples of a leaf that are tried."""

FACTS = 5
"""Numbers that a node is: feature, threshold, its two children, whether what is unknown goes to the first."""

TINY = 1e-3
"""Least probability of a class: leaves of a few samples are sure of too much."""

GROWN = 12
"""Depth of a tree at most."""


class Forest(Method):
    """Baseline: a random forest on pooled features (Breiman, Machine Learning 2001).

    Features are those of ``linear``, not standardised. An absent modality is unknown to the nodes that ask for it: such
    a sample goes where training taught, or where most samples went. How many samples a leaf needs is chosen by
    validation loss. Trees are grown by scikit-learn in ``prepare``, to a size that does not depend on the samples;
    nothing trains by gradient.

    Args:
        schema: what the batches hold.
        trees: of each target.
        leaves: of a tree at most.
        buckets: hash buckets of words; word pairs get as many again.
    """

    family = "baseline"
    paper = "baseline; Breiman, Random Forests, Machine Learning 2001"

    def __init__(self, schema: Schema, *, trees: int = 100, leaves: int = 64, buckets: int = 512) -> None:
        super().__init__(schema)
        positive(trees=trees, leaves=leaves - 1, buckets=buckets - 1)
        self.buckets = buckets
        self.features = sum(pooled_width(m, buckets) for m in schema.modalities)
        self.forests = nn.ModuleList(Trees(t, trees, leaves) for t in schema.joint_targets)

    def forward(self, batch: Batch) -> Output:
        """Return predictions and, as ``fused``, the features, zeros where absent."""
        x, there = pooled(batch, self.schema, self.buckets)
        found = zip(self.schema.joint_targets, self.forests, strict=True)
        return Output({t.name: forest(x, there) for t, forest in found}, {"fused": x * there})

    def prepare(self, view: View) -> None:
        """Grow the trees on the training split, and choose the size of leaves on the validation split."""
        x, there, labels = self._collect(view.train())
        told = torch.where(there, x, torch.nan).numpy()
        valid, known, truth = self._collect(view.valid())
        for target, forest in zip(self.schema.joint_targets, self.forests, strict=True):
            rows = known_labels(labels[target.name]).numpy()
            tried = []
            for least in LEAST:
                forest.grow(told[rows], labels[target.name].numpy()[rows], least)  # type: ignore[operator]
                loss = float(task_loss(target, forest(valid, known), truth[target.name]))
                tried.append((loss, {n: part.clone() for n, part in forest.state_dict().items()}))
            forest.load_state_dict(min(tried, key=lambda pair: pair[0])[1])

    def _collect(self, batches: Iterable[Batch]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        found = [(*pooled(batch, self.schema, self.buckets), batch.targets) for batch in batches]
        labels = {t.name: torch.cat([y[t.name] for *_, y in found]).cpu() for t in self.schema.joint_targets}
        return torch.cat([x for x, *_ in found]).cpu(), torch.cat([p for _, p, _ in found]).cpu(), labels

    def phases(self) -> list[Phase]:
        """Nothing is left to train."""
        return []


class Trees(nn.Module):
    """A forest for one target: ``(batch, features)`` and which of them are there -> predictions.

    Args:
        target: what is predicted.
        trees: of the forest.
        leaves: of a tree at most.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, target: Target, trees: int, leaves: int) -> None:
        super().__init__()
        self.target, self.leaves = target, leaves
        # Of every node what it asks, and what it says; a leaf asks the same for ever.
        self.register_buffer("weight", torch.zeros(trees, 2 * leaves - 1, FACTS))
        self.register_buffer("bias", torch.zeros(trees, 2 * leaves - 1, target.spec.width))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Return the prediction that stands for the mean of the trees."""
        every = torch.arange(len(self.weight), device=x.device)
        node = torch.zeros(x.shape[0], len(self.weight), dtype=torch.long, device=x.device)
        for _ in range(GROWN):
            asked = self.weight[every, node]
            feature = asked[..., 0].long()
            known = there.gather(1, feature)
            first = (known & (x.gather(1, feature) <= asked[..., 1])) | (~known & (asked[..., 4] > 0))
            node = torch.where(first, asked[..., 2], asked[..., 3]).long()
        mean = self.bias[every, node].mean(dim=1)
        if self.target.spec.answer == "class":
            mean = mean.clamp(min=TINY).log()
        elif self.target.spec.answer == "classes":
            mean = mean.clamp(TINY, 1 - TINY).logit()
        return self.target.spec.prediction(mean)

    def grow(self, x: np.ndarray, label: np.ndarray, least: int) -> None:
        """Grow all trees anew.

        Args:
            x: ``(samples, features)``, NaN where absent.
            label: ``(samples, ...)``, known.
            least: samples of a leaf.
        """
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        number = self.target.spec.answer == "number"
        kind: Any = RandomForestRegressor if number else RandomForestClassifier
        model = kind(
            len(self.weight),
            max_leaf_nodes=self.leaves,
            max_depth=GROWN,
            min_samples_leaf=least,
            max_features="sqrt",
            random_state=0,
        ).fit(x, self.target.spec.ideal(label) if number else label.astype(int))
        self.weight.zero_()
        self.bias.zero_()
        for place, tree in enumerate(model.estimators_):
            asked, said = _nodes(tree.tree_), _values(self.target, tree.tree_, model)
            self.weight[place, : len(asked)], self.bias[place, : len(said)] = map(torch.from_numpy, (asked, said))


def _nodes(tree: Any) -> np.ndarray:
    """Return the nodes of a tree of scikit-learn, ``(nodes, FACTS)``."""
    own = np.arange(tree.node_count)
    leaf = tree.children_left < 0
    # Rounded down: features are single numbers, and one that lies above a threshold must not come to lie on it.
    threshold = tree.threshold.astype(np.float32)
    threshold = np.where(threshold > tree.threshold, np.nextafter(threshold, np.float32(-np.inf)), threshold)
    columns = (
        np.where(leaf, 0, tree.feature),
        np.where(leaf, 0, threshold),
        np.where(leaf, own, tree.children_left),
        np.where(leaf, own, tree.children_right),
        tree.missing_go_to_left,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _values(target: Target, tree: Any, model: Any) -> np.ndarray:
    """Return what every node says, ``(nodes, width)``: a number, or probabilities."""
    value = tree.value
    if target.spec.answer == "number":
        return value[:, 0].astype(np.float32)
    shares = value / np.maximum(value.sum(axis=2, keepdims=True), 1e-12)
    said = np.zeros((len(value), target.spec.width), np.float32)
    if target.spec.answer == "class":
        said[:, model.classes_] = shares[:, 0]
        return said
    columns = [model.classes_] if target.spec.width == 1 else model.classes_
    for column, seen in enumerate(columns):
        if 1 in seen:
            said[:, column] = shares[:, column, list(seen).index(1)]
    return said
