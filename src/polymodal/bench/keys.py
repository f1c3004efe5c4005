"""What the result of a cell depends on: settings, data, seed, device, libraries, and the code that makes it.

The code is that of the cell itself, of the method, of its tasks, and of all that these import, as it is parsed:
comments, docstrings and layout do not count. Readers of corpora are left out, for the data's own hash says what they
read.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from polymodal.methods.base import Method
from polymodal.train.fit import open_fabric
from polymodal.train.plan import Plan

PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("torch", "numpy", "scikit-learn", "transformers")
MAKERS = ("bench/job.py",)
"""Files of the package that train, predict and measure."""

READERS = ("data/sources.py",)
"""Files whose imports are not followed."""


def content_key(plan: Plan, method: Method, device: str) -> str:
    """Return a digest of all that a result depends on."""
    named = {k: plan.config[k] for k in ("method", "options", "recipe", "seeds")}
    named["data"] = {k: plan.config["data"][k] for k in ("hash", "encode")}
    named["encoder"] = plan.corpus.schema.encoders
    named["libraries"] = {name: _version(name) for name in LIBRARIES}
    named["device"] = resolved(device, plan.recipe.precision)
    named["code"] = code_of(_roots(method))
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:12]


def code_of(roots: Iterable[Path]) -> dict[str, str]:
    """Return file -> digest of what it does, of ``roots`` and all that they import."""
    return {_name(file): _code(file, file.stat().st_mtime_ns) for file in sorted(closure(roots))}


@lru_cache(maxsize=8)
def resolved(device: str, precision: str) -> str:
    """Return what ``device`` (``auto``) is on this machine: ``cpu``, ``mps``, or a GPU by its name."""
    found = open_fabric(device, precision).device
    if found.type != "cuda":
        return str(found.type)
    import torch

    return str(torch.cuda.get_device_name(found))


def closure(roots: Iterable[Path]) -> set[Path]:
    """Return ``roots`` and the files that they import, and those that these import, and so on.

    Followed are imports of this package, and of files and packages of the user's own; libraries are not.
    """
    left, found = list(roots), set()
    while left:
        file = left.pop()
        if file in found or file in (PACKAGE / reader for reader in READERS):
            continue
        found.add(file)
        left += (place for name in _imports(file, file.stat().st_mtime_ns) if (place := _place(name, file)))
    return found


def _roots(method: Method) -> set[Path]:
    """Return the files of the makers, of the classes that ``method`` is made of, and of its tasks."""
    tasks = [target.spec for target in method.schema.targets]
    own = {"polymodal", *(type(part).__module__.partition(".")[0] for part in (method, *tasks))}
    kinds = {kind for part in (*method.modules(), *tasks) for kind in type(part).__mro__[:-1]}
    mine = [k for k in kinds if k.__module__.partition(".")[0] in own or k.__module__.endswith(".py")]
    return {PACKAGE / maker for maker in MAKERS} | {Path(inspect.getfile(kind)) for kind in mine}


@lru_cache(maxsize=4096)
def _imports(file: Path, _changed: int) -> frozenset[str]:
    """Return every module that ``file`` may import, also within functions; a name in a module counts as one."""
    names = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def _place(name: str, importer: Path) -> Path | None:
    """Return the file of module ``name``; None for a library, and for what is no module."""
    top, *rest = name.split(".")
    if top == "polymodal":
        base = PACKAGE.joinpath(*rest)
    elif importer.is_relative_to(PACKAGE):
        return None
    elif (importer.parent / top).is_dir() or (importer.parent / f"{top}.py").is_file():
        base = importer.parent.joinpath(top, *rest)  # beside a file of the user's own
    elif sys.modules.get(top) is not None and _shared_root(top, importer):
        spec = find_spec(top)
        base = Path(str(spec.origin)).parent.joinpath(*rest) if spec and spec.origin else importer
    else:
        return None
    places = (base.with_suffix(".py"), base / "__init__.py")
    return next((place for place in places if place.is_file()), None)


def _shared_root(top: str, importer: Path) -> bool:
    """Whether ``importer`` belongs to the package ``top``."""
    spec = find_spec(top)
    return bool(spec and spec.origin) and importer.is_relative_to(Path(str(spec.origin)).parent)  # type: ignore[union-attr]


@lru_cache(maxsize=4096)
def _code(file: Path, _changed: int) -> str:
    """Return a digest of what ``file`` does."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _name(file: Path) -> str:
    """Return what a file is called wherever the package is installed."""
    return file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else file.name


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
