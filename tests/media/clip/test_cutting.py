"""Where utterances begin and end, decided while the clip is read."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from polymodal.media.clip.cutting import Given, Rolling, Speech, Windows
from polymodal.media.types import Segment


def spans(segments):
    return [(s.start, s.end) for s in segments]


def test_given_segments_come_in_the_order_of_their_ends_each_once():
    cutter = Given([Segment(4, 5), Segment(0, 10), Segment(1, 2)])
    assert spans(cutter.closed(0.5)) == []
    assert spans(cutter.closed(2)) == [(1, 2)]
    assert spans(cutter.closed(2)) == []
    assert spans(cutter.closed(11)) == [(4, 5), (0, 10)]
    assert cutter.finish(12) == []


def test_given_segments_need_what_the_earliest_open_one_needs():
    cutter = Given([Segment(0, 10), Segment(2, 3)])
    cutter.closed(5)
    assert cutter.needed_since == 0
    cutter.closed(10)
    assert cutter.needed_since == math.inf


def test_the_whole_clip_ends_where_the_clip_ends():
    assert spans(Given([Segment(0, math.inf)]).finish(3.2)) == [(0, 3.2)]


def test_a_given_segment_beyond_the_clip_is_kept_but_empty():
    assert spans(Given([Segment(5, 6)]).finish(3)) == [(5, 5)]


def test_windows_cover_the_clip_and_drop_a_short_rest():
    cutter = Windows(2.0)
    assert spans(cutter.closed(4.5)) == [(0, 2), (2, 4)]
    assert spans(cutter.finish(4.9)) == []
    assert spans(Windows(2.0).finish(3.1)) == [(0, 2), (2, 3.1)]
    assert spans(Windows(2.0).finish(0.3)) == [(0, 0.3)]


def test_rolling_windows_overlap_and_skip_what_is_late():
    cutter = Rolling(4.0, 0.5)
    assert spans(cutter.closed(0.49)) == []
    assert spans(cutter.closed(0.5)) == [(0, 0.5)]
    assert spans(cutter.closed(0.9)) == []
    assert spans(cutter.closed(6.1)) == [(2.0, 6.0)]
    assert spans(cutter.closed(6.6)) == [(2.5, 6.5)]
    assert cutter.needed_since == 3.0


def test_speech_is_returned_when_heard_and_long_silences_with_a_face_become_windows():
    cutter = Speech(2.0, lambda start, end: True)
    assert spans(cutter.closed(1.9)) == []
    cutter.heard([Segment(4.5, 6)])
    assert spans(cutter.closed(6.5)) == [(0, 2), (2, 4), (4.5, 6)]
    assert spans(cutter.finish(7.9)) == []


def test_silence_without_a_face_is_left_out_once_something_was_found():
    cutter = Speech(2.0, lambda start, end: False)
    cutter.heard([Segment(0.2, 1)])
    assert spans(cutter.closed(1.5)) == [(0.2, 1)]
    assert spans(cutter.closed(60)) == []
    assert spans(cutter.finish(60)) == []


def test_a_clip_without_speech_or_face_is_still_judged():
    assert spans(Speech(5.0, lambda start, end: False).finish(3.0)) == [(0, 3.0)]
    long = Speech(5.0, lambda start, end: False)
    assert spans(long.closed(11)) == [(0, 5), (5, 10)]
    assert spans(long.finish(12)) == []


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=30), st.floats(0.5, 5))
def test_how_often_windows_are_asked_for_does_not_matter(steps, length):
    asked, now = Windows(length), 0.0
    found = []
    for step in steps:
        now += step
        found += asked.closed(now)
    assert spans(found + asked.finish(now)) == spans(Windows(length).finish(now))
