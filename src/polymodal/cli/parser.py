"""A parser from the signature and docstring of a command."""

from __future__ import annotations

import inspect
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from types import NoneType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from polymodal.core.errors import OptionError, nearest
from polymodal.core.options import options_of, read_value

PAIRS = ("set", "encoder", "encode", "columns")
"""Options whose values are ``name=value``."""


class Parser(ArgumentParser):
    """Says what is wrong in one sentence, with the nearest right option and the command that helps."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave with code 2."""
        text = re.sub(r"^argument (\S+): ", r"\1 ", " ".join(message.split()))
        unknown = re.search(r"unrecognized arguments: (\S+)", text)
        if unknown:
            word = unknown[1].partition("=")[0]
            options = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
            text = f"unknown option {word}{nearest(word, options)}" if word[0] == "-" else f"unknown argument {word}"
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
    parser = Parser(
        prog=f"polymodal {name}",
        allow_abbrev=False,
        description=documentation.short_description,
        epilog=f"examples:\n{examples}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    for parameter in options_of(function).values():
        option, required = parameter.kind is parameter.KEYWORD_ONLY, parameter.default is parameter.empty
        settings: dict[str, Any] = {"help": texts[parameter.name]}
        if not required:
            settings["default"] = parameter.default
        if parameter.annotation is bool:
            settings["action"] = "store_true"
        elif parameter.annotation == list[str]:
            settings["nargs"] = "+" if required or option else "*"
            if option:
                # What has a default list is replaced, not added to.
                action = "store" if parameter.default else "extend"
                settings |= {"action": action, "metavar": "NAME=VALUE" if parameter.name in PAIRS else "NAME"}
        else:
            settings |= _single(parameter.annotation)
            if option:
                settings["required"] = required
            elif not required:
                settings["nargs"] = "?"
        if option:
            # A name that Python keeps for itself is written with an underscore behind it.
            parser.add_argument(f"--{parameter.name.rstrip('_').replace('_', '-')}", dest=parameter.name, **settings)
        else:
            parser.add_argument(parameter.name, **settings)
    return parser


def _single(hint: Any) -> dict[str, Any]:
    """Return the type of one value, and its choices as help shows them; None is what is left out."""
    parts = get_args(hint)
    given = Union.__getitem__(tuple(part for part in parts if part is not NoneType)) if NoneType in parts else hint

    def read(text: str) -> Any:
        try:
            return read_value("", text, given, text=True)
        except OptionError as error:
            raise ArgumentTypeError(str(error).strip()) from None

    return {"type": read} | ({"metavar": f"{{{','.join(get_args(given))}}}"} if get_origin(given) is Literal else {})
