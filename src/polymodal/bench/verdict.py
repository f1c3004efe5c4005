"""What a board says, in plain sentences."""

from __future__ import annotations

import math

from polymodal.bench.board import Board, Contrast
from polymodal.bench.figures import area_key, corpus_info, headline, main_figures, order
from polymodal.report.metrics import is_percent, long_name, write_value


def board_verdict(board: Board) -> list[str]:
    """Return sentences: per corpus the best entry, what does not beat the floor, and every contrast."""
    found = []
    for corpus in board.corpora:
        mine = [contrast_sentence(board, c) for c in board.contrasts if c.corpus == corpus.name]
        found += [*filter(None, (_best(board, corpus.name), _floor(board, corpus.name))), *mine]
    return found


def _say(metric: str, value: float) -> str:
    return write_value(metric, value) + ("%" if is_percent(metric) and math.isfinite(value) else "")


def _best(board: Board, corpus: str) -> str:
    key, info = headline(board, corpus), corpus_info(board, corpus)
    known = [f for f in main_figures(board, corpus).get(key, {}).values() if math.isfinite(f.mean)]
    if not known:
        return f"On {corpus} no entry has a figure."
    top = next(f for name in order(board, corpus) for f in known if f.entry == name)
    low, high = _say(info.metric, top.low), _say(info.metric, top.high)
    between = f", 95% interval {low} to {high}" if math.isfinite(top.low) and math.isfinite(top.high) else ""
    if math.isfinite(top.least):
        between = f", single groups {_say(info.metric, top.least)} to {_say(info.metric, top.most)}"
    return (
        f"On {corpus} ({key}, {long_name(info.metric)}, {'higher' if info.higher_is_better else 'lower'} is better) "
        f"{top.entry} comes first with {_say(info.metric, top.mean)}{between}."
    )


def _floor(board: Board, corpus: str) -> str:
    """Which entries are no better than the linear model; a gain inside the noise counts as one."""
    key = headline(board, corpus)
    found = main_figures(board, corpus).get(key, {})
    floors = {e.name for e in board.entries if e.floor}
    known = [f for f in found.values() if math.isfinite(f.mean)]
    base = next((f for f in known if f.entry in floors), None)
    rest = [f for f in known if f.entry not in floors]
    if base is None or not rest:
        return ""
    sign = 1 if base.higher_is_better else -1
    below = [f.entry for f in rest if sign * (f.mean - base.mean) <= 0]
    what = f"the floor {base.entry} ({_say(base.metric, base.mean)})"
    if not below:
        return f"All {len(rest)} other entries come before {what}."
    return f"{len(below)} of {len(rest)} other entries do not come before {what}: {', '.join(below)}."


def contrast_sentence(board: Board, contrast: Contrast) -> str:
    """Return whether the best entry made for absence is better than the best plain one, with the interval."""
    info = corpus_info(board, contrast.corpus)
    who = f"the best missing-aware entry ({contrast.aware})"
    other = f"the best plain one ({contrast.plain})"
    if not math.isfinite(contrast.difference):
        return f"On {contrast.corpus} {who} could not be compared with {other}."
    sign = 1 if info.higher_is_better else -1
    worse = sign * contrast.low < 0 and sign * contrast.high < 0
    verdict = "is better than" if contrast.better else "is WORSE than" if worse else "is NOT better than"
    between = f"[{_signed(info.metric, contrast.low)}, {_signed(info.metric, contrast.high)}], p = {contrast.p:.3f}"
    if math.isnan(contrast.low):
        verdict, between = "cannot be told from", "(groups are too few for an interval)"
    return (
        f"On {contrast.corpus} {who} {verdict} {other}: {area_key(contrast.series)} "
        f"{_signed(info.metric, contrast.difference)} {between}, "
        f"{'higher' if info.higher_is_better else 'lower'} is better; both were chosen on validation."
    )


def _signed(metric: str, value: float) -> str:
    text = write_value(metric, value)
    return f"+{text}" if value > 0 else text
