"""Classes by name: ``package.module:Class`` or ``path/to/file.py:Class``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from polymodal.core.errors import OptionError, nearest

T = TypeVar("T")


def locate(what: str, name: str) -> tuple[str, str]:
    """Return (absolute path of a source file or name of a module, class) of ``PLACE:CLASS``.

    Args:
        what: kind of thing that is looked for, for messages.
        name: what the user wrote.

    Raises:
        OptionError: no such file.
    """
    place, _, wanted = name.rpartition(":")
    if not place.endswith(".py"):
        return place, wanted
    file = Path(place).expanduser().resolve()
    if not os.path.isfile(file):  # not file.is_file(), which raises for a name that is too long for a file
        raise OptionError(f"{what} {name!r}: there is no file {place}; give path/to/file.py:Class")
    return str(file), wanted


def load_class(what: str, name: str, place: str, wanted: str, base: type[T]) -> type[T]:
    """Import ``place``, as from ``locate``, and return its class ``wanted``, which derives from ``base``.

    Raises:
        OptionError: it cannot be imported, or has no such class; the message lists those that it has.
    """
    module = import_place(what, name, place)
    found = getattr(module, wanted, None)
    if isinstance(found, type) and issubclass(found, base):
        return found
    own = [n for n, x in vars(module).items() if isinstance(x, type) and issubclass(x, base) and x is not base]
    raise OptionError(f"{place} has no {base.__name__} class {wanted!r}{nearest(wanted, own)}")


def import_place(what: str, name: str, place: str) -> ModuleType:
    """Import the module or file ``place``; a file becomes a module named by its path, so that its class has an id.

    Raises:
        OptionError: it cannot be imported.
    """
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
        raise OptionError(f"{what} {name!r} cannot be imported: {error}") from error
