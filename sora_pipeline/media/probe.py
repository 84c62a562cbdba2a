"""Proves that a video file is whole and is what was asked for, by decoding every frame. Never changes the file."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.clip import Size
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.media.boxes import looks_like_mp4, top_level_boxes
from sora_pipeline.media.signature import format_of
from sora_pipeline.video import VideoFacts

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

DURATION_TOLERANCE_S = 0.5


class VideoErrorKind(StrEnum):
    """What is wrong with a file that should be the clip's video."""

    NOT_A_VIDEO = "not_a_video"  # other bytes: a web page, JSON, an image, no video track
    TRUNCATED = "truncated"  # an MP4 that is cut off or damaged; downloading again may help
    WRONG_SIZE = "wrong_size"  # a whole video in other pixels than asked
    WRONG_DURATION = "wrong_duration"  # a whole video of another length than asked


class VideoError(SoraPipelineError):
    """Raised where a file is not the video that was asked for.

    Attributes:
        kind: What is wrong.
        message: A sentence for people.
        video: What the video is, where it is whole (``wrong_size``, ``wrong_duration``): it was paid for, keep it.
    """

    def __init__(self, kind: VideoErrorKind, message: str, video: VideoFacts | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.video = video


def verify_video(path: Path, *, size: Size, duration: float) -> VideoFacts:
    """Decode a video to its end and compare it with what was asked.

    Args:
        path: A local file.
        size: Pixels asked for.
        duration: Seconds asked for; half a second more or less is accepted.

    Raises:
        VideoError: see ``VideoErrorKind``.
        OSError: the file itself cannot be read.
    """
    c2pa = _check_structure(path)
    picture = _decode(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    facts = VideoFacts(
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
    problem = mismatch(facts, size=size, duration=duration)
    if problem is not None:
        raise problem
    return facts


def mismatch(facts: VideoFacts, *, size: Size, duration: float) -> VideoError | None:
    """In what a whole video is another than the one that was asked for."""
    if (facts.width, facts.height) != (size.width, size.height):
        message = f"The video is {facts.width}x{facts.height}, {size} was asked for."
        return VideoError(VideoErrorKind.WRONG_SIZE, message, facts)
    if abs(facts.duration_s - duration) > DURATION_TOLERANCE_S:
        message = f"The video lasts {facts.duration_s:g} s, {duration:g} s were asked for."
        return VideoError(VideoErrorKind.WRONG_DURATION, message, facts)
    return None


def _check_structure(path: Path) -> bool:
    """Walk the boxes and return whether C2PA is among them."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head or (len(head) < 12 and head[:3] == b"\0\0\0"):  # the beginning of a box header
        raise VideoError(VideoErrorKind.TRUNCATED, f"The file ends after {len(head)} bytes.")
    if not looks_like_mp4(head):
        raise VideoError(VideoErrorKind.NOT_A_VIDEO, f"The file is not an MP4 video: {_described(head)}.")
    boxes = list(top_level_boxes(path))
    last = boxes[-1]
    if last.is_known and not last.complete:
        missing = last.start + last.size - path.stat().st_size
        raise VideoError(VideoErrorKind.TRUNCATED, f"The file is cut off: {missing} bytes are missing.")
    if all(box.kind != b"moov" for box in boxes):
        raise VideoError(VideoErrorKind.TRUNCATED, "The file is cut off: its index (moov box) is missing.")
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
    """The picture track, decoded to its end."""

    size: Size
    codec: str
    fps: Fraction
    frames: int
    duration_s: float
    has_audio: bool


def _decode(path: Path) -> _Picture:
    import av
    from av.error import FFmpegError

    try:
        # The format is named so that a text file cannot make the demuxer follow addresses inside it.
        with av.open(str(path.absolute()), format="mp4") as container:
            return _decode_frames(container)
    except FFmpegError as error:
        raise VideoError(VideoErrorKind.TRUNCATED, f"The video is damaged: {error.strerror}.") from error


def _decode_frames(container: "InputContainer") -> _Picture:
    if not container.streams.video:
        raise VideoError(VideoErrorKind.NOT_A_VIDEO, "The file is an MP4 without a picture.")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    frames = damaged = 0
    width = height = 0
    first: int | None = None
    last_end = 0
    for packet in container.demux(stream):
        damaged += packet.is_corrupt
        for frame in packet.decode():
            frames += 1
            damaged += frame.is_corrupt
            width, height = frame.width, frame.height
            if frame.pts is not None:
                first = frame.pts if first is None else min(first, frame.pts)
                last_end = max(last_end, frame.pts + (frame.duration or 0))
    if not frames:
        raise VideoError(VideoErrorKind.TRUNCATED, "The video holds no frame that can be decoded.")
    fps = stream.average_rate or Fraction(0)
    if first is not None and last_end > first and stream.time_base:
        seconds = float((last_end - first) * stream.time_base)
    else:
        seconds = float(frames / fps) if fps else 0.0
    picture = _Picture(
        size=Size(width, height),
        codec=stream.codec_context.name,
        fps=fps,
        frames=frames,
        duration_s=seconds,
        has_audio=bool(container.streams.audio),
    )
    _check_whole(
        picture, damaged=damaged, promised_frames=stream.frames, promised_s=_promised_s(stream, container)
    )
    return picture


def _promised_s(stream: "VideoStream", container: "InputContainer") -> float:
    """How long the container says the picture is, edits applied."""
    lengths = []
    if stream.duration and stream.time_base:
        lengths.append(float(stream.duration * stream.time_base))
    if container.duration:
        lengths.append(container.duration / 1e6)
    return min(lengths, default=0.0)


def _check_whole(picture: _Picture, *, damaged: int, promised_frames: int, promised_s: float) -> None:
    """Raise where frames are damaged or missing.

    An edit list may drop frames of a whole file, so a smaller count alone proves nothing: the time must be missing too.
    """
    if damaged:
        raise VideoError(
            VideoErrorKind.TRUNCATED, f"The video is damaged: {damaged} broken frames or packets."
        )
    frame_s = 1 / float(picture.fps) if picture.fps else 0.1
    if picture.frames < promised_frames and picture.duration_s < promised_s - 1.5 * frame_s:
        raise VideoError(
            VideoErrorKind.TRUNCATED,
            f"The video is cut off: {picture.frames} of {promised_frames} frames are there.",
        )
