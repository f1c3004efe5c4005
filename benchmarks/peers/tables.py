"""Tables of the comparison, from the measured rows."""

from __future__ import annotations

from statistics import mean, pstdev
from typing import Any

from rows import ROWS

Found = dict[str, Any]

HEAD = """# polymodal against MMSA 2.2.1

Written by `compare.py`; what each column means is in the README of the folder. Seconds are the smallest of the rounds.
"""


def table(head: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)) + "\n"


def times(slow: Found, fast: Found) -> float:
    """How many times less time ``fast`` takes."""
    return float(slow["seconds"]) / float(fast["seconds"])


def speed(rows: Found) -> str:
    """Return seconds of the three sides and how much faster ours is, against its aim."""
    lines = []
    for name, row in ROWS.items():
        if name not in rows:
            continue
        found = rows[name]
        theirs, padded, bucketed = found["theirs"], found["padded"], found["bucketed"]
        best = times(theirs, bucketed)
        reached = "yes" if best >= row.aim else "no"
        lines.append(
            [
                f"{name} ({row.data}, batch {row.recipe['batch_size']}, {'epoch' if row.unit == 'epoch' else 'step'})",
                *(f"{side['seconds']:.2f}" for side in (theirs, padded, bucketed)),
                f"{times(theirs, padded):.2f}x",
                f"{best:.2f}x",
                f"{row.aim:g}x: {reached}",
            ]
        )
    head = ["model", "MMSA s", "ours padded s", "ours bucketed s", "padded", "bucketed", "aim"]
    return table(head, lines)


def classes(rows: Found) -> str:
    """Return MulT's seconds per step in six length classes."""
    if "mult" not in rows:
        return ""
    found = rows["mult"]
    steps = found["bucketed"]["steps"]
    theirs = found["theirs"]["seconds"]
    lines = [
        ["MMSA, any class", *[f"{theirs:.2f}"] * len(steps)],
        ["ours", *(f"{s:.2f}" for s in steps)],
        ["times faster", *(f"{theirs / s:.1f}x" for s in steps)],
    ]
    return table(["seconds per step", *(f"class {i + 1}" for i in range(len(steps)))], lines)


def parameters(rows: Found) -> str:
    """Return parameter counts side by side with what explains their difference."""
    lines = []
    for name, row in ROWS.items():
        if name in rows:
            theirs, ours = rows[name]["theirs"]["parameters"], rows[name]["bucketed"]["parameters"]
            lines.append([name, f"{theirs:,}", f"{ours:,}", f"{ours - theirs:+,}", row.why])
    return table(["model", "MMSA", "ours", "difference", "what it is"], lines)


def memory(rows: Found) -> str:
    """Return resident memory after loading and at the peak of training, in MiB."""
    lines = []
    for name in ROWS:
        if name in rows:
            sides = [rows[name][s] for s in ("theirs", "padded", "bucketed")]
            cells = [f"{s['loaded_mib']} / {s['peak_mib']}" for s in sides]
            after = " ".join(map(str, sides[0]["now_mib"])), " ".join(map(str, sides[2]["now_mib"]))
            lines.append([name, *cells, f"{sides[0]['peak_mib'] / sides[2]['peak_mib']:.2f}x", *after])
    head = ["MiB: loaded / peak", "MMSA", "ours padded", "ours bucketed", "peak", "MMSA, by round", "ours, by round"]
    return table(head, lines)


def loading(rows: Found) -> str:
    """Return seconds from the file to the first batch."""
    lines = []
    for name, found in rows.items():
        if name.startswith("load/"):
            sides = [found[s] for s in ("theirs", "padded", "bucketed")]
            row = ROWS[name.removeprefix("load/")]
            cells = [f"{s['seconds']:.2f}" for s in sides]
            lines.append([f"{row.data}, text as {row.text}", *cells, f"{times(sides[0], sides[2]):.1f}x"])
    return table(["pickle", "MMSA s", "ours padded s", "ours bucketed s", "bucketed"], lines)


def scores(rows: Found) -> str:
    """Return test scores, mean and deviation over seeds."""
    lines = []
    for name, found in rows.items():
        if name.startswith("score/"):
            cells = [
                f"{mean(values):.3f} ± {pstdev(values):.3f}"
                for figure in ("mae", "corr")
                for side in ("theirs", "bucketed", "padded")
                for values in [[seed[figure] for seed in found[side]]]
            ]
            lines.append([name.removeprefix("score/"), *cells])
    sides = ("MMSA", "ours", "ours, padding as data")
    return table(["model", *(f"{figure}, {side}" for figure in ("MAE", "Corr") for side in sides)], lines)


def machines(rows: Found) -> str:
    """Return which machine measured what, and when."""
    found: dict[str, list[str]] = {}
    for name, row in rows.items():
        m = row["machine"]
        threads = f"{m['threads']} of {m['cores']} cores"
        text = f"{m['date']} (UTC), {threads}, {m['memory_gib']} GiB, {m['processor']}, torch {m['torch']}"
        found.setdefault(text, []).append(f"{name} ({m['clock']}, load before {m['load_before']})")
    return "\n".join(f"- {text}: {', '.join(names)}" for text, names in found.items()) + "\n"


def report(rows: Found) -> str:
    """Return everything as Markdown."""
    parts = [
        HEAD,
        machines(rows),
        "## Time\n",
        speed(rows),
        classes(rows),
        "## Memory\n",
        memory(rows),
        "## Parameters\n",
        parameters(rows),
        "## From the file to the first batch\n",
        loading(rows),
        "## Scores on the planted test split\n",
        scores(rows),
    ]
    return "\n".join(part for part in parts if part)
