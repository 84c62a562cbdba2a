"""Reads what an output remembers of the productions that filled it: its owner, manifest, snapshots and sidecars."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cached_property
from typing import Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.foreign_json import read_json
from sora_pipeline.manifest.bounds import MAX_BYTES
from sora_pipeline.manifest.columns import OUTPUT_COLUMNS
from sora_pipeline.manifest.ids import MAX_ID_CHARS, is_safe_id
from sora_pipeline.manifest.parquet_format import WRITTEN_TIMES, parse_parquet
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet
from sora_pipeline.media.probe import mismatch
from sora_pipeline.production.intake import SNAPSHOTS, snapshot_path
from sora_pipeline.production.ownership import Ownership, read_ownership
from sora_pipeline.production.publishing import PARQUET
from sora_pipeline.production.storing import SIDECARS
from sora_pipeline.recovery.evidence import LONG_AGO, Evidence, EvidenceKind, account_in
from sora_pipeline.recovery.fingerprints import present_fingerprints
from sora_pipeline.recovery.output_records import ROW_COLUMNS, why_no_row, why_no_sidecar
from sora_pipeline.spool import Spool
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.uris import Uri
from sora_pipeline.video import StoredVideo, VideoFacts

Row = Mapping[str, Any]
VIDEOS = "videos"
_FACTS = tuple(VideoFacts.__dataclass_fields__)
_STILL_FETCHABLE = frozenset({"timed_out", "download", "store", "run_failed", "not_a_video", "truncated"})
"""Kinds of failures after which the prediction can still be asked, and its video fetched."""
_NUMBER = re.compile(r"-(\d+)-[0-9a-f]{8}(?:-\d+)?\.mp4$")


class OutputEvidence:
    """One output, as it was left.

    Args:
        output_uri: The output.

    Raises:
        StoreError: it cannot be opened; the methods raise it where it cannot be read.
    """

    def __init__(self, output_uri: str) -> None:
        self.store = OutputStore(output_uri)
        self.unreadable: dict[str, str] = {}
        """What cannot be believed, and why."""
        self._doubtful: dict[str, str] = {}

    @cached_property
    def ownership(self) -> Ownership | None:
        """Whose it says it is.

        Raises:
            OutputOwnedError: that file is damaged, or was written by a newer version.
        """
        return read_ownership(self.store)

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the output manifest that are clips; none where it is not there."""
        try:
            content = self.store.read_bytes(PARQUET, MAX_BYTES)
        except FileNotFoundError:
            return []
        try:
            table = parse_parquet(self.store.uri_of(PARQUET), Spool.of(content), times=WRITTEN_TIMES)
        except ManifestError as error:
            raise StoreError(f"{error} Or move it away: the snapshots and sidecars tell most of it") from None
        rows = [dict(zip(table.names, row.cells, strict=True)) for row in table.rows]
        if rows and (missing := sorted(ROW_COLUMNS - rows[0].keys())):
            raise StoreError(
                f"{self.store.uri_of(PARQUET)} is no output manifest of sora-pipeline: it has no {', '.join(missing[:5])}"
            )
        seen: set[Any] = set()
        return [row for row in rows if row["status"] != ClipStatus.INVALID and self._believed(row, seen)]

    def _believed(self, row: Row, seen: set[Any]) -> bool:
        """Whether a row can be believed; notes its clip among those seen."""
        problem = why_no_row(row)
        if problem is None and row["clip_id"] in seen:
            problem = "another row is about this clip"
        if problem is None:
            seen.add(row["clip_id"])
        else:
            clip_id = str(row["clip_id"])[:MAX_ID_CHARS]
            place = f"{self.store.uri_of(PARQUET)} (clip {clip_id!r})"
            self._leave_out(place, problem, clip_id)
        return problem is None

    def _leave_out(self, place: str, problem: str, clip_id: str) -> None:
        self.unreadable[place] = problem
        self._doubtful.setdefault(clip_id, f"{place} cannot be read ({problem})")

    def snapshot(self, sha256: str) -> Snapshot | None:
        """A canonical snapshot; None where it is not there, or was written by another version of the program."""
        return self._snapshot(snapshot_path(sha256)) if sha256 else None

    def snapshots(self) -> Iterator[Snapshot]:
        """All of them."""
        for name in self.store.names(SNAPSHOTS):
            if (snapshot := self._snapshot(name)) is not None:
                yield snapshot

    def _snapshot(self, path: str) -> Snapshot | None:
        try:
            return snapshot_from_parquet(self.store.read_bytes(path, MAX_BYTES))
        except (FileNotFoundError, ValueError):
            return None

    def holds(self, video: StoredVideo) -> bool:
        """Whether the video's file is there, and whole as far as its size tells."""
        try:
            return self.store.size(video.file_name) == video.facts.bytes
        except FileNotFoundError:
            return False

    def evidence_of_row(self, row: Row, numbers: Mapping[str, int | None]) -> Evidence | None:
        """What a row of the output manifest proves; None where it proves no attempt.

        Args:
            row: The row; it is about the clip's delivered attempt, or else its last.
            numbers: Attempt numbers that are known already, by prediction id.
        """
        kind = _kind_of(row)
        if kind is None:
            return None
        name = _NUMBER.search(row["file_name"] or "")
        number = numbers.get(row["prediction_id"]) or (int(name[1]) if name else row["attempts"])
        return Evidence(
            clip_id=row["clip_id"],
            kind=kind,
            at=row["stored_at"] or row["completed_at"] or row["submitted_at"] or LONG_AGO,
            number=number,
            account=account_in(row),
            model=row["model"],
            fingerprint=row["fingerprint"],
            prediction_id=row["prediction_id"],
            provider_status=row["provider_status"],
            model_returned=row["model_returned"],
            error_kind=row["error_kind"],
            error_message=row["error_message"],
            retryable=row["retryable"],
            video=self._video(row) if kind is EvidenceKind.STORED else None,
            submitted_at=row["submitted_at"],
            completed_at=row["completed_at"],
            stored_at=row["stored_at"],
            run_id=row["run_id"],
        )

    # ---- sidecars

    def clips_with_sidecars(self) -> list[str]:
        """Ids of all clips that ever had a video here."""
        ids = [name.rpartition("/")[2] for name in self.store.names(SIDECARS)]
        return [clip_id for clip_id in ids if is_safe_id(clip_id)]

    def sidecars(self, clip_id: str) -> Iterator[Row]:
        """What stands beside a clip's videos; what cannot be read is noted and left out."""
        names = [name for name in self.store.names(f"{SIDECARS}/{clip_id}") if name.endswith(".json")]
        for name in names:
            try:
                sidecar = read_json(self.store.read_bytes(name, MAX_BYTES))
            except ValueError as error:
                problem: str | None = f"is not JSON as it is written there: {error}"
            else:
                problem = why_no_sidecar(sidecar)
                if problem is None and sidecar["clip_id"] != clip_id:
                    problem = f"is about the clip {sidecar['clip_id']}"
            if problem is None:
                yield sidecar
            else:
                self._leave_out(self.store.uri_of(name), problem, clip_id)

    def evidence_of_sidecar(self, sidecar: Row, clip: Clip | None) -> Evidence:
        """What stands beside a video, delivered or not: the run that stored it may have died just then.

        Args:
            sidecar: What stands there.
            clip: What was asked for; None: nobody knows any more.
        """
        video = self._video(sidecar)
        problem = mismatch(video.facts, size=clip.size, duration=clip.duration) if clip else None
        return Evidence(
            clip_id=sidecar["clip_id"],
            kind=EvidenceKind.FAILED if problem else EvidenceKind.STORED,
            at=LONG_AGO,
            number=sidecar["attempt"],
            account=account_in(sidecar),
            model=sidecar["model"],
            fingerprint=sidecar["fingerprint"],
            cost_usd=Decimal(sidecar["cost_usd"]),
            prediction_id=sidecar["prediction_id"],
            model_returned=sidecar["model_returned"],
            error_kind=problem.kind if problem else None,
            error_message=problem.message if problem else None,
            video=video,
        )

    def doubt(self, clip_id: str) -> Evidence | None:
        """That something was paid for a clip of which nothing else tells; None: nothing here says so.

        What stands beside its video cannot be read, or is gone: a person can tell whether it is to be made again.
        """
        reason = self._doubtful.get(clip_id)
        if reason is None and clip_id in self._clips_with_videos and self.store.names(f"{VIDEOS}/{clip_id}"):
            reason = f"nothing tells what {self.store.uri_of(f'{VIDEOS}/{clip_id}')} holds"
        if reason is None:
            return None
        return Evidence(
            clip_id=clip_id,
            kind=EvidenceKind.PERHAPS_SENT,
            at=LONG_AGO,
            error_message=f"{reason}, so that it may be paid for",
        )

    @cached_property
    def _clips_with_videos(self) -> frozenset[str]:
        return frozenset(name.rpartition("/")[2] for name in self.store.names(VIDEOS))

    def _video(self, facts: Row) -> StoredVideo:
        return StoredVideo(
            output_uri=self.store.uri,
            file_name=facts["file_name"],
            poster_path=facts["poster_path"],
            facts=VideoFacts(**{name: facts[name] for name in _FACTS}),
        )


