"""The report of a run: one self-contained HTML page, its figures as PNG, its tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core import RunError
from polymodal.report.audits import Audited, audits_of
from polymodal.report.folder import Run, read_run
from polymodal.report.sections import Section, main_of_targets, sections
from polymodal.report.tables import to_csv, to_latex, to_markdown
from polymodal.report.templates import read_template
from polymodal.report.verdict import against_floor, over_targets, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polymodal.train.compare import PairedTest


def write_report(run: Path, *, evaluation: str = "evaluation", floor: PairedTest | None = None) -> Path:
    """Write ``report.html``, ``figures/*.png`` and ``tables/scores.{md,tex,csv}`` into a run folder.

    What cannot be shown yet (no evaluation, no representations) is replaced by a sentence that says what makes it.

    Args:
        run: folder written by ``polymodal fit``.
        evaluation: name of the folder in ``run`` that ``polymodal evaluate`` wrote.
        floor: test of this run against a floor, which the page then begins with.

    Returns:
        The path of the page: in the run folder, or in that of the evaluation if it is on another corpus.

    Raises:
        RunError: ``run`` is missing, is not a run folder, holds a damaged file, or cannot be written.
    """
    loaded = read_run(Path(run), evaluation)
    parts = sections(loaded)
    place = loaded.path if evaluation == "evaluation" else loaded.path / evaluation
    for part in parts:
        if part.figure is not None:
            write_whole(place / "figures" / f"{part.name}.png", png_bytes(part.figure))
    if loaded.rows:
        tables = [part.table for part in parts if part.table is not None]
        for suffix, text in (
            ("md", "\n".join(map(to_markdown, tables))),
            ("tex", "\n".join(map(to_latex, tables))),
            ("csv", to_csv(loaded.rows)),
        ):
            write_whole(place / "tables" / f"scores.{suffix}", text.encode())
    audits = audits_of(loaded.path)
    for audit in audits:
        if audit.figure is not None:
            write_whole(place / "figures" / f"{audit.name}.png", png_bytes(audit.figure))
    page = place / "report.html"
    write_whole(page, _render(loaded, parts, audits, floor).encode())
    return page


def _render(run: Run, parts: list[Section], audits: list[Audited], floor: PairedTest | None) -> str:
    data = (run.scores or run.info)["data"]["name"]
    sentences = [against_floor(floor, data)] if floor else []
    if run.rows:
        sentences += [*verdict(run.main, run.split, data), *over_targets(main_of_targets(run))]
    return read_template("polymodal.report").render(
        name=run.path.resolve().name,
        info=run.info,
        data=data,
        verdict=sentences,
        parts=parts,
        audits=audits,
        svg=svg_address,
        configuration=_configuration(run),
        commands=_commands(run),
        origin=_origin(run),
        protocol=(run.scores or {}).get("protocol"),
        warnings=(run.scores or run.info)["data"].get("warnings", ()),
        counts=dict.fromkeys((r.split, r.count) for r in run.main if r.complete),
    )


def _configuration(run: Run) -> list[tuple[str, str, str]]:
    """Return (group, name, value) of everything the run was asked to do."""
    data = run.info["data"]
    groups = {
        "Method": run.info["options"],
        "Training": run.info["recipe"],
        "Data": {key: data[key] for key in ("source", "encode", "sizes") if data.get(key)}
        | {"encoder": {m["name"]: m["encoder"] for m in data["schema"]["modalities"] if m.get("encoder")}},
    }
    return [(group, *pair) for group, values in groups.items() for pair in _flat(values)]


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    out = []
    for key, value in values.items():
        if isinstance(value, dict):
            out += _flat(value, f"{prefix}{key}.")
        else:
            out.append((prefix + key, "not set" if value is None else str(value)))
    return out


def _commands(run: Run) -> list[str]:
    trained, scored = run.info["data"], (run.scores or run.info)["data"]
    other = "" if scored["hash"] == trained["hash"] else f" --data {shlex.quote(scored['source'])}"
    return [run.info["command"], f"polymodal evaluate {run.name}{other}"]


def _origin(run: Run) -> list[tuple[str, str]]:
    """Return (name, value) of what, with the command, decides the numbers."""
    info = run.info
    rows = [("Seeds", ", ".join(map(str, info["seeds"]))), ("Data hash", info["data"]["hash"])]
    if "folds" in info:
        rows.append(("Folds", f"{info['folds']['count']} by {info['folds']['by']}s ({info['folds']['hash']})"))
    scored = (run.scores or info)["data"]
    if scored["hash"] != info["data"]["hash"]:
        rows.append(("Scored on", f"{scored['source']} ({scored['hash']})"))
    rows += [("polymodal", info["polymodal"]), *((name, str(v)) for name, v in info["versions"].items())]
    rows += [(name.capitalize(), str(info[name])) for name in ("code", "threads") if name in info]
    return [*rows, ("Parameters", f"{info['parameters']:,}"), ("Created", str(info["created"]))]


# An SVG shown by <img> follows the reader's light or dark setting by itself, and its ids cannot clash with others'.
_INK_STYLE = "<style>svg{color:#33363b}@media (prefers-color-scheme:dark){svg{color:#c9ccd1}}</style>"


def svg_address(figure: Figure) -> str:
    """Return ``figure`` as a data address whose text is dark on a light page and light on a dark one."""
    import matplotlib

    from polymodal.report.plots import INK

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "polymodal"}):  # the same figure gives the same bytes
        figure.savefig(buffer, format="svg", metadata=nothing, dpi=150)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace("<defs>", f"{_INK_STYLE}<defs>", 1)
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()


def png_bytes(figure: Figure) -> bytes:
    """Return ``figure`` as the content of a PNG file, on a transparent background."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def write_whole(file: Path, content: bytes) -> None:
    """Write ``file`` whole or not at all."""
    temporary = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, file)
    except OSError as error:
        with contextlib.suppress(OSError):  # there is nothing to remove below what is not a folder
            temporary.unlink()
        raise RunError(f"cannot write {file}: {error.strerror or error}; free space and try again") from None
