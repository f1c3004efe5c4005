"""How two models that share the work came to an answer; see ``polymodal.cascade``, which fills it in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Opinion:
    """What one model said: a number, or the name of a class, and how unsure it was, from 0 to 1."""

    answer: float | str
    uncertainty: float


@dataclass(frozen=True)
class Routed:
    """What became of one question.

    Attributes:
        stage: where it ended: ``1``, ``2a``, ``2b``, ``3`` or ``failed``.
        by: whose answer was given: ``small``, ``large`` or ``both``.
        small: the small model's answer.
        large, second: the large model's, and that to a second question; None where it was not asked, or gave none that
            could be read.
        calls: questions to the large model.
        usage: what they took, counted; empty where that is not known.
    """

    stage: str
    by: str
    small: Opinion
    large: Opinion | None = None
    second: Opinion | None = None
    calls: int = 0
    usage: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Routed:
        """Inverse of ``to_dict``."""
        told = {n: None if data[n] is None else Opinion(**data[n]) for n in ("small", "large", "second")}
        return cls(**{**data, **told})

    def columns(self, name: str) -> dict[str, Any]:
        """Return the cells of a table, the same columns for every question of a cascade; ``name`` begins them."""
        cells: dict[str, Any] = {f"{name}/stage": self.stage}
        for who in ("small", "large", "second"):
            said: Opinion | None = getattr(self, who)
            cells[f"{name}/{who}"] = said.answer if said else None
            cells[f"{name}/{who}/uncertainty"] = said.uncertainty if said else None
        return cells | {f"{name}/calls": self.calls} | {f"{name}/usage/{k}": n for k, n in self.usage.items()}
