"""What a reader of a cascade's timeline is told beside it: who answered how much, and what that took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from polymodal.cascade.asking import LargeModel
from polymodal.cascade.routing import STAGES
from polymodal.core import Target
from polymodal.predict.timeline import Moment


def notes_of(target: Target, moments: Sequence[Moment], large: LargeModel) -> list[str]:
    """Return the sum of all calls, stages and usage, what answers lack, and the notes of ``large``; a sentence each."""
    routes = [route for m in moments if (route := m.estimates[target.name].cascade)]
    stages = Counter(route.stage for route in routes)
    calls, sent = sum(route.calls for route in routes), sum(route.stage != "1" for route in routes)
    counted = ", ".join(f"{stage} {stages[stage]}" for stage in STAGES if stages[stage])
    found = [
        f"{target.name}: {sent} of {len(routes)} utterances went to the large model, {large.name}; questions: "
        f"{calls}; stages: {counted}"
    ]
    if any(large.usage.values()):
        found.append("the large model took " + ", ".join(f"{n} {name}" for name, n in large.usage.items() if n))
    said = [m.estimates[target.name] for m in moments]
    if any(e.cascade and e.cascade.by != "small" and e.baseline is None for e in said):
        found.append("answers of the large model have no interval, probabilities or contributions")
    if any(e.cascade and e.cascade.by == "both" and e.value is not None and e.baseline is not None for e in said):
        found.append("answers of both are their mean, without an interval; contributions are the mean of both runs'")
    return [*found, *large.notes]
