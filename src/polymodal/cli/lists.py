"""Options that take several values: one rule for all of them.

Values are separated by spaces or by commas, and the option may be given again: ``--seeds 1 2``, ``--seeds 1,2`` and
``--seeds 1 --seeds 2`` are the same. A comma that belongs to a value stays in it: in ``noise:audio,snr=5``, in
``mosi.pkl?modalities=text,audio``, in ``width=64,32``.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from polymodal.core.errors import OptionError
from polymodal.core.options import convert, read_value

NOTE = "several values (...): separated by spaces or commas, or the option again"
_BETWEEN = "\0"
"""Between the words of one option: no word of a command line can hold it."""


@dataclass(frozen=True)
class Commas:
    """How a list of texts is written, as metadata of ``Annotated``.

    Attributes:
        value: what help calls one value.
        keeps: a comma stays in its value where this pattern is found in the value with what follows up to the next one.
    """

    value: str = "NAME"
    keeps: str = r"(?!)"


Names = Annotated[list[str], Commas()]
Pairs = Annotated[list[str], Commas("NAME=VALUE", r"=.*,(?!\s*[\w-]+=)[^,]*$")]
Settings = Annotated[list[str], Commas("NAME=VALUE", r"=.*,(?!\s*[\w-]+=)[^,]*$|=[^,]*:|=\s*[\[{][^\]}]*,[^,]*$")]
"""A value of ``--set`` may be a stress, which has options of its own, or a list in brackets."""
Stresses = Annotated[list[str], Commas("STRESS", r":.*,(?!\s*[a-z-]+:)[^,]*$")]
Sources = Annotated[list[str], Commas("SOURCE", r"^mix:|\?.*,\s*[-+\w]*(\.\d+)?(&[^,]*)?$")]


@dataclass(frozen=True)
class Several:
    """An option that takes several values: what argparse calls its type.

    Attributes:
        hint: type of the whole.
    """

    hint: Any

    @property
    def metavar(self) -> str:
        """The values as help shows them."""
        return f"{self._commas.value if self._texts else 'N'} ..."

    def takes(self, word: str) -> bool:
        """Whether a word behind the option is one of its values: numbers only, if it wants numbers."""
        if self._texts:
            return not word.startswith("-")
        try:
            return all(convert(part, get_args(self._plain)[0], True) is not None for part in _parts(word))
        except ValueError:
            return False

    def __call__(self, joined: str) -> Any:
        """Return what ``gathered`` joined, as the hint wants it.

        Raises:
            ArgumentTypeError: no value, or one that does not fit.
        """
        words = joined.split(_BETWEEN)
        if not self._texts:
            try:
                return read_value("", ",".join(word.strip(",") for word in words), self.hint, text=True)
            except OptionError as error:
                raise ArgumentTypeError(str(error).strip()) from None
        values = [value for word in words for value in self._split(word)]
        if not values:
            raise ArgumentTypeError("needs a value")
        return values

    @property
    def _plain(self) -> Any:
        return get_args(self.hint)[0] if get_origin(self.hint) is Annotated else self.hint

    @property
    def _texts(self) -> bool:
        return get_origin(self._plain) is list

    @property
    def _commas(self) -> Commas:
        return next((part for part in get_args(self.hint)[1:] if isinstance(part, Commas)), Commas())

    def _split(self, word: str) -> list[str]:
        values: list[str] = []
        for part in word.strip(",").split(","):
            if values and re.search(self._commas.keeps, f"{values[-1]},{part}", re.DOTALL):
                values[-1] += f",{part}"
            else:
                values.append(part)
        return [value.strip() for value in values if value.strip()]


def is_list(hint: Any) -> bool:
    """Whether an option with this type, without None, takes several values."""
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_origin(plain) in (list, tuple)


def gathered(words: Sequence[str], lists: Mapping[str, Callable[[str], bool]]) -> list[str]:
    """Return ``words`` with all values of an option in one word, where it is given first.

    Args:
        words: of the command line.
        lists: option -> whether a word behind it is one of its values.
    """
    out: list[str] = []
    found: dict[str, list[str]] = {}
    place: dict[str, int] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if word == "--":
            return [*_filled(out, found, place), word, *rest]
        taken = [value] if equals else []
        while option in lists and not equals and rest and lists[option](rest[0]):
            taken.append(rest.pop(0))
        if option not in lists or not taken:
            out.append(word)
            continue
        if option not in place:
            place[option] = len(out)
            out.append(option)
        found.setdefault(option, []).extend(taken)
    return _filled(out, found, place)


def _filled(out: list[str], found: Mapping[str, list[str]], place: Mapping[str, int]) -> list[str]:
    whole = {place[option]: f"{option}={_BETWEEN.join(words)}" for option, words in found.items()}
    return [whole.get(i, word) for i, word in enumerate(out)]


def _parts(word: str) -> list[str]:
    return [part.strip() for part in word.strip(",").split(",")]
