"""Checks that every method passes, for the library's own methods and for a user's.

``check_method(Mine)`` in a script, or, one test per fact, in any test framework::

    for check in CHECKS:
        check(Subject(Mine, schema))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from polymodal.core import Schema
from polymodal.methods.base import Method
from polymodal.testing import absence, form, training, wrapping
from polymodal.testing.batches import random_batch
from polymodal.testing.subject import SCHEMAS, NotApplicable, Subject, fits
from polymodal.testing.training import train_briefly

__all__ = [
    "CHECKS",
    "SCHEMAS",
    "Check",
    "NotApplicable",
    "Subject",
    "check_method",
    "fits",
    "random_batch",
    "train_briefly",
]

Check = Callable[[Subject], None]

CHECKS: list[Check] = [
    form.constructor_is_a_small_keyword_only_configuration,
    form.says_where_it_comes_from,
    form.outputs_have_the_shapes_of_the_targets,
    form.groups_cover_every_trainable_parameter_once,
    form.phases_share_the_epochs,
    form.saved_and_loaded_it_predicts_the_same,
    form.weights_hold_nothing_of_single_training_samples,
    form.the_same_seed_gives_the_same_method,
    form.evaluation_is_deterministic_and_changes_no_state,
    training.every_parameter_gets_a_finite_gradient,
    training.one_sample_can_be_trained_on,
    training.training_survives_unknown_labels,
    training.unknown_labels_do_not_count,
    absence.a_sample_alone_in_a_batch_and_padded_is_the_same,
    absence.the_order_of_samples_does_not_matter,
    absence.any_subset_of_modalities_gives_a_finite_output,
    absence.training_survives_absence,
    absence.nothing_of_an_absent_modality_leaks,
    absence.nothing_leaks_of_what_a_stress_removes,
    absence.absence_of_some_rows_is_absence_in_those_rows,
    absence.absence_is_seen_exactly_if_declared,
    absence.what_is_encoded_once_is_fused_for_every_subset,
    absence.what_is_left_of_a_modular_method_says_the_same,
    wrapping.a_method_inside_is_told_its_phases,
    wrapping.a_method_inside_gets_its_hooks,
    wrapping.a_method_inside_keeps_its_parameter_groups,
]
"""The contract of a method. Each raises AssertionError with a sentence, or NotApplicable with the reason."""


def check_method(cls: type[Method], *, schemas: Mapping[str, Schema] = SCHEMAS) -> dict[str, str]:
    """Put a method with its default options to every check, on all of ``schemas`` that it declares to fit.

    Returns:
        What was skipped: ``schema: check`` -> reason.

    Raises:
        AssertionError: checks failed; one line for each, with schema and reason. Or no schema fits.
    """
    skipped: dict[str, str] = {}
    failed: list[str] = []
    for name, schema in schemas.items():
        if not fits(cls, schema):
            skipped[name] = "the method declares other kinds, tasks or numbers of modalities"
            continue
        subject = Subject(cls, schema)
        for check in CHECKS:
            place = f"{name}: {check.__name__}"
            try:
                check(subject)
            except NotApplicable as reason:
                skipped[place] = str(reason)
            except AssertionError as error:
                failed.append(f"{place}: {error}")
    if failed:
        raise AssertionError(f"{cls.__name__} fails {len(failed)} checks\n" + "\n".join(failed))
    if all(name in skipped for name in schemas):
        raise AssertionError(f"{cls.__name__} fits none of the schemas {', '.join(schemas)}; give one that it takes")
    return skipped
