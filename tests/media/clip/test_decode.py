from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from av.stream import Disposition

from polymodal.core import DataError, OptionError
from polymodal.media.clip.decode import Media
from polymodal.media.types import RATE, Frame, Samples

Maker = Callable[..., Path]


def read(source, **options) -> tuple[Media, list[Frame], list[Samples]]:
    with Media(source) as media:
        pieces = list(media.pieces(**options))
    assert [p.time for p in pieces] == sorted(p.time for p in pieces)
    samples = [p for p in pieces if isinstance(p, Samples)]
    assert all(abs(a.end - b.time) < 1e-9 for a, b in pairwise(samples))
    return media, [p for p in pieces if isinstance(p, Frame)], samples


def line(samples: list[Samples]) -> np.ndarray:
    return np.concatenate([s.values for s in samples])


def click(samples: list[Samples]) -> float:
    """Time at which the sound begins."""
    return samples[0].time + int(np.argmax(np.abs(line(samples)) > 0.2)) / RATE


def flash(frames: list[Frame]) -> float:
    """Time of the first white frame."""
    return next(f.time for f in frames if f.image.mean() > 200)


def pitch(values: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(values * np.hanning(len(values))))
    return float(np.argmax(spectrum)) * RATE / len(values)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "mov", "mpg", "avi", "ts"])
def test_a_flash_and_a_click_are_at_the_same_time_in_every_container(make_clip: Maker, suffix: str) -> None:
    media, frames, samples = read(make_clip(f"a.{suffix}", event=0.6, seconds=1.2))
    lag = 0.03 if suffix == "avi" else 0.002  # AVI cannot say how many samples of an mp3 are the encoder's own
    assert click(samples) == pytest.approx(flash(frames), abs=lag)
    assert flash(frames) == pytest.approx(0.6, abs=0.045)
    assert len(frames) == 30
    assert media.notes == []


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_sound_alone_is_read_from_every_audio_file(make_clip: Maker, suffix: str) -> None:
    media, frames, samples = read(make_clip(f"a.{suffix}", event=0.6, seconds=1.2))
    assert click(samples) == pytest.approx(0.6, abs=0.001)
    assert (media.info.has_audio, media.info.has_video, frames) == (True, False, [])
    assert len(line(samples)) == pytest.approx(1.2 * RATE, abs=20)
    assert line(samples).dtype == np.float32


def test_a_clip_without_sound_is_read(make_clip: Maker) -> None:
    media, frames, samples = read(make_clip("a.mp4", audio=None))
    assert (media.info.rate, media.info.has_audio, samples, len(frames)) == (None, False, [], 25)


def test_info_tells_what_the_container_says(make_clip: Maker) -> None:
    with Media(make_clip("a.mp4", size=(96, 64), seconds=2.0, rate=44_100)) as media:
        info = media.info
    assert (info.name, info.width, info.height, info.fps, info.rate) == ("a.mp4", 96, 64, 25.0, 44_100)
    assert info.duration == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(("seconds", "believed"), [(7200.0, 7200.0), (3e7, None)])
def test_a_length_of_more_than_a_day_is_not_believed(make_clip: Maker, seconds: float, believed: float | None) -> None:
    clip = make_clip("a.mkv", seconds=1.0)
    content = clip.read_bytes()
    at = content.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a double of milliseconds
    clip.write_bytes(content[:at] + struct.pack(">d", 1000 * seconds) + content[at + 8 :])
    with Media(clip) as media:
        assert media.info.duration == believed


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_streams_that_start_at_different_times_share_one_axis(make_clip: Maker, suffix: str) -> None:
    late_sound = make_clip(f"a.{suffix}", event=0.8, audio_offset=0.4, seconds=1.2)
    _, frames, samples = read(late_sound)
    assert (frames[0].time, samples[0].time) == (0.0, pytest.approx(0.4, abs=0.03))
    assert (flash(frames), click(samples)) == (pytest.approx(0.8, abs=1e-3), pytest.approx(0.8, abs=0.002))
    late_picture = make_clip(f"b.{suffix}", event=0.8, video_offset=0.4, seconds=1.2)
    _, frames, samples = read(late_picture)
    assert (frames[0].time, samples[0].time) == (pytest.approx(0.4, abs=0.03), 0.0)
    assert (flash(frames), click(samples)) == (pytest.approx(0.8, abs=0.03), pytest.approx(flash(frames), abs=0.003))


