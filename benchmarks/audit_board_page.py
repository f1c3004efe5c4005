"""The page of ``audit_board.py``: what was found, the information in data and answers, costs, what was not asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Row = dict[str, Any]

INFORMATION = ("redundant", "only the first", "only the second", "synergy")


def page(stored: Row) -> str:
    """Return ``audit_board.md`` of what ``audit_board.json`` holds."""
    corpora: Row = stored["corpora"]
    ranked = ", ".join(f"`{e['name']}` {e['rank']:.2f}" for e in stored["entries"])
    machines = {f"{c['machine']['date']}, one of {c['machine']['cores']} cores shared with other work" for c in
                corpora.values()}  # fmt: skip
    versions = next(iter(corpora.values()))["machine"]
    lines = [
        "# Audits of the board's five best methods",
        "",
        f"`python benchmarks/audit_board.py`, {'; '.join(sorted(machines))} ({versions['processor']}, one thread), "
        f"Python {versions['python']}, torch {versions['torch']}. Board of {stored['board']['date']} (`board.json`, "
        f"SHA-256 {stored['board']['hash']}); mean rank over its corpora: {ranked}. Presets and epochs of the board, "
        "and the options that its search chose for each training split; one seed. Test samples of the board; of a "
        "corpus in "
        f"folds ({', '.join(n for n, c in corpora.items() if c['folds'] > 1) or 'none'}) all, out of fold.",
        "",
        "In brackets 95 % intervals over groups of test samples, each for itself, not corrected for their number; "
        "without one, groups are too few or all alike. Where there are as many groups as samples, none are known, and "
        "intervals may be too narrow. Seeds are not resampled: nothing is said of other trainings of a method, and "
        "methods are not compared.",
    ]
    missing = [name for name in stored["asked"] if name not in corpora]
    if missing:
        lines += ["", f"Not done yet: {', '.join(missing)}."]
    lines += ["", "## What was found", "", *_found(corpora), "", "## Shared, unique and joint information", ""]
    lines += [*_information(corpora), "", "## In words", "", *_words(corpora), "", "## What it costs", ""]
    lines += [*_costs(corpora, stored["audits"]), "", "## Not asked", "", *_refusals(corpora), ""]
    return "\n".join(lines)


def _rows(corpora: Row) -> Iterable[tuple[str, Row]]:
    return ((name, row) for name, about in corpora.items() for row in about["rows"])


def _found(corpora: Row) -> list[str]:
    lines = [
        "*needs*: how right (0 to 1) the model is on subsets with the modality minus how right it is on those without; "
        "below 0 where others alone do better. *moved by*: mean size of the Shapley value, of a probability or on the "
        "scale of the label. *misled*: share of answers that change where the modality is not needed and is that of a "
        "sample with another label. *slices*: found, of those checked (Holm within an audit). *told*: balanced "
        "accuracy of a probe of the answers, chance in square brackets; *differences*: how many intervals lack 0, of "
        "all by that column (one in twenty would by chance).",
        "",
        "| corpus (samples / groups) | method | needs | moved by | misled | slices with too many errors | by whom |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in _rows(corpora):
        audits = row["audits"]
        cells = [f"{name} ({_size(row)})", row["method"], _importance(audits), _moved(audits), _misled(audits)]
        lines.append(f"| {' | '.join([*cells, _slices(audits), _fairness(audits)])} |")
    return lines


def _size(row: Row) -> str:
    line = row["audits"]["importance"]["evidence"][0]
    return f"{line['count']} / {line['groups']}"


def _listed(audits: Row, audit: str, chosen: Callable[[Row], str]) -> str:
    """Return the chosen lines of an audit, one below the other; ``chosen`` returns their name, empty to leave out."""
    if audits[audit]["refused"]:
        return "not asked"
    named = [(chosen(line), line) for line in audits[audit]["evidence"]]
    return "<br>".join(f"{name} {figure(line)}" for name, line in named if name) or "none"


def _importance(audits: Row) -> str:
    return _listed(audits, "importance", lambda line: line["what"].partition("importance of ")[2])


def _moved(audits: Row) -> str:
    return _listed(audits, "shapley", lambda line: line["what"].partition("moved by ")[2].partition(" (")[0])


def _misled(audits: Row) -> str:
    def name(line: Row) -> str:
        first, _, rest = line["part"].partition(" is not needed: answers that change")
        return f"{first} (of {line['count']})" if rest and line["what"] == "a misleading one" else ""

    return _listed(audits, "interference", name)


def _slices(audits: Row) -> str:
    about = audits["bias"]
    if about["refused"]:
        return "not asked"
    checked = sum(line["part"] == "slices" for line in about["evidence"])
    sure = sum(sentence.startswith("Slice ") for sentence in about["found"])
    return f"{sure} of {checked}"


def _fairness(audits: Row) -> str:
    about = audits["fairness"]
    if about["refused"]:
        return "not asked"
    by: dict[str, list[Row]] = {}
    for line in about["evidence"]:
        by.setdefault(line["part"].partition(":")[0], []).append(line)
    return "<br>".join(_compared(column, lines) for column, lines in by.items())


def _compared(column: str, lines: list[Row]) -> str:
    known = {line["what"]: line for line in lines}
    said, chance = (known.get(f"{column} told {how}") for how in ("from its answers", "by chance"))
    probe = f"told {figure(said)} [{chance['value']:.2f}]; " if said and chance else ""
    gaps = [line for line in lines if line["what"].startswith("difference") and line["low"] is not None]
    sure = sum(not line["low"] <= 0 <= line["high"] for line in gaps)
    return f"{column}: {probe}differences {sure} of {len(gaps)}"


def _information(corpora: Row) -> list[str]:
    lines = [
        "In bits, of each pair of modalities; a number is low or high. *labels*: what simple classifiers read from the "
        "data, the same for every method; other lines: about the answers of a method. Below the synergy of *labels, "
        "shuffled* a figure is noise; what is below 0 counts as 0.",
        "",
        f"| corpus | first and second | about | {' | '.join(INFORMATION)} |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, about in corpora.items():
        pairs: dict[str, dict[str, list[Row]]] = {}
        for row in about["rows"]:
            for line in row["audits"]["pid"]["evidence"]:
                pair, _, what = line["part"].partition(", in the ")
                if what:  # labels are the same for all
                    key = "labels" if what == "labels" else f"answers of {row['method']}"
                    pairs.setdefault(pair, {}).setdefault(key, []).append(line)
        for pair, found in pairs.items():
            first = found["labels"]
            shuffled = f"| {name} | {pair} | labels, shuffled | | | | {figure(first[4])} |"
            for key, figures in found.items():
                lines.append(f"| {name} | {pair} | {key} | {' | '.join(figure(line) for line in figures[:4])} |")
                lines += [shuffled] if key == "labels" else []
    notes = {(name, note): None for name, row in _rows(corpora) for note in row["audits"]["pid"]["notes"]}
    return [*lines, "", *(f"- {name}: {note}" for name, note in notes)]


def _words(corpora: Row) -> list[str]:
    lines = [
        "What `bias` and `fairness` name; the other audits are in the tables.",
        "",
    ]
    for name, row in _rows(corpora):
        for audit in ("bias", "fairness"):
            found = row["audits"][audit]["found"]
            if found:
                lines.append(f"- {name}, {row['method']}, `{audit}`: {' '.join(found)}")
    return lines


def _costs(corpora: Row, audits: list[str]) -> list[str]:
    lines = [
        "Processor time of an audit over that of the training, of folds of all trainings; `-`: not asked.",
        "",
        f"| corpus | method | s of a training | {' | '.join(audits)} | all |",
        f"| --- | --- |{' --: |' * (len(audits) + 2)}",
    ]
    for name, row in _rows(corpora):
        asked = {audit: row["audits"][audit] for audit in audits}
        ratios = {a: found["seconds"] / row["training"] for a, found in asked.items() if not found["refused"]}
        cells = [f"{ratios[a]:.2f}" if a in ratios else "-" for a in audits]
        together = f"{sum(ratios.values()):.2f}"
        lines.append(f"| {name} | {row['method']} | {row['training']:.1f} | {' | '.join(cells)} | {together} |")
    return lines


def _refusals(corpora: Row) -> list[str]:
    said: dict[tuple[str, str], list[str]] = {}
    for name, row in _rows(corpora):
        for audit, found in row["audits"].items():
            places = said.setdefault((audit, found["refused"]), []) if found["refused"] else []
            places += [name] if name not in places else []
    return [f"- `{audit}` ({', '.join(places)}): {reason}." for (audit, reason), places in said.items()]


def figure(line: Row) -> str:
    """Return the value of a line of evidence with its interval, where it has one."""
    value, *ends = (
        None if x is None else f"{round(x, 3) + 0.0:.3f}" for x in (line["value"], line["low"], line["high"])
    )
    return str(value) if None in ends else f"{value} ({ends[0]} to {ends[1]})"
