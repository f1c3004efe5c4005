"""What every method promises: registered means tested, on one schema that fits; on the others, and in full, slowly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from zlib import crc32

import pytest

from polymodal.methods import find_method, method_ids
from polymodal.testing import CHECKS, SCHEMAS, Check, NotApplicable, Subject, fits

QUICK = (
    "3-mixed-many-targets",
    "2-sequence-vector-classification",
    "3-sequences-regression",
    "3-pixels-regression",
    "2-domains-classification",
)
"""In this order; of the first two that fit every method gets one, and both are somebody's."""

ALWAYS = {
    "outputs_have_the_shapes_of_the_targets",
    "every_parameter_gets_a_finite_gradient",
    "a_sample_alone_in_a_batch_and_padded_is_the_same",
    "nothing_of_an_absent_modality_leaks",
}
"""Quick for every method. Of the other checks each method has some, so that many methods take no longer than few."""

OTHERS = 400
"""How many of the other checks, of all methods together, are quick."""


@lru_cache(maxsize=1)
def subject(name: str, schema: str) -> Subject:
    return Subject(find_method(name), SCHEMAS[schema])


def is_quick(name: str, check: Check) -> bool:
    share = OTHERS / (len(method_ids()) * (len(CHECKS) - len(ALWAYS)))
    return check.__name__ in ALWAYS or crc32(f"{name} {check.__name__}".encode()) / 2**32 < share


def cases() -> Iterator[object]:
    for name in method_ids():
        fitting = [schema for schema in SCHEMAS if fits(find_method(name), SCHEMAS[schema])]
        first = [schema for schema in QUICK if schema in fitting][:2]
        quick = first[crc32(name.encode()) % len(first)]
        for schema in fitting:
            for check in CHECKS:
                marks = () if schema == quick and is_quick(name, check) else pytest.mark.slow
                yield pytest.param(name, schema, check, marks=marks, id=f"{name}-{schema}-{check.__name__}")


@pytest.mark.parametrize(("name", "schema", "check"), cases())
def test_method(name: str, schema: str, check: Check) -> None:
    try:
        check(subject(name, schema))
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("name", method_ids())
def test_every_method_fits_a_quick_schema(name: str) -> None:
    assert any(fits(find_method(name), SCHEMAS[schema]) for schema in QUICK)


def test_the_checks_that_are_always_quick_are_checks() -> None:
    assert {check.__name__ for check in CHECKS} > ALWAYS
