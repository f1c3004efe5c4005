"""Who may be asked: any callable, also one that fails on a sample, or at a question."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.audit.base import Unanswerable
from polymodal.audit.subject import audit_judge
from polymodal.core import Batch, DataError, OptionError
from polymodal.data.corpus import Corpus
from polymodal.data.sources import load_corpus


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus("synthetic:vectors?n=60")


def _heard(batch: Batch) -> np.ndarray:
    """A rating from the first modality alone."""
    return next(iter(batch.streams.values())).tensor[:, 0].numpy()


def test_any_callable_is_asked(corpus: Corpus) -> None:
    found = audit_judge(_heard, corpus, ["shapley"])["shapley"]
    moved = [line.value for line in found.evidence]
    assert moved[0] > 0.1
    assert moved[1:] == pytest.approx([0] * (len(corpus.schema.names) - 1), abs=1e-9)


def test_a_sample_that_a_judge_fails_on_is_left_out_with_a_note(corpus: Corpus) -> None:
    bad = corpus["test"].ids[3]

    def touchy(batch: Batch) -> np.ndarray:
        if bad in batch.ids:
            raise ValueError("cannot read this one")
        return _heard(batch)

    found = audit_judge(touchy, corpus, ["importance", "shapley"])
    for findings in found.values():
        assert bad not in findings.samples["id"]
        assert len(findings.samples["id"]) == len(corpus["test"]) - 1
        assert f"no answer to 1 samples, which are left out; the first is {bad!r}: cannot read" in findings.notes[-1]


def test_an_answer_that_is_no_number_is_none(corpus: Corpus) -> None:
    bad = corpus["test"].ids[5]

    def gaps(batch: Batch) -> torch.Tensor:
        said = torch.from_numpy(_heard(batch)).clone()
        said[[i == bad for i in batch.ids]] = float("nan")
        return said

    found = audit_judge(gaps, corpus, ["importance"])["importance"]
    assert bad not in found.samples["id"]


def test_who_fails_on_most_is_refused(corpus: Corpus) -> None:
    def broken(batch: Batch) -> np.ndarray:
        raise ValueError("out of order")

    with pytest.raises(DataError, match=r"no answer to \d+ of \d+ samples; .*out of order"):
        audit_judge(broken, corpus, ["importance"])


def test_one_audit_that_makes_no_sense_does_not_stop_the_others(corpus: Corpus) -> None:
    found = audit_judge(_heard, corpus, ["dilution", "importance"])
    assert "no raw text" in found["dilution"].refused
    assert not found["dilution"].evidence
    assert found["importance"].evidence
    with pytest.raises(DataError, match="no raw text"):  # nothing is left
        audit_judge(_heard, corpus, ["dilution"])


def test_a_question_that_cannot_be_answered_at_all_loses_no_sample(corpus: Corpus) -> None:
    def stubborn(batch: Batch) -> np.ndarray:
        raise Unanswerable("it only knows complete samples")

    with pytest.raises(OptionError, match="only knows complete samples"):
        audit_judge(stubborn, corpus, ["importance"])


def test_answers_of_another_shape_are_named(corpus: Corpus) -> None:
    with pytest.raises(DataError, match="no answer to"):
        audit_judge(lambda batch: np.zeros((len(batch), 7)), corpus, ["importance"])
