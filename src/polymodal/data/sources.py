"""From the string a user types to a corpus: ``SOURCE?option=value&option=value``.

``SOURCE`` is a planted corpus (``synthetic:NAME``), a store, a folder of ``.csd`` files, a pickle in the layout of
MMSA, MulT or MAG-BERT, a function that returns a Corpus (``package.module:function``, ``file.py:function``), a data set
of a hub (``hf:owner/name@revision``, see ``data.tabular.read``), or several sources as domains of one corpus
(``mix:a.pkl,b.pkl``, see ``data.mix``). The kind is found by looking; ``mmsa:PATH``, ``magbert:PATH``, ``csd:PATH`` and
``store:PATH`` force it. Options are the reader's own, plus ``modalities=a,b`` and ``targets=a,b`` (keep only these),
``limit=N`` (the first N samples of each split), ``held_out=2/5`` (fold 2 of 5 as the test split, see ``data.folds``;
``held_out=2/leave-one-group-out``), ``about=FILE`` (a table about samples or groups) and ``domain=COLUMN`` (its
values as domains, see ``data.about``), and ``match=sample`` or ``match=group`` (a retrieval in place of the targets,
see ``Corpus.for_retrieval``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from polymodal.core import DataError, OptionError, nearest
from polymodal.core.files import check_regular
from polymodal.core.options import Count, FoldScheme, Rule, options_of, read_options, read_value, split_source
from polymodal.data import csd, magbert, mmsa
from polymodal.data.about import with_domains, with_table
from polymodal.data.columns import choose, keys_of, split_name
from polymodal.data.corpus import Corpus, Match, derived_hash
from polymodal.data.folds import Dealt, deal
from polymodal.data.mix import mix
from polymodal.data.pickles import read_pickle
from polymodal.data.split import Split
from polymodal.data.store import is_store, read_store

_FOLD = re.compile(r"\d+/[\w-]+")
HeldOut = Annotated[
    str, Rule("FOLD/FOLDS, such as 2/5 or 0/leave-one-group-out", lambda text: bool(_FOLD.fullmatch(text)))
]

Reader = Callable[..., Corpus]
Opened = tuple[Reader, tuple[Any, ...]]
"""A reader and its first arguments; the rest of its parameters are options."""

_FUNCTION = "a function that returns a Corpus (file.py:function)"

LAYOUTS = {"mmsa": mmsa, "magbert": magbert}
"""Layouts of pickles, in the order in which they are tried."""


def load_corpus(source: str | Path | Corpus) -> Corpus:
    """Return the corpus that ``source`` names, checked.

    Args:
        source: see the module; a Corpus is checked and returned as it is.

    Raises:
        DataError: the source does not exist, has another layout, or its content cannot be used; names the file.
        OptionError: an option that the reader does not have, or a value of the wrong type.
    """
    if isinstance(source, Corpus):
        return source.check()
    text = str(source)
    place, given = split_source(text)
    try:
        reader, arguments = _open(place)
        own, common = options_of(reader, len(arguments)), options_of(_finish, 2)
        for name in given if reader is mix else ():
            if name not in {**common, **own}:
                raise OptionError(
                    f"{text}: a mix has no option {name!r}; a source with options of its own stands in parentheses: "
                    f"mix:a=(SOURCE?{name}=...),b=OTHER"
                )
        options = read_options(text, given, {**common, **own}, text=True)
        corpus = reader(*arguments, **{n: v for n, v in options.items() if n in own})
        if not isinstance(corpus, Corpus):
            raise DataError(f"{place} returned a {type(corpus).__name__}; it must return a polymodal Corpus")
        pinned = text.replace(place, corpus.source, 1) if place.startswith("hf:") else text
        return _finish(corpus, pinned, **{n: v for n, v in options.items() if n in common})
    except DataError as error:
        named = place.partition(":")[2] or place
        raise (error if named in str(error) else DataError(f"{place}: {error}")) from None


def _open(place: str) -> Opened:
    kind, _, rest = place.partition(":")
    if kind in OPENERS and rest:
        return OPENERS[kind](rest)
    if os.path.exists(place):
        return _open_path(Path(place))
    return _open_function(place)


def _open_synthetic(name: str) -> Opened:
    from polymodal.data import synthetic

    return synthetic.load, (name,)


def _open_hub(place: str) -> Opened:
    from polymodal.data.tabular import read

    return read.read, (place,)


def _refuse_audb(place: str) -> Opened:
    raise DataError(
        f"audb:{place} is sound; make features of it first: polymodal extract 'audb:{place}' --out stores/NAME"
    )


def _open_path(path: Path) -> Opened:
    if path.is_dir():
        if is_store(path):
            return read_store, (path,)
        if not any(path.glob("*.csd")):
            raise DataError(f"{path} is a folder with neither polymodal.json (a store) nor .csd files; check the path")
        return csd.read, (path,)
    check_regular(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if path.suffix == ".csd" or head == b"\x89HDF":
        return csd.read, (path,)
    if path.suffix not in (".pkl", ".pickle", ".p") and not head.startswith((b"\x80", b"(d")):
        raise DataError(f"{path} is neither a pickle nor a .csd file; a corpus can also come from {_FUNCTION}")
    data = read_pickle(path)
    for layout in LAYOUTS.values():
        if layout.matches(data):
            return layout.read, (data, path)
    raise DataError(
        f"{path} has none of the known layouts (MMSA, MulT: dictionaries train, valid, test of arrays with labels; "
        f"MAG-BERT: lists train, dev, test of ((words, vision, audio), label, segment)); it has {_outline(data)}"
    )


def _open_layout(name: str) -> Callable[[str], Opened]:
    def opener(place: str) -> Opened:
        path, layout = _existing(place), LAYOUTS[name]
        data = read_pickle(path)
        if not layout.matches(data):
            raise DataError(f"{path} does not have the layout {name}; it has {_outline(data)}")
        return layout.read, (data, path)

    return opener


def _existing(place: str) -> Path:
    if os.path.exists(place):
        return Path(place)
    folder = Path(place).parent
    siblings = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    close = get_close_matches(Path(place).name, siblings, n=1)
    hint = f"did you mean {folder / close[0]}?" if close else "check the path"
    raise DataError(f"{place} does not exist; {hint}")


def _outline(data: object) -> str:
    """Return the first keys found in ``data``, for the message about an unknown layout."""
    if not isinstance(data, dict):
        return f"a {type(data).__name__} instead of a dictionary"
    inner = next((v for v in data.values() if isinstance(v, dict)), {})
    return f"the keys {keys_of(data)}{f', and inside {keys_of(inner)}' if inner else ''}"


def _open_function(place: str) -> Opened:
    home, mark, name = place.rpartition(":")
    dotted = all(part.isidentifier() for part in home.split("."))
    if not mark or not name.isidentifier() or not (home.endswith(".py") or dotted):
        _existing(place)
    try:
        module = _import_file(_existing(home)) if home.endswith(".py") else importlib.import_module(home)
    except (ImportError, SyntaxError) as error:
        raise DataError(
            f"{place}: {home} cannot be imported ({error}); a source is a path, {_FUNCTION}, or starts with one of "
            f"{', '.join(f'{kind}:' for kind in OPENERS)}"
        ) from None
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise DataError(f"{place}: {home} has no function {name!r}{nearest(name, known)}")
    return function, ()


def _import_file(path: Path) -> Any:
    """Import a file that may import the files beside it, as a script may; what is installed comes before them."""
    spec = importlib.util.spec_from_file_location(str(path), path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    # Named by its path, as nothing else is: a dataclass looks for the module that it is made in.
    module = sys.modules[str(path)] = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    known = folder in sys.path
    sys.path += [] if known else [folder]
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[str(path)]
        raise
    finally:
        if not known and folder in sys.path:
            sys.path.remove(folder)
    return module


OPENERS: dict[str, Callable[[str], Opened]] = {
    "synthetic": _open_synthetic,
    **{name: _open_layout(name) for name in LAYOUTS},
    "csd": lambda place: (csd.read, (_existing(place),)),
    "mix": lambda place: (mix, (place, load_corpus)),
    "store": lambda place: (read_store, (_existing(place),)),
    "hf": _open_hub,
    "audb": _refuse_audb,
}
"""What may stand before a colon."""


def _finish(
    corpus: Corpus,
    source: str,
    *,
    modalities: tuple[str, ...] | None = None,
    targets: tuple[str, ...] | None = None,
    limit: Count | None = None,
    held_out: HeldOut | None = None,
    match: Match | None = None,
    about: str | None = None,
    domain: str | None = None,
) -> Corpus:
    """Return the corpus under its ``source``, with the common options applied, checked."""
    splits: dict[str, Split] = {}
    for name, split in corpus.splits.items():
        if split_name(name) in splits:
            raise DataError(f"two splits are both {split_name(name)!r} to us; rename {name!r}")
        splits[split_name(name)] = split if limit is None else split.select(range(min(limit, len(split))))
    changed = replace(corpus, splits=splits)
    if modalities is not None:
        changed = changed.only(choose(modalities, corpus.schema.names))
    if targets is not None:
        changed = changed.asking(targets)
    if corpus.stored_hash is not None and (modalities or targets or limit is not None):
        # A store may be larger than memory: what its options leave of it is named without reading it.
        left = (changed.schema.names, limit, *(targets or ()))
        changed = replace(changed, stored_hash=derived_hash(corpus.stored_hash, *left))
    if limit is not None:
        changed = replace(changed, stored_normalizer=None)
    if about is not None:
        changed = with_table(changed, about)
    if domain is not None:
        changed = with_domains(changed, domain)
    if held_out is not None:
        changed = _fold(changed, held_out)
    if match is not None:
        changed = changed.for_retrieval(match)
    return replace(changed, source=source, notes=(*corpus.notes, *_absences(changed))).check()


def _fold(corpus: Corpus, held_out: str) -> Corpus:
    """Return the corpus with the splits of one fold."""
    number, _, scheme = held_out.partition("/")
    folds = deal(corpus, read_value("held_out", scheme, FoldScheme, text=True))
    if int(number) >= len(folds):
        raise OptionError(f"held_out={held_out}: the {len(folds)} folds are 0 to {len(folds) - 1}")
    return Dealt(corpus, folds).corpus(int(number))


def _absences(corpus: Corpus) -> list[str]:
    """Return a note per modality that the training split lacks; DataError if no split has it."""
    notes = []
    for name in corpus.schema.names:
        having = [split for split, part in corpus.splits.items() if part.present[name].any()]
        if not having and any(len(part) for part in corpus.splits.values()):
            others = ",".join(n for n in corpus.schema.names if n != name)
            remedy = f"leave it out with ?modalities={others}" if others else "extract it again"
            raise DataError(f"no sample has {name}: every value is missing, NaN or infinite; {remedy}")
        if having and "train" in corpus.splits and "train" not in having:
            notes.append(f"no training sample has {name}; only {' and '.join(having)} do")
    return notes
