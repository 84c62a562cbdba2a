"""The checked rows of a manifest while it is read: kept outside of memory, images with their full addresses."""

from dataclasses import astuple
from typing import Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest.bounds import require_bytes
from sora_pipeline.manifest.earlier import StandingImage
from sora_pipeline.manifest.problems import RowProblem
from sora_pipeline.manifest.snapshot import InvalidRow
from sora_pipeline.spooled_list import SpooledList
from sora_pipeline.uris import Uri

MAX_TIMES = 4
"""How many times the bytes of a manifest its clips may come to: each take repeats all that its row says."""


class Draft:
    """Clips, invalid rows and standing images, each in the file's order.

    Args:
        uri: The manifest.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._sizes: dict[str, Size] = {}
        self.clips = SpooledList(_clip_values, self._clip)
        self.invalid = SpooledList(_invalid_values, _invalid_row)
        self.standing = SpooledList[StandingImage](astuple, lambda values: StandingImage(*values))

    def add_clip(self, clip: Clip) -> None:
        """Add a clip.

        Raises:
            ManifestError: all of them together hold too much.
        """
        self.clips.append(clip)
        require_bytes(
            self._uri, self.clips.chars, "what it asks for, takes included, comes to", times=MAX_TIMES
        )

    def _clip(self, values: list[Any]) -> Clip:
        clip_id, number, prompt, image, image_sha256, model, simulated, duration, written, take, *others = (
            values
        )
        size = self._sizes.get(written)
        if size is None:
            size = self._sizes.setdefault(written, Size.parse(written))
        return Clip(
            clip_id,
            number,
            prompt,
            None if image is None else Uri(image),
            image_sha256,
            model,
            simulated,
            duration,
            size,
            take,
            *others,
        )


def _clip_values(clip: Clip) -> tuple[Any, ...]:
    return (
        clip.clip_id,
        clip.row_number,
        clip.prompt,
        None if clip.image is None else clip.image.reveal(),
        clip.image_sha256,
        clip.model,
        clip.simulated,
        clip.duration,
        str(clip.size),
        clip.take,
        clip.carried,
        clip.parameters,
    )


def _invalid_values(row: InvalidRow) -> tuple[Any, ...]:
    return (row.row_number, row.clip_id, row.values, [astuple(problem) for problem in row.problems])


def _invalid_row(values: list[Any]) -> InvalidRow:
    number, clip_id, written, problems = values
    return InvalidRow(number, clip_id, written, tuple(RowProblem(*problem) for problem in problems))
