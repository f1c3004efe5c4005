"""What a board says, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from polymodal.bench.board import Board, Contrast
from polymodal.bench.figures import corpus_info, headline, main_figures, order
from polymodal.report.metrics import is_percent, long_name, write_value


def board_verdict(board: Board) -> list[str]:
    """Return sentences: per corpus the first entry, what can be told from the floor, and every other contrast."""
    floors = {e.name for e in board.entries if e.floor}
    found = []
    for corpus in board.corpora:
        mine = [c for c in board.contrasts if c.corpus == corpus.name]
        others = [contrast_sentence(board, c) for c in mine if c.second not in floors]
        against = [c for c in mine if c.second in floors]
        found += [*filter(None, (_best(board, corpus.name), _floor(board, against))), *others]
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


def _floor(board: Board, contrasts: Sequence[Contrast]) -> str:
    """Which entries can be told from the linear model on a corpus."""
    if not contrasts:
        return ""
    corpus, floor = contrasts[0].corpus, contrasts[0].second
    if not contrasts[0].above_chance:
        return f"On {corpus} the floor {floor} is no better than a blind guess: nothing is concluded there."
    sign = 1 if corpus_info(board, corpus).higher_is_better else -1
    told = [c for c in contrasts if c.told]
    better, worse = ([c.first for c in told if side * sign * c.difference > 0] for side in (1, -1))
    parts = [f"{word}: {', '.join(names)}" for word, names in (("better", better), ("WORSE", worse)) if names]
    rest = len(contrasts) - len(told)
    few = "" if math.isfinite(contrasts[0].low) else f", for {contrasts[0].groups} groups are too few"
    parts += [f"{rest} of {len(contrasts)} entries cannot be told from it{few}"] if rest else []
    return f"Against the floor {floor} on {corpus} ({contrasts[0].key}): {'; '.join(parts)}."


def contrast_sentence(board: Board, contrast: Contrast) -> str:
    """Return whether the first entry of a declared comparison is better than the second, with the interval."""
    info = corpus_info(board, contrast.corpus)
    pair = f"On {contrast.corpus} {contrast.first}"
    if not math.isfinite(contrast.difference):
        return f"{pair} could not be compared with {contrast.second}."
    sign = 1 if info.higher_is_better else -1
    better = "is better than" if sign * contrast.difference > 0 else "is WORSE than"
    if not contrast.above_chance:
        verdict, why = "is not compared with", ", for the floor is no better than a blind guess there"
    elif not math.isfinite(contrast.low):
        verdict, why = "cannot be told from", f", for {contrast.groups} groups are too few"
    else:
        verdict, why = better if contrast.told else "cannot be told from", ""
    return (
        f"{pair} {verdict} {contrast.second}{why}: {contrast.key} {_signed(info.metric, contrast.difference)} "
        f"{_between(info.metric, contrast)}{'higher' if info.higher_is_better else 'lower'} is better."
    )


def _between(metric: str, contrast: Contrast) -> str:
    if not math.isfinite(contrast.low):
        return "; "
    return (
        f"[{_signed(metric, contrast.low)}, {_signed(metric, contrast.high)}], "
        f"p = {contrast.p:.3f} (Holm {contrast.p_holm:.3f}) over {contrast.groups} groups; "
    )


def _signed(metric: str, value: float) -> str:
    text = write_value(metric, value)
    return f"+{text}" if value > 0 else text
