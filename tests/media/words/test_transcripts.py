"""Transcripts: every format gives back what was written into it, and says where a file is wrong."""

from __future__ import annotations

import csv
import json
import math
from html import escape
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymodal.core import DataError
from polymodal.media.types import Segment, Word
from polymodal.media.words.transcripts import read_transcript

TOKENS = st.text(st.characters(categories=("L", "P", "Nd"), exclude_characters="<>{}&"), min_size=1, max_size=8).filter(
    lambda t: "--" not in t and not t.isdigit() and t.lower() not in ("sil", "sp", "spn", "#")
)


@st.composite
def segments(draw, gap: int = 0, speakers: bool = False):
    """Return segments whose words cover them without gaps, in whole milliseconds, ``gap`` apart at least."""
    now, found = 0, []
    for texts in draw(st.lists(st.lists(TOKENS, min_size=1, max_size=4), max_size=5)):
        start = now = now + gap + draw(st.integers(1, 5_000_000))
        words = []
        for text in texts:
            length = draw(st.integers(1, 900))
            words.append(Word(text, now / 1000, (now + length) / 1000))
            now += length
        speaker = draw(st.sampled_from(("", "Ann", "Bo B."))) if speakers else ""
        found.append(Segment(start / 1000, now / 1000, " ".join(texts), tuple(words), speaker))
    return found


def clock(seconds: float, mark: str = ",", hours: bool = True) -> str:
    whole = round(seconds * 1000)
    minutes = f"{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{mark}{whole % 1000:03}"
    return f"{whole // 3_600_000:02}:{minutes}" if hours or whole >= 3_600_000 else minutes


def as_srt(found: list[Segment]) -> str:
    return "".join(f"{i}\n{clock(s.start)} --> {clock(s.end)}\n{escape(s.text)}\n\n" for i, s in enumerate(found, 1))


def as_vtt(found: list[Segment]) -> str:
    cues = []
    for s in found:
        voice = f"<v {s.speaker}>" if s.speaker else ""
        body = escape(s.words[0].text) + "".join(f"<{clock(w.start, '.')}> {escape(w.text)}" for w in s.words[1:])
        first = f"<{clock(s.start, '.')}>"  # else a single word has no inline time
        cues.append(f"{clock(s.start, '.', False)} --> {clock(s.end, '.', False)} align:left\n{voice}{first}{body}\n")
    return "\n".join(["WEBVTT - a title\nKind: captions\n", "NOTE\nwritten by a test\n", *cues])


def tier(name: str, spans: list[tuple[float, float, str]], short: bool) -> list[str]:
    quoted = [(a, b, '"' + t.replace('"', '""') + '"') for a, b, t in spans]
    if short:
        return ['"IntervalTier"', f'"{name}"', "0", "9e9", str(len(spans)), *(str(x) for q in quoted for x in q)]
    lines = ['class = "IntervalTier"', f'name = "{name}"', "xmin = 0", "xmax = 9e9", f"intervals: size = {len(spans)}"]
    for i, (a, b, t) in enumerate(quoted, 1):
        lines += [f"intervals [{i}]:", f"    xmin = {a}", f"    xmax = {b}", f"    text = {t}"]
    return lines


