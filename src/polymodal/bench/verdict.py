"""What a board says, in plain sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polymodal.bench.board import Board, Contrast
from polymodal.bench.figures import corpus_info, headline, main_figures, order
from polymodal.report.metrics import is_percent, long_name, write_value

MANY = 4
"""Corpora from which on a board begins with what holds over all of them, and says the rest corpus by corpus."""

NAMED = 8
"""Entries that are named together, at most; more are counted. The section of their corpus names all."""


def board_verdict(board: Board) -> list[str]:
    """Return what a board says: of few corpora one after another, of many what can be told over all of them."""
    if len(board.corpora) < MANY:
        return [sentence for corpus in board.corpora for sentence in corpus_verdict(board, corpus.name)]
    floor = next((e.name for e in board.entries if e.floor), "")
    found = [_over_all(board, floor)] if floor else []
    pairs = dict.fromkeys((c.first, c.second) for c in board.contrasts if c.second != floor)
    found += [_pair(board, first, second) for first, second in pairs]
    blind = dict.fromkeys(c.corpus for c in board.contrasts if not c.above_chance)
    if blind:
        found.append(f"Nothing is concluded on {', '.join(blind)}: the floor is no better than a blind guess there.")
    return [*found, "What is said of each corpus stands in its section."]


def corpus_verdict(board: Board, corpus: str) -> list[str]:
    """Return sentences on one corpus: the first entry, what can be told from the floor, and every other contrast."""
    floors = {e.name for e in board.entries if e.floor}
    mine = [c for c in board.contrasts if c.corpus == corpus]
    others = [contrast_sentence(board, c) for c in mine if c.second not in floors]
    against = [c for c in mine if c.second in floors]
    return [*filter(None, (_best(board, corpus), _floor(board, against))), *others]


@dataclass(frozen=True)
class _Told:
    """Comparisons by what they say: the first entry is better, is worse, or cannot be told from the second."""

    better: list[Contrast]
    worse: list[Contrast]
    rest: list[Contrast]

    @classmethod
    def of(cls, board: Board, contrasts: Iterable[Contrast]) -> _Told:
        found = cls([], [], [])
        for c in contrasts:
            gain = c.difference if corpus_info(board, c.corpus).higher_is_better else -c.difference
            (found.rest if not c.told else found.better if gain > 0 else found.worse).append(c)
        return found


def _over_all(board: Board, floor: str) -> str:
    """Return how all entries stand against the floor."""
    mine = [c for c in board.contrasts if c.second == floor and c.above_chance]
    told, parts = _Told.of(board, mine), []
    compared = Counter(c.corpus for c in mine)
    for word, side in (("better", told.better), ("WORSE", told.worse)):
        where = {
            corpus: [c.first for c in side if c.corpus == corpus] for corpus in dict.fromkeys(c.corpus for c in side)
        }
        named = [
            f"{corpus} ({', '.join(names) if len(names) <= NAMED else f'{len(names)} of {compared[corpus]} entries'})"
            for corpus, names in where.items()
        ]
        parts.append(f"{word} in {len(side)}{': on ' if named else ''}{', '.join(named)}")
    return (
        f"{len(mine)} comparisons with the floor {floor} can be concluded from: {'; '.join(parts)}; "
        f"in {len(told.rest)} the two cannot be told apart."
    )


def _pair(board: Board, first: str, second: str) -> str:
    """Return how two entries stand on all corpora."""
    told = _Told.of(board, (c for c in board.contrasts if (c.first, c.second) == (first, second) and c.above_chance))
    sides = (("better on", told.better), ("WORSE on", told.worse), ("cannot be told apart on", told.rest))
    parts = [f"{word} {', '.join(c.corpus for c in side)}" for word, side in sides if side]
    return f"{first} against {second}: {'; '.join(parts) or 'nothing can be concluded'}."


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
    told = _Told.of(board, contrasts)
    sides = (("better", told.better), ("WORSE", told.worse))
    parts = [f"{word}: {', '.join(c.first for c in side)}" for word, side in sides if side]
    few = "" if math.isfinite(contrasts[0].low) else f", for {contrasts[0].groups} groups are too few"
    parts += [f"{len(told.rest)} of {len(contrasts)} entries cannot be told from it{few}"] if told.rest else []
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
    holm = f" (Holm {contrast.p_holm:.3f})" if math.isfinite(contrast.p_holm) else ""
    return (
        f"[{_signed(metric, contrast.low)}, {_signed(metric, contrast.high)}], "
        f"p = {contrast.p:.3f}{holm} over {contrast.groups} groups; "
    )


def _signed(metric: str, value: float) -> str:
    text = write_value(metric, value)
    return f"+{text}" if value > 0 else text
