"""Methods by name: one file of this folder is one method, its id the file's name with dashes.

Importing this module, listing and describing import neither torch nor a method.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core.errors import OptionError, nearest
from polymodal.core.options import options_of, read_options
from polymodal.core.plugins import load_class, locate
from polymodal.methods._describe import MethodInfo, OptionInfo, describe, method_classes, options
from polymodal.methods._encoders import check_moved, check_used

if TYPE_CHECKING:
    import ast

    from polymodal.core import Schema
    from polymodal.methods.base import Method

__all__ = [
    "MethodInfo",
    "OptionInfo",
    "build",
    "describe_method",
    "described",
    "find_method",
    "method_id",
    "method_ids",
    "method_options",
]

_FOLDER = Path(__file__).parent


def method_ids() -> tuple[str, ...]:
    """Return the names of the methods that come with the package, sorted."""
    stems = sorted(path.stem for path in _FOLDER.glob("*.py"))
    return tuple(s.replace("_", "-") for s in stems if not s.startswith("_") and s != "base")


def described() -> list[MethodInfo]:
    """Return what there is to know of all methods: baselines, then family by family, the oldest paper first."""

    def place(info: MethodInfo) -> tuple[bool, bool, str, int, str]:
        return info.family != "baseline", info.family == "other", info.family, info.year, info.id

    return sorted(map(describe_method, method_ids()), key=place)


def find_method(name: str) -> type[Method]:
    """Return the class behind ``name``.

    Args:
        name: an id of ``method_ids()``, or a method of the user's own as ``package.module:Class`` or
            ``path/to/file.py:Class``.

    Raises:
        OptionError: no such method, module, file or class; the message lists what there is.
    """
    from polymodal.methods.base import Method

    return load_class("method", name, *_locate(name), Method)


def build(method_cls: type[Method], schema: Schema, options: dict[str, Any]) -> Method:
    """Return ``method_cls(schema, **options)``.

    Args:
        options: values by option name. An int serves as a float and a list as a tuple; nothing else is converted.

    Raises:
        OptionError: an unknown option (names the nearest), a missing one, a value of the wrong type or not among the
            choices, an encoder that would not be used; and whatever the constructor itself raises about values.
    """
    check_moved(options)
    method = method_cls(schema, **read_options(method_cls.__name__, options, options_of(method_cls, skip=1)))
    check_used(method, schema)
    return method


def method_id(cls: type[Method]) -> str:
    """Return the name under which ``find_method`` finds ``cls``."""
    package, _, stem = cls.__module__.rpartition(".")
    if package == __name__ and stem != "base":
        return stem.replace("_", "-")
    return f"{cls.__module__}:{cls.__name__}"


def describe_method(name: str) -> MethodInfo:
    """Return what the method's source says about it, without importing it.

    Args:
        name: as in ``find_method``.

    Raises:
        OptionError: as ``find_method``, or a source that cannot be read without running it.
    """
    return describe(name, *_source(name))


def method_options(name: str) -> tuple[OptionInfo, ...]:
    """Return the constructor options of a method as its source has them; arguments and errors as ``describe_method``.

    Unlike describing, this reads the whole file, and those that its types come from.
    """
    return tuple(options(*_source(name, whole=True)))


def _source(name: str, *, whole: bool = False) -> tuple[Path, ast.ClassDef]:
    """Return the file and the definition of a method; that of a shipped one only as far as asked for."""
    if ":" not in name:
        return _shipped(name, whole=whole)
    place, wanted = _locate(name)
    path = Path(place if place.endswith(".py") else _origin(name, place))
    classes = method_classes(path, whole=True)
    if wanted not in classes:
        raise OptionError(f"{place} has no class {wanted!r} that derives from Method{nearest(wanted, classes)}")
    return path, classes[wanted]


def _shipped(name: str, *, whole: bool = False) -> tuple[Path, ast.ClassDef]:
    path = _FOLDER / f"{name.replace('-', '_')}.py"
    if not re.fullmatch("[a-z][a-z0-9-]{,99}", name) or name == "base" or not path.is_file():
        raise OptionError(f"no method {name!r}{nearest(name, method_ids())}")
    classes = list(method_classes(path, whole=whole).values())
    if len(classes) != 1:
        raise OptionError(f"{path} must hold one public class that derives from Method, found {len(classes)}")
    return path, classes[0]


def _locate(name: str) -> tuple[str, str]:
    """Return (path of a source file or name of a module, class)."""
    if ":" in name:
        return locate("method", name)
    path, node = _shipped(name)
    return f"{__name__}.{path.stem}", node.name


def _origin(name: str, module: str) -> str:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise OptionError(f"method {name!r} cannot be found: {error}") from error
    if spec is None or not spec.origin:
        raise OptionError(f"method {name!r}: there is no module {module!r}; it must be importable from here")
    return spec.origin
