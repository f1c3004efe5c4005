"""What a run says of the machine it was made on, cut to what others may see: names of files, not places."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from polymodal.data.sources import OPENERS


def bare(value: Any) -> Any:
    """Return plain data with every path of a user's machine cut to its last part."""
    if isinstance(value, dict):
        return {key: bare(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [bare(part) for part in value]
    return _bare_text(value) if isinstance(value, str) else value


def bare_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the content of ``run.json`` without places, in its data and in the command that made it as well.

    Nor does it say who is in which fold: groups are people.
    """
    about = config["data"]
    source = str(about["source"])
    words = [bare_source(w, about["name"]) if w == source else w for w in shlex.split(config["command"])]
    cleaned = {**config, "data": {**about, "source": bare_source(source, about["name"])}}
    if "folds" in config:
        cleaned["folds"] = {key: value for key, value in config["folds"].items() if key != "groups"}
    out: dict[str, Any] = bare(cleaned | {"command": shlex.join(map(_bare_text, words))})
    return out


def bare_source(source: str, name: str) -> str:
    """Return where a corpus came from without folders; code is replaced by ``name``, what its corpus is called."""
    place, mark, query = source.partition("?")
    if names_code(source):
        place = name
    else:
        kind, colon, rest = place.partition(":")
        place = f"{kind}:{_last(rest)}" if colon and kind in OPENERS else _last(place)
    pairs = (pair.partition("=") for pair in query.split("&"))
    return place + mark + "&".join(f"{key}{equals}{_last(value)}" for key, equals, value in pairs)


def names_code(source: str) -> bool:
    """Whether opening ``source`` would run a function (``module:function``, ``file.py:function``)."""
    kind, colon, _ = source.partition("?")[0].partition(":")
    return bool(colon) and kind not in OPENERS and len(kind) > 1  # one letter is a drive


def _bare_text(text: str) -> str:
    placed = text.startswith(("~", "./", "../")) or PurePosixPath(text).is_absolute()
    return _last(text) if placed or PureWindowsPath(text).is_absolute() else text


def _last(place: str) -> str:
    return PureWindowsPath(place).name or place  # splits at both kinds of slash
