from __future__ import annotations

from itertools import count, islice, repeat

import pytest

from polymodal.media.clip.axis import STALL, Axis, Stamped
from polymodal.media.clip.content import Content, View


def place(
    times: list[float | None], *, origin: float = 0.0, declared: float = 0.0, length: float = 0.04
) -> list[float]:
    return [t for t, _ in Axis(origin, declared, 0.5).placed(Stamped(None, time, length) for time in times)]


def test_times_are_the_containers_less_the_origin() -> None:
    assert place([5.0, 5.04, 5.08], origin=5.0) == pytest.approx([0.0, 0.04, 0.08])


def test_a_pause_is_believed_as_far_as_the_clip_is_long() -> None:
    assert place([0.0, 59.0]) == [0.0, 59.0]
    assert place([0.0, 3000.0], declared=3600.0) == [0.0, 3000.0]


def test_a_jump_beyond_reason_is_read_on_as_continuous() -> None:
    assert place([0.0, 1e9, 1e9 + 0.04, 1e9 + 0.08]) == pytest.approx([0.0, 0.04, 0.08, 0.12])
    assert place([1e9, 1e9 + 0.04]) == pytest.approx([0.0, 0.04])


def test_what_is_missing_is_counted_from_a_bearable_length_on() -> None:
    axis = Axis(0.0, 0.0, 0.5)
    list(axis.placed(Stamped(None, time, 0.1) for time in (0.0, 0.3, 1.4, 1.5, 3.6)))
    assert (axis.missing, axis.missing_at) == (pytest.approx(3.0), pytest.approx(0.4))


def test_one_wrong_time_does_not_move_those_that_follow() -> None:
    assert place([0.0, 0.04, 30.0, 0.12, 0.16]) == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])
    assert place([0.0, 0.04, -9.0, 0.12, 0.16]) == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])


def test_a_numbering_that_starts_again_goes_on_behind_what_was_read() -> None:
    joined = [i * 0.04 for i in range(50)] * 2
    assert place(joined) == pytest.approx([i * 0.04 for i in range(100)])


def test_pieces_without_a_time_follow_each_other() -> None:
    assert place([None, None, 0.08, None]) == pytest.approx([0.0, 0.04, 0.08, 0.12])


def test_a_stream_that_repeats_one_time_for_ever_ends() -> None:
    axis = Axis(0.0, 0.0, 0.5)
    assert len(list(axis.placed(Stamped(None, 0.0, 0.04) for _ in repeat(None)))) == STALL + 2
    assert axis.stalled


def test_a_stream_that_swings_for_ever_stays_within_its_length() -> None:
    swinging = (Stamped(None, float(5 * (i % 2)), 0.04) for i in count())
    times = [t for t, _ in islice(Axis(0.0, 0.0, 0.5).placed(swinging), 100)]
    assert min(times) >= 0
    assert max(times) <= 100 * 0.04


def test_no_more_than_many_times_the_clip_is_read() -> None:
    content = Content(bytes(1 << 20))
    view, given = View(content), 0
    while data := view.read(1 << 20):
        given += len(data)
        view.seek(0)
        assert given < 1 << 30
    assert given >= 8 * content.size


def test_positions_before_the_clip_are_its_beginning() -> None:
    view = View(Content(b"abcdef"))
    assert view.seek(-10, 1) == 0
    assert view.read(2) == b"ab"
    assert view.seek(-1, 2) == 5
    assert view.read(9) == b"f"
    assert view.tell() == 6