def as_textgrid(found: list[Segment], short: bool, words_only: bool = False) -> str:
    def spans(units):
        """Praat's tiers have no holes: silence has empty labels."""
        done, now = [], 0.0
        for u in units:
            done += [(now, u.start, "")] * (u.start > now) + [(u.start, u.end, u.text)]
            now = u.end
        return done

    tiers = [tier("words", spans([w for s in found for w in s.words]), short)]
    tiers += [] if words_only else [tier("utterances", spans(found), short)]
    head = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    if short:
        head += ["0", "9e9", "<exists>", str(len(tiers))]
    else:
        head += ["xmin = 0", "xmax = 9e9 ! the end", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    numbered = [([] if short else [f"item [{i}]:"]) + t for i, t in enumerate(tiers, 1)]
    return "\n".join(line for part in [head, *numbered] for line in part)


def as_json(found: list[Segment], bare: bool) -> str:
    items = [
        {
            "start": s.start,
            "end": s.end,
            "text": f" {s.text}",
            "words": [{"word": w.text, "start": w.start, "end": w.end, "score": 0.5} for w in s.words],
        }
        | ({"speaker": s.speaker} if s.speaker else {})
        for s in found
    ]
    return json.dumps(items if bare else {"segments": items, "language": "en"})


def spread(found: list[Segment]) -> list[tuple]:
    """Return all that is in segments, times rounded to what the formats hold."""
    return [
        (
            round(s.start, 3),
            round(s.end, 3),
            s.text,
            s.speaker,
            [(w.text, round(w.start, 3), round(w.end, 3)) for w in s.words],
        )
        for s in found
    ]


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transcripts")

    def put(name: str, content: str | bytes) -> Path:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name

    return put


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(found=segments(), crlf=st.booleans())
def test_subrip_gives_back_times_and_text(write, found, crlf):
    text = as_srt(found)
    read = read_transcript(write("a.srt", text.replace("\n", "\r\n") if crlf else text))
    assert spread(read) == [(*s[:4], []) for s in spread(found)]


@quick
@given(found=segments(speakers=True))
def test_webvtt_gives_back_words_and_speakers(write, found):
    assert spread(read_transcript(write("a.vtt", as_vtt(found)))) == spread(found)


@quick
@given(found=segments(), short=st.booleans(), encoding=st.sampled_from(("utf-8", "utf-8-sig", "utf-16")))
def test_textgrids_give_back_phrases_with_their_words(write, found, short, encoding):
    content = as_textgrid(found, short).encode(encoding)
    assert spread(read_transcript(write("a.TextGrid", content))) == spread(found)


@quick
@given(found=segments(gap=601), short=st.booleans())
def test_textgrids_of_words_only_are_grouped_at_pauses(write, found, short):
    read = read_transcript(write("a.TextGrid", as_textgrid(found, short, words_only=True)))
    assert spread(read) == spread(found)


@quick
@given(found=segments(speakers=True), bare=st.booleans())
def test_json_gives_back_everything(write, found, bare):
    assert spread(read_transcript(write("a.json", as_json(found, bare)))) == spread(found)


@quick
@given(found=segments(gap=601), key=st.sampled_from(("words", "word_segments", None)))
def test_json_of_words_only_is_grouped_at_pauses(write, found, key):
    words = [{"word": w.text, "start": w.start, "end": w.end} for s in found for w in s.words]
    assert spread(read_transcript(write("a.json", json.dumps({key: words} if key else words)))) == spread(found)


@quick
@given(found=segments(gap=601))
def test_align_files_give_back_words_in_groups(write, found):
    lines = [f"{round(w.start * 25_000)} {round(w.end * 25_000)} {w.text}" for s in found for w in s.words]
    assert spread(read_transcript(write("a.align", "\n".join(["0 10 sil", *lines])))) == spread(found)


@quick
@given(
    content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
    name=st.sampled_from(("x.srt", "x.vtt", "x.TextGrid", "x.json", "x.align", "x.txt")),
)
def test_any_content_is_read_or_refused_in_one_sentence(write, content, name):
    path, refusal = write(name, content), f"{name}: read"
    try:
        assert all(0 <= s.start <= s.end and s.text for s in read_transcript(path))
    except DataError as error:
        refusal = str(error)
    assert name in refusal
    assert "\n" not in refusal


def test_true_alignments_match_the_text_of_their_clips(shared):
    folder = shared / "data/grid_av_speech"
    with (folder / "clips.csv").open() as file:
        texts = {row["clip"]: row["text"] for row in csv.DictReader(file)}
    paths = sorted((folder / "clips_s1").glob("*.align"))
    assert paths
    for path in paths:
        (segment,) = read_transcript(path)
        assert segment.text == texts[path.stem]
        assert [w.text for w in segment.words] == texts[path.stem].split()
        assert 0.3 < segment.start < segment.end < 2.6


def test_plain_text_is_one_segment_over_the_whole_clip(write):
    assert read_transcript(write("a.txt", "what\nis  said\n")) == [Segment(0.0, math.inf, "what is said")]


@pytest.mark.parametrize("name", ["a.srt", "a.vtt", "a.TextGrid", "a.json", "a.align", "a.txt"])
def test_an_empty_file_says_nothing(write, name):
    assert read_transcript(write(name, "\ufeff\r\n ")) == []


def test_markup_is_dropped_and_entities_are_resolved(write):
    body = '{\\an8}<i>Tom &amp; <font color="red">Jerry</font></i>\n{b}1 < 2{/b}, {laughs}'
    (segment,) = read_transcript(write("a.srt", f"1\n00:00:01,5 --> 00:00:02\n{body}\n"))
    assert segment == Segment(1.5, 2.0, "Tom & Jerry 1 < 2, {laughs}")


def test_subrip_with_dots_without_numbers_without_empty_lines_is_read(write):
    text = "00:01.000 --> 00:02.000 X1:1\nfive\n7\n2\n0:00:03,000 --> 0:00:04,000\n\n3\n00:00:05,0 --> 00:00:06,0\nsix"
    found = read_transcript(write("a.srt", text))
    assert [(s.start, s.end, s.text) for s in found] == [(1, 2, "five 7"), (5, 6, "six")]


def test_webvtt_voices_identifiers_styles_and_classes(write):
    text = (
        "WEBVTT\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:x\n\nthe first\n00:01.000 --> 00:02.000 line:0\n"
        "<v.loud Ann &amp; Bo>Hello <c.yellow>you</c></v>\n\n01:00:03.000 --> 01:00:04.000\n- so &lt;3\n"
    )
    found = read_transcript(write("a.vtt", text))
    assert found == [Segment(1, 2, "Hello you", (), "Ann & Bo"), Segment(3603, 3604, "- so <3")]


def test_words_between_two_inline_times_share_the_time(write):
    text = "WEBVTT\n\n00:00.000 --> 00:04.000\nso it <00:00:02.000><c> goes</c>\n"
    (segment,) = read_transcript(write("a.vtt", text))
    assert segment.words == (Word("so", 0, 1), Word("it", 1, 2), Word("goes", 2, 4))


def test_tiers_of_two_speakers_give_speakers_and_their_own_words(write):
    tiers = [
        tier("Ann", [(0, 2, "a b")], True),
        tier("Bo", [(1, 3, "c")], True),
        tier("Ann - words", [(0, 1, "a"), (1, 2, "b")], True),
        tier("Bo - words", [(1, 3, "c")], True),
        tier("Ann - phones", [(0, 1, "AH")], True),
    ]
    points = ['"TextTier"', '"clicks"', "0", "9", "1", "0.5", '"click"']
    head = ['"ooTextFile"', '"TextGrid"', "0", "9", "<exists>", "6"]
    text = "\n".join([*head, *points, *(line for t in tiers for line in t)])
    assert read_transcript(write("a.TextGrid", text)) == [
        Segment(0, 2, "a b", (Word("a", 0, 1), Word("b", 1, 2)), "Ann"),
        Segment(1, 3, "c", (Word("c", 1, 3),), "Bo"),
    ]


def test_a_textgrid_without_tiers_says_nothing(write):
    assert read_transcript(write("a.TextGrid", '"ooTextFile"\n"TextGrid"\n0\n1\n<absent>\n')) == []


def test_words_without_times_share_what_their_neighbours_leave(write):
    words = [{"word": "in"}, {"word": "June", "start": 1, "end": 2}, {"word": "19"}, {"word": "84"}]
    words += [{"word": "it", "start": 4, "end": 5}]
    item = {"start": 0, "end": 6, "text": "in June 19 84 it", "words": words}
    (segment,) = read_transcript(write("a.json", json.dumps([item])))
    assert segment.words == (
        Word("in", 0, 1), Word("June", 1, 2), Word("19", 2, 3), Word("84", 3, 4), Word("it", 4, 5)
    )  # fmt: skip


def test_a_segment_none_of_whose_words_has_times_has_no_words(write):
    item = {"start": 0, "end": 6, "text": "a b", "words": [{"word": "a"}, {"word": "b"}]}
    assert read_transcript(write("a.json", json.dumps({"segments": [item]}))) == [Segment(0, 6, "a b")]


def test_words_of_two_speakers_are_grouped_apart(write):
    said = [("a", 0, "Ann"), ("x", 0.5, "Bo"), ("b", 1, "Ann"), ("y", 9, "Bo")]
    words = [{"word": w, "start": t, "end": t + 0.5, "speaker": who} for w, t, who in said]
    found = read_transcript(write("a.json", json.dumps(words)))
    assert [(s.text, s.speaker) for s in found] == [("a b", "Ann"), ("x", "Bo"), ("y", "Bo")]


def test_segments_are_sorted_and_may_overlap(write):
    items = [{"start": 3, "end": 4, "text": "b"}, {"start": 0, "end": 3.5, "text": "a"}]
    assert [s.text for s in read_transcript(write("a.json", json.dumps(items)))] == ["a", "b"]


def test_what_is_not_utf8_is_latin1(write):
    content = "1\n00:00:01,000 --> 00:00:02,000\ncafé\n".encode("latin-1")
    assert read_transcript(write("a.srt", content))[0].text == "café"


GRID = '"ooTextFile"\n"TextGrid"\n0\n9\n<exists>\n1\n"IntervalTier"\n"a"\n0\n9\n'
MISTAKES = {
    "a.srt": [
        (
            "1\n00:00:01,000 -> 00:00:02,000\nx",
            r"line 2: expected times such as 00:00:01,000 --> .* found '00:00:01,000 ->",
        ),
        ("1\n00:00:02,000 --> 00:00:01,000\nx", r"line 2: expected a start .* found 2 to 1"),
        ("1\n00:00:01,000 --> 00:00:02,000\nx\n\nmore\n", "line 5: expected times"),
        ("7", "line 2: expected times"),
    ],
    "a.vtt": [
        ("1\n00:01.000 --> 00:02.000\nx", r"line 1: expected WEBVTT, found '1'.*\.srt"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\na<00:09.000>b", "line 3: expected a start"),
        ("WEBVTT\n\nname\nno times", "line 4: expected times"),
    ],
    "a.TextGrid": [
        ("hello", "ends after line 1, expected the file type"),
        ('"ooTextFile"\n"Pitch"', "line 1: expected a Praat TextGrid"),
        (GRID + "2\n0\n1\n", r"ends after line 13, expected a label; the file is incomplete"),
        (GRID + '1\n0\n"x"\n"y"', "line 13: expected a time as a number, found 'x'"),
        (GRID + "1\n0\n1\n7", "line 14: expected a label in double quotes, found 7.0"),
        (GRID + '1\n4\n3\n"x"', r"line 13: expected a start .* found 4 to 3"),
        (GRID + "1.5", "line 11: expected the number of intervals, found 1.5"),
        (GRID + "1\n1e999", "line 12: expected a time"),
    ],
    "a.json": [
        ('{"segments": [\n{"start": 0, }]}', "line 2: expected JSON"),
        ("3", 'expected {"segments"'),
        ('{"text": "x"}', 'expected {"segments"'),
        ("[" * 100_000, "is not JSON that can be read"),
        ('[{"start": 0, "text": "x"}]', "segment 1: expected seconds as 'end', found None"),
        ('[{"start": NaN, "end": 1, "text": "x"}]', "segment 1: expected a start"),
        ('[{"start": 0, "end": 1e999, "text": "x"}]', "segment 1: expected seconds"),
        ('[{"start": true, "end": 1, "text": "x"}]', "segment 1: expected seconds as 'start', found True"),
        ('[{"start": -1, "end": 1, "text": "x"}]', "segment 1: expected a start from 0"),
        ('[{"start": 0, "end": 1, "text": 5}]', "segment 1: expected a string 'text', found 5"),
        ('[{"start": 0, "end": 1, "words": ["x"]}]', 'segment 1: expected "words" to be a list'),
        ('[{"word": "x"}]', "no word has a start and an end"),
        ('[{"word": "x", "start": 2, "end": 1}]', "word 1: expected a start"),
    ],
    "a.align": [
        ("0 1 sil\n5 x bin", r"line 2: expected start, end \(in 1/25000 s\) and a word, found '5 x bin'"),
        ("9 1 bin", "line 1: expected a start"),
    ],
}


@pytest.mark.parametrize(("name", "content", "message"), [(n, c, m) for n, ms in MISTAKES.items() for c, m in ms])
def test_mistakes_are_named_with_their_place(write, name, content, message):
    with pytest.raises(DataError, match=message.replace("{", r"\{")) as caught:
        read_transcript(write(name, content))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_transcripts_are_refused(write, tmp_path):
    with pytest.raises(DataError, match=r"a\.doc is no transcript that can be read; give one of \.srt, \.vtt"):
        read_transcript(write("a.doc", "x"))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_transcript(tmp_path / "none.srt")
    (tmp_path / "folder.srt").mkdir()
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_transcript(tmp_path / "folder.srt")
    with pytest.raises(DataError, match="is not text; save it as UTF-8"):
        read_transcript(write("b.txt", b"\x00\x01binary"))
