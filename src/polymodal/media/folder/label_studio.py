"""Label Studio's files: tasks with predictions out, annotations back as a table.

A task is ``{"data": {"clip", "file", ...}, "predictions": [...]}``; an export is a list of tasks with ``annotations``,
one per annotator. Both as Label Studio 1.x describes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import quoteattr

from polymodal.core import DataError, Target
from polymodal.core.files import check_regular
from polymodal.data.tabular.table import Table

LOCAL = "/data/local-files/?d="
"""Where Label Studio serves files of its document root."""

DATA = ("start", "end", "text")
"""What of a task's data is a column of the table, beside the file and the labels."""


def interface(targets: Sequence[Target], tag: str) -> str:
    """Return the labelling interface: what is shown, and a choice or a number per target.

    Args:
        tag: ``Video``, ``Audio`` or ``Text``.
    """
    lines = ["<View>", f'  <{tag} name="clip" value="$clip"/>', '  <Header value="$reason"/>']
    if tag != "Text":
        lines.append('  <Text name="said" value="$text"/>')
    for target in targets:
        lines.append(f"  <Header value={quoteattr(target.name)}/>")
        name = f'name={quoteattr(target.name)} toName="clip"'
        if target.spec.answer == "number":
            low, high = target.range or (None, None)
            bounds = "" if low is None else f' min="{low:g}" max="{high:g}"'
            lines.append(f'  <Number {name}{bounds} step="any"/>')
            continue
        several = ' choice="multiple"' if target.spec.answer == "classes" else ""
        lines.append(f"  <Choices {name}{several}>")
        lines += [f"    <Choice value={quoteattr(c)}/>" for c in target.classes]
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>", ""])


def task(
    file: str, about: Mapping[str, Any], said: Mapping[str, Any], targets: Sequence[Target], run: str
) -> dict[str, Any]:
    """Return a task.

    Args:
        file: path of the clip below Label Studio's document root; empty for a text.
        about: more of its data, for example ``text`` and ``reason``.
        said: target -> predicted number, class, or list of classes.
        run: what predicted.
    """
    results = [_result(t, said[t.name]) for t in targets]
    clip = LOCAL + quote(file) if file else about.get("text", "")
    return {"data": {"clip": clip, "file": file, **about}, "predictions": [{"model_version": run, "result": results}]}


def _result(target: Target, value: Any) -> dict[str, Any]:
    named = {"from_name": target.name, "to_name": "clip"}
    if target.spec.answer == "number":
        return {**named, "type": "number", "value": {"number": round(float(value), 4)}}
    return {**named, "type": "choices", "value": {"choices": [value] if isinstance(value, str) else list(value)}}


def read_export(path: Path) -> Table:
    """Return an export (JSON) as a table: clip, start, end, text, and a column per label.

    With several annotators there is a column ``label@annotator`` for each; see ``labels``. Tasks without an annotation
    are left out. Choices of several classes are joined by ``;``.

    Raises:
        DataError: the file cannot be read, is no export, or has no annotation.
    """
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    for number, item in enumerate(_tasks(path), 1):
        told = [a for a in item.get("annotations", []) if isinstance(a, dict) and not a.get("was_cancelled")]
        labels = {_column(r, a): _value(r) for a in told for r in a.get("result", []) if "from_name" in r}
        if labels:
            data = item["data"]
            rows.append({"clip": _file(data), **{n: str(data.get(n) or "") for n in DATA}, **labels})
            lines.append(number)
    if not rows:
        raise DataError(f"{path} has no annotation; label some tasks in Label Studio and export them as JSON again")
    labels_of = dict.fromkeys(c for row in rows for c in row if c not in ("clip", *DATA))
    raters = dict.fromkeys(c.partition("@")[2] for c in labels_of)
    if len(raters) == 1:  # one annotator's word is the label
        rows = [{c.partition("@")[0]: v for c, v in row.items()} for row in rows]
        labels_of = dict.fromkeys(c.partition("@")[0] for c in labels_of)
    columns = [c for c in ("clip", *DATA) if c == "clip" or any(row[c] for row in rows)] + list(labels_of)
    filled = tuple({c: row.get(c, "") for c in columns} for row in rows)
    return Table(path, tuple(columns), filled, tuple(lines))


def _tasks(path: Path) -> list[dict[str, Any]]:
    try:
        check_regular(path)
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); export it from Label Studio again") from None
    if not isinstance(found, list) or not all(isinstance(t, dict) and isinstance(t.get("data"), dict) for t in found):
        raise DataError(f"{path} is no export of Label Studio: expected a list of tasks with data and annotations")
    return found


def _file(data: Mapping[str, Any]) -> str:
    """Return the path of a task's clip: as written by ``task``, or from its address."""
    if data.get("file"):
        return str(data["file"])
    for value in data.values():
        if isinstance(value, str) and (value.startswith(LOCAL) or "://" in value):
            address = urlsplit(value)
            return parse_qs(address.query).get("d", [address.path.lstrip("/")])[0]
    return str(data.get("id") or "")


def _column(result: Mapping[str, Any], annotation: Mapping[str, Any]) -> str:
    by = annotation.get("completed_by")
    by = by.get("email") or by.get("id") if isinstance(by, dict) else by
    # "@" stands between a label and its rater; an address has one of its own.
    return f"{result['from_name']}@{str(1 if by is None else by).partition('@')[0]}"


def _value(result: Mapping[str, Any]) -> str:
    value = result.get("value")
    if not isinstance(value, dict):
        return ""
    if "choices" in value:
        return ";".join(map(str, value["choices"]))
    return str(next((value[k] for k in ("number", "rating") if k in value), ""))