def test_time_zero_is_where_the_first_stream_starts(make_clip: Maker) -> None:
    _, frames, samples = read(make_clip("a.mkv", event=0.8, audio_offset=0.4, video_offset=0.4, seconds=1.2))
    assert min(frames[0].time, samples[0].time) == 0.0
    assert flash(frames) == pytest.approx(0.4, abs=0.025)
    assert click(samples) == pytest.approx(flash(frames), abs=0.003)


def test_leaving_a_stream_out_does_not_move_the_other(make_clip: Maker) -> None:
    clip = make_clip("a.mkv", event=0.8, video_offset=0.4, seconds=1.2)
    _, both, _ = read(clip)
    _, alone, samples = read(clip, audio=False)
    assert [f.time for f in alone] == [f.time for f in both]
    assert samples == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"rate": 8_000}),
        ("a.wav", {"rate": 16_000, "audio": "pcm_u8"}),
        ("a.wav", {"rate": 11_025, "audio": "pcm_u8", "channels": 2}),
        ("a.wav", {"rate": 44_100, "audio": "pcm_s24le", "channels": 2}),
        ("a.wav", {"rate": 96_000, "audio": "pcm_f32le"}),
        ("a.wav", {"rate": 37_800, "audio": "pcm_f64le", "channels": 6}),
        ("a.flac", {"rate": 192_000, "channels": 2}),
        ("a.mp4", {"rate": 48_000, "channels": 6}),
        ("a.mkv", {"rate": 22_050, "audio": "pcm_s32le", "channels": 6}),
        ("a.mkv", {"rate": 48_000, "audio": "aac", "channels": 8}),
        ("a.wav", {"rate": 48_000, "channels": 8}),
    ],
)
def test_any_rate_layout_and_format_becomes_the_same_mono_line(make_clip: Maker, name: str, options: dict) -> None:
    media, _, samples = read(make_clip(name, tone=500.0, video=None, **options))
    values = line(samples)
    assert media.info.rate == options["rate"]
    assert len(values) == pytest.approx(RATE, abs=1100)
    middle = values[3000:-3000]
    assert pitch(middle) == pytest.approx(500.0, abs=2.0)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.02)
    assert abs(middle.mean()) < 0.005


def test_channels_are_weighted_and_the_bass_channel_left_out(make_clip: Maker) -> None:
    waves = np.zeros((6, 48_000), np.float32)  # FL FR FC LFE BL BR
    waves[3] = 0.9
    _, _, samples = read(make_clip("a.wav", channels=6, samples=waves))
    assert np.abs(line(samples)).max() < 1e-3
    waves[2] = 0.5
    _, _, samples = read(make_clip("a.wav", channels=6, samples=waves))
    assert line(samples)[4000:-4000] == pytest.approx(0.5 / (1 + 2 * 0.5**0.5 + 1), abs=1e-3)


def test_values_that_are_no_numbers_are_silence_and_the_others_stay(make_clip: Maker) -> None:
    waves = np.full((1, 16_000), 0.25, np.float32)
    waves[0, 4000:4100], waves[0, 8000:8010], waves[0, 9000] = np.nan, np.inf, 1e30
    _, _, samples = read(make_clip("a.wav", audio="pcm_f32le", rate=16_000, samples=waves))
    values = line(samples)
    assert (values[4000:4100] == 0).all()
    assert (values[8000:8010] == 0).all()
    assert values[9000] == 1.0
    assert values[4100] == values[3999] == 0.25


def remux(source: Path, target: Path, *, leave_out: Callable[[av.Packet], bool] = lambda p: False) -> Path:
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None and not leave_out(packet):
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return target


def test_a_gap_in_the_sound_is_silence_of_the_same_length(make_clip: Maker, tmp_path: Path) -> None:
    whole = make_clip("a.mkv", audio="pcm_s16le", seconds=2.0)
    cut = remux(
        whole, tmp_path / "b.mkv", leave_out=lambda p: p.stream.type == "audio" and 0.5 <= p.pts * p.time_base < 1.0
    )
    media, _, samples = read(cut)
    values = line(samples)
    assert len(values) == pytest.approx(2 * RATE, abs=20)  # Matroska counts milliseconds
    silent = np.abs(values) < 1e-3
    assert silent[int(0.55 * RATE) : int(0.98 * RATE)].all()
    assert silent[int(1.05 * RATE) :].mean() < 0.05
    assert any("s of the audio of b.mkv are missing, the first at 0.5 s" in note for note in media.notes)


