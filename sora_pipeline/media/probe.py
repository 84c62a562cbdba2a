"""Proves that a video file is whole and is what was asked for, by decoding every frame. Never changes the file.

What a file says of itself is compared with what was asked for before anything is decoded, so that no file takes more time or
memory than a few videos of the size asked for.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sora_pipeline.clip import Size
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.media.boxes import MOST_BOXES, looks_like_mp4, tables, top_level_boxes
from sora_pipeline.media.memory import DECODING, MIB
from sora_pipeline.media.signature import format_of
from sora_pipeline.video import VideoFacts

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    FrameWatcher = Callable[[VideoFrame, VideoStream], None]

DURATION_TOLERANCE_S = 0.5
MOST_TIMES = 4
"""A video of more than this many times the pixels or seconds asked for is not decoded."""
MOST_FPS = 120
MOST_INDEX_ENTRIES = 4_000_000
"""Entries of the index that FFmpeg makes of a file's tables when it opens it, some tens of bytes each."""
# What a decoder holds at a time: 16 reference frames, the one being decoded, and those on their way, at 3 bytes a pixel
# (4:2:0 with 10 bits, or 4:4:4 with 8).
HELD_BYTES_PER_PIXEL = 24 * 3
_ALIGNMENT = 64  # FFmpeg counts rows in multiples of so many pixels, and decoders columns in less
_ALIGNMENT_PIXELS = _ALIGNMENT * 8192


class VideoErrorKind(StrEnum):
    """What is wrong with a file that should be the clip's video."""

    NOT_A_VIDEO = "not_a_video"  # other bytes: a web page, JSON, an image, no video track
    TRUNCATED = "truncated"  # an MP4 that is cut off or damaged; downloading again may help
    WRONG_SIZE = "wrong_size"  # a whole video in other pixels than asked
    WRONG_DURATION = "wrong_duration"  # a whole video of another length than asked
    TOO_LARGE = "too_large"  # more bytes than any video of the size and length asked for


