"""What a production's earlier readings found, asked for only where a row is in doubt: its image, its id, or braces in its prompt."""

import json
from collections.abc import Collection, Sequence
from functools import cached_property

from sora_pipeline.clip import Clip, Size, clip_key
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.rows import clip_of, spec_of
from sora_pipeline.production.intake import newest_snapshot
from sora_pipeline.production.naming import Decided
from sora_pipeline.scratch import Scratch
from sora_pipeline.uris import Uri

_OWN, _LEDGER = "own", "ledger"


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
        found = self._known.execute("SELECT source, spec FROM clips WHERE clip_id = ?", (clip_id,))
        clips = {source: clip_of(clip_id, json.loads(spec)) for source, spec in found}
        return [clips[source] for source in self._sources if source in clips]

    def image_sha256(self, image: Uri, size: Size) -> str | None:
        """Hash of an image as it was read last for a video of this size."""
        statement = "SELECT sha256 FROM images WHERE source = ? AND image = ? AND size = ?"
        found = (
            self._known.execute(statement, (source, image.shown, str(size))).fetchone()
            for source in self._sources
        )
        return next((row[0] for row in found if row is not None), None)

    def paid(self, clip_ids: Collection[str]) -> bool:
        """Whether any of these clips is being made, or may have been billed."""
        return self._ledger.clips.paid_or_under_way(
            clip_key(self._production_id, clip_id) for clip_id in clip_ids
        )

    def was_invalid(self, clip_id: str, row_hash: str) -> bool:
        """Whether the newest reading had just this row under an id, and could not use it."""
        statement = "SELECT 1 FROM invalid WHERE clip_id = ? AND row_hash = ?"
        return self._known.execute(statement, (clip_id, row_hash)).fetchone() is not None

    @property
    def _sources(self) -> tuple[str, str]:
        """What counts first, and what else."""
        return (_LEDGER, _OWN) if self._decided.amends else (_OWN, _LEDGER)

    @cached_property
    def _known(self) -> Scratch:
        """Everything that was ever asked for, outside of memory: it may be a million clips, twice."""
        scratch = Scratch(
            "CREATE TABLE clips (clip_id TEXT, source TEXT, spec TEXT, PRIMARY KEY (clip_id, source)) WITHOUT ROWID;"
            "CREATE TABLE images (source TEXT, image TEXT, size TEXT, sha256 TEXT, PRIMARY KEY (source, image, size))"
            " WITHOUT ROWID;"
            "CREATE TABLE invalid (clip_id TEXT, row_hash TEXT, PRIMARY KEY (clip_id, row_hash)) WITHOUT ROWID;"
        )

        def note(source: str, clip: Clip) -> None:
            spec = json.dumps(spec_of(clip))
            scratch.execute("INSERT OR REPLACE INTO clips VALUES (?, ?, ?)", (clip.clip_id, source, spec))
            if clip.image is not None and clip.image_sha256 is not None:
                image = (source, clip.image.shown, str(clip.size), clip.image_sha256)
                scratch.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?)", image)

        if self._decided.known is not None:
            self._ledger.clips.ever_wanted(self._production_id, lambda clip: note(_LEDGER, clip))
            newest = newest_snapshot(self._decided.known)
            for clip in newest.clips:
                note(_OWN, clip)
            for row in newest.invalid:
                if row.clip_id is not None:
                    scratch.execute(
                        "INSERT OR IGNORE INTO invalid VALUES (?, ?)", (row.clip_id, row.row_hash)
                    )
        return scratch
