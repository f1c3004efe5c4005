"""Heavy generators through one door: a command line of the user's, with places for files."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from polymodal.core import OptionError, RunError

PATIENCE = 3600.0
"""Seconds that a command may take."""


class Command:
    """A command with places in braces, as in ``python convert.py {wav} {reference} {out}``; run without a shell.

    Args:
        told: the option that it was given by, for messages.
        line: the command.
        needed: places that it must have.
        known: all places that it may have.

    Raises:
        OptionError: it cannot be read, lacks a place, or has an unknown one.
    """

    def __init__(self, told: str, line: str, needed: Sequence[str], known: Sequence[str]) -> None:
        import string

        self._told = told
        try:
            self._words = shlex.split(line)
            used = {
                name for word in self._words for _, name, _, _ in string.Formatter().parse(word) if name is not None
            }
        except ValueError as error:
            raise OptionError(f"{told} {line!r} cannot be read ({error}); write it as in a terminal") from None
        places = ", ".join(f"{{{name}}}" for name in known)
        if missing := [name for name in needed if name not in used]:
            raise OptionError(f"{told} {line!r} lacks {{{missing[0]}}}; it may have {places}")
        if unknown := sorted(used - {*known}):
            raise OptionError(f"{told} {line!r} has {{{unknown[0]}}}, which is not there; it may have {places}")
        self.name = f"command {Path(self._words[0]).name}"
        self.line = line

    def run(self, places: Mapping[str, str | Path]) -> None:
        """Run it with the places filled.

        Raises:
            RunError: it cannot be started, fails, takes too long, or does not write ``out``.
        """
        words = [word.format(**{name: str(value) for name, value in places.items()}) for word in self._words]
        out = Path(places["out"])
        with tempfile.TemporaryFile() as said:
            try:
                code = subprocess.run(words, stdout=said, stderr=said, timeout=PATIENCE, check=False).returncode
            except OSError as error:
                raise RunError(f"{self._told} cannot start {words[0]} ({error.strerror}); check the command") from None
            except subprocess.TimeoutExpired:
                raise RunError(
                    f"{self._told} took more than {PATIENCE:.0f} s; make it faster, or leave it out"
                ) from None
            said.seek(0, 2)
            said.seek(max(0, said.tell() - 2000))
            last = said.read().decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        if code:
            raise RunError(f"{self._told} ended with code {code} ({last[0][:200]}); run it by hand to see why")
        if not out.is_file():
            raise RunError(f"{self._told} did not write {out.name}; it must write the file that {{out}} names")
