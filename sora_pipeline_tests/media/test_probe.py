import contextlib
import hashlib
import random
import struct
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest

from sora_pipeline.clip import Size
from sora_pipeline.media.boxes import Box, top_level_boxes
from sora_pipeline.media.probe import VideoError, VideoErrorKind, VideoFacts, looks_like_mp4, verify_video
from sora_pipeline_tests.media.conftest import write_video

SIZE = Size(320, 576)
C2PA = uuid.UUID("d8fec3d6-1b0e-483c-9297-5828877ec481")


def verify(content: bytes, tmp_path: Path) -> VideoFacts:
    path = tmp_path / "download.part"
    path.write_bytes(content)
    return verify_video(path, size=SIZE, duration=4)


def problem(content: bytes, tmp_path: Path) -> VideoError:
    with pytest.raises(VideoError) as caught:
        verify(content, tmp_path)
    return caught.value


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def test_a_whole_video_is_described(video: Path):
    content = video.read_bytes()
    facts = verify_video(video, size=SIZE, duration=4)

    assert facts == VideoFacts(
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        width=320,
        height=576,
        fps=24.0,
        frames=96,
        duration_s=4.0,
        video_codec="h264",
        has_audio=True,
        c2pa=False,
    )
    assert video.read_bytes() == content


def test_silence_is_noticed(faststart_video: Path):
    assert not verify_video(faststart_video, size=SIZE, duration=4).has_audio


@pytest.mark.parametrize("share", [0.0, 0.00005, 0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("layout", ["video", "faststart_video"])
def test_a_cut_file_is_truncated(layout: str, share: float, tmp_path: Path, request: pytest.FixtureRequest):
    content = request.getfixturevalue(layout).read_bytes()

    assert problem(content[: int(len(content) * share)], tmp_path).kind is VideoErrorKind.TRUNCATED


def test_one_missing_byte_is_noticed(faststart_video: Path, tmp_path: Path):
    assert problem(faststart_video.read_bytes()[:-1], tmp_path).kind is VideoErrorKind.TRUNCATED


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_preallocated_file_that_was_not_filled_is_truncated(
    faststart_video: Path, share: float, tmp_path: Path
):
    # The header and the boxes of such a file are perfect.
    content = faststart_video.read_bytes()
    kept = int(len(content) * share)

    assert problem(content[:kept] + bytes(len(content) - kept), tmp_path).kind is VideoErrorKind.TRUNCATED


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_missing_frames_are_noticed_where_the_boxes_look_whole(
    faststart_video: Path, share: float, tmp_path: Path
):
    content = faststart_video.read_bytes()
    start = content.index(b"mdat") - 4
    cut = bytearray(content[: int(len(content) * share)])
    cut[start : start + 4] = struct.pack(">I", len(cut) - start)

    assert problem(bytes(cut), tmp_path).kind is VideoErrorKind.TRUNCATED


def test_a_hole_in_the_middle_is_noticed(faststart_video: Path, tmp_path: Path):
    content = bytearray(faststart_video.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)

    assert problem(bytes(content), tmp_path).kind is VideoErrorKind.TRUNCATED


def test_no_damage_gets_past_as_anything_but_a_video_problem(video: Path, tmp_path: Path):
    content, rng = video.read_bytes(), random.Random(1)
    for _ in range(15):
        damaged = bytearray(content)
        at = rng.randrange(len(content))
        damaged[at : at + 64] = rng.randbytes(64)
        with contextlib.suppress(VideoError):
            verify(bytes(damaged), tmp_path)


def test_a_broken_picture_is_found_each_time_or_never(tmp_path: Path):
    # Decoders with several threads may hand out a picture before the thread that decodes it has marked it as broken.
    path = write_video(tmp_path / "clip.mp4", width=160, height=96, seconds=1, preset="faster")
    content, found = path.read_bytes(), 0
    for start, size in pictures(path):
        for share in (0.3, 0.9):
            damaged = bytearray(content)
            hole = range(start + int(size * share), start + size)
            damaged[hole.start : hole.stop] = bytes(len(hole))
            path.write_bytes(damaged)
            verdicts = {verdict(path) for _ in range(4)}
            assert len(verdicts) == 1, hole
            found += verdicts != {"whole"}

    assert found > 30, "of 48: a short hole may be a picture, too"


def verdict(path: Path) -> str:
    try:
        verify_video(path, size=Size(160, 96), duration=1)
    except VideoError as error:
        return error.message
    return "whole"


def pictures(path: Path) -> list[tuple[int, int]]:
    """Where the coded pictures lie, and how long they are."""
    with av.open(str(path)) as container:
        return [(int(packet.pos or 0), packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>Not found</html>", "it is a web page, beginning with '<!DOCTYPE html>"),
        (b'{"error": {"message": "expired"}}', 'it is JSON, beginning with \'{"error"'),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "it is PNG"),
        (b"plain words that are no video", "it begins with 'plain words"),
        (bytes(range(200, 256)), "it begins with"),
        (b"RIFF\x00\x00\x00\x00AVI LIST" + bytes(100), "it begins with"),
    ],
)
def test_other_bytes_are_not_a_video_and_are_named(content: bytes, said: str, tmp_path: Path):
    found = problem(content, tmp_path)

    assert found.kind is VideoErrorKind.NOT_A_VIDEO
    assert said in found.message
    assert found.video is None


def test_sound_alone_is_not_a_video(tmp_path: Path):
    import numpy as np

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), "f4"), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode())

    with pytest.raises(VideoError) as caught:
        verify_video(path, size=SIZE, duration=4)
    assert caught.value.kind is VideoErrorKind.NOT_A_VIDEO


