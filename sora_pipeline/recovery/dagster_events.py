"""Reads what Dagster's event log remembers of productions and attempts, as plain values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import dagster as dg

from sora_pipeline.assets.clips import requested_by_person
from sora_pipeline.assets.metadata import NEVER_BEGUN
from sora_pipeline.clip import split_clip_key
from sora_pipeline.ledger import AttemptState
from sora_pipeline.names import PipelineNames, op_of
from sora_pipeline.recovery.evidence import Evidence, EvidenceKind, History, ManifestReading, account_in
from sora_pipeline.uris import split_output
from sora_pipeline.video import StoredVideo, VideoFacts

_PAGE = 500
_DATA_VERSION = "dagster/data_version"
_ENDS = {AttemptState.FAILED: EvidenceKind.FAILED, AttemptState.AMBIGUOUS: EvidenceKind.AMBIGUOUS}

Fetch = Callable[..., Any]


class PipelineAssets(Protocol):
    """What a pipeline's assets are called: ``names.PipelineNames`` is one."""

    @property
    def prompt_manifest(self) -> dg.AssetKey:
        """The input manifest."""

    @property
    def generations(self) -> dg.AssetKey:
        """A prediction for every clip."""

    @property
    def videos(self) -> dg.AssetKey:
        """A checked video for every clip."""


def pipelines_in(instance: dg.DagsterInstance) -> list[PipelineAssets]:
    """Every pipeline that ever did anything on this instance, the built-in one first.

    No command line knows the pipelines of the user's code; the event log knows their key prefixes.
    """
    parts = {PipelineNames().prompt_manifest.path[-1], PipelineNames().generations.path[-1]}
    prefixes = {tuple(key.path[:-1]) for key in instance.get_asset_keys() if key.path[-1] in parts}
    return [PipelineNames(), *(_Assets(prefix) for prefix in sorted(prefixes) if prefix)]


@dataclass(frozen=True)
class _Assets:
    """The assets below a key prefix, whatever their pipeline is called."""

    prefix: tuple[str, ...]

    @property
    def prompt_manifest(self) -> dg.AssetKey:
        return self._below(PipelineNames().prompt_manifest)

    @property
    def generations(self) -> dg.AssetKey:
        return self._below(PipelineNames().generations)

    @property
    def videos(self) -> dg.AssetKey:
        return self._below(PipelineNames().videos)

    def _below(self, key: dg.AssetKey) -> dg.AssetKey:
        return key.with_prefix(self.prefix)


def read_history(instance: dg.DagsterInstance, assets: PipelineAssets) -> History:
    """Go through the whole event log of a pipeline's assets. Reads only."""
    accepted = list(_records(instance.fetch_materializations, assets.generations))
    stored = list(_records(instance.fetch_materializations, assets.videos))
    ended = [
        record
        for key in (assets.generations, assets.videos)
        for record in _records(instance.fetch_observations, key)
    ]
    evidence = [_accepted(record) for record in accepted] + [_stored(record) for record in stored]
    evidence += [end for record in ended if (end := _ended(record)) is not None]
    # A run that said something about a clip has said how its submit went.
    explained = {(record.run_id, record.partition_key or "") for record in [*accepted, *stored, *ended]}
    readings = list(_readings(instance, assets.prompt_manifest))
    return History(readings, [*evidence, *_unexplained(instance, assets, explained)])


def _records(fetch: Fetch, key: dg.AssetKey) -> Iterator[dg.EventLogRecord]:
    """All records of an asset, oldest first."""
    cursor: str | None = None
    while True:
        page = fetch(dg.AssetRecordsFilter(asset_key=key), limit=_PAGE, cursor=cursor, ascending=True)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


# ---- manifests


