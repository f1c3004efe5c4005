"""Where runs by name are, and what is known of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polymodal.core import RunError
from polymodal.data.encode import cache_folder
from polymodal.predict.ready.recipes import Recipe, recipes

MARK = "ready.json"
"""In the folder of a ready run: its figures."""

SHIPPED = Path(__file__).parent / "runs"

USE = (
    "not for decisions about persons (hiring, schooling, insurance, credit, policing, borders, health), nor for "
    "watching people without their consent"
)


def built_folder(name: str) -> Path:
    """Return where ``build`` puts a run."""
    return cache_folder() / "ready" / name


def find_ready(name: str) -> Path | None:
    """Return the folder of a ready run, one's own before the one that comes with polymodal; None where it is not built.

    None as well for what is no name of a ready run.
    """
    if name not in recipes():
        return None
    places = (built_folder(name), SHIPPED / name)
    return next((place for place in places if (place / MARK).is_file()), None)


def not_built(name: str) -> RunError:
    """Return the error to raise where a recipe is there and no run."""
    recipe = recipes()[name]
    return RunError(f"{name} is not built here; run: polymodal ready build {name} --data SOURCE, {recipe.data}")


def figures(folder: Path) -> dict[str, Any] | None:
    """Return what was measured of the ready run in ``folder``; None where it is none.

    Raises:
        RunError: the file is damaged.
    """
    file = folder / MARK
    if not file.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found if found["name"] in recipes() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} cannot be read ({error!r}); build the run again") from None


def told(folder: Path) -> list[str]:
    """Return what must be said with everything that the ready run in ``folder`` says; nothing for another run."""
    found = figures(folder)
    if found is None:
        return []
    recipe = recipes()[found["name"]]
    whose = "comes with polymodal" if folder.parent == SHIPPED else "was built on this machine"
    return [
        f"{recipe.name} {whose}: {recipe.about}; trained on {recipe.corpus}, {recipe.spoken}",
        measured(recipe, found),
        f"limits: {' '.join(recipe.limits.split())}; {USE}",
    ]


def measured(recipe: Recipe, found: dict[str, Any]) -> str:
    """Return the figures in one sentence."""
    also = [
        f"{other['metric']} {other['value']:.3f}{_between(other)}, so guessed {other['blind']:.3f}; "
        for other in found.get("also", [])
    ]
    each = [f"{kind} {value:.2f}" for kind, value in found["kinds"].items()]
    least, most = found["groups_between"]
    apart = f"; {', '.join(each)}" if each else ""
    group = recipe.group
    return (
        f"on {found['groups']} {group}s of it that the model judging them never met: {recipe.metric} "
        f"{found['value']:.3f}{_between(found)}, by {group} {least:.2f} to {most:.2f}{apart}; {found['blind']}; "
        f"{''.join(also)}other recordings are judged worse"
    )


def _between(found: dict[str, Any]) -> str:
    low, high = found["low"], found["high"]
    return f" (95% interval {low:.2f} to {high:.2f})" if low is not None else ""
