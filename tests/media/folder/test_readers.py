"""Files of other tools: what they say is what is read, and what is wrong with them is said in one sentence."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymodal.core import DataError
from polymodal.media.folder.readers import read_track

OPENFACE = """frame, face_id, timestamp, confidence, success, gaze_0_x, AU01_r, AU12_c
1, 0, 0.000, 0.98, 1, 0.10, 1.5, 0
2, 0, 0.040, 0.30, 0, -nan(ind), 9.9, 1
3, 0, 0.080, 0.97, 1, 0.30, 2.5, 1
"""
SMILE = """name;frameTime;loudness;F0
'unknown';0.000000;1.5e-01;0
'unknown';0.010000;2.5e-01;31.25
"""
ARFF = """@relation polymodal

@attribute name string
@attribute frameTime numeric
@attribute 'loudness' numeric
@attribute F0 real
@attribute class {happy,'not happy'}

@data

% a remark
'a, b',0.0,0.15,0,'not happy'
'a, b',0.01,0.25,31.25,happy
"""


@pytest.fixture
def read(tmp_path):
    def write_and_read(content, name="features.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_track(path)

    return write_and_read


def fails(read, content, *parts, name="features.csv"):
    with pytest.raises(DataError) as caught:
        read(content, name)
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_openface_rows_are_steps_and_failed_ones_zeros(read):
    track, names = read(OPENFACE)
    assert names == ("gaze_0_x", "AU01_r", "AU12_c", "tracked")
    np.testing.assert_allclose(track.times, [0, 0.04, 0.08])
    expected = np.array([[0.1, 1.5, 0, 1], [0, 0, 0, 0], [0.3, 2.5, 1, 1]], np.float32)
    np.testing.assert_array_equal(track.values, expected)
    assert track.values.dtype == np.float32


def test_openface_takes_the_face_with_most_successful_frames(read):
    rows = [(1, 0, 0.0, 0.9, 1, 5), (1, 7, 0.0, 0.9, 1, 70), (2, 0, 0.04, 0.1, 0, 6), (2, 7, 0.04, 0.9, 1, 71)]
    rows += [(3, 0, 0.08, 0.1, 0, 7), (4, 0, 0.12, 0.1, 0, 8)]
    text = "frame,face_id,timestamp,confidence,success,AU01_r\n" + "\n".join(",".join(map(str, r)) for r in rows)
    track, _ = read(text)
    np.testing.assert_array_equal(track.values, [[70, 1], [71, 1]])
    np.testing.assert_allclose(track.times, [0, 0.04])


def test_openface_without_any_face_has_the_same_width(read):
    failed = "0.1, 0, -nan(ind)"
    track, names = read(OPENFACE.replace("0.98, 1, 0.10", failed).replace("0.97, 1, 0.30", failed))
    assert names == ("gaze_0_x", "AU01_r", "AU12_c", "tracked")
    np.testing.assert_array_equal(track.values, np.zeros((3, 4)))


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_opensmile_csv(read, delimiter, end):
    track, names = read("\ufeff" + SMILE.replace(";", delimiter).replace("\n", end))
    assert names == ("loudness", "F0")
    np.testing.assert_allclose(track.times, [0, 0.01])
    np.testing.assert_array_equal(track.values, np.array([[0.15, 0], [0.25, 31.25]], np.float32))


def test_arff_equals_csv(read):
    (track, names), (same, same_names) = read(ARFF, "f.arff"), read(SMILE)
    assert names == same_names
    np.testing.assert_array_equal(track.times, same.times)
    np.testing.assert_array_equal(track.values, same.values)


def test_functionals_are_one_step_at_zero(read):
    arff = "@relation f\n@attribute name string\n@attribute mean numeric\n@attribute class numeric\n@data\n'x',2.5,?\n"
    for content in (arff, "name;mean\n'x';2.5\n", "name;frameTime;mean\n'x';0.0;2.5\n"):
        track, names = read(content)
        assert names == ("mean",)
        np.testing.assert_array_equal(track.times, [0])
        np.testing.assert_array_equal(track.values, [[2.5]])


@pytest.mark.parametrize("level", ["LowLevelDescriptors", "Functionals"])
def test_what_the_opensmile_package_writes_is_what_it_measured(tmp_path, level):
    opensmile = pytest.importorskip("opensmile")
    smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel[level])
    samples = 0.1 * np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    table = smile.process_signal(samples, 16000, file="clip.wav")
    table.to_csv(tmp_path / "smile.csv")
    track, names = read_track(tmp_path / "smile.csv")
    assert names == tuple(smile.feature_names)
    np.testing.assert_allclose(track.values, table.to_numpy(), rtol=1e-5)
    start, end = (table.index.get_level_values(n).total_seconds() for n in ("start", "end"))
    np.testing.assert_allclose(track.times, (start + end) / 2)


BROKEN = {
    "empty": ("", "empty"),
    "blank": ("\n \n", "empty"),
    "only a header": (OPENFACE.splitlines()[0], "line 1", "no rows"),
    "no header": ("\n".join(SMILE.splitlines()[1:]), "line 1", "header"),
    "no success": (OPENFACE.replace("success", "ok"), "line 1", "'success'"),
    "no timestamp": (OPENFACE.replace("timestamp", "when"), "line 1", "'timestamp'"),
    "no time": (SMILE.replace("frameTime", "second"), "line 1", "'frameTime'"),
    "ragged": (OPENFACE + "\n4, 0, 0.12, 0.9\n", "line 6", "4 values for 8 columns"),
    "text among numbers": (SMILE.replace("2.5e-01", "loud"), "line 3", "'loudness'", "loud"),
    "NaN": (SMILE.replace("31.25", "NaN"), "line 3", "'F0'", "nan"),
    "infinity": (SMILE.replace("31.25", "1e300"), "line 3", "'F0'", "1e+300"),
    "a gap": (SMILE.replace("31.25", ""), "line 3", "'F0'", "nothing"),
    "NaN in a tracked row": (OPENFACE.replace("2.5", "nan"), "line 4", "'AU01_r'"),
    "no numbers": ("name;frameTime\n'x';0.0\n", "line 1", "no column of numbers"),
    "times go back": (SMILE.replace("0.000000", "5.0"), "line 3", "before"),
    "time is text": (SMILE.replace("0.010000", "soon"), "line 3", "no time"),
    "two recordings": (SMILE + "'other';0.02;1;2\n", "line 4", "another recording"),
    "not UTF-8": (SMILE.encode() + b"\xff\xfe;1;2;3\n", "line 4", "UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1", "UTF-8"),
    "prose": ("Dear reader,\nhere are no features.\n", "line"),
    "ARFF without data": (ARFF.split("@data")[0], "no @data"),
    "ragged ARFF": (ARFF + "'a, b',0.02\n", "line 14", "2 values for 5 columns"),
    "quotation mark": (ARFF.replace("0,'not happy'", "0,'not happy"), "line 12", "quotation mark"),
    "gap in ARFF": (ARFF.replace("0.25", "?"), "line 13", "'loudness'", "?"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_named_with_its_line(read, what):
    content, *parts = BROKEN[what]
    fails(read, content, *parts)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_track(path)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_mutation_gets_past_the_errors_of_the_package(data, tmp_path):
    raw = bytearray(data.draw(st.sampled_from((OPENFACE, SMILE, ARFF))).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=3))
        if not raw:
            break
    path = tmp_path / "mutated.csv"
    path.write_bytes(raw)
    try:
        track, names = read_track(path)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017 - any error but this one fails the test
    else:
        assert track.values.shape == (len(track.times), len(names))
        assert np.isfinite(track.values).all()
        assert (np.diff(track.times) >= 0).all()
