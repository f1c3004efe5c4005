"""What every method promises: registered means tested, on one schema that fits; in full, and a share on others, slowly;
the rest is exhaustive."""

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

ELSEWHERE = 2500
"""How many of the checks on the other schemas, of all methods together, are slow; the rest is exhaustive."""


@lru_cache(maxsize=1)
def subject(name: str, schema: str) -> Subject:
    return Subject(find_method(name), SCHEMAS[schema])


def of_the_share(wanted: float, *what: str) -> bool:
    """Whether a case, drawn by what it is called, is of a share between 0 and 1 of all."""
    return crc32(" ".join(what).encode()) / 2**32 < wanted


def cases() -> Iterator[object]:
    fitting = {name: [s for s in SCHEMAS if fits(find_method(name), SCHEMAS[s])] for name in method_ids()}
    others = OTHERS / (len(fitting) * (len(CHECKS) - len(ALWAYS)))
    elsewhere = ELSEWHERE / (sum(len(schemas) - 1 for schemas in fitting.values()) * len(CHECKS))
    for name, schemas in fitting.items():
        first = [schema for schema in QUICK if schema in schemas][:2]
        own = first[crc32(name.encode()) % len(first)]
        for schema in schemas:
            for check in CHECKS:
                said = check.__name__
                if schema == own:
                    quick = said in ALWAYS or of_the_share(others, name, said)
                    marks = () if quick else pytest.mark.slow
                else:
                    marks = pytest.mark.slow if of_the_share(elsewhere, name, schema, said) else pytest.mark.exhaustive
                yield pytest.param(name, schema, check, marks=marks, id=f"{name}-{schema}-{said}")


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
