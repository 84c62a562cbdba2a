"""Videos that are odd but fine are delivered; those that promise too much are known before anything is decoded."""

import io
import json
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sora_pipeline.clip import Size
from sora_pipeline.media import boxes
from sora_pipeline.media.boxes import tables, top_level_boxes
from sora_pipeline.media.memory import MIB
from sora_pipeline.media.poster import LIMIT_BYTES, PosterError, poster_frame
from sora_pipeline.media.probe import VideoError, VideoErrorKind, VideoFacts, most_bytes, verify_video
from sora_pipeline_tests.attacks.test_fuzz_videos import other_layout
from sora_pipeline_tests.media.conftest import write_video

SIZE = Size(64, 112)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One second with sound, the index at the end."""
    folder = tmp_path_factory.mktemp("whole")
    return write_video(folder / "clip.mp4", width=64, height=112, seconds=1, audio=True).read_bytes()


def verify(content: bytes, folder: Path, *, size: Size = SIZE, duration: float = 1) -> VideoFacts:
    path = folder / "download.part"
    path.write_bytes(content)
    return verify_video(path, size=size, duration=duration)


def problem(content: bytes, folder: Path, *, size: Size = SIZE, duration: float = 1) -> VideoError:
    with pytest.raises(VideoError) as caught:
        verify(content, folder, size=size, duration=duration)
    return caught.value


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def coloured(path: Path, width: int, height: int, frames: int, codec: str = "libx264") -> bytes:
    """Frames of one colour: large in pixels, small in bytes."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((height * 3 // 2, width), 128, "u1"), format="yuv420p")
        for number in range(frames):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.mark.parametrize("text", [b"\xff\xfe\xe4\xf6", b"\xed\xa0\x80\xed", b"\xc3\x28\xa0\xa1"])
def test_metadata_that_are_not_utf_8_do_no_harm(whole: bytes, text: bytes, tmp_path: Path):
    content = whole.replace(b"Lavf", text)
    assert content != whole

    assert verify(content, tmp_path).frames == 24
    assert poster_frame(tmp_path / "download.part")


def test_the_name_of_a_track_that_is_not_utf_8_does_no_harm(whole: bytes, tmp_path: Path):
    content = whole.replace(b"VideoHandler", b"Video\xff\xff\xff\xff\xff\xff\xff")
    assert content != whole

    assert verify(content, tmp_path).frames == 24


def test_a_cover_picture_is_not_taken_for_the_video(whole: bytes, tmp_path: Path):
    cover = io.BytesIO()
    Image.new("RGB", (500, 500), "red").save(cover, "JPEG")
    picture = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + cover.getvalue()))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    notes = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", picture)))
    at = whole.index(b"moov") - 4
    size = struct.unpack(">I", whole[at : at + 4])[0]
    header = struct.unpack(">I", whole[at + 8 : at + 12])[0]
    first = at + 8 + header  # behind mvhd, so that the cover comes before the tracks
    content = (
        whole[:at] + struct.pack(">I", size + len(notes)) + whole[at + 4 : first] + notes + whole[first:]
    )

    facts = verify(content, tmp_path)

    assert (facts.width, facts.height, facts.frames, facts.video_codec) == (64, 112, 24, "h264")
    assert Image.open(io.BytesIO(poster_frame(tmp_path / "download.part"))).size == (64, 112)


def test_a_video_far_larger_than_asked_is_described_and_not_decoded(tmp_path: Path):
    content = coloured(tmp_path / "large.mp4", 4096, 2304, 3)

    found = problem(content, tmp_path)

    assert found.kind is VideoErrorKind.WRONG_SIZE
    assert found.message == "The video is 4096x2304, 64x112 was asked for; it was not decoded."
    assert found.video is not None
    assert (found.video.width, found.video.height, found.video.frames) == (4096, 2304, 3)
    assert (found.video.bytes, found.video.video_codec) == (len(content), "h264")


def test_a_video_a_bit_larger_than_asked_is_decoded(tmp_path: Path):
    found = problem(coloured(tmp_path / "large.mp4", 128, 224, 24), tmp_path)

    assert found.message == "The video is 128x224, 64x112 was asked for."
    assert found.video is not None


@pytest.mark.parametrize("seconds", [5, 60])
def test_a_video_far_longer_than_asked_is_described_and_not_decoded(seconds: int, tmp_path: Path):
    found = problem(coloured(tmp_path / "long.mp4", 64, 112, seconds * 24), tmp_path)

    assert found.kind is VideoErrorKind.WRONG_DURATION
    assert found.message == f"The video lasts {seconds} s, 1 s were asked for; it was not decoded."
    assert found.video is not None
    assert (found.video.frames, found.video.duration_s) == (seconds * 24, seconds)


