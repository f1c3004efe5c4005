"""What somebody feels, by words that say so: a small list, and no more than that."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from polymodal.reply.labels import SCORED

FILE = Path(__file__).with_name("lexicon.yaml")

_DENIED = re.compile(r"\b(?:not|no|never|isn't|aren't|wasn't|weren't|don't|doesn't|didn't|hardly)\b[\w' ]{0,12}$")
_OWN = re.compile(r"\b(?:i feel|i am|i'm|i was|i felt|makes me|made me)\b[\w' ]{0,12}$")
_GLAD = "happy"


@dataclass(frozen=True)
class Named:
    """What the words name.

    Attributes:
        label: a fine one, ``neutral`` where no word of the list occurs.
        words: the words of the list that spoke for its coarse class.
    """

    label: str
    words: tuple[str, ...]


def named_emotion(text: str) -> Named:
    """Return the emotion that most words of ``text`` speak for: first its coarse class, then the label within.

    Words that the speaker says of themselves ("I feel ...") count twice. Where two classes are as strong, the one
    that is not glad counts: cheer hurts more where it is wrong. A glad word that is denied ("not happy") counts as sad,
    any other denied word not at all.
    """
    said = " ".join(text.lower().replace("\u2019", "'").split())
    found: dict[str, list[str]] = defaultdict(list)
    weight: dict[str, int] = defaultdict(int)
    for label, pattern in _patterns().items():
        for match in pattern.finditer(said):
            before = said[: match.start()]
            denied = _DENIED.search(before)
            if denied and SCORED[label] != _GLAD:
                continue
            named, word = ("sad", f"not {match[0]}") if denied else (label, match[0])
            found[named].append(word)
            weight[SCORED[named]] += len(match[0].split()) * (2 if _OWN.search(before) else 1)
    if not found:
        return Named("neutral", ())
    coarse = max(weight, key=lambda name: (weight[name], name != _GLAD))
    label = max((n for n in found if SCORED[n] == coarse), key=lambda name: len(found[name]))
    return Named(label, tuple(w for n, words in found.items() if SCORED[n] == coarse for w in words))


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    import yaml

    listed: dict[str, list[str]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {label: re.compile("|".join(_pattern(str(word)) for word in words)) for label, words in listed.items()}


def _pattern(word: str) -> str:
    stem = re.escape(word.rstrip("*"))
    return rf"(?<!\w){stem}" + (r"\w*" if word.endswith("*") else r"(?!\w)")
