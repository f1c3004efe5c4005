"""``polymodal methods``."""

from __future__ import annotations

from typing import Any

from polymodal.cli.text import print_json

EXAMPLES = {
    "methods": """\
  polymodal methods
  polymodal methods mmcl
  polymodal methods --json"""
}


def methods(method: str | None = None, *, json: bool = False) -> int:
    """List the methods by family, or describe one: paper, tasks, whether it handles absent modalities, options.

    Args:
        method: id of the method to describe
        json: print JSON
    """
    from dataclasses import asdict

    from polymodal.methods import describe_method, described, method_options
    from polymodal.train.recipe import preset_names

    chosen = [describe_method(method)] if method else described()
    if json:
        data = [
            {
                **asdict(info),
                "kinds": sorted(info.kinds),
                "tasks": sorted(info.tasks),
                "options": [asdict(option) for option in method_options(info.id)],
                "presets": preset_names(info.id),
            }
            for info in chosen
        ]
        print_json(data[0] if method else data)
    elif method:
        _print_one(chosen[0], preset_names(method))
    else:
        _print_all(chosen)
    return 0


def _print_all(infos: list[Any]) -> None:
    """Print a paragraph per method, family by family, the oldest paper first; only what not all do is said of one."""
    # Plain text: with rich, a table of a hundred methods takes longer than all the rest.
    from collections import Counter
    from shutil import get_terminal_size
    from textwrap import fill

    tasks = Counter(info.tasks for info in infos).most_common(1)[0][0]  # what nearly all of them learn
    indent = max(len(info.id) for info in infos) + 4
    family = ""
    for info in infos:
        if info.family != family:
            family = info.family
            print(f"\n{family}")
        only = "" if info.tasks >= tasks else f" Only {', '.join(sorted(info.tasks))}."
        more = f" Also {', '.join(sorted(info.tasks - tasks))}." if info.tasks > tasks else ""
        zeros = "" if info.handles_absence else " Absent modalities are fed as zeros."
        text = f"  {info.id:<{indent - 2}}{info.title}{only}{more}{zeros}"
        print(fill(text, get_terminal_size().columns, subsequent_indent=" " * indent, break_on_hyphens=False))
    print(f"\nIf nothing else is said: {', '.join(sorted(tasks))}; absent modalities are handled.")
    print("more: polymodal methods ID")


def _print_one(info: Any, presets: tuple[str, ...]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from polymodal.data.progress import screen
    from polymodal.methods import method_options

    out = screen()
    # The options have a table of their own below.
    about = _flowing(info.summary.split("\nArgs:")[0].rstrip())
    out.print(f"[bold]{escape(info.id)}[/bold]\n{escape(about)}\n")
    low, high = info.modality_counts
    facts = {
        "family": info.family,
        "paper": info.paper,
        "tasks": ", ".join(sorted(info.tasks)),
        "modalities": f"{low} or more" if high >= 99 else f"{low} to {high}",
        "kinds": ", ".join(sorted(info.kinds)),
        "absent modalities": "handled" if info.handles_absence else "not handled: fed zeros",
        "presets": ", ".join(presets) or "none",
    }
    for name, value in facts.items():
        out.print(f"  {name}: {escape(value)}")
    table = Table(box=None, header_style="bold", title="options (--set name=value)", title_justify="left")
    for column in ("name", "type", "default", "meaning"):
        table.add_column(column)
    for option in method_options(info.id):
        table.add_row(*(escape(str(v)) for v in (option.name, option.type, option.default, option.description)))
    out.print(table)


def _flowing(text: str) -> str:
    """Return ``text`` with the lines of plain paragraphs joined, as terminals are narrower; lists and formulas stay."""
    paragraphs = [part.split("\n") for part in text.split("\n\n")]
    plain = [not any(line.startswith((" ", "- ", "1. ")) for line in lines) for lines in paragraphs]
    return "\n\n".join((" " if own else "\n").join(lines) for lines, own in zip(paragraphs, plain, strict=True))
