"""The compact text form of protocols, shared by the command line, presets and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from polymodal.core import Batch, OptionError, nearest
from polymodal.core.options import options_of, pairs, read_options
from polymodal.stress import absence, cells, interfere, noise
from polymodal.stress.draw import Draw

PROTOCOLS: dict[str, Callable[..., Batch]] = {
    "subset": absence.subset,
    "missing": absence.missing,
    "missing-batch": absence.missing_batch,
    "missing-one": cells.missing_one,
    "missing-share": cells.missing_share,
    "missing-rates": cells.missing_rates,
    "imbalanced": cells.imbalanced,
    "instance": absence.instance,
    "drop": absence.drop,
    "drop-random": absence.drop_random,
    "noise": noise.noise,
    "channels": noise.channels,
    "clip": noise.clip,
    "shift": noise.shift,
    "rate": noise.rate,
    "words": noise.words,
    "swap": noise.swap,
    "interference": interfere.interference,
    "occlude": noise.occlude,
    "blur": noise.blur,
}
"""Name -> function; its keyword-only parameters are the protocol's options."""

_WHOLE = (absence.missing_batch, cells.missing_share)
"""Those that count over a whole split."""


@dataclass(frozen=True)
class Stress:
    """Protocols in the order in which they act.

    Attributes:
        text: the compact form.
        steps: function and its arguments.
    """

    text: str
    steps: tuple[tuple[Callable[..., Batch], dict[str, Any]], ...]

    @property
    def takes_away(self) -> bool:
        """Whether modalities, steps or words go."""
        return any(step.__module__ in (absence.__name__, cells.__name__) for step, _ in self.steps)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of modalities that the text mentions."""
        return tuple(name for _, options in self.steps for name in options.get("modalities", ()))

    def __call__(
        self,
        batch: Batch,
        *,
        seed: int = 0,
        epoch: int | None = None,
        population: Sequence[str] | None = None,
        donors: Callable[[list[str]], Batch] | None = None,
    ) -> Batch:
        """Return the stressed batch.

        Args:
            seed: of the masks.
            epoch: draws fresh masks in each epoch; None: static masks.
            population: ids of the whole split, for protocols that look beyond a sample (missing-batch, missing-share,
                swap).
            donors: returns samples of the split by id, for swap; without it partners come from the batch.
        """
        for position, (protocol, options) in enumerate(self.steps):
            key = (protocol.__name__, position, seed, *(() if epoch is None else (epoch,)))
            known = population if donors or protocol in _WHOLE else None
            batch = protocol(batch, Draw(key, known or batch.ids, donors), **options)
        return batch


def parse_stress(text: str) -> Stress:
    """Return what ``text`` says, for example ``missing:rate=0.3+noise:audio,snr=0``.

    Raises:
        OptionError: unknown protocol or option, a missing option, a value of the wrong type or outside its range.
    """
    return Stress(text, tuple(_step(part.strip()) for part in text.split("+")))


def _step(text: str) -> tuple[Callable[..., Batch], dict[str, Any]]:
    name, _, rest = text.partition(":")
    if name not in PROTOCOLS:
        raise OptionError(f"there is no stress {name!r}{nearest(name, PROTOCOLS)}")
    protocol, place = PROTOCOLS[name], f"stress {text!r}"
    items = [item.strip() for item in rest.split(",") if item.strip()]
    given, modalities = [i for i in items if "=" in i], ",".join(i for i in items if "=" not in i)
    known = options_of(protocol, skip=2)
    if modalities and "modalities" not in known:
        raise OptionError(f"{place}: {name} acts on all modalities; leave out {modalities}")
    given += [f"modalities={modalities}"] if modalities else []
    return protocol, read_options(place, pairs(place, given), known, text=True)
