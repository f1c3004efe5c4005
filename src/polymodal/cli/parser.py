"""A parser from the signature and docstring of a command."""

from __future__ import annotations

import inspect
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from jsonargparse import ArgumentParser

from polymodal.core.errors import nearest

PAIRS = ("set", "encoder", "encode", "columns")
"""Options whose values are ``name=value``."""


class Parser(ArgumentParser):
    """Says what is wrong in one sentence, with the nearest right option and the command that helps."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Print the sentence and leave with code 2."""
        actions = {o: a for a in self._actions for o in a.option_strings if o.startswith("--")}
        text = " ".join(message.split())
        unknown = re.search(r"unrecognized arguments: (\S+)", text)
        value = re.search(r'Parser key "(\w+)".*value: (.*)', text)
        if unknown:
            word = unknown[1].partition("=")[0]
            kind = "option" if word.startswith("-") else "argument"
            text = f"unknown {kind} {word}{nearest(word, actions) if kind == 'option' else ''}"
        elif value:
            option = "--" + value[1].replace("_", "-")
            wanted = str(getattr(actions.get(option), "_typehint", "another type")).removeprefix("typing.")
            wanted = re.sub(r"Optional\[(.*)\]", r"\1", wanted).replace(" | None", "")
            text = f"{option} must be {wanted}, got {value[2]!r}"
        print(f"error: {text}; try: {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def build_parser(name: str, function: Callable[..., int], examples: str) -> Parser:
    """Return the parser of command ``name``.

    Parameters before the ``*`` of ``function`` become positional arguments, those after it options: ``bool`` a flag,
    ``list[str]`` an option that takes several values and may be repeated. Help comes from the docstring's Args.
    """
    from docstring_parser import parse

    documentation = parse(inspect.getdoc(function) or "")
    texts = {p.arg_name: " ".join((p.description or "").split()) for p in documentation.params}
    hints = get_type_hints(function)
    parser = Parser(
        prog=f"polymodal {name}",
        allow_abbrev=False,
        description=documentation.short_description,
        epilog=f"examples:\n{examples}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    for parameter in inspect.signature(function).parameters.values():
        hint, required = hints[parameter.name], parameter.default is parameter.empty
        settings: dict[str, Any] = {"help": texts[parameter.name]}
        if not required:
            settings["default"] = parameter.default
        if parameter.kind is not parameter.KEYWORD_ONLY:
            several: dict[str, Any] = {"type": hint}
            if hint == list[str]:
                several = {"nargs": "+" if required else "*", "type": str}
            optional: dict[str, Any] = {} if required or hint == list[str] else {"nargs": "?"}
            parser.add_argument(parameter.name, **several, **optional, **settings)
            continue
        if hint is bool:
            settings["action"] = "store_true"
        elif hint == list[str]:
            shown = "NAME=VALUE" if parameter.name in PAIRS else "NAME"
            settings |= {"nargs": "+", "action": "extend", "default": [], "metavar": shown}
        else:
            settings |= {"type": hint, "required": required}
            choices = [c for part in get_args(hint) for c in get_args(part)]
            if choices:  # of a Literal that may be left out: argparse would show the option's own name
                settings["metavar"] = f"{{{','.join(choices)}}}"
        parser.add_argument("--" + parameter.name.replace("_", "-"), **settings)
    return parser
