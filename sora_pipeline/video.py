"""What is known of a video file: the plain types that probing, the ledger, the sidecars and the output manifest share."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a whole video file is.

    Attributes:
        bytes: File size.
        sha256: Hex hash of the file.
        width: Pixels.
        height: Pixels.
        fps: Frames a second, on average.
        frames: Frames decoded; where it was too far off to be decoded, what its header says, as all of these.
        duration_s: Seconds of picture.
        video_codec: For example ``h264``.
        has_audio: Whether there is a sound track.
        c2pa: Whether C2PA provenance is attached.
    """

    bytes: int
    sha256: str
    width: int
    height: int
    fps: float
    frames: int
    duration_s: float
    video_codec: str
    has_audio: bool
    c2pa: bool


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """A video file in an output store.

    Attributes:
        output_uri: The output.
        file_name: Relative to the output.
        poster_path: A picture of it, relative to the output.
        facts: What the file is.
    """

    output_uri: str
    file_name: str
    poster_path: str | None
    facts: VideoFacts

    @property
    def uri(self) -> str:
        """The file's absolute path or URI."""
        return f"{self.output_uri.rstrip('/')}/{self.file_name}"

    @property
    def storyboard_path(self) -> str:
        """Where some frames of it lie side by side in one picture, relative to the output, if they do."""
        name = self.file_name.removeprefix("videos/").removesuffix(".mp4")
        return f".posters/{name}.strip.jpg"
