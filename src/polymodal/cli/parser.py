"""A parser from the signature and docstring of a command."""

from __future__ import annotations

import inspect
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from polymodal.cli.lists import NOTE, Several, gathered, is_list
from polymodal.core.errors import OptionError, nearest
from polymodal.core.options import options_of, read_value


class Parser(ArgumentParser):
    """Says what is wrong in one sentence, with the nearest right option and the command that helps."""

    def parse_known_args(  # type: ignore[override]  # the overloads of the original say no more
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        """As the original, with the values of every list gathered."""
        lists = {
            option: action.type.takes
            for action in self._actions
            for option in action.option_strings
            if isinstance(action.type, Several)
        }
        return super().parse_known_args(gathered(sys.argv[1:] if args is None else args, lists), namespace)

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
    a list or tuple one that takes several values (see ``cli.lists``). Help comes from the docstring's Args.
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
    parameters = options_of(function).values()
    if any(p.kind is p.KEYWORD_ONLY and is_list(_given(p.annotation)) for p in parameters):
        parser.epilog = f"{NOTE}\n\n{parser.epilog}"
    for parameter in parameters:
        option, required = parameter.kind is parameter.KEYWORD_ONLY, parameter.default is parameter.empty
        settings: dict[str, Any] = {"help": texts[parameter.name]}
        if not required:
            settings["default"] = parameter.default
        if parameter.annotation is bool:
            settings["action"] = "store_true"
        elif not option and is_list(parameter.annotation):
            settings["nargs"] = "+" if required else "*"
        else:
            hint = _given(parameter.annotation)
            settings |= _several(hint) if is_list(hint) else _single(hint)
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


def _given(hint: Any) -> Any:
    """Return the type of what is given: None is what is left out."""
    parts = get_args(hint)
    return Union.__getitem__(tuple(part for part in parts if part is not NoneType)) if NoneType in parts else hint


def _several(hint: Any) -> dict[str, Any]:
    """Return the type of several values, and how help shows them."""
    several = Several(hint)
    return {"type": several, "metavar": several.metavar}


def _single(hint: Any) -> dict[str, Any]:
    """Return the type of one value, and its choices as help shows them."""

    def read(text: str) -> Any:
        try:
            return read_value("", text, hint, text=True)
        except OptionError as error:
            raise ArgumentTypeError(str(error).strip()) from None

    return {"type": read} | ({"metavar": f"{{{','.join(get_args(hint))}}}"} if get_origin(hint) is Literal else {})
