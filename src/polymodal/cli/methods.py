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
    """List the methods, or describe one: paper, tasks, whether it handles absent modalities, options, presets.

    Args:
        method: id of the method to describe
        json: print JSON
    """
    from dataclasses import asdict

    from polymodal.methods import describe_method, method_ids
    from polymodal.train.recipe import preset_names

    chosen = [describe_method(m) for m in ([method] if method else method_ids())]
    if json:
        data = [
            {**asdict(info), "kinds": sorted(info.kinds), "tasks": sorted(info.tasks), "presets": preset_names(info.id)}
            for info in chosen
        ]
        print_json(data[0] if method else data)
    elif method:
        _print_one(chosen[0], preset_names(method))
    else:
        _print_all(chosen)
    return 0


def _print_all(infos: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in ("method", "what it is", "tasks", "handles absence"):
        table.add_column(column, no_wrap=column == "method")
    for info in infos:
        table.add_row(
            info.id, info.title, ", ".join(sorted(info.tasks)), "yes" if info.handles_absence else "no: fed zeros"
        )
    out = Console(highlight=False)
    out.print(table)
    out.print("more: polymodal methods ID")


def _print_one(info: Any, presets: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    out = Console(highlight=False)
    # The options have a table of their own below.
    about = info.summary.split("\nArgs:")[0].rstrip()
    out.print(f"[bold]{escape(info.id)}[/bold]\n{escape(about)}\n")
    low, high = info.modality_counts
    facts = {
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
    for option in info.options:
        table.add_row(*(escape(str(v)) for v in (option.name, option.type, option.default, option.description)))
    out.print(table)
