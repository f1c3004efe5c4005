"""A timeline as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from polymodal.core import Target
from polymodal.predict.remarks import SILENT, remarks
from polymodal.predict.timeline import Estimate, Moment, Timeline

BAR = 8
"""Characters of the longest bar."""

SHARED = "stages: S what the small run said, L the large model, 2 when it was asked again; u how unsure, from 0 to 1"
"""Below a table with stages."""

SPARK, HEIGHTS = 12, "▁▂▃▄▅▆▇█"


def timeline_table(timeline: Timeline) -> Group:
    """Return a table with one line per utterance and target, and the notes below it."""
    head = f"{timeline.clip}: {timeline.method} of {timeline.run}"
    table = Table(box=None, header_style="bold", title=escape(head), title_justify="left", padding=(0, 1, 0, 0))
    several = len(timeline.targets) > 1
    proven = any(e.radius is not None for m in timeline.moments for e in m.estimates.values())
    shared = any(e.cascade for m in timeline.moments for e in m.estimates.values())
    about = ["prediction", f"{timeline.level:.0%}", *(["radius"] if proven else []), "contributions"]
    about += ["stage"] if shared else []
    for name in ("time", *(["target"] if several else []), *about):
        table.add_column(name, no_wrap=True)
    told = any(remarks(m, e) for m in timeline.moments for e in m.estimates.values())
    for name in (*(["remarks"] if told else []), "text"):
        table.add_column(name)
    longest = _longest(timeline)
    for moment in timeline.moments:
        cells = [_time(moment)]
        for target in timeline.targets:
            e = moment.estimates[target.name]
            names = [escape(target.name)] if several else []
            beside = [escape("; ".join(remarks(moment, e)))] if told else []
            text = escape(moment.text) if cells[0] else ""
            radius = [] if not proven else ["" if e.radius is None else f"{e.radius:.2f}"]
            own = [escape(said(target, e) + opinions(target, e)), interval(target, e), *radius]
            own += [bars(e, longest[target.name]), *([e.cascade.stage if e.cascade else ""] if shared else [])]
            table.add_row(*cells, *names, *own, *beside, text)
            cells = [""]
    seconds = ", ".join(f"{stage} {s:.2f}" for stage, s in timeline.seconds.items())
    below = [*([SHARED] if shared else []), *(f"note: {note}" for note in timeline.notes), f"seconds: {seconds}"]
    return Group(table, *(Text(text, style="dim") for text in below))


def line(targets: Sequence[Target], moment: Moment, latency: float) -> str:
    """Return one line on a moment of a live stream."""
    told = [(t, moment.estimates[t.name]) for t in targets]
    estimates = (
        " ".join(filter(None, (t.name, said(t, e), interval(t, e), "; ".join(remarks(moment, e))))) for t, e in told
    )
    there = "; ".join(["+".join(moment.present) or "nothing", *moment.absent.values(), f"{1000 * latency:.0f} ms"])
    return f"{_time(moment)}  {';  '.join(estimates)}  ({there})  {moment.text}".rstrip()


def said(target: Target, estimate: Estimate) -> str:
    """Return the prediction itself, or that there is none."""
    if estimate.abstained:
        return SILENT
    if estimate.value is not None:
        return target.spec.write(estimate.value)
    chances = estimate.probabilities or {}
    chosen = [str(estimate.label)] if estimate.labels is None else list(estimate.labels)
    times = {name: f" {spark(values)}" for name, values in (estimate.steps or {}).items()}
    shares = {name: f" {share:.0%}" for name, share in chances.items()}
    return ", ".join(f"{name}{shares.get(name, '')}{times.get(name, '')}" for name in chosen) or "none"


def opinions(target: Target, estimate: Estimate) -> str:
    """Return a line on what each model of a cascade said, where two were asked (see ``SHARED``); else nothing."""
    found = estimate.cascade
    if found is None or not found.calls:
        return ""
    asked = (("S", found.small), ("L", found.large), ("2", found.second))
    lines = [
        f"{who} {one.answer if isinstance(one.answer, str) else target.spec.write(one.answer)} u{one.uncertainty:.2f}"
        for who, one in asked
        if one
    ]
    return "".join(f"\n{line}" for line in lines)


def spark(values: Sequence[float]) -> str:
    """Return probabilities over time as at most ``SPARK`` characters, each the highest of its stretch."""
    count = min(SPARK, len(values))
    parts = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    return "".join(HEIGHTS[min(len(HEIGHTS) - 1, int(max(part) * len(HEIGHTS)))] for part in parts)


def interval(target: Target, estimate: Estimate) -> str:
    """Return the interval of a number; empty where there is none."""
    if estimate.low is None or estimate.high is None or estimate.abstained:
        return ""
    return f"{target.spec.write(estimate.low)} to {target.spec.write(estimate.high)}"


def bars(estimate: Estimate, longest: float) -> str:
    """Return a line for each contribution: name, signed number, a bar of ``BAR`` characters for the clip's longest."""
    width = max(map(len, estimate.contributions), default=0)
    lines = []
    for name, value in _contributions(estimate):
        bar = "█" * (round(BAR * abs(value) / longest) if longest else 0)
        lines.append(f"{escape(name):<{width}} {value:+.2f} [{'green' if value >= 0 else 'red'}]{bar}[/]")
    return "\n".join(lines)


def _contributions(estimate: Estimate) -> Iterator[tuple[str, float]]:
    """Yield modality and contribution; for multilabel that to the likeliest class."""
    chances = estimate.probabilities or {}
    likeliest = max(chances, key=lambda name: chances[name], default="")
    for name, value in estimate.contributions.items():
        yield name, float(value[likeliest]) if isinstance(value, Mapping) else float(value)


def _longest(timeline: Timeline) -> dict[str, float]:
    def largest(target: Target) -> float:
        estimates = (m.estimates[target.name] for m in timeline.moments)
        return max((abs(v) for e in estimates for _, v in _contributions(e)), default=0.0)

    return {target.name: largest(target) for target in timeline.targets}


def _time(moment: Moment) -> str:
    return f"{clock(moment.start)}-{clock(moment.end)}"


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