def test_sound_behind_a_gap_is_heard_at_its_own_time(make_clip: Maker, tmp_path: Path) -> None:
    whole = make_clip("a.mkv", event=1.6, seconds=2.0)
    cut = remux(
        whole, tmp_path / "b.mkv", leave_out=lambda p: p.stream.type == "audio" and 0.5 <= p.pts * p.time_base < 1.0
    )
    _, frames, samples = read(cut)
    assert click(samples) == pytest.approx(1.6, abs=0.003)
    assert flash(frames) == pytest.approx(1.6, abs=0.001)


def test_two_soundtracks_the_default_one_is_taken(clips: ModuleType, tmp_path: Path) -> None:
    for default, expected in ((0, 300.0), (1, 800.0), (None, 300.0)):
        path = tmp_path / f"two{default}.mkv"
        with av.open(str(path), "w") as container:
            streams = [container.add_stream("pcm_s16le", rate=48_000, layout="mono") for _ in range(2)]
            for i, stream in enumerate(streams):
                stream.disposition = Disposition.default if i == default else Disposition(0)
            for stream, tone in zip(streams, (300, 800), strict=True):
                for _, packet in clips._encode_audio(stream, clips.sound(1, 48_000, 1, tone, None), 48_000, "mono", 0):
                    container.mux(packet)
        assert pitch(line(read(path)[2])[3000:-3000]) == pytest.approx(expected, abs=2.0)


def test_the_picture_of_a_cover_is_no_video(make_clip: Maker, tmp_path: Path) -> None:
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 8, 8, "rgb24", Fraction(1)
    (png,) = encoder.encode(av.VideoFrame(8, 8, "rgb24"))
    body = b"\0image/png\0\x03\0" + bytes(png)
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    song = tmp_path / "song.mp3"
    song.write_bytes(b"ID3\x03\0\0" + size + frame + make_clip("a.mp3").read_bytes())
    with av.open(str(song)) as container:
        assert len(container.streams.video) == 1
    media, frames, samples = read(song)
    assert (media.info.has_video, frames) == (False, [])
    assert len(line(samples)) == pytest.approx(RATE, abs=20)


def test_file_content_and_stream_give_the_same(make_clip: Maker) -> None:
    clip = make_clip("a.mp4")
    _, frames, samples = read(clip)
    for source in (str(clip), clip.read_bytes(), io.BytesIO(clip.read_bytes())):
        media, other, sound = read(source)
        assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, other, strict=True))
        assert np.array_equal(line(samples), line(sound))
        assert media.info.name == ("a.mp4" if isinstance(source, str) else "clip")
    with clip.open("rb") as stream:
        assert read(stream)[0].info.name == "a.mp4"
        assert not stream.closed


def test_a_stream_that_cannot_be_rewound_is_refused() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(DataError, match="live is a stream that cannot be rewound; read it into bytes first"):
        Media(Pipe(b"x"), name="live")


def test_wrong_options_are_refused(make_clip: Maker) -> None:
    with Media(make_clip("a.wav")) as media:
        for options in ({"fps": 0}, {"fps": float("nan")}, {"max_side": 0}):
            with pytest.raises(OptionError, match="must be positive"):
                media.pieces(**options)
        list(media.pieces())
        with pytest.raises(RuntimeError, match="read once"):
            media.pieces()


def test_real_clips_are_the_same_in_every_container(shared: Path, tmp_path: Path) -> None:
    clip = shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg"
    _, frames, samples = read(clip)
    assert len(frames) == 75
    for suffix in ("mkv", "mp4"):
        _, other, sound = read(remux(clip, tmp_path / f"a.{suffix}"))
        assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, other, strict=True))
        assert [f.time for f in other] == pytest.approx([f.time for f in frames], abs=0.002)
        shorter = min(len(line(samples)), len(line(sound)))
        assert np.abs(line(samples)[:shorter] - line(sound)[:shorter]).max() < 1e-3


def test_real_sound_in_a_wav_beside_its_picture_is_the_same(shared: Path, clips: ModuleType, tmp_path: Path) -> None:
    clip = shared / "data/grid_av_speech/clips_s1/bbaf2n.mpg"
    with av.open(str(clip)) as container:
        waves = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1) / np.float32(2**15)
    wav = clips.write_clip(tmp_path / "a.wav", samples=waves, rate=44_100, channels=2)
    silent = remux(clip, tmp_path / "a.mp4", leave_out=lambda p: p.stream.type == "audio")
    _, frames, samples = read(clip)
    assert np.abs(line(samples) - line(read(wav)[2])).max() < 1e-3
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, read(silent)[1], strict=True))
