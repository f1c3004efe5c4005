"""Bring the help texts in commands.md up to date: ``python docs/make_commands.py``.

Every block that starts with ``$ polymodal ... --help`` is replaced by what that command prints; the words around the
blocks are written by hand.
"""

from __future__ import annotations

import os
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from polymodal.cli.main import main

PAGE = Path(__file__).with_name("commands.md")
BLOCK = re.compile(r"^```text\n\$ polymodal (?P<words>[^\n]*)\n.*?^```$", re.MULTILINE | re.DOTALL)


def updated(text: str) -> str:
    """Return ``text`` with what the commands print now."""
    return BLOCK.sub(lambda m: f"```text\n$ polymodal {m['words']}\n{printed(m['words'].split())}\n```", text)


def printed(words: list[str]) -> str:
    """Return what ``polymodal`` prints, 100 columns wide."""
    with patch.dict(os.environ, COLUMNS="100"), redirect_stdout(StringIO()) as out:
        main(words)
    return out.getvalue().strip()


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
