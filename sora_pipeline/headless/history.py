"""Reads what Dagster's event log remembers of productions and attempts, as plain values."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import dagster as dg

from sora_pipeline.assets.clips import asked_by_person
from sora_pipeline.assets.metadata import NEVER_BEGUN
from sora_pipeline.ledger import AttemptState, StoredVideo
from sora_pipeline.production.traces import History, Reading, Trace, TraceKind
from sora_pipeline.uris import split_output

PROMPT_MANIFEST, GENERATIONS, VIDEOS = (
    dg.AssetKey("prompt_manifest"),
    dg.AssetKey("generations"),
    dg.AssetKey("videos"),
)
_PAGE = 500
_DATA_VERSION = "dagster/data_version"
_ENDS = {AttemptState.FAILED: TraceKind.FAILED, AttemptState.AMBIGUOUS: TraceKind.AMBIGUOUS}

Fetch = Callable[..., Any]


def read_history(instance: dg.DagsterInstance) -> History:
    """Go through the whole event log of our assets. Reads only."""
    accepted = list(_each(instance.fetch_materializations, GENERATIONS))
    stored = list(_each(instance.fetch_materializations, VIDEOS))
    said = [*_each(instance.fetch_observations, GENERATIONS), *_each(instance.fetch_observations, VIDEOS)]
    traces = [_accepted(record) for record in accepted] + [_stored(record) for record in stored]
    traces += [trace for record in said if (trace := _failed(record)) is not None]
    # A run that said something about a clip has said how its submit went.
    explained = {(record.run_id, record.partition_key or "") for record in [*accepted, *stored, *said]}
    return History(list(_readings(instance)), [*traces, *_unexplained(instance, explained)])


def _each(fetch: Fetch, key: dg.AssetKey) -> Iterator[dg.EventLogRecord]:
    """All records of an asset, oldest first."""
    cursor: str | None = None
    while True:
        page = fetch(dg.AssetRecordsFilter(asset_key=key), limit=_PAGE, cursor=cursor, ascending=True)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def _readings(instance: dg.DagsterInstance) -> Iterator[Reading]:
    for record in _each(instance.fetch_materializations, PROMPT_MANIFEST):
        event = record.asset_materialization
        told = _plain(event)
        if event is None or not told.get("manifest") or not told.get("output"):
            continue
        yield Reading(
            manifest_uri=told["manifest"],
            output_uri=told["output"],
            manifest_sha256=told.get("manifest_sha256", ""),
            snapshot_sha256=(event.tags or {}).get(_DATA_VERSION, ""),
            at=_moment(record.timestamp),
            budget_usd=_budget(instance, record.run_id),
        )


def _budget(instance: dg.DagsterInstance, run_id: str) -> Decimal | None:
    """The budget that the run was given."""
    run = instance.get_run_by_id(run_id)
    try:
        return Decimal(_config(run, "prompt_manifest")["budget_usd"]) if run else None
    except (KeyError, InvalidOperation):
        return None


def _config(run: dg.DagsterRun, asset: str) -> Mapping[str, Any]:
    """What a run was told about an asset."""
    config: Any = run.run_config
    for name in ("ops", asset, "config"):
        config = config.get(name) or {}
    return config  # type: ignore[no-any-return]  # Dagster does not type it


def _accepted(record: dg.EventLogRecord) -> Trace:
    told = _plain(record.asset_materialization)
    at = _moment(record.timestamp)
    return _trace(record, TraceKind.ACCEPTED, told, submitted_at=at, request=told.get("request"))


def _stored(record: dg.EventLogRecord) -> Trace:
    told = _plain(record.asset_materialization)
    output_uri, file_name = split_output(str(told.get("video", "")))
    video = StoredVideo(
        file_name=file_name,
        output_uri=output_uri,
        poster_path=f".posters/{file_name.removeprefix('videos/').removesuffix('.mp4')}.jpg",
        bytes=int(told.get("bytes", 0)),
        sha256=str(told.get("sha256", "")),
        width=int(told.get("width", 0)),
        height=int(told.get("height", 0)),
        fps=float(told.get("fps", 0)),
        frames=int(told.get("frames", 0)),
        duration_s=float(told.get("duration_s", 0)),
        video_codec=str(told.get("video_codec", "")),
        has_audio=bool(told.get("has_audio")),
        c2pa=bool(told.get("c2pa")),
    )
    return _trace(record, TraceKind.STORED, told, video=video, stored_at=_moment(record.timestamp))


def _failed(record: dg.EventLogRecord) -> Trace | None:
    """How a clip ended that has no video; None where the run only said that it waits."""
    told = _plain(record.event_log_entry.asset_observation)
    if "failed" not in told or told.get("state") == NEVER_BEGUN:
        return None
    if "state" not in told:
        return _trace(record, TraceKind.PERHAPS_SENT, told, error_message=told["failed"])
    # Past its deadline, or rendered and not fetched: the prediction can still be asked.
    kind = _ENDS.get(AttemptState(told["state"]), TraceKind.ACCEPTED)
    return _trace(
        record,
        kind,
        told,
        error_kind=told.get("error_kind"),
        error_message=told.get("error_message"),
        retryable=told.get("retryable"),
        possibly_billed=bool(told.get("possibly_billed")),
    )


def _trace(record: dg.EventLogRecord, kind: TraceKind, told: Mapping[str, Any], **more: Any) -> Trace:
    cost = told.get("cost_usd")
    return Trace(
        clip_id=record.partition_key or "",
        kind=kind,
        at=_moment(record.timestamp),
        number=told.get("attempt"),
        provider=told.get("provider") or None,
        model=told.get("model") or None,
        fingerprint=told.get("fingerprint") or None,
        cost_usd=None if cost is None else Decimal(str(cost)),
        prediction_id=told.get("prediction_id") or None,
        poll_url=told.get("poll_url") or None,
        provider_status=told.get("provider_status") or None,
        model_returned=told.get("model_returned") or None,
        run_id=record.run_id,
        **more,
    )


def _unexplained(instance: dg.DagsterInstance, explained: set[tuple[str, str]]) -> Iterator[Trace]:
    """Clips of runs that may have submitted them and ended, or were lost, without a word about them.

    A run that succeeded went to its end: what it has no event for was not submitted, and waits.
    """
    unsuccessful = [status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.SUCCESS]
    cursor: str | None = None
    while records := instance.get_run_records(
        dg.RunsFilter(statuses=unsuccessful), limit=_PAGE, cursor=cursor
    ):
        for found in records:
            if found.start_time is not None:
                yield from _of_run(instance, found, explained)
        cursor = records[-1].dagster_run.run_id


def _of_run(
    instance: dg.DagsterInstance, found: dg.RunRecord, explained: set[tuple[str, str]]
) -> Iterator[Trace]:
    run = found.dagster_run
    by_person = asked_by_person(run.tags)
    # Collecting submits nothing by itself, but a person who materializes a video may have it submitted.
    submitting = {GENERATIONS, VIDEOS} if by_person else {GENERATIONS}
    forced = any(_config(run, asset).get("force") for asset in ("generations", "videos"))
    clip_ids = {
        record.partition_key
        for record in _planned(instance, run.run_id)
        if record.asset_key in submitting and record.partition_key is not None
    }
    for clip_id in sorted(clip_ids):
        if (run.run_id, clip_id) not in explained:
            at = _moment(found.start_time or 0.0)
            yield Trace(
                clip_id=clip_id,
                kind=TraceKind.PERHAPS_SENT,
                at=at,
                run_id=run.run_id,
                new_attempt=forced or not by_person,
            )


def _planned(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.EventLogRecord]:
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(
            run_id, cursor=cursor, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, limit=_PAGE
        )
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def _plain(event: dg.AssetMaterialization | dg.AssetObservation | None) -> dict[str, Any]:
    return {} if event is None else {key: value.value for key, value in event.metadata.items()}


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
