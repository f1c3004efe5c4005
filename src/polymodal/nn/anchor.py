"""Which modality a method takes for the text."""

from __future__ import annotations

from polymodal.core import Schema


def anchor(schema: Schema) -> str:
    """Return the modality called ``text``, else the first one of kind text, else the first one."""
    if "text" in schema.names:
        return "text"
    return next((m.name for m in schema.modalities if m.kind == "text"), schema.names[0])
