"""``polymodal bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from polymodal.cli.lists import Names, Sources, Stresses
from polymodal.cli.text import print_json
from polymodal.core.options import Count, FoldScheme, Natural, Seeds

EXAMPLES = {
    "bench": """\
  polymodal bench leaderboard.yaml
  polymodal bench --methods late-fusion mmcl cyin --corpora 'mosi.pkl?text=raw' synthetic:talk --out runs/board
  polymodal bench leaderboard.yaml --seeds 1111 --stress missing:rate=0.1/0.3/0.5 noise:audio,snr=0
  polymodal bench --methods mib umq --corpora synthetic:talk --protocol missmac --folds 5
  polymodal bench leaderboard.yaml --trials 20            search hyper-parameters first, on validation
  polymodal bench leaderboard.yaml --publish boards/mine    what polymodal compare RUN --against boards/mine reads
  polymodal bench --add my_method.py:Mine --board boards/mine --out runs/mine
  polymodal bench leaderboard.yaml --ray auto --format latex > table.tex"""
}


def bench(
    plan: str | None = None,
    *,
    methods: Names = [],  # noqa: B006 (never changed)
    corpora: Sources = [],  # noqa: B006
    stress: Stresses = [],  # noqa: B006
    protocol: str | None = None,
    folds: FoldScheme | None = None,
    seeds: Seeds | None = None,
    preset: str | None = None,
    trials: Natural | None = None,
    publish: str | None = None,
    add: Names = [],  # noqa: B006
    board: str = "benchmarks/results/board",
    workers: Count | None = None,
    ray: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    out: str = "runs/bench",
    format: Literal["terminal", "markdown", "latex", "csv"] = "terminal",
    json: bool = False,
) -> int:
    """Train methods on corpora, test them complete, with modalities missing and under noise; one leaderboard.

    What was run before is not run again; a benchmark that was stopped goes on with the same command.

    Args:
        plan: YAML file with methods, corpora and what else is below (docs/bench.md); flags win over it
        methods: ids, or u-acs?small=ubm&large=mib, a cascade; linear, the floor, is always added
        corpora: sources as for fit
        stress: what to test under, several strengths separated by slashes (docs/stress.md)
        protocol: missmac, missbench, cyin or complete, in the place of stress (docs/stress.md)
        folds: of every corpus, or leave-one-group-out: cross-validation by groups; default the corpora's own splits
        seeds: whole numbers, one training each; default 1111 1112 1113
        preset: of every method that has it; default cpu
        trials: of a search of hyper-parameters, for every method and corpus
        publish: folder to write the board with its predictions to, for compare --against and for add
        add: methods, or u-acs?small=ubm&large=mib, to put on a published board, with its corpora, seeds and conditions
        board: folder of the published board that add is about
        workers: trainings side by side; default one per processor
        ray: address of a Ray cluster to work on instead, or local
        device: where to compute
        out: folder of runs, tables, plots and page
        format: of what is printed
        json: print the board as JSON
    """
    from polymodal.bench.output import print_tables
    from polymodal.bench.page import write_board
    from polymodal.bench.published import Published
    from polymodal.bench.read import read_plan
    from polymodal.bench.run import added
    from polymodal.bench.run import bench as run
    from polymodal.core import OptionError
    from polymodal.data.progress import console

    flags: dict[str, Any] = {
        "methods": methods,
        "corpora": corpora,
        "stress": stress,
        "protocol": protocol,
        "folds": folds,
        "preset": preset,
        "trials": trials,
        "seeds": seeds,
    }
    flags = {name: value for name, value in flags.items() if value not in ([], None)}
    if add and (plan or flags):
        raise OptionError("--add takes corpora, seeds and all else from the board; leave out the plan and its options")
    beside = Published.load(board) if add else None
    asked = added(beside, add) if beside else read_plan(Path(plan) if plan else None, flags)
    made = run(asked, out, workers=workers, ray=ray, device=device, publish=publish, beside=beside)
    written = write_board(made, Path(out))
    if json:
        print_json(made.plain())
    else:
        print_tables(made, format)
    for failure in made.left:
        if failure.failed:
            console.print(
                f"failed: {failure.entry} on {failure.corpus}: {failure.reason}", soft_wrap=True, markup=False
            )
    console.print(f"page: {written['html']}", soft_wrap=True)
    return 1 if any(failure.failed for failure in made.left) else 0
