"""Asking about the images of a manifest: once for each picture and size, several at a time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sora_pipeline.clip import Size
from sora_pipeline.uris import Uri


@dataclass(frozen=True, slots=True)
class ImageFinding:
    """What was found out about one image: its hash, or a problem.

    Attributes:
        sha256: Hex hash of the file's bytes, where it can be used.
        problem: What is wrong, as the end of a sentence that begins with the image's name: ``does not exist``.
    """

    sha256: str | None = None
    problem: str | None = None

    def __post_init__(self) -> None:
        if (self.sha256 is None) == (self.problem is None):
            raise ValueError("an image has either a hash or a problem")


ImageCheck = Callable[[Uri, Size], ImageFinding]
"""Given an image's absolute path or URI and the size of the video, whether it can be the first frame."""

Wanted = tuple[Uri, Size]


def check_images(wanted: Iterable[Wanted], check: ImageCheck, workers: int) -> dict[Wanted, ImageFinding]:
    """Check every distinct image and size once, ``workers`` at a time: some are slow URLs."""
    distinct = [*dict.fromkeys(wanted)]
    if not distinct:
        return {}
    with ThreadPoolExecutor(max_workers=min(workers, len(distinct)), thread_name_prefix="image") as pool:
        findings = pool.map(lambda pair: check(*pair), distinct)
        return dict(zip(distinct, findings, strict=True))
