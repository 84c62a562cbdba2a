"""What a production asks for, and ever asked for, from its snapshots and the rows of its output manifests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest.reported_ids import invalid_ids
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.recovery.evidence import Evidence, ManifestReading
from sora_pipeline.recovery.fingerprints import present_fingerprints
from sora_pipeline.recovery.output_evidence import OutputEvidence, Outputs, Row, clip_of_row, clip_of_sidecar
from sora_pipeline.recovery.productions import ProductionHistory
from sora_pipeline.status import CANCELLED


@dataclass(frozen=True, slots=True)
class WantedClip:
    """A clip, and whose it is.

    Attributes:
        clip: What the production's own manifest asks for.
        fingerprint: Of what is wanted: not the clip's own where the row was mended.
        production_id: The production that wants it, or once did.
        active: Whether its manifest still names the clip.
        position: Where in the manifest.
        cancelled: Whether a person cancelled it, as was published last.
    """

    clip: Clip
    fingerprint: str
    production_id: str
    active: bool
    position: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class MendedRows:
    """Rows that a person mended, and that still stand.

    Attributes:
        manifest_uri: The file in which they were.
        clips: What they ask for.
    """

    manifest_uri: str
    clips: Sequence[Clip]


class ProductionClips:
    """One production's clips.

    Args:
        history: The production.
        rows: The rows of output manifests that are about it, with where they lie.
        outputs: Opens outputs.
    """

    def __init__(
        self, history: ProductionHistory, rows: Sequence[tuple[OutputEvidence, Row]], outputs: Outputs
    ) -> None:
        self._history = history
        self._rows = rows
        self._outputs = outputs
        self._versions: dict[str, list[Clip]] | None = None
        self._present: dict[str, dict[str, str]] = {}
        self._searched: set[str] = set()

    @cached_property
    def snapshot(self) -> Snapshot | None:
        """What its newest reading asked for; None: that is no longer in its output."""
        return self._snapshot(self._history.newest)

    @cached_property
    def wanted(self) -> dict[str, Clip]:
        """What its own manifest asks for now, by clip id, in the manifest's order."""
        if self.snapshot is not None:
            return {clip.clip_id: clip for clip in self.snapshot.clips}
        newest = self._history.newest.manifest_sha256
        rows = [row for _, row in self._rows]
        of_newest = [row for row in rows if row["manifest_sha256"] == newest] or rows
        ordered = sorted(of_newest, key=lambda row: (row["row_number"], row["take"]))
        return {row["clip_id"]: clip_of_row(row) for row in ordered}

    @cached_property
    def mended(self) -> dict[str, Clip]:
        """Clips of mended rows that stand in the place of the manifest's own, by clip id."""
        return {clip.clip_id: clip for rows in self.mended_rows for clip in rows.clips}

    @cached_property
    def mended_rows(self) -> list[MendedRows]:
        """Every file with rows that still stand; what is read later stands in the place of what was read before."""
        files: dict[str, dict[str, Clip]] = {}
        published = {clip.clip_id: clip for clip in self._mended_as_published()}
        for clip in published.values():
            files.setdefault(self._mending_file(), {})[clip.clip_id] = clip
        for reading in self._history.amendments:
            snapshot = self._snapshot(reading)
            if snapshot is None or reading.at < self._history.newest.at:
                continue
            for clip in snapshot.clips:
                for earlier in files.values():
                    earlier.pop(clip.clip_id, None)
                if self._mends(clip):
                    files.setdefault(reading.manifest_uri, {})[clip.clip_id] = clip
        return [MendedRows(uri, list(clips.values())) for uri, clips in files.items() if clips]

    @property
    def mended_in_vain(self) -> list[ManifestReading]:
        """Readings of files that mended rows after the newest one of the manifest, and of which nothing is left."""
        newest = self._history.newest.at
        return [
            reading
            for reading in self._history.amendments
            if reading.at >= newest and self._snapshot(reading) is None
        ]

    @property
    def invalid_rows(self) -> dict[str, str]:
        """Rows that cannot be used: the id that they are reported under, and their hash."""
        if self.snapshot is None:
            return {}
        return {reported_id: row.row_hash for row, reported_id in invalid_ids(self.snapshot)}

    def names(self, clip_id: str) -> bool:
        """Whether it asks, or ever asked, for a clip of this id."""
        return clip_id in self.wanted or clip_id in self.versions

    def present(self, clip_id: str, fingerprint: str | None) -> str | None:
        """The fingerprint that this version writes for what the production asked for; None: it is of nothing it asked for."""
        if fingerprint is None:
            return None
        if clip_id not in self._present:
            now = (clips.get(clip_id) for clips in (self.wanted, self.mended))
            self._present[clip_id] = _present_of(clip for clip in now if clip is not None)
        if fingerprint not in self._present[clip_id] and clip_id not in self._searched:
            self._searched.add(clip_id)  # all older snapshots are read for that
            self._present[clip_id] |= _present_of(self.versions.get(clip_id, ()))
        return self._present[clip_id].get(fingerprint)

    def requested_clip(self, wanted: WantedClip, fingerprint: str) -> Clip | None:
        """The clip that had a fingerprint when it was asked for; None: nobody knows any more."""
        clip_id = wanted.clip.clip_id
        now = [clip for clips in (self.wanted, self.mended) if (clip := clips.get(clip_id)) is not None]
        for clip in (*now, *self.versions.get(clip_id, ())):
            if fingerprint in present_fingerprints(clip):
                return clip
        return wanted.clip if fingerprint == wanted.fingerprint else None

    @property
    def versions(self) -> Mapping[str, Sequence[Clip]]:
        """What it ever asked for under each id, the newest first."""
        if self._versions is None:
            self._versions = {}
            for clips in self._all_clips():
                for clip in clips:
                    known = self._versions.setdefault(clip.clip_id, [])
                    if all(other.fingerprint != clip.fingerprint for other in known):
                        known.append(clip)
        return self._versions

    def dropped(self, clip_id: str) -> Clip | None:
        """What it last asked for under an id that its manifest no longer names."""
        versions = self.versions.get(clip_id)
        return versions[0] if versions else None

    def wanted_clip(self, clip_id: str, evidence: Sequence[Evidence], default: Clip) -> WantedClip:
        """One of its clips: as its manifest wants it, else as it once did, else as its attempts tell.

        Args:
            clip_id: The clip.
            evidence: All there is of it.
            default: Model and maker, where nothing tells.
        """
        own, mended = self.wanted.get(clip_id), self.mended.get(clip_id)
        if own is not None:
            clip, fingerprint = own, (mended or own).fingerprint
        else:
            clip, fingerprint = self._no_longer_named(clip_id) or outline(clip_id, evidence, default)
        return WantedClip(
            clip,
            fingerprint,
            self._history.name,
            own is not None,
            self._positions.get(clip_id, len(self.wanted)),
            clip_id in self._cancelled,
        )

    @cached_property
    def _cancelled(self) -> set[str]:
        return {row["clip_id"] for _, row in self._rows if row["error_kind"] == CANCELLED}

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {clip_id: position for position, clip_id in enumerate(self.wanted)}

    def _no_longer_named(self, clip_id: str) -> tuple[Clip, str] | None:
        clip = self.mended.get(clip_id) or self.dropped(clip_id) or self._beside_its_video(clip_id)
        return None if clip is None else (clip, clip.fingerprint)

    def _beside_its_video(self, clip_id: str) -> Clip | None:
        for output_uri in self._history.outputs:
            for sidecar in self._outputs.at(output_uri).sidecars(clip_id):
                clip = clip_of_sidecar(sidecar)
                if sidecar["fingerprint"] in present_fingerprints(clip):
                    return clip
        return None

    # ---- where it is written

    def _all_clips(self) -> Iterable[Iterable[Clip]]:
        """Everything it ever asked for, the newest first."""
        yield self.mended.values()
        yield self.wanted.values()
        yield from self._older_snapshots()
        yield (clip_of_row(row) for _, row in self._rows)

    def _older_snapshots(self) -> Iterable[Iterable[Clip]]:
        seen = {self._history.newest.snapshot_sha256}
        readings = [*self._history.readings, *self._history.amendments]
        for reading in sorted(readings, key=_when, reverse=True):
            if reading.snapshot_sha256 not in seen:
                seen.add(reading.snapshot_sha256)
                snapshot = self._snapshot(reading)
                yield snapshot.clips if snapshot else ()

    def _snapshot(self, reading: ManifestReading) -> Snapshot | None:
        return self._outputs.at(reading.output_uri).snapshot(reading.snapshot_sha256)

    def _mended_as_published(self) -> list[Clip]:
        """Rows of the output manifest that show the newest reading, but not what that asks for."""
        if self.snapshot is None:
            return []
        rows = [row for _, row in self._rows if row["manifest_sha256"] == self.snapshot.manifest_sha256]
        clips = [clip for row in rows if self._mends(clip := clip_of_row(row))]
        if not clips:
            return []
        earlier = {clip.fingerprint for clips_then in self._older_snapshots() for clip in clips_then}
        # What an older reading asked for is no mended row: the image, or who makes it, has changed since it was published.
        return [clip for clip in clips if clip.fingerprint not in earlier]

    def _mends(self, clip: Clip) -> bool:
        own = self.wanted.get(clip.clip_id)
        if own is None:
            return clip.clip_id in self.invalid_rows
        return clip.fingerprint not in present_fingerprints(own)

    def _mending_file(self) -> str:
        amendments = self._history.amendments
        return amendments[-1].manifest_uri if amendments else f"{self._history.output_uri}/failed.csv"


def _when(reading: ManifestReading) -> datetime:
    return reading.at


def _present_of(clips: Iterable[Clip]) -> dict[str, str]:
    return {
        earlier: fingerprint for clip in clips for earlier, fingerprint in present_fingerprints(clip).items()
    }


def outline(clip_id: str, evidence: Sequence[Evidence], default: Clip) -> tuple[Clip, str]:
    """As much of a clip as its attempts tell, and its fingerprint."""
    request: Mapping[str, Any] = next((one.request for one in reversed(evidence) if one.request), {})
    models = [one.model for one in evidence if one.model]
    accounts = [one.account for one in evidence if one.account]
    clip = replace(
        default,
        clip_id=clip_id,
        model=models[-1] if models else default.model,
        simulated=accounts[-1].simulated if accounts else default.simulated,
        duration=int(request.get("duration", default.duration)),
        size=Size.parse(str(request.get("size", default.size))),
    )
    fingerprints = [one.fingerprint for one in evidence if one.fingerprint]
    return clip, fingerprints[-1] if fingerprints else clip.fingerprint
