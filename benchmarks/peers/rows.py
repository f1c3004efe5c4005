"""The rows of the comparison: MMSA's default MOSI configurations, and what gives the same network here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        ours: its id in polymodal; the id in MMSA is the row's name.
        options: what gives MMSA's sizes.
        recipe: MMSA's training settings.
        data: ``aligned`` or ``unaligned``.
        unit: what is timed: an ``epoch``, or a few ``steps``.
        count: parameters of MMSA's model on this data.
        why: explains the difference to ours.
        aim: how much faster ours is meant to be.
    """

    ours: str
    options: dict[str, Any]
    recipe: dict[str, Any]
    data: Literal["aligned", "unaligned"]
    count: int
    aim: float
    unit: Literal["epoch", "steps"] = "epoch"
    why: str = "the same"
    text: Literal["features", "raw"] = "features"


_PLAIN = {"schedule": "constant", "warmup": 0.0, "clip": 0.0, "patience": 8, "drop_last": False}
_POOLER = 590_592

ROWS: dict[str, Row] = {
    "lmf": Row(
        "lmf",
        {"widths": {"audio": 16, "vision": 128, "text": 64}, "rank": 3, "dropout": 0.3},
        {**_PLAIN, "batch_size": 64, "lr": 1e-3, "weight_decay": 5e-3},
        "unaligned",
        505_071,
        3.0,
    ),
    "tfn": Row(
        "tfn",
        {"widths": {"audio": 32, "vision": 128, "text": 32}, "dropout": 0.3, "cube_dropout": 0.5},
        {**_PLAIN, "batch_size": 32, "lr": 1e-3, "weight_decay": 0.0},
        "unaligned",
        9_497_045,
        3.0,
        why="two constants that MMSA stores as parameters",
    ),
    "lf_dnn": Row(
        "lf-dnn",
        {"widths": {"audio": 16, "vision": 128, "text": 256}, "dropout": 0.2},
        {**_PLAIN, "batch_size": 128, "lr": 1e-3, "weight_decay": 1e-2},
        "unaligned",
        597_171,
        3.0,
    ),
    "ef_lstm": Row(
        "ef-lstm",
        {"dropout": 0.5},
        {**_PLAIN, "batch_size": 32, "lr": 1e-3, "weight_decay": 5e-3},
        "aligned",
        885_605,
        1.5,
        why="MMSA normalises over the batch with time as the channel: 100 parameters, for the training length only",
    ),
    "mfn": Row(
        "mfn",
        {
            "hidden": {"text": 256, "audio": 32, "vision": 256},
            "memory": 400,
            "units": {"attention": 32, "proposal": 64, "retain": 256, "update": 32, "head": 128},
            "dropout": {"attention": 0.2, "proposal": 0.0, "retain": 0.7, "update": 0.5, "head": 0.0},
        },
        {**_PLAIN, "batch_size": 128, "lr": 2e-3, "weight_decay": 0.0},
        "aligned",
        2_172_657,
        1.5,
    ),
    "graph_mfn": Row(
        "graph-mfn",
        {
            "hidden": {"text": 256, "audio": 32, "vision": 256},
            "node": 64,
            "vertex": 100,
            "memory": 300,
            "units": {"proposal": 32, "retain": 128, "update": 64, "head": 256},
            "dropout": {"proposal": 0.0, "retain": 0.5, "update": 0.5, "head": 0.0},
            "efficacy": "linear",
            "activation": "none",
        },
        {**_PLAIN, "batch_size": 32, "lr": 2e-3, "weight_decay": 5e-3},
        "aligned",
        2_110_624,
        1.5,
        why="208,656 of vertex networks that MMSA keeps in a dictionary: it neither trains nor saves them",
    ),
    "mfm": Row(
        "mfm",
        {
            "hidden": {"text": 128, "audio": 32, "vision": 128},
            "private": {"text": 64, "audio": 80, "vision": 80},
            "memory": 64,
            "units": {"attention": 32, "proposal": 64, "retain": 32, "update": 64, "head": 64},
            "code": 80,
            "factor": 64,
            "factors": {"text": 32, "audio": 16, "vision": 64},
            "dropout": {
                "attention": 0.7,
                "proposal": 0.0,
                "retain": 0.0,
                "update": 0.5,
                "factors": 0.5,
                "head": 0.0,
            },
            "reconstruction": {"text": 0.5, "audio": 0.01, "vision": 0.5},
            "mmd": 100.0,
            "kernel": "released",
        },
        {**_PLAIN, "batch_size": 64, "lr": 1e-3, "weight_decay": 1e-3},
        "aligned",
        1_416_123,
        1.5,
        why="45,313 of MMSA's layers that nothing reads",
    ),
    "mult": Row(
        "mult",
        {
            "width": 50,
            "heads": 10,
            "layers": 4,
            "kernel": 5,
            "text_dropout": 0.5,
            "embed_dropout": 0.2,
            "attention_dropout": {"text": 0.3, "audio": 0.2, "vision": 0.0},
            "layer_dropout": 0.0,
            "output_dropout": 0.5,
        },
        {**_PLAIN, "batch_size": 16, "lr": 2e-3, "weight_decay": 0.0, "clip": 0.6, "accumulate": 8},
        "unaligned",
        2_571_551,
        5.0,
        unit="steps",
    ),
    "self_mm": Row(
        "self-mm",
        {"width": 32, "widths": {"audio": 16}, "fused": 128, "dropout": 0.1, "text_pool": "first"},
        {**_PLAIN, "batch_size": 16, "lr": 1e-3, "lr_pretrained": 5e-5, "weight_decay": 1e-3, "accumulate": 4},
        "unaligned",
        109_641_572,
        3.0,
        unit="steps",
        why=f"{_POOLER:,} of BERT's pooler, whose output MMSA does not use",
        text="raw",
    ),
    "misa": Row(
        "misa",
        {"width": 128, "heads": 2, "feedforward": 2048, "alpha": 0.3, "beta": 0.1, "dropout": 0.2},
        {**_PLAIN, "batch_size": 16, "lr": 1e-4, "lr_pretrained": 1e-4, "weight_decay": 0.0, "accumulate": 2},
        "unaligned",
        110_620_273,
        3.0,
        unit="steps",
        why=f"{_POOLER:,} of BERT's pooler, 3,072 of an idle norm, 516 of an idle discriminator",
        text="raw",
    ),
}