def test_another_size_is_reported_with_the_facts(video: Path):
    with pytest.raises(VideoError) as caught:
        verify_video(video, size=Size(576, 320), duration=4)

    assert caught.value.kind is VideoErrorKind.WRONG_SIZE
    assert caught.value.message == "The video is 320x576, 576x320 was asked for."
    assert caught.value.video is not None
    assert caught.value.video.frames == 96


def test_another_duration_is_reported_with_the_facts(video: Path):
    with pytest.raises(VideoError) as caught:
        verify_video(video, size=SIZE, duration=8)

    assert caught.value.kind is VideoErrorKind.WRONG_DURATION
    assert caught.value.message == "The video lasts 4 s, 8 s were asked for."
    assert caught.value.video is not None


def test_half_a_second_more_or_less_is_accepted(tmp_path: Path):
    path = write_video(tmp_path / "clip.mp4", seconds=4.4)

    assert verify_video(path, size=SIZE, duration=4).duration_s == pytest.approx(4.4, abs=0.05)


@pytest.mark.parametrize(
    ("extra", "present"),
    [
        (box(b"uuid", C2PA.bytes + b"manifest"), True),
        (box(b"jumb", b"manifest"), True),
        (box(b"uuid", uuid.UUID(int=1).bytes + b"something else"), False),
        (box(b"free", C2PA.bytes), False),
    ],
)
def test_c2pa_provenance_is_found_at_top_level(video: Path, tmp_path: Path, extra: bytes, present: bool):
    assert verify(video.read_bytes() + extra, tmp_path).c2pa is present


def test_c2pa_is_found_where_it_usually_is_behind_the_first_box(tmp_path: Path):
    found = walk(box(b"ftyp", b"isom") + box(b"uuid", C2PA.bytes + b"manifest") + box(b"moov", b""), tmp_path)

    assert [item.is_c2pa for item in found] == [False, True, False]


def walk(content: bytes, tmp_path: Path) -> list[Box]:
    path = tmp_path / "boxes.mp4"
    path.write_bytes(content)
    return list(top_level_boxes(path))


def test_boxes_with_64_bit_lengths_and_open_ends_are_walked(tmp_path: Path):
    long = struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + b"12345"
    found = walk(box(b"ftyp", b"isom") + long + struct.pack(">I", 0) + b"free" + b"to the end", tmp_path)

    assert [(item.kind, item.size, item.complete) for item in found] == [
        (b"ftyp", 12, True),
        (b"mdat", 21, True),
        (b"free", 18, True),
    ]


@pytest.mark.parametrize("tail", [bytes(100), b"junk behind the video"])
def test_padding_behind_a_whole_video_does_no_harm(video: Path, tmp_path: Path, tail: bytes):
    assert verify(video.read_bytes() + tail, tmp_path).frames == 96


def test_a_download_can_be_told_early(video: Path):
    assert looks_like_mp4(video.read_bytes()[:12])
    assert not looks_like_mp4(b"<!DOCTYPE html>")
    assert not looks_like_mp4(b'{"error": 1}')
    assert not looks_like_mp4(b"")


def test_videos_of_the_largest_size_are_decoded_several_at_a_time(tmp_path: Path):
    # Each may have four times the pixels asked for; were memory reserved for that while it is decoded, there would be two.
    path = write_video(tmp_path / "clip.mp4", width=1792, height=1024, seconds=0.5)
    together = threading.Barrier(4, timeout=60)

    def verified(_: int) -> int:
        seen = []

        def watch(*_: object) -> None:
            if not seen:
                seen.append(together.wait())

        return verify_video(path, size=Size(1792, 1024), duration=0.5, watch=watch).frames

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(verified, range(4))) == [12] * 4
