"""When what happened between a command and its first video: from Dagster's storage, the ledger and the provider's bill."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from benchmarks.trial import moment_of
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import GENERATIONS_JOB, MANIFEST_JOB, VIDEOS_JOB

Moments = dict[str, float]
"""Epoch seconds, by what was reached then."""
SUBMITTED, VIDEO = "accepted by the provider", "first video on disk"
_JOBS = {MANIFEST_JOB: "reading run", GENERATIONS_JOB: "submitting run", VIDEOS_JOB: "fetching run"}


def moments_in_ledger(ledger: Ledger, production: str) -> Moments:
    """What the ledger has noted of a production."""
    found = ledger.productions.get(production)
    attempts = ledger.attempts.of_production(production)
    moments = {
        "asked for in the ledger": found.requested_at,
        "first clip reserved": _first(attempt.reserved_at for attempt in attempts),
        "first request begun": _first(attempt.submission.submitted_at for attempt in attempts),
    }
    return {name: moment.timestamp() for name, moment in moments.items() if moment is not None}


def moments_in_dagster(instance: dg.DagsterInstance, since: float) -> Moments:
    """What Dagster has noted of the first run of each job that was requested since."""
    moments: Moments = {}
    records = sorted(instance.get_run_records(), key=lambda record: record.create_timestamp)
    for record in records:
        run = record.dagster_run
        name, requested = _JOBS.get(run.job_name), record.create_timestamp.timestamp()
        if name is None or requested < since or f"{name} requested" in moments:
            continue
        moments[f"{name} requested"] = requested
        stats = instance.get_run_stats(run.run_id)
        if (launched := getattr(stats, "launch_time", None)) is not None:
            moments[f"{name} out of the queue"] = launched
        if record.start_time is not None:
            moments[f"{name} at work"] = record.start_time
    return moments


def moments_in_bill(bill: Mapping[str, Any], prompts: Iterable[str]) -> Moments:
    """What the provider has noted of the clips with these prompts."""
    wanted = set(prompts)
    items = [item for item in bill["items"] if item["prompt"] in wanted]
    ended = [moment_of(item["ended_at"]) for item in items if item["ended_at"]]
    moments = {SUBMITTED: min((moment_of(item["accepted_at"]) for item in items), default=None)}
    moments["first clip rendered"] = min(ended, default=None)
    return {name: moment for name, moment in moments.items() if moment is not None}


def phases(began: float, moments: Mapping[str, float], until: str) -> dict[str, float]:
    """Seconds that it took to reach each moment from the one before, in order, up to ``until``.

    What lies before the beginning belongs to something earlier, and is left out.
    """
    if until not in moments:
        return {}
    ordered = sorted(
        ((moment, name) for name, moment in moments.items() if began <= moment <= moments[until]),
        key=lambda each: (each[0], each[1] == until),
    )
    taken: dict[str, float] = {}
    before = began
    for moment, name in ordered:
        taken[name] = moment - before
        before = moment
    return taken


def _first(moments: Iterable[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def median_moments(trials: Sequence[Mapping[str, float]]) -> Moments:
    """The median of each moment that every trial has, in seconds since its beginning."""
    shared = set.intersection(*(set(trial) for trial in trials)) if trials else set()
    return {name: statistics.median(trial[name] for trial in trials) for name in sorted(shared)}
