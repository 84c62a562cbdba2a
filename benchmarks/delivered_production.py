"""A ledger with one production of any size, all of it delivered but for a few rows, and its output without the videos.

Written a stretch at a time, so that whoever fills it needs no more memory for more clips.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Account, Attempt, AttemptState, Ledger, Plan, Reading
from sora_pipeline.ledger.counters import count_production
from sora_pipeline.ledger.rows import row_of
from sora_pipeline.ledger.schema import attempts
from sora_pipeline.ledger.types import Failure, Polling, Result, Submission
from sora_pipeline.ledger.wanting import write_clips
from sora_pipeline.manifest.problems import RowProblem
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_to_parquet
from sora_pipeline.store import OutputStore
from sora_pipeline.uris import Uri
from sora_pipeline.video import StoredVideo, VideoFacts

NAME = "spring"
ACCOUNT = Account("gptproto", "gptproto", simulated=False)
FAILED_EVERY, INVALID_EVERY, AGAIN_EVERY = 100, 1000, 20
"""Every how many-th row failed for good, cannot be made, or was delivered only by its second attempt."""
STRETCH = 5_000
_NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
_SNAPSHOT = ".snapshots/filled.parquet"


def fill(url: str, output: Path, rows: int) -> None:
    """Fill an empty ledger, and write the snapshot of the manifest that it is of into the output."""
    ledger = Ledger(url)
    plan = Plan(
        production_id=NAME, pipeline="", manifest_uri=Uri("/srv/spring.csv"), output_uri=str(output), account=ACCOUNT
    )  # fmt: skip
    began = datetime.now(UTC)
    reading = Reading(
        snapshot_path=_SNAPSHOT,
        manifest_sha256="5e" * 32,
        snapshot_sha256="5f" * 32,
        wanted=[],
        invalid={},
        began_at=began,
    )
    ledger.productions.record_snapshot(plan, reading)
    with ledger.database.write() as connection:
        for start in range(0, rows, STRETCH):
            numbers = range(start, min(start + STRETCH, rows))
            wanted = [(number, _clip(number)) for number in numbers if not _is_invalid(number)]
            write_clips(connection, NAME, wanted)
            made = [each for number, clip in wanted for each in _attempts(number, clip, str(output))]
            connection.execute(attempts.insert(), [row_of(attempt) for attempt in made])
        count_production(connection, NAME)
    ledger.close()
    OutputStore(str(output)).replace_bytes(_SNAPSHOT, snapshot_to_parquet(_snapshot(rows)))


def _is_invalid(number: int) -> bool:
    return number % INVALID_EVERY == 17


def _clip(number: int) -> Clip:
    prompt = f"A heron walks through a harbour in the rain, filmed from low above the ground, shot {number}."
    return Clip(
        # As of rows that name none: in another order than the manifest's.
        clip_id=f"a-heron-walks-through-{hashlib.sha256(prompt.encode()).hexdigest()[:12]}",
        row_number=number + 1,
        prompt=prompt,
        image=None,
        image_sha256=None,
        model="sora-2-pro",
        simulated=False,
        duration=4,
        size=Size(720, 1280),
        carried={"campaign": ("autumn", "winter", "spring sale")[number % 3], "shot": number, "scene": "harbour"},
    )  # fmt: skip


def _attempts(number: int, clip: Clip, output: str) -> Iterator[Attempt]:
    if number % AGAIN_EVERY == 1:
        yield _attempt(number, 1, clip, None, retryable=True)
        yield _attempt(number, 2, clip, output)
    elif number % FAILED_EVERY == 3:
        yield _attempt(number, 1, clip, None, retryable=False)
    else:
        yield _attempt(number, 1, clip, output)


def _attempt(number: int, nth: int, clip: Clip, output: str | None, *, retryable: bool = False) -> Attempt:
    sent = _NOON + timedelta(seconds=number / 10)
    name = f"{clip.clip_id}/{clip.clip_id}-{nth}-{clip.fingerprint[:8]}"
    facts = VideoFacts(2_345_678 + number, clip.fingerprint, 720, 1280, 30.0, 120, 4.0, "h264", True, True)
    video = StoredVideo(output, f"videos/{name}.mp4", f".posters/{name}.jpg", facts) if output else None
    ended = sent + timedelta(seconds=118.523)
    return Attempt(
        attempt_id=0,
        clip_key=f"{NAME}:{clip.clip_id}",
        number=nth,
        round=1,
        fingerprint=clip.fingerprint,
        state=AttemptState.COLLECTED if video else AttemptState.FAILED,
        batch_id=f"batch-{number // 500}",
        account=ACCOUNT,
        model=clip.model,
        cost_micros=1_200_000,
        reserved_at=sent,
        submission=Submission(
            submitted_at=sent,
            accepted_at=sent + timedelta(seconds=1.25),
            prediction_id=f"prediction-{number:08}-{nth}",
            poll_url=f"https://provider.example.com/predictions/{number:08}-{nth}",
            model_returned="sora-2-pro",
            request={"duration": 4, "size": "720x1280"},
        ),
        polling=Polling(provider_status="succeeded" if video else "failed", polls=20),
        failure=None if video else Failure("content_policy", "the provider refused the prompt", retryable),
        result=Result(
            completed_at=ended,
            video=video,
            stored_at=ended + timedelta(seconds=3) if video else None,
            verified_at=ended if video else None,
        ),
        reported_at=ended,
        run_id=f"run-{number // 500}",
    )


def _snapshot(rows: int) -> Snapshot:
    invalid = tuple(
        InvalidRow(
            number + 1,
            None,
            {"prompt": f"A bear, shot {number}", "duration": 5, "campaign": "winter", "shot": number},
            (RowProblem(number + 1, "duration", "5", "5 is not a duration of sora-2-pro", "4, 8 or 12"),),
        )
        for number in range(rows)
        if _is_invalid(number)
    )
    carried = ("campaign", "shot", "scene")
    return Snapshot(Uri("/srv/spring.csv"), "5e" * 32, "5f" * 32, (), invalid, carried)