def test_far_more_frames_than_asked_in_the_time_asked_are_not_decoded(tmp_path: Path):
    content = bytearray(coloured(tmp_path / "quick.mp4", 64, 112, 600))
    for name in (b"mdhd", b"mvhd"):  # ticks a second
        at = content.index(name) + 16
        content[at : at + 4] = struct.pack(">I", 25 * struct.unpack(">I", content[at : at + 4])[0])

    found = problem(bytes(content), tmp_path)

    assert found.kind is VideoErrorKind.WRONG_DURATION
    assert "has 600 frames, 1 s were asked for; it was not decoded" in found.message


def test_frames_without_end_are_not_decoded_to_their_end(tmp_path: Path):
    # Fragments: no header says how many frames there are, or how long they last.
    whole, fragments = tmp_path / "whole.mp4", tmp_path / "fragments.mp4"
    coloured(whole, 64, 112, 600)
    with av.open(str(whole)) as source:
        moves = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        with av.open(str(fragments), "w", format="mp4", options=moves) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream, packet.pts, packet.dts = stream, packet.pts // 100, packet.dts // 100
                    target.mux(packet)

    found = problem(fragments.read_bytes(), tmp_path)

    assert found.kind is VideoErrorKind.WRONG_DURATION
    assert "more than 480 frames" in found.message or "600 frames" in found.message
    assert found.video is not None


def test_far_more_bytes_than_a_clip_can_have_are_described_and_not_decoded(whole: bytes, tmp_path: Path):
    found = problem(whole + box(b"free", bytes(most_bytes(SIZE, 1))), tmp_path)

    assert found.kind is VideoErrorKind.TOO_LARGE
    assert "at most 16 MiB are plausible for 1 s of 64x112" in found.message
    assert found.video is not None
    assert found.video.frames == 24


@pytest.mark.parametrize(("size", "duration"), [(Size(720, 1280), 4), (Size(1792, 1024), 12)])
def test_the_best_quality_fits_into_the_bytes_that_are_plausible(size: Size, duration: int):
    # 100 Mbit/s is what cameras write for 4K.
    assert 100e6 / 8 * duration < most_bytes(size, duration) < 600 * MIB


@pytest.mark.parametrize(
    ("later", "kind", "said"),
    [
        (Size(128, 224), VideoErrorKind.WRONG_SIZE, "changes from 64x112 to 128x224"),
        (
            Size(2048, 2048),
            VideoErrorKind.TRUNCATED,
            "The video is damaged",
        ),  # there is no memory for such frames
    ],
)
def test_a_picture_that_grows_in_the_middle_is_noticed(
    later: Size, kind: VideoErrorKind, said: str, tmp_path: Path
):
    found = problem(grown(tmp_path, later, 12).read_bytes(), tmp_path)

    assert found.kind is kind
    assert said in found.message
    assert (found.video is not None) == (kind is VideoErrorKind.WRONG_SIZE)


def test_a_picture_that_grows_where_no_header_counts_the_frames_is_noticed(tmp_path: Path):
    # Its last frames do not fit into the memory that it is decoded in at first, and nothing says that they are missing.
    moves = "frag_keyframe+empty_moov+default_base_moof"
    found = problem(other_layout(grown(tmp_path, Size(128, 224), 2), movflags=moves), tmp_path)

    assert found.kind is VideoErrorKind.WRONG_SIZE
    assert "changes from 64x112 to 128x224" in found.message


def grown(folder: Path, later: Size, frames: int) -> Path:
    """One second, of which the last frames have another size."""
    path = folder / "grown.mp4"
    with av.open(str(path), "w", format="mp4") as target:
        stream = None
        for begin, size, count in ((0, SIZE, 24 - frames), (24 - frames, later, frames)):
            content = coloured(folder / "part.mp4", size.width, size.height, count)
            with av.open(io.BytesIO(content)) as source:
                video = source.streams.video[0]
                stream = stream or target.add_stream_from_template(video)
                for packet in with_parameters(source.demux(video), video):
                    packet.pts, packet.dts = packet.pts + begin * 512, packet.dts + begin * 512
                    packet.stream = stream
                    target.mux(packet)
    return path


def with_parameters(packets: Iterable[av.Packet], video: av.VideoStream) -> Iterator[av.Packet]:
    """H.264 packets with the parameters of their pictures among them, as MP4 keeps them: decoded by their own."""
    annex_b = av.BitStreamFilterContext("h264_mp4toannexb", video)
    for packet in packets:
        for filtered in annex_b.filter(packet) if packet.dts is not None else ():
            changed = av.Packet(lengths(bytes(filtered)))
            changed.pts, changed.dts = filtered.pts, filtered.dts
            changed.time_base, changed.is_keyframe = video.time_base, filtered.is_keyframe
            yield changed


