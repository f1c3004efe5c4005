from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from polymodal.core import DataError, OptionError
from polymodal.media.clip.decode import Media
from polymodal.media.types import Frame, Samples

Maker = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[3]


def read(source, name: str | None = None) -> tuple[Media, list]:
    with Media(source, name=name) as media:
        return media, list(media.pieces())


def refusal(source, name: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(source, name)
    said = str(caught.value)
    assert "\n" not in said
    return said


def fast_start(clip: Path) -> bytes:
    """Content of an mp4 with its index before its data."""
    target = clip.with_name("fast.mp4")
    with av.open(str(clip)) as old, av.open(str(target), "w", options={"movflags": "faststart"}) as new:
        streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return target.read_bytes()


def test_a_missing_file_is_named_with_the_nearest_one(make_clip: Maker) -> None:
    clip = make_clip("interview_03.wav")
    wrong = clip.with_name("interview_3.wav")
    assert refusal(wrong) == f"there is no file {wrong}; did you mean 'interview_03.wav'?"
    assert "its folder does not exist" in refusal(clip.parent / "no" / "a.wav")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "is a folder; name a clip in it" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "is no regular file" in refusal(tmp_path / "pipe.mp4")
    assert "is no regular file" in refusal("/dev/zero")
    assert "cannot open" in refusal("a\0b.mp4")


def test_a_file_that_may_not_be_read_is_named(make_clip: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip("a.wav")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    assert refusal(clip) == f"cannot open {clip}: Permission denied; check its name and permissions"


def test_nothing_and_text_are_no_clips(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"")
    assert refusal(clip) == "a.mp4 is empty (0 bytes); record or download it again"
    clip.write_text("this is a letter, not a film\n" * 500)
    assert refusal(clip).startswith("a.mp4 cannot be read as audio or video")
    assert refusal(np.random.default_rng(0).bytes(100_000), "noise").startswith("noise ")


def test_a_clip_without_audio_and_video_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "a.mkv"
    with av.open(str(clip), "w") as container:
        packet = av.Packet(b"hello")
        packet.stream = container.add_mux_stream("subrip")
        packet.pts = packet.dts = 0
        container.mux(packet)
    assert refusal(clip).startswith("a.mkv has neither audio nor video that can be decoded")


def test_without_pyav_the_extra_is_named(make_clip: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip("a.wav")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(OptionError, match=r"pip install 'polymodal\[media\]'"):
        Media(clip)


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3.0,\n{address}\n#EXTINF:3.0,\n{file}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{address}'\nfile '{file}'\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
    "list.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet><Representation id="1" bandwidth="1"><BaseURL>{address}</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>",
    "list.asx": '<asx version="3.0"><entry><ref href="{address}"/></entry></asx>',
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("disguise", [None, "clip.mp4"])
def test_playlists_are_refused_and_lead_nowhere(make_clip: Maker, name: str, disguise: str | None) -> None:
    target = make_clip("secret.wav")
    opened: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        port = server.getsockname()[1]
        address = f"http://127.0.0.1:{port}/a.ts"
        playlist = target.with_name(disguise or name)
        playlist.write_text(PLAYLISTS[name].format(address=address, file=target.as_uri(), port=port))
        sys.addaudithook(lambda event, details: opened.append(str(details[0])) if event == "open" else None)
        assert "cannot be read as audio or video" in refusal(playlist)
        with pytest.raises(TimeoutError):
            server.accept()
    assert str(target) not in opened


def test_a_container_that_asks_for_another_file_gets_none() -> None:
    from polymodal.media.clip.content import _refuse

    with pytest.raises(PermissionError, match="must not open"):
        _refuse("file:///etc/passwd", 0, {})


def test_of_a_cut_off_mp4_what_is_there_is_read(make_clip: Maker) -> None:
    whole = fast_start(make_clip("a.mp4", seconds=3.0))
    media, pieces = read(whole[: len(whole) // 2], "cut.mp4")
    assert 1.0 < pieces[-1].time < 2.0
    assert media.info.duration == pytest.approx(3.0, abs=0.1)
    assert any(n.startswith("cut.mp4 promises 3.0 s but only 1.") for n in media.notes)


@pytest.mark.parametrize("suffix", ["mkv", "webm", "flac", "mp3"])
def test_other_containers_cut_off_say_so_too(make_clip: Maker, suffix: str) -> None:
    whole = make_clip(f"a.{suffix}", seconds=3.0).read_bytes()
    media, pieces = read(whole[: len(whole) // 2], "cut")
    assert 0.5 < pieces[-1].time < 2.0
    assert any("cut promises 3.0 s but only 1." in n for n in media.notes)


@pytest.mark.parametrize("suffix", ["avi", "mpg", "ts", "wav", "ogg"])
def test_containers_that_promise_nothing_are_read_as_far_as_they_go(make_clip: Maker, suffix: str) -> None:
    whole = make_clip(f"a.{suffix}", seconds=3.0).read_bytes()
    _, pieces = read(whole[: len(whole) // 2])
    assert 0.5 < pieces[-1].time < 2.6


def test_an_mp4_whose_index_is_lost_is_refused(make_clip: Maker) -> None:
    whole = make_clip("a.mp4", seconds=3.0).read_bytes()
    assert "is a whole mp4" in refusal(whole[: len(whole) // 2], "a.mp4")


def test_an_hour_promised_and_a_second_held(make_clip: Maker) -> None:
    clip = bytearray(make_clip("a.mkv", seconds=1.0).read_bytes())
    at = clip.index(b"\x44\x89\x88") + 3  # Duration, a float of 8 bytes, in milliseconds
    clip[at : at + 8] = np.array(3_600_000.0, ">f8").tobytes()
    media, pieces = read(bytes(clip), "hour.mkv")
    assert media.info.duration == 3600.0
    assert pieces[-1].time < 1.1
    assert media.notes == ["hour.mkv promises 3600.0 s but only 1.0 s could be read: it may be cut off"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "mpg", "ts"])
def test_damage_in_the_middle_is_skipped_and_told(make_clip: Maker, suffix: str) -> None:
    clip = bytearray(make_clip(f"a.{suffix}", seconds=3.0).read_bytes())
    middle, reach = len(clip) // 2, len(clip) // 20
    clip[middle - reach : middle + reach] = np.random.default_rng(0).bytes(2 * reach)
    media, pieces = read(bytes(clip), "hurt")
    assert pieces[-1].time > 2.8
    assert any(isinstance(p, Frame) and p.time > 2.5 for p in pieces)
    assert any(isinstance(p, Samples) and p.time > 2.5 for p in pieces)
    assert any("the first at 1." in n and ("left out" in n or "missing" in n) for n in media.notes)


def test_a_stream_that_cannot_be_decoded_counts_as_absent(make_clip: Maker) -> None:
    clip = make_clip("a.avi", seconds=1.0).read_bytes().replace(b"FMP4", b"WMV9")
    media, pieces = read(clip, "a.avi")
    assert media.info.has_audio
    assert not media.info.has_video
    assert all(isinstance(p, Samples) for p in pieces)
    assert any(n.startswith("the video of a.avi cannot be decoded") for n in media.notes)


def test_huge_frames_are_refused_before_they_are_made(make_clip: Maker) -> None:
    clip = bytearray(make_clip("a.avi", video="rawvideo", audio=None, seconds=0.2).read_bytes())
    at = clip.index(b"strf") + 12
    clip[at : at + 8] = np.array([30_000, 30_000], "<i4").tobytes()
    assert "frames of more than 8192 pixels a side" in refusal(bytes(clip))
    assert "frames of more than 8192 pixels a side" in refusal(
        make_clip("wide.mkv", video="mjpeg", size=(9000, 16), audio=None, seconds=0.2)
    )


def test_nothing_is_printed_about_damage(make_clip: Maker, capfd: pytest.CaptureFixture[str]) -> None:
    clip = bytearray(make_clip("a.mp4", seconds=2.0).read_bytes())
    clip[500:5000:37] = bytes(len(range(500, 5000, 37)))
    capfd.readouterr()
    media, _ = read(bytes(clip))
    assert media.notes
    assert capfd.readouterr() == ("", "")


def test_files_are_closed_after_use_and_after_refusal(make_clip: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    good = make_clip("a.mp4")
    bad = good.with_name("b.mp4")
    bad.write_text("no clip")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read(good)
        refusal(bad)
    assert len(os.listdir("/proc/self/fd")) == before


LONG = """
import json, sys
from pathlib import Path
from polymodal.media.clip.decode import Media

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

early = late = 0
with Media(sys.argv[1]) as media:
    for i, piece in enumerate(media.pieces()):
        if i % 50 == 0:
            early, late = (max(early, private()), 0) if piece.time < 30 else (early, max(late, private()))
print(json.dumps({"last": piece.time, "early": early, "late": late, "notes": media.notes}))
"""


def loop(clip: Path, target: Path, times: int) -> Path:
    """Write a clip many times behind each other; what the encoder put before time 0 is left out."""
    with av.open(str(target), "w") as new:
        streams: dict = {}
        for i in range(times):
            with av.open(str(clip)) as old:
                streams = streams or {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
                for packet in old.demux():
                    if packet.dts is not None and packet.dts >= 0:
                        ahead = round(i * float(old.duration / 1e6) / packet.time_base)
                        packet.pts, packet.dts = packet.pts + ahead, packet.dts + ahead
                        packet.stream = streams[packet.stream_index]
                        new.mux(packet)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_memory_is_flat_however_long_the_clip(make_clip: Maker, tmp_path: Path, suffix: str) -> None:
    script = tmp_path / "long.py"
    script.write_text(LONG)
    clip = loop(make_clip(f"a.{suffix}", size=(320, 240), seconds=10.0), tmp_path / f"long.{suffix}", 60)
    done = subprocess.run([sys.executable, str(script), str(clip)], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert figures["last"] > 599
    assert figures["late"] - figures["early"] < 8


def test_damaged_clips_of_every_kind_end_well() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/fuzz_media.py"), "--count", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["figures"]
    assert (figures["crash"], figures["hang"], figures["other exception"]) == (0, 0, 0), done.stdout
    assert min(figures["ok"], figures["ok with notes"], figures["DataError"]) > 0
    assert done.stderr == ""