class Outputs:
    """Every output that is looked into, opened once."""

    def __init__(self) -> None:
        self._opened: dict[str, OutputEvidence] = {}

    def at(self, output_uri: str) -> OutputEvidence:
        """One output.

        Raises:
            StoreError: it cannot be opened.
        """
        output_uri = output_uri.rstrip("/")
        if output_uri not in self._opened:
            self._opened[output_uri] = OutputEvidence(output_uri)
        return self._opened[output_uri]

    @property
    def unreadable(self) -> list[str]:
        """Sidecars and rows that could not be believed."""
        return [
            f"{place}: {problem}"
            for output in self._opened.values()
            for place, problem in output.unreadable.items()
        ]


def _kind_of(row: Row) -> EvidenceKind | None:
    """What the status of a row proves about the attempt that the row is about."""
    prediction = row["prediction_id"] is not None
    match ClipStatus(row["status"]):
        case ClipStatus.DELIVERED:
            return EvidenceKind.STORED
        case ClipStatus.AMBIGUOUS:
            return EvidenceKind.AMBIGUOUS
        case ClipStatus.FAILED:
            fetchable = prediction and row["error_kind"] in _STILL_FETCHABLE
            return EvidenceKind.ACCEPTED if fetchable else EvidenceKind.FAILED
        case ClipStatus.IN_FLIGHT:
            return EvidenceKind.ACCEPTED if prediction else EvidenceKind.PERHAPS_SENT
        case ClipStatus.PENDING if prediction:
            return EvidenceKind.FAILED  # for a reason of the provider's, to be tried again
    return None