class VideoError(SoraPipelineError):
    """Raised where a file is not the video that was asked for.

    Attributes:
        kind: What is wrong.
        message: A sentence for people.
        video: What the video is, where it is only another one than asked for (``wrong_size``, ``wrong_duration``,
            ``too_large``): it was paid for, keep it. Where it is so far off that it was not decoded, this is what its header says.
    """

    def __init__(self, kind: VideoErrorKind, message: str, video: VideoFacts | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.video = video


def most_bytes(size: Size, duration: float) -> int:
    """The largest file that a video may be: 60 frames a second at 3 bits a pixel, and 16 MiB for everything else.

    That is about ten times what H.264 needs for the best quality, so that a video that is a few times as large or as long as it
    was to be fits in, too.
    """
    return int(size.width * size.height * (duration + DURATION_TOLERANCE_S) * 60 * 3 / 8) + 16 * MIB


def verify_video(
    path: Path, *, size: Size, duration: float, watch: "FrameWatcher | None" = None
) -> VideoFacts:
    """Decode a video to its end and compare it with what was asked.

    Args:
        path: A local file.
        size: Pixels asked for.
        duration: Seconds asked for; half a second more or less is accepted.
        watch: Is shown each frame in its order, with the stream it is of, while it is there; must not raise. The file may
            turn out to be damaged afterwards.

    Raises:
        VideoError: see ``VideoErrorKind``; whatever the file's bytes are, it is this.
        OSError: the file itself cannot be read.
    """
    c2pa = check_structure(path)
    most_pixels, file_bytes = MOST_TIMES * size.width * size.height, path.stat().st_size
    try:
        with ExitStack() as file:
            with DECODING.reserve(
                most_pixels * HELD_BYTES_PER_PIXEL
            ):  # FFmpeg decodes a little when it opens
                container = file.enter_context(opened(path, most_pixels))
                declared = _declared(container)
            problem = _far_off(declared, file_bytes, size=size, duration=duration)
            picture = (
                _decode_as_declared(container, declared, duration, watch) if problem is None else declared
            )
        if picture is None:
            with DECODING.reserve(most_pixels * HELD_BYTES_PER_PIXEL), opened(path, most_pixels) as container:
                picture, _ = _decode_frames(container, picture_stream(container), declared, duration, watch)
    except _OtherVideo as other_video:
        problem, picture = other_video.problem, other_video.picture
    facts = _facts(path, picture, c2pa=c2pa)
    problem = problem or mismatch(facts, size=size, duration=duration)
    if problem is not None:
        raise VideoError(problem.kind, problem.message, facts)
    return facts


def _facts(path: Path, picture: "_Picture", *, c2pa: bool) -> VideoFacts:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return VideoFacts(
        bytes=path.stat().st_size,
        sha256=sha256,
        width=picture.size.width,
        height=picture.size.height,
        fps=round(float(picture.fps), 3),
        frames=picture.frames,
        duration_s=round(picture.duration_s, 3),
        video_codec=picture.codec,
        has_audio=picture.has_audio,
        c2pa=c2pa,
    )


def _far_off(picture: "_Picture", file_bytes: int, *, size: Size, duration: float) -> VideoError | None:
    """In what a video is so far from what was asked for that it is not worth decoding, by what its header says."""
    width, height = picture.size.width, picture.size.height
    if width * height > MOST_TIMES * size.width * size.height:
        message = f"The video is {width}x{height}, {size} was asked for; it was not decoded."
        return VideoError(VideoErrorKind.WRONG_SIZE, message)
    if picture.duration_s > MOST_TIMES * duration:
        message = (
            f"The video lasts {picture.duration_s:g} s, {duration:g} s were asked for; it was not decoded."
        )
        return VideoError(VideoErrorKind.WRONG_DURATION, message)
    if picture.frames > _most_frames(duration):
        message = f"The video has {picture.frames} frames, {duration:g} s were asked for; it was not decoded."
        return VideoError(VideoErrorKind.WRONG_DURATION, message)
    if file_bytes > most_bytes(size, duration):
        message = (
            f"The video has {file_bytes / MIB:.0f} MiB; at most {most_bytes(size, duration) / MIB:.0f} MiB are plausible for "
            f"{duration:g} s of {size}. It was not decoded."
        )
        return VideoError(VideoErrorKind.TOO_LARGE, message)
    return None


def _most_frames(duration: float) -> int:
    return int(MOST_TIMES * duration * MOST_FPS)


def mismatch(facts: VideoFacts, *, size: Size, duration: float) -> VideoError | None:
    """In what a whole video is another than the one that was asked for."""
    if (facts.width, facts.height) != (size.width, size.height):
        message = f"The video is {facts.width}x{facts.height}, {size} was asked for."
        return VideoError(VideoErrorKind.WRONG_SIZE, message, facts)
    if abs(facts.duration_s - duration) > DURATION_TOLERANCE_S:
        message = f"The video lasts {facts.duration_s:g} s, {duration:g} s were asked for."
        return VideoError(VideoErrorKind.WRONG_DURATION, message, facts)
    return None


def check_structure(path: Path) -> bool:
    """Walk the boxes and return whether C2PA is among them.

    Raises:
        VideoError: it is no whole MP4, or its tables promise more than any clip has.
        OSError: the file itself cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head or (len(head) < 12 and head[:3] == b"\0\0\0"):  # the beginning of a box header
        raise VideoError(VideoErrorKind.TRUNCATED, f"The file ends after {len(head)} bytes.")
    if not looks_like_mp4(head):
        raise VideoError(VideoErrorKind.NOT_A_VIDEO, f"The file is not an MP4 video: {_described(head)}.")
    boxes = list(top_level_boxes(path))
    if len(boxes) > MOST_BOXES:
        raise VideoError(
            VideoErrorKind.TRUNCATED, f"The video is damaged: it has more than {MOST_BOXES} boxes."
        )
    last = boxes[-1]
    if last.is_known and not last.complete:
        missing = last.start + last.size - path.stat().st_size
        raise VideoError(VideoErrorKind.TRUNCATED, f"The file is cut off: {missing} bytes are missing.")
    if all(box.kind != b"moov" for box in boxes):
        raise VideoError(VideoErrorKind.TRUNCATED, "The file is cut off: its index (moov box) is missing.")
    promised = tables(path, boxes)
    if not promised.readable:
        raise VideoError(
            VideoErrorKind.TRUNCATED, "The video is damaged: its tables are too long, too deep or compressed."
        )
    if promised.entries > MOST_INDEX_ENTRIES:
        raise VideoError(
            VideoErrorKind.TRUNCATED, f"The video is damaged: its tables promise {promised.entries} samples."
        )
    return any(box.is_c2pa for box in boxes)


def _described(head: bytes) -> str:
    file_format = format_of(head)
    if file_format in {"unknown", "JSON", "a web page", "XML"}:
        start = head[:80].decode("utf-8", "replace")
        shown = "".join(c if c.isprintable() else "\N{MIDDLE DOT}" for c in start)
        return (
            f"it begins with {shown!r}"
            if file_format == "unknown"
            else f"it is {file_format}, beginning with {shown!r}"
        )
    return f"it is {file_format}"


@dataclass(frozen=True, slots=True)
class _Picture:
    """The picture track, as its header says or as it was decoded."""

    size: Size
    codec: str
    fps: Fraction
    frames: int
    duration_s: float
    has_audio: bool


class _OtherVideo(Exception):
    """Turned out while decoding to be another video than its header says, and whole as far as it was decoded."""

    def __init__(self, problem: VideoError, picture: _Picture) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.picture = picture


@contextmanager
def opened(path: Path, most_pixels: int) -> "Iterator[InputContainer]":
    """An MP4 file opened for decoding, after ``check_structure``.

    Args:
        path: A local file.
        most_pixels: Larger frames are refused before there is memory for them.

    Raises:
        VideoError: whatever goes wrong while it is open.
    """
    import av
    from av.error import FFmpegError

    limit = {"max_pixels": str(most_pixels + _ALIGNMENT_PIXELS)}
    try:
        # The format is named so that a text file cannot make the demuxer follow addresses inside it. Metadata that are not
        # UTF-8 say nothing about the picture.
        with av.open(
            str(path.absolute()), format="mp4", options=limit, metadata_errors="replace"
        ) as container:
            yield container
    except (SoraPipelineError, _OtherVideo):
        raise
    except FFmpegError as error:
        raise VideoError(VideoErrorKind.TRUNCATED, f"The video is damaged: {error.strerror}.") from error
    except Exception as error:  # PyAV raises nearly anything where FFmpeg's values are not what it expects
        reason = f"{type(error).__name__}: {error}"[:200]
        raise VideoError(VideoErrorKind.TRUNCATED, f"The video is damaged: {reason}.") from error


def picture_stream(container: "InputContainer") -> "VideoStream":
    """The picture track, ready to be decoded within the limits of ``opened``.

    Raises:
        VideoError: there is none, or it is of a kind that FFmpeg does not know.
    """
    stream = container.streams.best("video")  # not the first: that may be a cover picture
    if stream is None:
        raise VideoError(VideoErrorKind.NOT_A_VIDEO, "The file is an MP4 without a picture.")
    context = cast("VideoStream", stream).codec_context
    if context is None:
        raise VideoError(VideoErrorKind.NOT_A_VIDEO, "The video's picture is in a format that is not known.")
    # One thread: with more, a frame may be handed out before the thread that decodes it has marked it as broken, and slice
    # threads do not look for missing parts of a frame at all (benchmarks/verification.py).
    context.thread_type, context.thread_count = "NONE", 1
    context.options = container.options
    return cast("VideoStream", stream)


def _declared(container: "InputContainer") -> _Picture:
    """The picture track as the header describes it."""
    stream = picture_stream(container)
    return _Picture(
        size=Size(stream.codec_context.width, stream.codec_context.height),
        codec=stream.codec_context.name,
        fps=stream.average_rate or Fraction(0),
        frames=stream.frames,
        duration_s=_promised_s(stream, container),
        has_audio=bool(container.streams.audio),
    )


def _decode_as_declared(
    container: "InputContainer", declared: _Picture, duration: float, watch: "FrameWatcher | None"
) -> _Picture | None:
    """Decode in the memory that frames of the declared size take: several times less than the largest frames allowed.

    None where that shows no whole video, or some packet no frame: it is damaged, or its frames grow.
    """
    width, height = (
        -(-side // _ALIGNMENT) * _ALIGNMENT for side in (declared.size.width, declared.size.height)
    )
    stream = picture_stream(container)
    stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(width * height)}
    try:
        with DECODING.reserve(width * height * HELD_BYTES_PER_PIXEL):
            picture, packets = _decode_frames(container, stream, declared, duration, watch)
    except _OtherVideo:
        raise
    except Exception:  # decoding it again says what is wrong
        return None
    return picture if picture.frames >= packets else None


def _decode_frames(
    container: "InputContainer",
    stream: "VideoStream",
    declared: _Picture,
    duration: float,
    watch: "FrameWatcher | None",
) -> tuple[_Picture, int]:
    """What the picture track turns out to be, and how many packets it has."""
    packets = frames = damaged = 0
    size: Size | None = None
    first: int | None = None
    last_end = 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        damaged += packet.is_corrupt
        for frame in packet.decode():
            frames += 1
            damaged += frame.is_corrupt
            if frames > _most_frames(duration):
                message = f"The video has more than {frames - 1} frames, {duration:g} s were asked for."
                raise _OtherVideo(VideoError(VideoErrorKind.WRONG_DURATION, message), declared)
            if size not in {None, Size(frame.width, frame.height)}:
                message = f"The video's picture changes from {size} to {frame.width}x{frame.height}."
                raise _OtherVideo(VideoError(VideoErrorKind.WRONG_SIZE, message), declared)
            size = Size(frame.width, frame.height)
            if frame.pts is not None:
                first = frame.pts if first is None else min(first, frame.pts)
                last_end = max(last_end, frame.pts + (frame.duration or 0))
            if watch is not None:
                watch(frame, stream)
    if size is None:
        raise VideoError(VideoErrorKind.TRUNCATED, "The video holds no frame that can be decoded.")
    if first is not None and last_end > first and stream.time_base:
        seconds = float((last_end - first) * stream.time_base)
    else:
        seconds = float(frames / declared.fps) if declared.fps else 0.0
    picture = replace(declared, size=size, frames=frames, duration_s=seconds)
    _check_whole(picture, declared, damaged=damaged)
    return picture, packets


def _promised_s(stream: "VideoStream", container: "InputContainer") -> float:
    """How long the container says the picture is, edits applied."""
    lengths = []
    if stream.duration and stream.time_base:
        lengths.append(float(stream.duration * stream.time_base))
    if container.duration:
        lengths.append(container.duration / 1e6)
    return min(lengths, default=0.0)


def _check_whole(picture: _Picture, declared: _Picture, *, damaged: int) -> None:
    """Raise where frames are damaged or missing.

    An edit list may drop frames of a whole file, so a smaller count alone proves nothing: the time must be missing too.
    """
    if damaged:
        raise VideoError(
            VideoErrorKind.TRUNCATED, f"The video is damaged: {damaged} broken frames or packets."
        )
    frame_s = 1 / float(picture.fps) if picture.fps else 0.1
    if picture.frames < declared.frames and picture.duration_s < declared.duration_s - 1.5 * frame_s:
        raise VideoError(
            VideoErrorKind.TRUNCATED,
            f"The video is cut off: {picture.frames} of {declared.frames} frames are there.",
        )
