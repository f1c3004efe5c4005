"""One self-contained page with a clip above its measures."""

from __future__ import annotations

from pathlib import Path

from polymodal.measure.result import Measured
from polymodal.predict.page import write_view


def write_page(measured: Measured, clip: str | Path | None, path: str | Path) -> Path:
    """Write an HTML page that plays ``clip`` above its measures, and return ``path``; see ``predict.page.write_page``.

    Raises:
        DataError: the clip cannot be read, or the page not be written.
    """
    return write_view(measured.view(), clip, path, title="measures")
