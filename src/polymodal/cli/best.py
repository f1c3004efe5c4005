"""``polymodal fit best``."""

from __future__ import annotations

from typing import Literal

from polymodal.cli.lists import Pairs
from polymodal.cli.text import print_json
from polymodal.core.errors import RunError
from polymodal.core.options import FoldScheme, Natural, Positive, pairs

EXAMPLES = {
    "fit best": """\
  polymodal fit best --data mosi.pkl                             twenty minutes, then one run
  polymodal fit best --data stores/interviews --minutes 60
  polymodal fit best --data mosi.pkl --target sentiment --folds 10
  polymodal fit best --data 'mosi.pkl?text=raw' --encode text=minilm
  polymodal fit best --data mosi.pkl --out runs/mine             started again, it goes on
  polymodal fit best --data mosi.pkl --distill                   and one small run, runs/best-mosi/student
  polymodal evaluate runs/best-mosi                              the honest figure, on the test split"""
}


def best(
    *,
    data: str,
    minutes: Positive = 20.0,
    target: str | None = None,
    encode: Pairs = [],  # noqa: B006 (never changed)
    folds: FoldScheme | None = None,
    seed: Natural = 1111,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    out: str | None = None,
    distill: bool = False,
    json: bool = False,
) -> int:
    """Try methods, settings and modalities for a while, and make one run of the best of them together.

    Args:
        data: source as of polymodal fit
        minutes: all of it together may take; with more of them, a search that is over goes on
        target: the only one to learn; default all
        encode: frozen encoder of raw text, text=minilm; default MiniLM where the linear floor is better with it
        folds: how many folds, groups whole, or leave-one-group-out; default 8, or 5 of more than
            5000 samples, or as many as there are groups
        seed: a whole number
        device: where to compute
        out: run folder, which the same command goes on with; default runs/best-CORPUS
        distill: also make one small run, OUT/student, that learns from the labels and from the ensemble
        json: print the report as JSON
    """
    from polymodal.best import fit_best
    from polymodal.data.progress import console
    from polymodal.report.best import best_sentences, read_best

    run = fit_best(
        data,
        minutes=minutes,
        target=target,
        encode=pairs("--encode", encode) or None,
        folds=folds,
        seed=seed,
        device=device,
        out=out,
        distill=distill,
    )
    found = read_best(run.path)
    if found is None:
        raise RunError(
            f"{run.path} has no best.json, which says what was tried; give it more --minutes, or another --out"
        )
    if json:
        print_json({"path": str(run.path), **found})
        return 0
    for line in best_sentences(found):
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"next: polymodal evaluate {run.path}", soft_wrap=True)
    return 0
