"""What a production's earlier readings found, asked for only where an image cannot be used now."""

from collections.abc import Collection, Sequence
from functools import cached_property

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Ledger
from sora_pipeline.production.intake import newest_snapshot
from sora_pipeline.production.naming import Decided
from sora_pipeline.uris import Uri


class EarlierReadings:
    """``manifest.earlier.Earlier``, out of the newest snapshot and the ledger.

    The snapshot has the manifest's own rows, also where mended ones stand in their place; the ledger has what is wanted, and
    what once was.

    Args:
        ledger: The ledger.
        decided: The production that a manifest is read for.
    """

    def __init__(self, ledger: Ledger, decided: Decided) -> None:
        self._ledger = ledger
        self._decided = decided
        self._production_id = decided.plan.production_id

    def versions(self, clip_id: str) -> Sequence[Clip]:
        """What was asked for under an id: by the file's own rows first."""
        return [clips[clip_id] for clips in self._sources if clip_id in clips]

    def image_sha256(self, image: Uri, size: Size) -> str | None:
        """Hash of an image as it was read last for a video of this size."""
        return self._images.get((image.shown, size))

    def paid(self, clip_ids: Collection[str]) -> bool:
        """Whether any of these clips is being made, or may have been billed."""
        return not self._paid.isdisjoint(clip_ids)

    @cached_property
    def _sources(self) -> list[dict[str, Clip]]:
        known = self._decided.known
        if known is None:
            return []
        ledger = {clip.clip_id: clip for clip in self._ledger.clips.ever_wanted(self._production_id)}
        own = {clip.clip_id: clip for clip in newest_snapshot(known).clips}
        return [ledger, own] if self._decided.amends else [own, ledger]

    @cached_property
    def _images(self) -> dict[tuple[str, Size], str]:
        found: dict[tuple[str, Size], str] = {}
        for clips in self._sources:
            for clip in clips.values():
                if clip.image is not None and clip.image_sha256 is not None:
                    found.setdefault((clip.image.shown, clip.size), clip.image_sha256)
        return found

    @cached_property
    def _paid(self) -> set[str]:
        attempts = self._ledger.attempts.of_production(self._production_id)
        return {attempt.clip_id for attempt in attempts if attempt.billed or attempt.live}
