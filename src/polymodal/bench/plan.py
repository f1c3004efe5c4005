"""What a benchmark is to run: read from YAML or flags, checked before the first training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.core import OptionError, nearest
from polymodal.methods import find_method, method_id
from polymodal.stress import sweeps
from polymodal.train.recipe import preset_names

FLOOR = "linear"
"""Always in the table: what every method must beat."""

DEFAULT_STRESS = ("missing:rate=0.1/0.2/0.3/0.4/0.5/0.6/0.7", "noise:snr=20/10/0")


@dataclass(frozen=True)
class EntryPlan:
    """A method with its settings.

    Attributes:
        name: what the board calls it.
        method: id, ``package.module:Class`` or ``file.py:Class``.
        preset: name or YAML file; empty for defaults.
        options: of the method or of ``Recipe``, over the preset.
        encoder: modality -> encoder that trains with the method.
        encode: modality -> frozen encoder.
        aware: made or trained for absent or broken input.
        only: names of the corpora it runs on; empty for all.
    """

    name: str
    method: str
    preset: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, str] = field(default_factory=dict)
    encode: dict[str, str] = field(default_factory=dict)
    aware: bool = False
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Search:
    """Search of hyper-parameters, the same budget for every entry.

    Attributes:
        trials: trainings per entry and source, the entry's own settings first; 0 for no search.
        space: option -> ``[low, high]`` (numbers; drawn on a logarithmic scale where high is 10 times low or more) or
            ``{choices: [...]}``; empty for the learning rate, weight decay and every dropout of the method.
    """

    trials: int = 0
    space: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, what in self.space.items():
            choices = isinstance(what, dict) and list(what) == ["choices"] and what["choices"]
            numbers = isinstance(what, list) and len(what) == 2 and all(isinstance(v, int | float) for v in what)
            if not choices and not (numbers and what[0] < what[1]):
                raise OptionError(f"space of {name!r} must be [low, high] or {{choices: [...]}}, got {what!r}")


@dataclass(frozen=True)
class BenchPlan:
    """A benchmark.

    Attributes:
        title: of the board.
        entries: lines of the board.
        corpora: name -> sources; several are folds, whose test samples are pooled.
        stress: conditions beyond complete input and subsets.
        subsets: also test every proper subset of the modalities.
        seeds: of every training.
        search: of hyper-parameters.
        resamples: of the bootstrap behind the intervals.
    """

    title: str
    entries: tuple[EntryPlan, ...]
    corpora: dict[str, tuple[str, ...]]
    stress: tuple[str, ...] = DEFAULT_STRESS
    subsets: bool = True
    seeds: tuple[int, ...] = (1111, 1112, 1113)
    search: Search = Search()
    resamples: int = 1000

    def __post_init__(self) -> None:
        sweeps(self.stress)
        if not self.entries or not self.corpora:
            raise OptionError("a benchmark needs methods and corpora; see polymodal bench --help")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise OptionError(f"seeds must be different whole numbers, got {list(self.seeds)}")
        names = [entry.name for entry in self.entries]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise OptionError(f"two entries are called {twice[0]!r}; give one of them another name: {{name: ...}}")
        for entry in self.entries:
            for name in entry.only:
                if name not in self.corpora:
                    raise OptionError(f"{entry.name} is to run on corpus {name!r}{nearest(name, self.corpora)}")


_KEYS = ("title", "preset", "methods", "aware", "corpora", "stress", "subsets", "seeds", "trials", "space", "resamples")
_ENTRY_KEYS = ("method", "name", "preset", "set", "encoder", "encode", "train_stress", "aware", "only")


def read_plan(file: Path | None, flags: Mapping[str, Any]) -> BenchPlan:
    """Return the plan of a YAML file with ``flags`` (the same keys) over it; the floor is added where it is missing.

    Raises:
        OptionError: the file cannot be read, an unknown key, method or preset, a value of the wrong kind.
    """
    held = {} if file is None else _yaml(file)
    for key in held:
        if key not in _KEYS:
            raise OptionError(f"{file}: unknown key {key!r}{nearest(str(key), _KEYS)}")
    asked = {**held, **flags}
    place = str(file or "the command line")
    aware, preset = _strings(asked.get("aware", ()), "aware"), str(asked.get("preset", "cpu") or "")
    entries = [_entry(row, preset, aware, place) for row in _list(asked.get("methods", ()), "methods")]
    if entries and FLOOR not in [e.method for e in entries]:
        entries.insert(0, _entry(FLOOR, preset, aware, place))
    for name in aware:
        if name not in [e.name for e in entries]:
            raise OptionError(
                f"{place}: aware names {name!r}, which is no entry{nearest(name, [e.name for e in entries])}"
            )
    given: dict[str, Any] = {k: asked[k] for k in ("subsets", "resamples") if k in asked}
    if "seeds" in asked:
        given["seeds"] = tuple(_whole(s, "seeds") for s in _list(asked["seeds"], "seeds"))
    if "stress" in asked:
        given["stress"] = tuple(_strings(asked["stress"], "stress"))
    search = Search(_whole(asked.get("trials", 0), "trials"), dict(asked.get("space") or {}))
    return BenchPlan(
        title=str(asked.get("title") or "Leaderboard"),
        entries=tuple(entries),
        corpora=_corpora(asked.get("corpora", {}), place),
        search=search,
        **given,
    )


def _yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        held = yaml.safe_load(file.read_text()) or {}
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{file} is not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(held, dict):
        raise OptionError(f"{file} must hold 'key: value' lines ({', '.join(_KEYS)})")
    return held


def _entry(row: Any, preset: str, aware: Sequence[str], place: str) -> EntryPlan:
    row = {"method": row} if isinstance(row, str) else row
    if not isinstance(row, dict) or "method" not in row:
        raise OptionError(f"{place}: an entry of methods is an id or holds 'method: id', got {row!r}")
    for key in row:
        if key not in _ENTRY_KEYS:
            raise OptionError(f"{place}: method {row['method']}: unknown key {key!r}{nearest(str(key), _ENTRY_KEYS)}")
    method = str(row["method"])
    own = preset_names(method_id(find_method(method)))
    # The common preset is for those that have it; one that is asked for by name must exist, which `fit` checks.
    chosen = str(row["preset"] or "") if "preset" in row else preset if preset in own or Path(preset).is_file() else ""
    options = dict(row.get("set") or {})
    if row.get("train_stress"):
        options["train_stress"] = str(row["train_stress"])
    name = str(row.get("name") or (method if len(row) == 1 else _default_name(method, row)))
    return EntryPlan(
        name=name,
        method=method,
        preset=chosen,
        options=options,
        encoder=dict(row.get("encoder") or {}),
        encode=dict(row.get("encode") or {}),
        aware=bool(row.get("aware", name in aware or "train_stress" in options)),
        only=tuple(_strings(row.get("only", ()), "only")),
    )


def _default_name(method: str, row: Mapping[str, Any]) -> str:
    return f"{method} + {row['train_stress']}" if row.get("train_stress") else method


def _corpora(asked: Any, place: str) -> dict[str, tuple[str, ...]]:
    if isinstance(asked, dict):
        return {str(name): tuple(_strings(sources, "corpora")) for name, sources in asked.items()}
    named: dict[str, tuple[str, ...]] = {}
    for source in _strings(asked, "corpora"):
        name = source.partition("?")[0].rsplit(":", 1)[-1].rsplit("/", 1)[-1].removesuffix(".pkl")
        if name in named:
            raise OptionError(f"{place}: two corpora are called {name!r}; name them: {{name: source}}, folds: [a, b]")
        named[name] = (source,)
    return named


def _list(value: Any, what: str) -> list[Any]:
    if isinstance(value, str | int):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise OptionError(f"{what} must be a list, got {value!r}")
    return list(value)


def _strings(value: Any, what: str) -> list[str]:
    return [str(v) for v in _list(value, what)]


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise OptionError(f"{what} must be a whole number, 0 or more, got {value!r}")
    return value
