from __future__ import annotations

import pytest

from polymodal.media.face.subject import Box, Subject, distinct


def face(x: float, width: float = 0.2) -> Box:
    """A face whose left edge is at ``x``."""
    return Box(x, 0.3, x + width, 0.3 + width)


SMALL, MIDDLE, BIG = face(0.1, 0.1), face(0.4, 0.2), face(0.7, 0.28)


def watch(subject: Subject, start: float, end: float, faces: list[Box], followed: Box | None) -> float:
    """Show ``faces`` 25 times per second; return when the subject's box first changed to another face, else ``end``."""
    before = subject.box
    for i in range(round(start * 25), round(end * 25)):
        now = i / 25
        if subject.due(now):
            subject.look(now, faces)
        if before is not None and subject.box is not None and subject.box.overlap(before) == 0:
            return now
        subject.follow(now, followed)
    return end


def test_the_largest_face_is_the_subject_and_the_rest_are_others() -> None:
    subject = Subject()
    subject.look(0.0, [SMALL, BIG, MIDDLE])
    assert subject.box == BIG
    assert set(subject.others) == {SMALL, MIDDLE}


def test_a_face_found_twice_counts_once() -> None:
    assert distinct([face(0.1, 0.2), face(0.11, 0.21), BIG]) == [BIG, face(0.11, 0.21)]


def test_another_face_that_is_a_little_larger_never_takes_over() -> None:
    subject = Subject()
    subject.look(0.0, [MIDDLE])
    larger = face(0.7, 0.24)  # 1.44 times the area
    assert watch(subject, 0.0, 10.0, [MIDDLE, larger], MIDDLE) == 10.0
    assert subject.box == MIDDLE
    assert subject.others == (larger,)


def test_a_much_larger_face_takes_over_after_half_a_second_and_within_two() -> None:
    subject = Subject()
    subject.look(0.0, [MIDDLE])
    assert 0.5 <= watch(subject, 0.04, 10.0, [MIDDLE, BIG], MIDDLE) <= 2.0
    assert subject.box == BIG
    assert subject.others == (MIDDLE,)


def test_a_face_that_is_larger_for_a_moment_does_not_take_over() -> None:
    subject = Subject()
    subject.look(0.0, [MIDDLE, SMALL])
    for second in range(5):
        watch(subject, second, second + 0.4, [MIDDLE, BIG], MIDDLE)
        watch(subject, second + 0.4, second + 1, [MIDDLE, SMALL], MIDDLE)
    assert subject.box == MIDDLE


@pytest.mark.parametrize(("gone", "kept"), [(0.4, True), (0.6, False)])
def test_a_lost_subject_is_waited_for_for_half_a_second(gone: float, kept: bool) -> None:
    subject = Subject()
    subject.look(0.0, [BIG, SMALL])
    watch(subject, 0.0, 1.0, [BIG, SMALL], BIG)
    assert (watch(subject, 1.0, 1.0 + gone, [SMALL], None) == 1.0 + gone) is kept
    assert (subject.box == BIG) is kept


def test_somebody_else_is_not_taken_for_the_subject_and_asks_for_a_look() -> None:
    subject = Subject()
    subject.look(0.0, [MIDDLE])
    assert subject.follow(0.0, MIDDLE)
    assert not subject.due(0.04)
    assert not subject.follow(0.04, BIG)
    assert subject.due(0.08)


def test_a_face_that_moves_by_half_its_width_per_frame_is_the_same() -> None:
    subject = Subject()
    subject.look(0.0, [face(0.0)])
    assert all(subject.follow(i / 25, face(0.1 * i)) for i in range(8))


def test_without_any_face_every_frame_asks_for_a_look() -> None:
    subject = Subject()
    for i in range(50):
        assert subject.due(i / 25)
        subject.look(i / 25, [])
    assert subject.box is None
