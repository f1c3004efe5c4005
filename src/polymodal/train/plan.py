"""What ``fit`` was asked for, resolved and checked before anything is trained. Importing this costs no torch."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.core.errors import DataError
from polymodal.core.options import FoldScheme, Seeds, read_value
from polymodal.train.recipe import SECTIONS, Recipe, load_preset, sort_options

if TYPE_CHECKING:
    from polymodal.data.corpus import Corpus
    from polymodal.data.folds import Dealt


@dataclass(frozen=True)
class Plan:
    """A training that is decided but not begun.

    Attributes:
        config: what ``run.json`` will hold.
        corpus: encoded.
        recipe: training hyper-parameters.
        dealt: the corpus in folds; None to train on its own splits.
    """

    config: dict[str, Any]
    corpus: Corpus
    recipe: Recipe
    dealt: Dealt | None = None

    def of_fold(self, fold: int | None) -> Plan:
        """Return the plan of one fold: its corpus has the parts of the fold as splits."""
        return replace(self, corpus=self.dealt.corpus(fold)) if self.dealt and fold is not None else self


def prepare(
    method: str,
    data: str | Corpus,
    *,
    preset: str | None = None,
    options: dict[str, Any],
    encoder: dict[str, str],
    encode: dict[str, str],
    seeds: Sequence[int],
    folds: FoldScheme | None = None,
    dealt: Sequence[str] = ("train", "valid", "test"),
    load: Callable[[str | Corpus], Corpus] | None = None,
) -> Plan:
    """Resolve what ``fit`` was asked for and check it; ``options`` hold those of the method and of ``Recipe``.

    Args:
        dealt: splits that ``folds`` are made of.
        load: returns the corpus of a source; default ``load_corpus``.

    Raises:
        OptionError, DataError: as ``fit``.
    """
    from polymodal.data.encode import encode_corpus
    from polymodal.data.folds import Dealt, deal
    from polymodal.data.leaks import leaks
    from polymodal.data.sources import load_corpus
    from polymodal.data.store import verify
    from polymodal.methods import find_method, method_id
    from polymodal.stress import parse_stress
    from polymodal.train.encoders import choose_encoders

    seeds = read_value("seeds", list(seeds), Seeds)
    method_class = find_method(method)
    chosen = load_preset(method_id(method_class), preset) if preset else {name: {} for name in SECTIONS}
    method_options, recipe_options = sort_options(method_class, options)
    recipe = Recipe().with_options({**chosen["training"], **recipe_options})
    corpus = verify((load or load_corpus)(data))
    for split in ("train", "valid") if folds is None else ():
        if split not in corpus.splits:
            raise DataError(f"{corpus.source} has no {split} split, needed to fit; it has {', '.join(corpus.splits)}")
    for name in parse_stress(recipe.train_stress).modalities if recipe.train_stress else ():
        corpus.schema.modality(name)
    trained, frozen = choose_encoders(corpus.schema, chosen, encoder, encode)
    raw = None if folds is None else Dealt(corpus, deal(corpus, folds, splits=dealt))
    warnings = raw.warnings() if raw else leaks(corpus)
    corpus = encode_corpus(corpus, frozen)
    corpus = replace(corpus, schema=corpus.schema.with_encoders(trained))
    options = {**chosen["method"], **method_options}
    in_folds = Dealt(corpus, raw.folds) if raw else None
    return Plan(
        _config(method, method_class, options, recipe, corpus, frozen, seeds, warnings, in_folds),
        corpus,
        recipe,
        in_folds,
    )


def _config(
    method: str,
    method_class: Any,
    options: dict[str, Any],
    recipe: Recipe,
    corpus: Corpus,
    frozen: dict[str, str],
    seeds: Sequence[int],
    warnings: Sequence[str],
    dealt: Dealt | None,
) -> dict[str, Any]:
    """Return what identifies the run, and what a reader of it wants to know; building the method checks the options."""
    from dataclasses import asdict

    import torch

    from polymodal._version import __version__
    from polymodal.methods import build, method_id

    built = build(method_class, corpus.schema, options)
    changed = {n: v for n, v in asdict(recipe).items() if v != getattr(Recipe(), n)} | options
    command = ["polymodal", "fit", method, "--data", corpus.source]
    for name, value in changed.items():
        command += ["--set", f"{name}={_plain(value)}"]
    for option, encoders in (("--encoder", corpus.schema.encoders), ("--encode", frozen)):
        for name, spec in encoders.items():
            command += [option, f"{name}={spec}"]
    command += ["--seeds", ",".join(map(str, seeds))]
    command += ["--folds", str(dealt.folds.scheme)] if dealt else []
    return {
        "polymodal": __version__,
        "code": code_digest(),
        "method": method_id(method_class),
        "method_source": method,
        "paper": method_class.paper,
        "handles_absence": method_class.handles_absence,
        "options": resolved(method_class, options),
        "recipe": asdict(recipe),
        "data": {
            "source": corpus.source,
            "name": corpus.name,
            "hash": corpus.hash,
            "schema": corpus.schema.to_dict(),
            "encode": frozen,
            "extraction": corpus.extraction,
            "sizes": {name: len(split) for name, split in corpus.splits.items()},
            "warnings": list(warnings),
        },
        "seeds": list(seeds),
        **({"folds": dealt.folds.to_dict() | {"hash": dealt.hash, "notes": dealt.notes()}} if dealt else {}),
        "parameters": sum(p.numel() for p in built.parameters() if p.requires_grad),
        "command": shlex.join(command),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def resolved(method_class: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return every option of the method with its value, as JSON holds it: a run must not change with a default."""
    import inspect
    import json

    parameters = inspect.signature(method_class.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    resolved: dict[str, Any] = json.loads(json.dumps({**defaults, **options}))
    return resolved


def _plain(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def code_digest() -> str:
    """Return a digest of the package's Python files: a result belongs to the code that made it."""
    import hashlib

    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]
