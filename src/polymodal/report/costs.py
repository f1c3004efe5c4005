"""What incomplete input costs, in words and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from polymodal.core import Estimate
from polymodal.core.conditions import present_in
from polymodal.report.metrics import MISSING, is_percent, label, write_value
from polymodal.report.rows import write_interval
from polymodal.report.tables import Cell, Table
from polymodal.score.robustness import Drop, Robustness


def cost_words(found: Robustness, modalities: Sequence[str]) -> str:
    """Return what is lost without each modality, the worst subset, synergy and equity, parted by semicolons."""
    left = {frozenset(present_in(drop.condition, modalities)): drop for drop in found.drops}
    whole = frozenset(modalities)
    parts = [
        f"without {n}: {_lost(found, left[whole - {n}])}" for n in modalities if whole - {n} and whole - {n} in left
    ]
    if found.worst and found.worst_value:
        names = " + ".join(present_in(found.worst, modalities))
        unit = "%" if is_percent(found.metric) else ""
        value = write_value(found.metric, found.worst_value.mean)
        parts.append(f"worst subset: {names} ({label(found.metric)} {value}{unit})")
    if found.single and found.synergy and math.isfinite(found.synergy.mean):
        against = f"over {' + '.join(present_in(found.single, modalities))} alone: {_size(found, found.synergy)}"
        sure = "all together are worse" if found.synergy.high < 0 else "all together are no better"
        parts.append(f"synergy {against}" if found.synergy.mean > 0 else f"negative synergy {against}, {sure}")
    if found.mei:
        parts.append(_equity(found.mei))
    return "; ".join(parts)


def cost_table(found: Robustness, split: str) -> Table:
    """Return conditions x (drop, interval, share of the gain) of a target's main metric on ``split``."""
    name = label(found.metric)
    lines = [
        (
            Cell(drop.condition),
            Cell(write_value(found.metric, drop.drop.mean)),
            Cell(write_interval(drop.drop, found.metric)),
            Cell(f"{drop.share.mean:.0%}" if math.isfinite(drop.share.mean) else MISSING),
        )
        for drop in found.drops
    ]
    caption = (
        f"By how much {name} of {found.target} on {split} is worse than with complete input (below 0: better), and "
        "that as a share of what complete input gains over the best guess that sees nothing "
        f"({write_value(found.metric, found.gain.mean)})."
    )
    return Table(caption, ("Condition", f"Drop in {name}", "95% interval", "Share of the gain"), tuple(lines))


def _lost(found: Robustness, drop: Drop) -> str:
    if not drop.drop.mean > 0:
        return "no worse" if math.isfinite(drop.drop.mean) else "undefined"
    share = f", {drop.share.mean:.0%} of the gain over a blind guess" if math.isfinite(drop.share.mean) else ""
    return f"worse by {_size(found, drop.drop)}{share}"


def _size(found: Robustness, difference: Estimate) -> str:
    points = " points" if is_percent(found.metric) else ""
    size = f"{write_value(found.metric, difference.mean)}{points}"
    return f"{size} {write_interval(difference, found.metric)}".rstrip()


def _equity(mei: Estimate) -> str:
    if not math.isfinite(mei.mean):
        return "MEI undefined, no modality brings a gain over a blind guess"
    return f"MEI {mei.mean:.2f} (1: all modalities contribute alike, 0: one alone)"