def _readings(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[ManifestReading]:
    for record in _records(instance.fetch_materializations, key):
        event = record.asset_materialization
        metadata = _plain(event)
        if event is None or not metadata.get("manifest") or not metadata.get("output"):
            continue
        given = _given_budget(instance, record.run_id, key)
        yield ManifestReading(
            manifest_uri=metadata["manifest"],
            output_uri=metadata["output"],
            manifest_sha256=metadata.get("manifest_sha256", ""),
            snapshot_sha256=(event.tags or {}).get(_DATA_VERSION, ""),
            at=_moment(record.timestamp),
            # What stood there before productions had names was a hash, and nothing said the account.
            production_id=metadata.get("production") if "pipeline" in metadata else None,
            pipeline=metadata.get("pipeline") or "",
            account=metadata.get("account") or None,
            amends=bool(metadata.get("amends")),
            budget_usd=given if given is not None else _usd(metadata.get("budget_usd")),
            budget_given=given is not None or bool(metadata.get("budget_given")),
            ledger_id=metadata.get("ledger_id") or None,
        )


def _given_budget(instance: dg.DagsterInstance, run_id: str, key: dg.AssetKey) -> Decimal | None:
    """The budget that the run was given."""
    run = instance.get_run_by_id(run_id)
    return _usd(_config(run, key).get("budget_usd")) if run else None


def _usd(amount: Any) -> Decimal | None:
    try:
        return None if amount in (None, "") else Decimal(str(amount))
    except InvalidOperation:
        return None


def _config(run: dg.DagsterRun, key: dg.AssetKey) -> Mapping[str, Any]:
    """What a run was told about an asset."""
    config: Any = run.run_config
    for name in ("ops", op_of(key), "config"):
        config = config.get(name) or {}
    return config  # type: ignore[no-any-return]  # Dagster does not type it


# ---- attempts


def _accepted(record: dg.EventLogRecord) -> Evidence:
    metadata = _plain(record.asset_materialization)
    at = _moment(record.timestamp)
    return _evidence(
        record, EvidenceKind.ACCEPTED, metadata, submitted_at=at, request=metadata.get("request")
    )


def _stored(record: dg.EventLogRecord) -> Evidence:
    metadata = _plain(record.asset_materialization)
    output_uri, file_name = split_output(str(metadata.get("video", "")))
    facts = VideoFacts(
        bytes=int(metadata.get("bytes", 0)),
        sha256=str(metadata.get("sha256", "")),
        width=int(metadata.get("width", 0)),
        height=int(metadata.get("height", 0)),
        fps=float(metadata.get("fps", 0)),
        frames=int(metadata.get("frames", 0)),
        duration_s=float(metadata.get("duration_s", 0)),
        video_codec=str(metadata.get("video_codec", "")),
        has_audio=bool(metadata.get("has_audio")),
        c2pa=bool(metadata.get("c2pa")),
    )
    poster = f".posters/{file_name.removeprefix('videos/').removesuffix('.mp4')}.jpg"
    video = StoredVideo(output_uri, file_name, poster, facts)
    at = _moment(record.timestamp)
    return _evidence(record, EvidenceKind.STORED, metadata, video=video, stored_at=at)


def _ended(record: dg.EventLogRecord) -> Evidence | None:
    """How a clip ended that has no video; None where the run only said that it waits."""
    metadata = _plain(record.event_log_entry.asset_observation)
    if "failed" not in metadata or metadata.get("state") == NEVER_BEGUN:
        return None
    if "state" not in metadata:
        return _evidence(record, EvidenceKind.PERHAPS_SENT, metadata, error_message=metadata["failed"])
    # Past its deadline, or rendered and not fetched: the prediction can still be asked.
    kind = _ENDS.get(AttemptState(metadata["state"]), EvidenceKind.ACCEPTED)
    return _evidence(
        record,
        kind,
        metadata,
        error_kind=metadata.get("error_kind"),
        error_message=metadata.get("error_message"),
        retryable=metadata.get("retryable"),
        possibly_billed=bool(metadata.get("possibly_billed")),
    )


def _evidence(
    record: dg.EventLogRecord, kind: EvidenceKind, metadata: Mapping[str, Any], **more: Any
) -> Evidence:
    production_id, clip_id = _whose(record.partition_key or "")
    return Evidence(
        clip_id=clip_id,
        kind=kind,
        at=_moment(record.timestamp),
        production_id=production_id,
        number=metadata.get("attempt"),
        account=account_in(metadata),
        model=metadata.get("model") or None,
        fingerprint=metadata.get("fingerprint") or None,
        cost_usd=_usd(metadata.get("cost_usd")),
        prediction_id=metadata.get("prediction_id") or None,
        poll_url=metadata.get("poll_url") or None,
        provider_status=metadata.get("provider_status") or None,
        model_returned=metadata.get("model_returned") or None,
        run_id=record.run_id,
        **more,
    )


def _whose(partition_key: str) -> tuple[str | None, str]:
    """Production and clip id of a partition; before productions had names, clip ids were partition keys."""
    try:
        return split_clip_key(partition_key)
    except ValueError:
        return None, partition_key


# ---- runs that left no word


def _unexplained(
    instance: dg.DagsterInstance, assets: PipelineAssets, explained: set[tuple[str, str]]
) -> Iterator[Evidence]:
    """Clips of runs that may have submitted them and ended, or were lost, without a word about them.

    A run that succeeded went to its end: what it has no event for was not submitted, and waits.
    """
    unsuccessful = [status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.SUCCESS]
    cursor: str | None = None
    while records := instance.get_run_records(
        dg.RunsFilter(statuses=unsuccessful), limit=_PAGE, cursor=cursor
    ):
        for record in records:
            if record.start_time is not None:
                yield from _perhaps_sent(instance, assets, record, explained)
        cursor = records[-1].dagster_run.run_id


def _perhaps_sent(
    instance: dg.DagsterInstance,
    assets: PipelineAssets,
    record: dg.RunRecord,
    explained: set[tuple[str, str]],
) -> Iterator[Evidence]:
    run = record.dagster_run
    by_person = requested_by_person(run.tags)
    # Collecting submits nothing by itself, but a person who materializes a video may have it submitted.
    submitting = {assets.generations, assets.videos} if by_person else {assets.generations}
    forced = any(_config(run, asset).get("force") for asset in (assets.generations, assets.videos))
    for partition_key in sorted(_planned_partitions(instance, run.run_id, submitting)):
        if (run.run_id, partition_key) in explained:
            continue
        production_id, clip_id = _whose(partition_key)
        yield Evidence(
            clip_id=clip_id,
            kind=EvidenceKind.PERHAPS_SENT,
            at=_moment(record.start_time or 0.0),
            production_id=production_id,
            run_id=run.run_id,
            new_attempt=forced or not by_person,
        )


def _planned_partitions(instance: dg.DagsterInstance, run_id: str, keys: Iterable[dg.AssetKey]) -> set[str]:
    """Partitions of these assets that a run was to materialize."""
    planned: set[str] = set()
    wanted = set(keys)
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(
            run_id, cursor=cursor, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, limit=_PAGE
        )
        planned |= {
            record.partition_key
            for record in page.records
            if record.asset_key in wanted and record.partition_key is not None
        }
        if not page.has_more:
            return planned
        cursor = page.cursor


def _plain(event: dg.AssetMaterialization | dg.AssetObservation | None) -> dict[str, Any]:
    return {} if event is None else {key: value.value for key, value in event.metadata.items()}


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
