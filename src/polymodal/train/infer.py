"""A method applied to a split: predictions, losses, representations."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Method
from polymodal.nn.heads import probabilities

Columns = dict[str, np.ndarray[Any, Any]]


@torch.no_grad()
def infer(
    method: Method,
    batches: Iterable[Batch],
    *,
    absent: Collection[str] = (),
    keep: Collection[str] = (),
) -> tuple[Columns, dict[str, float], dict[str, np.ndarray[Any, Any]]]:
    """Run ``method`` in evaluation mode.

    Args:
        batches: the samples.
        absent: modalities to remove first.
        keep: names of representations to return.

    Returns:
        prediction columns as in ``core.Scores``, mean losses over samples, kept representations.
    """
    device = next((p.device for p in (*method.parameters(), *method.buffers())), torch.device("cpu"))
    was_training = method.training
    method.eval()
    parts: list[dict[str, Tensor]] = []
    ids: list[str] = []
    sums: dict[str, Tensor] = {}
    for batch in batches:
        batch = batch.to(device).without(*absent) if absent else batch.to(device)
        output = method(batch)
        losses = method.losses(batch, output)
        for name, loss in losses.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + loss.detach() * len(batch)
        ids += batch.ids
        parts.append(_columns(method.schema, batch, output) | {f"~{n}": output.representations[n] for n in keep})
    method.train(was_training)
    merged = {n: torch.cat([p[n] for p in parts]).float().cpu().numpy() for n in (parts[0] if parts else ())}
    for target in method.schema.joint_targets:
        if target.task == "classification":
            for end in ("true", "predicted"):
                merged[f"{target.name}/{end}"] = merged[f"{target.name}/{end}"].astype(np.int64)
    kept = {n: merged.pop(f"~{n}") for n in keep}
    means = {n: float(s) / max(1, len(ids)) for n, s in sums.items()}
    return {"id": np.asarray(ids), **merged}, means, kept


def _columns(schema: Schema, batch: Batch, output: Output) -> dict[str, Tensor]:
    columns = {}
    for target in schema.joint_targets:
        raw = output.predictions[target.name].float()
        columns[f"{target.name}/true"] = batch.targets[target.name]
        if target.task == "regression":
            columns[f"{target.name}/predicted"] = raw
            continue
        share = probabilities(target, raw)
        columns[f"{target.name}/probability"] = share
        chosen = share.argmax(1) if target.task == "classification" else (share > 0.5).float()
        columns[f"{target.name}/predicted"] = chosen
    return columns
