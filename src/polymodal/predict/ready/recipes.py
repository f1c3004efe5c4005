"""Recipes of runs by name, read from ``recipes.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from polymodal.core import OptionError, nearest


@dataclass(frozen=True)
class Recipe:
    """How a run is built and what is to be said of it.

    Attributes:
        name: of the run.
        about: what it says of a clip.
        target, metric: of the corpus, and the figure by which the run is told.
        group: what is held out together, one of it (``speaker``).
        corpus: what it is trained on.
        data: what to give as the source.
        spoken: by whom and how the corpus is spoken.
        licence: terms of the corpus and of what the run needs.
        limits: where it must not be believed.
        fit: options of ``train.fit``.
        extract: options of ``Extraction``; empty: the source is a corpus already.
        names, labels: pattern of a file's name, and what its label's letters mean.
        tables, columns: split -> its table in the folder of the source, and role (``text``, ``group``, the target) ->
            column of these tables; empty: the source is clips, or a corpus.
        also: metrics that are told beside ``metric``.
        kinds: kind of group -> its groups, looked at apart.
    """

    name: str
    about: str
    target: str
    metric: str
    group: str
    corpus: str
    data: str
    spoken: str
    licence: str
    limits: str
    fit: dict[str, Any]
    extract: dict[str, Any] = field(default_factory=dict)
    names: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    also: list[str] = field(default_factory=list)
    kinds: dict[str, list[str]] = field(default_factory=dict)


@cache
def recipes() -> dict[str, Recipe]:
    """Return all recipes by name; the first is the one that is taken where nobody names one."""
    import yaml

    read = yaml.safe_load(Path(__file__).with_name("recipes.yaml").read_text(encoding="utf-8"))
    return {name: Recipe(name, **about) for name, about in read.items()}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name; OptionError where there is none."""
    if name not in recipes():
        raise OptionError(f"there is no ready run {name!r}{nearest(name, recipes())}; see: polymodal ready list")
    return recipes()[name]