def clip_of_row(row: Row) -> Clip:
    """What a row of the output manifest asks for."""
    clip = Clip(
        clip_id=row["clip_id"],
        row_number=row["row_number"],
        prompt=row["prompt"],
        image=row["image"] and Uri(row["image"]),
        image_sha256=row["image_sha256"],
        model=row["model"],
        simulated=False,
        duration=row["duration"],
        size=Size.parse(row["size"]),
        take=row["take"],
        carried={name: _plain(value) for name, value in row.items() if name not in OUTPUT_COLUMNS},
        parameters=read_json(row["parameters"]) if row.get("parameters") else {},
    )
    return replace(clip, simulated=_asks_for_simulated(clip, row))


def _asks_for_simulated(clip: Clip, row: Row) -> bool:
    """Whether an emulator was to make a row's clip: its fingerprint says so, or else who made it last."""
    present = present_fingerprints(clip).get(row["fingerprint"])
    if present is not None:
        return present != clip.fingerprint
    account = account_in(row)
    return account is not None and account.simulated


def clip_of_sidecar(sidecar: Row) -> Clip:
    """What was asked for when a video was made, as far as what stands beside it tells."""
    account = account_in(sidecar)
    return Clip(
        clip_id=sidecar["clip_id"],
        row_number=0,
        prompt=sidecar["prompt"],
        image=sidecar["image"] and Uri(sidecar["image"]),
        image_sha256=sidecar["image_sha256"],
        model=sidecar["model"],
        simulated=account is not None and account.simulated,
        duration=round(sidecar["duration_s"]),
        size=Size(sidecar["width"], sidecar["height"]),
        carried=sidecar.get("carried") or {},
        parameters=sidecar.get("parameters") or {},
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
