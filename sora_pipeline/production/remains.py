"""Reads what an output remembers of the production that filled it: its manifest, its snapshots and its sidecars."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import StoredVideo
from sora_pipeline.manifest.columns import OUTPUT_COLUMNS
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet
from sora_pipeline.media.probe import VideoFacts, mismatch
from sora_pipeline.outcome import ClipStatus
from sora_pipeline.production.publishing import PARQUET
from sora_pipeline.production.reading import SNAPSHOTS, snapshot_path
from sora_pipeline.production.storing import SIDECARS
from sora_pipeline.production.traces import LONG_AGO, Trace, TraceKind
from sora_pipeline.store import OutputStore, StoreProblem

Row = Mapping[str, Any]
_VIDEO = tuple(name for name in StoredVideo.__dataclass_fields__ if name != "output_uri")
_FACTS = tuple(VideoFacts.__dataclass_fields__)
_STILL_FETCHABLE = frozenset({"timed_out", "download", "store", "run_failed", "not_a_video", "truncated"})
"""Kinds of failures after which the prediction can still be asked, and its video fetched."""
_NUMBER = re.compile(r"-(\d+)-[0-9a-f]{8}\.mp4$")


class Remains:
    """One output, as it was left.

    Args:
        output_uri: The output.

    Raises:
        StoreProblem: it cannot be opened; the methods raise it where it cannot be read.
    """

    def __init__(self, output_uri: str) -> None:
        self._store = OutputStore(output_uri)

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the output manifest that are clips; none where it is not there."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            content = self._store.read_bytes(PARQUET)
        except FileNotFoundError:
            return []
        try:
            rows = pq.ParquetFile(pa.BufferReader(content)).read().to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise StoreProblem(
                f"{self._store.uri_of(PARQUET)} cannot be read ({error}); move it away, and it is written anew"
            ) from None
        return [row for row in rows if row["status"] != ClipStatus.INVALID]

    def snapshot(self, sha256: str) -> Snapshot | None:
        """A canonical snapshot; None where it is not there, or was written by another version of the program."""
        return self._snapshot(snapshot_path(sha256)) if sha256 else None

    def snapshots(self) -> Iterator[Snapshot]:
        """All of them."""
        for name in self._store.names(SNAPSHOTS):
            if (snapshot := self._snapshot(name)) is not None:
                yield snapshot

    def _snapshot(self, path: str) -> Snapshot | None:
        try:
            return snapshot_from_parquet(self._store.read_bytes(path))
        except (FileNotFoundError, ValueError):  # pyarrow's complaints are ValueErrors too
            return None

    def holds(self, video: StoredVideo) -> bool:
        """Whether the video's file is there, and whole as far as its size tells."""
        try:
            return self._store.size(video.file_name) == video.bytes
        except FileNotFoundError:
            return False

    def row_trace(self, row: Row, numbers: Mapping[str, int | None]) -> Trace | None:
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
        return Trace(
            clip_id=row["clip_id"],
            kind=kind,
            at=row["stored_at"] or row["completed_at"] or row["submitted_at"] or LONG_AGO,
            number=number,
            provider=row["provider"],
            model=row["model"],
            fingerprint=row["fingerprint"],
            prediction_id=row["prediction_id"],
            provider_status=row["provider_status"],
            model_returned=row["model_returned"],
            error_kind=row["error_kind"],
            error_message=row["error_message"],
            retryable=row["retryable"],
            video=self._video(row) if kind is TraceKind.STORED else None,
            submitted_at=row["submitted_at"],
            completed_at=row["completed_at"],
            stored_at=row["stored_at"],
            run_id=row["run_id"],
        )

    def sidecar_traces(self, clip: Clip, fingerprint: str) -> Iterator[Trace]:
        """What stands beside a clip's videos, delivered or not: the run that stored them may have died just then."""
        for name in self._store.names(f"{SIDECARS}/{clip.clip_id}"):
            told = json.loads(self._store.read_bytes(name))
            video, problem = self._video(told), None
            if told["fingerprint"] == fingerprint:
                facts = VideoFacts(**{fact: getattr(video, fact) for fact in _FACTS})
                problem = mismatch(facts, size=clip.size, duration=clip.duration)
            yield Trace(
                clip_id=clip.clip_id,
                kind=TraceKind.FAILED if problem else TraceKind.STORED,
                at=LONG_AGO,
                number=told["attempt"],
                provider=told["provider"],
                model=told["model"],
                fingerprint=told["fingerprint"],
                cost_usd=Decimal(told["cost_usd"]),
                prediction_id=told["prediction_id"],
                model_returned=told["model_returned"],
                error_kind=problem.kind if problem else None,
                error_message=problem.message if problem else None,
                video=video,
            )

    def _video(self, row: Row) -> StoredVideo:
        return StoredVideo(**{name: row[name] for name in _VIDEO}, output_uri=self._store.uri)


def _kind_of(row: Row) -> TraceKind | None:
    """What the status of a row proves about the attempt that the row is about."""
    prediction = row["prediction_id"] is not None
    match ClipStatus(row["status"]):
        case ClipStatus.DELIVERED:
            return TraceKind.STORED
        case ClipStatus.AMBIGUOUS:
            return TraceKind.AMBIGUOUS
        case ClipStatus.FAILED:
            return (
                TraceKind.ACCEPTED
                if prediction and row["error_kind"] in _STILL_FETCHABLE
                else TraceKind.FAILED
            )
        case ClipStatus.IN_FLIGHT:
            return TraceKind.ACCEPTED if prediction else TraceKind.PERHAPS_SENT
        case ClipStatus.PENDING if (
            prediction
        ):  # it failed for a reason of the provider's and is to be tried again
            return TraceKind.FAILED
    return None


def clip_of_row(row: Row) -> Clip:
    """What a row of the output manifest asks for."""
    return Clip(
        clip_id=row["clip_id"],
        row_number=row["row_number"],
        prompt=row["prompt"],
        image=row["image"],
        image_sha256=row["image_sha256"],
        model=row["model"],
        provider=row["provider"],
        duration=row["duration"],
        size=Size.parse(row["size"]),
        take=row["take"],
        carried={name: _plain(value) for name, value in row.items() if name not in OUTPUT_COLUMNS},
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
