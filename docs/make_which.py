"""Bring which-method.md up to date with the published board and the registry: ``python docs/make_which.py``."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from polymodal.bench.board import Board
from polymodal.bench.figures import corpus_info
from polymodal.bench.published import Published
from polymodal.bench.ranks import rankings
from polymodal.bench.verdict import board_verdict
from polymodal.methods import described

PAGE = Path(__file__).with_name("which-method.md")
BOARD = Path(__file__).parents[1] / "benchmarks/results/board"

HEAD = """\
# Which method for what

Made from the board in `benchmarks/results/board` ({entries} entries on {corpora} corpora, {trials} trials each,
{date}) by `python docs/make_which.py`. It says what was measured there, and nothing of methods that were not.

- **A corpus of your own, and no method in mind**: `polymodal fit best --data SOURCE` tries, ensembles, and says what
  was better than the linear floor.
- **A method in mind**: `polymodal fit METHOD`, then `polymodal compare RUN --against benchmarks/results/board`, or
  `polymodal bench --add METHOD` for the whole board.

## What can be told

{verdict}
- Corpus by corpus: `benchmarks/results/board/leaderboard.md`.

## By family

Better, worse and untold count corpora on which the entry was compared with the floor, area under the first curve or
complete input, corrected for all comparisons of the board. Ranks hold among entries that knew as much of absence: `own`
drop modalities in training by themselves, `told` were trained with the test's pattern.

| family | method | paper | mean rank | better than the floor | worse | cannot be told |
| --- | --- | ---: | --- | --- | --- | ---: |
"""


def page() -> str:
    """Return the page."""
    published = Published.load(BOARD)
    board = published.board
    head = HEAD.format(
        entries=len(board.entries),
        corpora=len(board.corpora),
        trials=published.asked["trials"],
        date=board.made["date"],
        verdict="\n".join(f"- {sentence}" for sentence in board_verdict(board)[:-1]),  # the last is about its page
    )
    ranks = {
        name: f"{rank:.2f} of {len(ranking.names)} {ranking.prior or ''}".strip()
        for ranking in rankings(board)
        for name, rank in zip(ranking.names, ranking.ranks, strict=True)
    }
    floor = next(e.name for e in board.entries if e.floor)
    rows = []
    for family, infos in groupby(described(), key=lambda info: info.family):
        for number, info in enumerate(infos):
            cells = [family if number == 0 else "", f"`{info.id}`", str(info.year or ""), ranks.get(info.id, "")]
            rows.append(f"| {' | '.join(cells + _against(board, info.id, floor))} |")
    return head + "\n".join(rows) + "\n"


def _against(board: Board, entry: str, floor: str) -> list[str]:
    """Return the corpora on which an entry is better and worse than the floor, and the number of the others."""
    mine = [c for c in board.contrasts if (c.first, c.second) == (entry, floor)]
    if not mine:
        return ["", "", ""]
    told: dict[bool, list[str]] = {True: [], False: []}
    for c in mine:
        if c.told:
            told[(c.difference > 0) is corpus_info(board, c.corpus).higher_is_better].append(c.corpus)
    return [", ".join(told[True]), ", ".join(told[False]), str(sum(not c.told for c in mine))]


if __name__ == "__main__":
    PAGE.write_text(page())
