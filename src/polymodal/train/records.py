"""What the JSON files of a run hold, as types. Importing this costs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from polymodal.core.errors import PolymodalError, RunError
from polymodal.core.options import Count, Natural, Positive, Rule, Seeds
from polymodal.core.records import SchemaRecord, digest_of, read_record
from polymodal.data.standardise import StatisticsRecord, check_statistics

if TYPE_CHECKING:
    from polymodal.core import Schema

AGAIN = "train the run again"


class DataRecord(TypedDict):
    """``data`` of ``run.json``."""

    source: str
    name: str
    hash: str
    schema: SchemaRecord
    encode: dict[str, str]
    warnings: NotRequired[list[str]]
    extraction: NotRequired[dict[str, Any] | None]


class RecipeRecord(TypedDict):
    """``recipe`` of ``run.json``, as far as a run that is over needs it."""

    batch_size: Count


class FoldsRecord(TypedDict):
    """``folds`` of ``run.json``."""

    scheme: int | str
    count: Count
    hash: str


class RunRecord(TypedDict):
    """``run.json``."""

    method: str
    method_source: str
    options: dict[str, Any]
    recipe: RecipeRecord
    data: DataRecord
    seeds: Seeds
    command: str
    folds: NotRequired[FoldsRecord]


class ResultRecord(TypedDict):
    """``result.json`` of a training; ``weights`` and ``normalizer`` are checksums."""

    best_epoch: Natural | None
    epochs: NotRequired[Natural]
    stopped: NotRequired[str]
    weights: NotRequired[str]
    normalizer: NotRequired[str]


Width = Annotated[float, Rule("a number, 0 or more, or none", lambda width: width >= 0)]


class CalibratedRecord(TypedDict):
    """Of one target in ``calibration.json``."""

    count: Natural
    temperature: NotRequired[Positive | None]
    half_widths: NotRequired[list[Width | None]]
    selective: NotRequired[dict[str, Any]]


class SubsetRecord(TypedDict):
    """One set of modalities in ``calibration.json``."""

    present: list[str]
    targets: dict[str, CalibratedRecord]


class CalibrationRecord(TypedDict):
    """``calibration.json``."""

    seeds: list[Natural]
    subsets: list[SubsetRecord]


class ScoredDataRecord(TypedDict):
    """``data`` of ``scores.json``."""

    source: str
    name: str
    hash: str
    modalities: list[str]


class ScoresRecord(TypedDict):
    """``scores.json``."""

    method: str
    data: ScoredDataRecord
    protocol: dict[str, str]
    seeds: list[Natural]
    rows: list[dict[str, Any]]
    robustness: list[dict[str, Any]]


class EpochRecord(TypedDict):
    """A line of ``metrics.jsonl``."""

    epoch: Natural
    best: NotRequired[bool]
    seconds: NotRequired[float]
    train: NotRequired[dict[str, Any]]
    valid: NotRequired[dict[str, Any]]


def signed(result: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Return what ``result.json`` holds with the checksums of the weights in ``place`` and of the statistics above."""
    files = {"weights": place / "best.safetensors", "normalizer": place.parent / "normalizer.json"}
    return {**result, **{name: digest_of(file) for name, file in files.items() if file.is_file()}}


def schema_of(config: Mapping[str, Any], place: object) -> Schema:
    """Return the schema of a run or store; RunError, beginning with ``place``, where it is none."""
    from polymodal.core import Schema

    try:
        return Schema.from_dict(config["data"]["schema"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, PolymodalError):
            raise
        raise RunError(f"{place}: data.schema is damaged ({error!r}); {AGAIN}") from None


def read_statistics(file: Path, schema: Schema) -> dict[str, Any]:
    """Return what ``normalizer.json`` holds, checked against the schema of its run.

    Raises:
        RunError: it lacks a modality that is standardised, has another one, or numbers for another width.
    """
    held = read_record(file, dict[str, StatisticsRecord], AGAIN)
    check_statistics(file, held, schema, AGAIN, RunError)
    return dict(held)
