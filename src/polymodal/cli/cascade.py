"""``polymodal fit u-acs``, and ``polymodal evaluate`` of what it makes."""

from __future__ import annotations

from typing import Any, Literal

from polymodal.cli.text import print_json
from polymodal.core.options import Share

EXAMPLES = {
    "fit u-acs": """\
  polymodal fit u-acs --small runs/ubm-mosi --large run:runs/mmcl-mosi --data mosi.pkl --out runs/cascade
  polymodal fit u-acs --small runs/ubm-mosi --large file:answers.jsonl --data mosi.pkl --rho 0.2 --out runs/cascade
  polymodal fit u-acs --small runs/ubm-mosi --large 'http?samples=5' --data 'mosi.pkl?text=raw' --out runs/cascade
  polymodal evaluate runs/cascade                  error against the share that is sent to the large model"""
}

UNKNOWN = "not known, as it takes answers to all samples (--rho 1)"


def u_acs(
    *,
    small: str,
    large: str,
    data: str,
    rho: Share = 0.3,
    by: Literal["budget", "error"] = "budget",
    agreed: Literal["average", "large"] = "average",
    target: str | None = None,
    out: str = "runs/cascade",
    json: bool = False,
) -> int:
    """Let a small run answer what it is sure of and a large model the rest; fit the thresholds on validation.

    Args:
        small: folder of a run, best one of ubm
        large: run:FOLDER, file:answers.jsonl, or http: any service that speaks OpenAI's chat completions, named by
            POLYMODAL_LLM_URL, POLYMODAL_LLM_MODEL and POLYMODAL_LLM_KEY in the environment (docs/cascade.md)
        data: source as of polymodal fit
        rho: share of samples that the large model is asked about
        by: fit the small model's threshold by the budget rho, or by error: what it keeps is no worse than the large
            model is on average
        agreed: where the large model is not sure but takes the same side: the average of both, or the large one's
            answer
        target: what the cascade is about; default the run's first
        out: folder of the cascade
        json: print the cascade as JSON
    """
    from polymodal.cascade import fit_cascade
    from polymodal.data.progress import console

    found = fit_cascade(small, large, data, rho=rho, by=by, agreed=agreed, target=target, out=out)
    if json:
        print_json(found)
        return 0
    rule, fitted = found["rule"], found["fitted"]
    error = fitted["error"]
    for line in (
        f"thresholds: small {rule['small']:.4f}, large {rule['large']:.1f}; on {fitted['samples']} validation samples "
        f"{fitted['escalated']:.1%} go to the large model, {fitted['asked_again']:.1%} twice",
        f"validation {error['metric']}: {error['small']:.4f} by the small run alone, {error['cascade']:.4f} by the "
        "cascade (thresholds were chosen on these samples)",
        *fitted["notes"],
        f"next: polymodal evaluate {out}",
    ):
        console.print(line, soft_wrap=True, markup=False)
    return 0


def evaluate(folder: str, data: str | None, json: bool) -> int:
    """Evaluate the cascade in ``folder`` and print what it says and costs."""
    from pathlib import Path

    from polymodal.cascade import evaluate_cascade
    from polymodal.data.progress import console

    scores = evaluate_cascade(folder, data)
    if json:
        print_json(scores)
        return 0
    for name, found in scores["splits"].items():
        for row in scores["rows"]:
            if row["split"] == name and row["main"]:
                console.print(f"{name}: {row['metric']} of {row['who']}: {_figure(row, 'mean')}", markup=False)
        stages = ", ".join(f"{stage} {count}" for stage, count in found["stages"].items() if count)
        for line in (
            f"{name}: {found['calls']} questions to the large model about {found['samples']} samples; stages {stages}",
            f"{name}: {scores['error']} against sending the same share at random, mean over all shares: "
            + (_figure(found["gain"], "value", "+") if found["gain"] else UNKNOWN),
        ):
            console.print(line, soft_wrap=True, markup=False)
    for note in scores["notes"]:
        console.print(note, soft_wrap=True, markup=False)
    console.print(f"curve, records and scores: {Path(folder)}/evaluation*", soft_wrap=True, markup=False)
    return 0


def _figure(row: dict[str, Any], name: str, sign: str = "") -> str:
    text = f"{row[name]:{sign}.4f}"
    return text if row["low"] is None else f"{text} (95% {row['low']:{sign}.4f} to {row['high']:{sign}.4f})"
