"""The bill: everything that was accepted, which is everything a provider charges for, answered or not."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sora_pipeline.sandbox.jobs import Job
from sora_pipeline.sandbox.store import JobStore


def bill(store: JobStore) -> dict[str, Any]:
    """The whole bill as JSON values."""
    jobs = list(store.all())
    return {
        "submits": store.submits,
        "accepted": len(jobs),
        "total_usd": str(store.total_usd),
        "total_usd_number": float(store.total_usd),
        "items": [_item(job) for job in jobs],
        "by_prompt": dict(Counter(job.prompt for job in jobs)),
        "duplicates": _duplicates(jobs),
        "keys_leaked": store.keys_leaked,
    }


def _item(job: Job) -> dict[str, Any]:
    return {
        "prediction_id": job.id,
        "format": job.wire,
        **job.what_is_billed(),
        "accepted_at": _utc(job.accepted_at),
        "ended_at": _utc(job.ended_at) if job.ended_at is not None else None,
        "status": job.state().value,
        "outcome": job.outcome.value if job.outcome else None,
        "faults": list(job.fault_names),
    }


def _duplicates(jobs: list[Job]) -> list[dict[str, Any]]:
    """What was bought more than once: same prompt, model, size, duration and image."""
    alike: dict[tuple[Any, ...], list[Job]] = defaultdict(list)
    for job in jobs:
        alike[job.prompt, job.model, str(job.size), job.duration, job.image_sha256].append(job)
    return [
        {
            "prompt": prompt,
            "model": model,
            "size": size,
            "duration": duration,
            "image_sha256": image,
            "count": len(group),
            "extra_usd": str(sum((job.cost_usd for job in group[1:]), Decimal(0))),
            "prediction_ids": [job.id for job in group],
        }
        for (prompt, model, size, duration, image), group in alike.items()
        if len(group) > 1
    ]


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
