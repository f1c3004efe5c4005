"""Methods by name: one file of this folder is one method, its id the file's name with dashes.

Importing this module, listing and describing import neither torch nor a method.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from polymodal.methods._describe import MethodInfo, OptionInfo, describe, method_classes, options
from polymodal.methods._options import build

if TYPE_CHECKING:
    import ast

    from polymodal.core import OptionError
    from polymodal.methods.base import Method

__all__ = [
    "MethodInfo",
    "OptionInfo",
    "build",
    "describe_method",
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


def find_method(name: str) -> type[Method]:
    """Return the class behind ``name``.

    Args:
        name: an id of ``method_ids()``, or a method of the user's own as ``package.module:Class`` or
            ``path/to/file.py:Class``.

    Raises:
        OptionError: no such method, module, file or class; the message lists what there is.
    """
    from polymodal.methods.base import Method

    place, wanted = _locate(name)
    module = _import(name, place)
    found = getattr(module, wanted, None)
    if isinstance(found, type) and issubclass(found, Method):
        return found
    own = [n for n, x in vars(module).items() if isinstance(x, type) and issubclass(x, Method) and x is not Method]
    raise _error(f"{place} has no Method class {wanted!r}", wanted, own)


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
        raise _error(f"{place} has no class {wanted!r} that derives from Method", wanted, classes)
    return path, classes[wanted]


def _shipped(name: str, *, whole: bool = False) -> tuple[Path, ast.ClassDef]:
    path = _FOLDER / f"{name.replace('-', '_')}.py"
    if not re.fullmatch("[a-z][a-z0-9-]*", name) or name == "base" or not path.is_file():
        raise _error(f"no method {name!r}", name, method_ids())
    classes = list(method_classes(path, whole=whole).values())
    if len(classes) != 1:
        raise _error(f"{path} must hold one public class that derives from Method, found {len(classes)}")
    return path, classes[0]


def _locate(name: str) -> tuple[str, str]:
    """Return (path of a source file or name of a module, class)."""
    place, colon, wanted = name.rpartition(":")
    if not colon:
        path, node = _shipped(name)
        return f"{__name__}.{path.stem}", node.name
    if not place.endswith(".py"):
        return place, wanted
    file = Path(place).expanduser().resolve()
    if not file.is_file():
        raise _error(f"method {name!r}: there is no file {place}; give path/to/file.py:Class")
    return str(file), wanted


def _import(name: str, place: str) -> ModuleType:
    """Import the module or file ``place``; a file becomes a module named by its path, so that its class has an id."""
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        if place in sys.modules:
            return sys.modules[place]
        spec = importlib.util.spec_from_file_location(place, place)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[place] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[place]
            raise
        return module
    except (ImportError, SyntaxError) as error:
        raise _error(f"method {name!r} cannot be imported: {error}") from error


def _origin(name: str, module: str) -> str:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise _error(f"method {name!r} cannot be found: {error}") from error
    if spec is None or not spec.origin:
        raise _error(f"method {name!r}: there is no module {module!r}; it must be importable from here")
    return spec.origin


def _error(text: str, name: str | None = None, choices: Iterable[str] = ()) -> OptionError:
    # core needs torch: it is imported only once there is something to complain about.
    from polymodal.core import OptionError, nearest

    return OptionError(text + (nearest(name, choices) if name else ""))
