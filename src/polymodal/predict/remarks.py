"""What a reader of an estimate must be told beside it, in a few words."""

from __future__ import annotations

from collections.abc import Sequence

from polymodal.core import Target
from polymodal.predict.timeline import Estimate, Moment

SILENT = "silent"
"""In the place of a prediction that is not given."""


def remarks(moment: Moment, estimate: Estimate) -> list[str]:
    """Return how modalities go together, where that is remarkable, and whether the moment is unlike training."""
    found = [estimate.together.word] if estimate.together and estimate.together.word else []
    if moment.unlike and moment.unlike.alarm:
        found.append(f"unlike training ({moment.unlike.modality}, p = {moment.unlike.p:.2g})")
    return found


def silences(targets: Sequence[Target], moments: Sequence[Moment]) -> list[str]:
    """Return for each target how many of the moments it is silent on, as a sentence; none where it was not asked to."""
    found = []
    for target in targets:
        told = [m.estimates[target.name].abstained for m in moments]
        if None not in told:
            found.append(f"{target.name}: silent on {sum(map(bool, told))} of {len(told)} utterances")
    return found
