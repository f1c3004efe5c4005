"""YAML as people write it: ``1e-3`` is a number."""

from __future__ import annotations

import re
from functools import cache
from typing import Any


@cache
def _loader() -> type[Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's safe one reads YAML 1.1, where ``1e-3``, without a point or a sign, is text; and of a key that
        stands twice in a mapping it takes the last, without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
            for name in names:
                if names.count(name) > 1:
                    raise yaml.YAMLError(f"the key {name!r} stands twice in one mapping; keep one of them")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )
    return Loader


def read_yaml(text: str) -> Any:
    """Return what a YAML text holds; numbers may be written as in ``1e-3``.

    Raises:
        ValueError: it is not valid, and why, in one line.
    """
    import yaml

    try:
        return yaml.load(text, _loader())
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None
