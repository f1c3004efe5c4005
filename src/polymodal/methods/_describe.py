"""What a method's source says about it, read from the syntax tree.

To list a hundred methods, the head of each class is parsed alone: its functions are most of a file, and say nothing.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]
_CLASS = re.compile(r"^class [^:]+:(?:  #.*)?\n(?:\n|    (?!@|def |async ).*\n)+", re.MULTILINE)
"""A class down to its first function."""


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
        family, paper, kinds, tasks, handles_absence, modality_counts: as in ``Method``.
    """

    id: str
    title: str
    summary: str
    family: str
    paper: str
    kinds: frozenset[str]
    tasks: frozenset[str]
    handles_absence: bool
    modality_counts: tuple[int, int]

    @property
    def year(self) -> int:
        """Year of the paper; 0 where it names none."""
        years = re.findall(r"\b(?:19|20)\d\d\b(?!\.)", self.paper)
        return int(years[-1]) if years else 0


BASES = frozenset({"Method", "Seamed", "Wrapper", "SeamedWrapper"})
"""Classes that methods derive from."""


def method_classes(path: Path, *, whole: bool = False) -> dict[str, ast.ClassDef]:
    """Return name -> definition of the public classes of a source file that name one of ``BASES`` as a base.

    Without ``whole`` they may end before their first function, and those without a docstring may be left out.

    Raises:
        OptionError: the file is not valid Python.
    """
    text = path.read_text(encoding="utf-8")
    body = None if whole else _heads(text)
    found = {
        node.name: node
        for node in body or _parse(path).body
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and not BASES.isdisjoint(map(_last_name, node.bases))
    }
    return found if found or whole else method_classes(path, whole=True)


def describe(name: str, path: Path, node: ast.ClassDef) -> MethodInfo:
    """Return the description of the class ``node`` of the file ``path``."""
    facts = {**_common(), **_class_values(node, path)}
    summary = ast.get_docstring(node) or ""
    return MethodInfo(
        id=name,
        title=" ".join(summary.split("\n\n")[0].split()),
        summary=summary,
        family=facts["family"],
        paper=facts["paper"],
        kinds=frozenset(facts["kinds"]),
        tasks=frozenset(facts["tasks"]),
        handles_absence=facts["handles_absence"],
        modality_counts=facts["modality_counts"],
    )


@cache
def _common() -> dict[str, Any]:
    """Return the facts that ``Method`` gives every method that does not say otherwise."""
    path = _PACKAGE / "methods/base.py"
    return next(_class_values(n, path) for n in _parse(path).body if isinstance(n, ast.ClassDef) and n.name == "Method")


def options(path: Path, node: ast.ClassDef) -> Iterable[OptionInfo]:
    """Yield the constructor options of the whole class ``node`` of the file ``path``, in order."""
    described, tree = _descriptions(ast.get_docstring(node) or ""), _parse(path)
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            arguments = function.args
            for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
                hint = ast.unparse(argument.annotation) if argument.annotation else ""
                value = ast.unparse(default) if default else ""
                yield OptionInfo(argument.arg, _literal(hint, tree) or hint, value, described.get(argument.arg, ""))


def _heads(text: str) -> list[ast.stmt] | None:
    """Return the classes of a source file without their functions; None where they cannot be told apart by layout."""
    try:
        return ast.parse("".join(match[0] for match in _CLASS.finditer(text))).body
    except SyntaxError:
        return None


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


def _literal(name: str, tree: ast.Module) -> str:
    """Return the text of the ``Literal`` type that a file calls ``name`` or imports from this package; else nothing."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            value = ast.unparse(node.value)
            return value if value.startswith("Literal[") else ""
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("polymodal."):
            path = _PACKAGE.joinpath(*(node.module or "").split(".")[1:]).with_suffix(".py")
            for there in node.names:
                if (there.asname or there.name) == name and path.is_file():
                    return _literal(there.name, _parse(path))
    return ""


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