def lengths(annex_b: bytes) -> bytes:
    """NAL units with their lengths in front, as MP4 has them."""
    units = [unit.rstrip(b"\0") for unit in annex_b.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


def changed(content: bytes, name: bytes, at: int, values: bytes) -> bytes:
    """The first table of this name with other values."""
    start = content.index(name) + 4 + at
    return content[:start] + values + content[start + len(values) :]


def promising(content: bytes, samples: int) -> bytes:
    """The tables of the first track say that there are so many samples, one byte each."""
    content = changed(content, b"stsz", 4, struct.pack(">II", 1, samples))
    content = changed(content, b"stsc", 8, struct.pack(">III", 1, samples, 1))
    return changed(content, b"stts", 8, struct.pack(">I", samples))


MEASURED = """
import json, resource, sys
from pathlib import Path
import av, PIL.Image
from sora_pipeline.clip import Size
from sora_pipeline.media.poster import PosterError, poster_frame
from sora_pipeline.media.probe import VideoError, verify_video

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
for look in (lambda path: verify_video(path, size=Size(64, 112), duration=1), poster_frame):
    try:
        look(Path(sys.argv[1]))
    except (VideoError, PosterError) as problem:
        print(problem, file=sys.stderr)
print(json.dumps(peak() - before))
"""


def growth(content: bytes, folder: Path) -> int:
    """How much a new process grows that looks at this video."""
    path = folder / "measured.mp4"
    path.write_bytes(content)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=True
    )
    return int(json.loads(ended.stdout))


def test_tables_that_promise_millions_of_samples_are_counted_and_not_indexed(whole: bytes, tmp_path: Path):
    content = promising(whole, 60_000_000)

    assert "its tables promise 600000" in problem(content, tmp_path).message
    with pytest.raises(PosterError, match="its tables promise"):
        poster_frame(tmp_path / "download.part")
    assert growth(content, tmp_path) < 50 * MIB


def test_a_large_picture_takes_no_memory(tmp_path: Path):
    content = coloured(tmp_path / "large.mp4", 8192, 4320, 2)

    assert growth(content, tmp_path) < 100 * MIB


def test_fragments_that_promise_millions_of_samples_are_counted(whole: bytes, tmp_path: Path):
    run = box(b"moof", box(b"traf", box(b"trun", struct.pack(">III", 0, 2**31, 0))))

    assert "promise 2147483" in problem(whole + run, tmp_path).message


def test_edits_that_repeat_the_video_are_counted(whole: bytes, tmp_path: Path):
    content = changed(whole, b"elst", 4, struct.pack(">I", 2**20))

    assert "its tables promise 251" in problem(content, tmp_path).message


def test_tables_that_are_compressed_or_nested_without_end_are_refused(whole: bytes, tmp_path: Path):
    nested = b""
    for _ in range(100):
        nested = box(b"udta", nested)

    assert "too long, too deep or compressed" in problem(whole + box(b"moov", nested), tmp_path).message
    assert (
        "too long, too deep or compressed"
        in problem(whole + box(b"moov", box(b"cmov", b"")), tmp_path).message
    )


def test_boxes_without_end_are_not_walked_to_their_end(whole: bytes, tmp_path: Path):
    content = whole + box(b"free", b"") * 2_000_000

    assert "more than 20000 boxes" in problem(content, tmp_path).message


@pytest.mark.parametrize("size", [0, 1, 7, 8, 2**31, 2**32 - 1])
@pytest.mark.parametrize("large", [0, 15, 16, 2**63, 2**64 - 1])
def test_no_length_of_a_box_leads_in_circles(size: int, large: int, tmp_path: Path):
    path = tmp_path / "boxes.mp4"
    odd = struct.pack(">I", size) + b"moov" + struct.pack(">Q", large)
    path.write_bytes(box(b"ftyp", b"isom") + odd + box(b"moov", odd + odd))

    walked = list(top_level_boxes(path))

    assert [item.start for item in walked] == sorted({item.start for item in walked})
    assert tables(path, walked).entries == 0


def test_tables_longer_than_those_of_any_clip_are_refused(tmp_path: Path):
    path = tmp_path / "long.mp4"
    path.write_bytes(box(b"moov", bytes(boxes.MOST_TABLE_BYTES)))

    assert not tables(path, top_level_boxes(path)).readable


@pytest.mark.parametrize("shape", [(2, 1024), (1024, 2), (16, 4096), (4096, 16)])
def test_a_poster_of_any_shape_is_small(shape: tuple[int, int], tmp_path: Path):
    path = tmp_path / "shape.mp4"
    coloured(path, *shape, 2)

    assert len(poster_frame(path)) <= LIMIT_BYTES


def test_what_is_no_video_has_no_poster(tmp_path: Path):
    for content in (b"", b"no video", box(b"ftyp", b"isom"), bytes(100)):
        (tmp_path / "none.mp4").write_bytes(content)
        with pytest.raises(PosterError):
            poster_frame(tmp_path / "none.mp4")
    with pytest.raises(PosterError):
        poster_frame(tmp_path / "missing.mp4")
    with pytest.raises(FileNotFoundError):
        verify_video(tmp_path / "missing.mp4", size=SIZE, duration=1)
