"""What stands of earlier readings where an image cannot be read now.

A host that is down for a minute, or an image that was deleted after its video was made, says nothing about the row.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest.images import ImageFinding, Wanted
from sora_pipeline.manifest.problems import number_in
from sora_pipeline.manifest.row_model import ParsedRow
from sora_pipeline.uris import Uri


class Earlier(Protocol):
    """What a production's manifest asked for when it was read before, and what was paid for since."""

    def versions(self, clip_id: str) -> Sequence[Clip]:
        """What was asked for under an id, the version that counts first."""
        ...

    def image_sha256(self, image: Uri, size: Size) -> str | None:
        """Hash of an image as it was read last for a video of this size; None: it never was."""
        ...

    def paid(self, clip_ids: Collection[str]) -> bool:
        """Whether any of these clips is being made, or may have been billed."""
        ...

    def was_invalid(self, clip_id: str, row_hash: str) -> bool:
        """Whether the file's newest reading had just this row under an id, and could not use it."""
        ...


class NothingEarlier:
    """``Earlier`` of a production that was never read."""

    def versions(self, clip_id: str) -> Sequence[Clip]:
        """None."""
        return ()

    def image_sha256(self, image: Uri, size: Size) -> str | None:
        """None."""
        return None

    def paid(self, clip_ids: Collection[str]) -> bool:
        """No."""
        return False

    def was_invalid(self, clip_id: str, row_hash: str) -> bool:
        """No."""
        return False


@dataclass(frozen=True, slots=True)
class StandingImage:
    """An image that could not be read, of a row that is taken all the same.

    Attributes:
        row_number: The first row below the header is 1.
        clip_id: Of the row's first take.
        problem: Why it could not be read, as a sentence.
        place: Where people find the row: ``row 14`` as a spreadsheet numbers it.
    """

    row_number: int
    clip_id: str
    problem: str
    place: str

    @property
    def shown_number(self) -> int:
        """The number in that place."""
        return number_in(self.place)

    @property
    def sentence(self) -> str:
        """For people."""
        why = self.problem.rstrip(". ")
        return f"{self.place} ({self.clip_id}): its image cannot be used now ({why}); what was read before stands"


def standing_image(
    clip_ids: Collection[str], row: ParsedRow, image: Wanted, finding: ImageFinding, earlier: Earlier
) -> str | None:
    """Hash of the image of a row that is taken although its image cannot be used now; None: it is not taken.

    Failures that pass prove nothing: the image is what it was when it was read last. With one that lasts, a row is taken only
    where it says what it said before and something was paid for it, so that no video and no bill disappears from sight.

    Args:
        clip_ids: The row's takes.
        row: What it asks for.
        image: Its image and size.
        finding: What is wrong with the image.
        earlier: What is known of earlier readings.
    """
    before = (version for clip_id in clip_ids for version in earlier.versions(clip_id))
    unchanged = next((clip.image_sha256 for clip in before if is_asked_for(clip, row, image)), None)
    if finding.passing:
        return unchanged or earlier.image_sha256(*image)
    return unchanged if unchanged and earlier.paid(clip_ids) else None


def is_asked_for(clip: Clip, row: ParsedRow, image: Wanted | None) -> bool:
    """Whether a row asks for what a clip was, as far as that can be told without reading its image."""
    # As they are shown: one that is signed anew each day is the same image.
    before = clip.image and clip.image.shown
    asked = (row.prompt, image and image[0].shown, row.model, row.duration, row.size, row.parameters)
    wanted = (clip.prompt, before, clip.model, clip.duration, clip.size, dict(clip.parameters))
    return wanted == asked
