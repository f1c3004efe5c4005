"""What a method's source says about it, read from the syntax tree."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class OptionInfo:
    """A constructor option as written in the source: type and default as text, description from the Args section."""

    name: str
    type: str
    default: str
    description: str


@dataclass(frozen=True)
class MethodInfo:
    """What there is to know about a method before running it.

    Attributes:
        id: name for ``find_method``.
        title: first paragraph of the docstring, on one line.
        summary: the whole docstring.
        paper, kinds, tasks, handles_absence, modality_counts: as in ``Method``.
        options: constructor options in order.
    """

    id: str
    title: str
    summary: str
    paper: str
    kinds: frozenset[str]
    tasks: frozenset[str]
    handles_absence: bool
    modality_counts: tuple[int, int]
    options: tuple[OptionInfo, ...]


BASES = frozenset({"Method", "Seamed", "Wrapper"})
"""Classes that methods derive from."""


def method_classes(path: Path) -> dict[str, ast.ClassDef]:
    """Return name -> definition of the public classes of a source file that name one of ``BASES`` as a base."""
    return {
        node.name: node
        for node in _parse(path).body
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and not BASES.isdisjoint(map(_last_name, node.bases))
    }


def describe(name: str, path: Path, node: ast.ClassDef) -> MethodInfo:
    """Return the description of the class ``node`` of the file ``path``."""
    base = next(
        n for n in _parse(_PACKAGE / "methods/base.py").body if isinstance(n, ast.ClassDef) and n.name == "Method"
    )
    facts = {**_class_values(base, path), **_class_values(node, path)}
    summary = ast.get_docstring(node) or ""
    options = tuple(_options(node, _aliases(_parse(path)), _descriptions(summary)))
    return MethodInfo(
        id=name,
        title=" ".join(summary.split("\n\n")[0].split()),
        summary=summary,
        paper=facts["paper"],
        kinds=frozenset(facts["kinds"]),
        tasks=frozenset(facts["tasks"]),
        handles_absence=facts["handles_absence"],
        modality_counts=facts["modality_counts"],
        options=options,
    )


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        from polymodal.core import OptionError

        raise OptionError(f"{path} is not valid Python: {error}") from None


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _class_values(node: ast.ClassDef, path: Path) -> dict[str, Any]:
    """Return the facts among the class's attributes; a frozenset counts by its argument."""
    values = {}
    for line in node.body:
        if not isinstance(line, (ast.Assign, ast.AnnAssign)) or line.value is None:
            continue
        name = ast.unparse(line.targets[0] if isinstance(line, ast.Assign) else line.target)
        if name not in MethodInfo.__annotations__:
            continue
        value = line.value
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "frozenset":
            value = value.args[0]
        try:
            values[name] = ast.literal_eval(value)
        except ValueError:
            from polymodal.core import OptionError

            raise OptionError(f"{path}: {node.name}.{name} must be written as a literal, not computed") from None
    return values


def _options(node: ast.ClassDef, aliases: dict[str, str], descriptions: dict[str, str]) -> Iterable[OptionInfo]:
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            arguments = function.args
            for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
                hint = ast.unparse(argument.annotation) if argument.annotation else ""
                value = ast.unparse(default) if default else ""
                yield OptionInfo(argument.arg, aliases.get(hint, hint), value, descriptions.get(argument.arg, ""))


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Return name -> text of the ``Literal`` types a file defines or imports from this package."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal["):
            found[ast.unparse(node.targets[0])] = ast.unparse(node.value)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("polymodal."):
            path = _PACKAGE.joinpath(*(node.module or "").split(".")[1:]).with_suffix(".py")
            if path.is_file():
                there = _aliases(_parse(path))
                found |= {n.asname or n.name: there[n.name] for n in node.names if n.name in there}
    return found


def _descriptions(docstring: str) -> dict[str, str]:
    """Return option -> text of the docstring's Args section; ``a, b: text`` describes both."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    if section is None:
        return {}
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", section[1].rstrip()):
        names, colon, text = entry.strip().partition(":")
        if colon:
            found |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return found
