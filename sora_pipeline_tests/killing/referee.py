"""The judge of a production that has settled: the provider's bill, the ledger, the files and Dagster must agree.

Asks each of them for itself, and trusts none.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger
from sora_pipeline.media.probe import VideoProblem, verify_video
from sora_pipeline.store import ABANDONED_S

FINAL = {"delivered", "failed", "ambiguous"}
GIVEN_UP_BY_A_PERSON = "given up by a person"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def violations(
    ledger: Ledger,
    production_id: str,
    bill: Mapping[str, Any],
    *,
    instance: dg.DagsterInstance | None = None,
    sound: Sequence[str] = (),
) -> list[str]:
    """Everything that is not as promised, a sentence each; none where all is well.

    Args:
        ledger: The ledger.
        production_id: A production that has settled and was published.
        bill: The provider's.
        instance: Where its runs were, if Dagster had a part in it.
        sound: Clips that nothing is wrong with: they have to be delivered, unless they are ambiguous.
    """
    standings = ledger.clips.standings_of(production_id)
    made: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in ledger.attempts.of_production(production_id):
        made[attempt.clip_id].append(attempt)
    output = Path(ledger.productions.get(production_id).output_uri)
    rows = {row["clip_id"]: row for row in pq.read_table(output / "metadata.parquet").to_pylist()}
    found = [
        *_money(standings, made, bill, ledger, production_id),
        *_manifest(standings, made, rows, sound),
        *_files(standings, rows, output),
        *_leftovers(made, output),
        *_nothing_stuck(ledger, production_id, made),
    ]
    if instance is not None:
        found += [
            f"run {run.run_id} of {run.job_name} is {run.status.value} for ever"
            for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))
        ]
    return found


def _money(
    standings: Mapping[str, ClipStanding],
    made: Mapping[str, list[Attempt]],
    bill: Mapping[str, Any],
    ledger: Ledger,
    production_id: str,
) -> Iterator[str]:
    """The bill is the ledger's, to the cent, and no clip is on it more often than the rules allow."""
    items: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in bill["items"]:
        items[item["prompt"]].append(item)
    prompts = {standing.clip.prompt: clip_id for clip_id, standing in standings.items()}
    for prompt in set(items) - set(prompts):
        yield f"{prompt!r} was billed, and no clip has this prompt"
    unseen = Decimal(0)  # accepted by the provider, and never heard of by us
    doubtful = Decimal(0)  # the ledger counts it, for it may have been accepted
    for prompt, clip_id in prompts.items():
        billed = {item["prediction_id"]: Decimal(item["cost_usd"]) for item in items[prompt]}
        sure = {a.prediction_id: a.cost_usd for a in made[clip_id] if a.accepted_at}
        maybe = [a for a in made[clip_id] if a.possibly_billed and not a.accepted_at]
        for unknown in set(sure) - set(billed):
            yield f"{clip_id}: prediction {unknown} is in the ledger and not on the bill"
        extra = set(billed) - set(sure)
        if len(extra) > len(maybe):
            yield f"{clip_id}: billed {len(billed)} times, accepted {len(sure)}, perhaps {len(maybe)} more"
        if any(sure[each] != billed[each] for each in set(sure) & set(billed)):
            yield f"{clip_id}: the ledger has {sure}, the bill {billed}"
        unseen += sum((billed[each] for each in extra), Decimal(0))
        doubtful += sum((a.cost_usd for a in maybe), Decimal(0))
        yield from _history(clip_id, made[clip_id])
    spent = ledger.money.of_production(production_id).spent_usd
    if spent - doubtful + unseen != Decimal(bill["total_usd"]):
        yield f"the ledger has {spent} USD, {doubtful} of it in doubt and {unseen} of that billed; the bill {bill['total_usd']}"


def _history(clip_id: str, attempts: Sequence[Attempt]) -> Iterator[str]:
    """A further attempt only after one that failed and may be tried again, or on a person's word."""
    for earlier, later in pairwise(attempts):
        by_a_person = later.round > earlier.round or GIVEN_UP_BY_A_PERSON in (earlier.error_message or "")
        if earlier.state is not AttemptState.FAILED or not (earlier.retryable or by_a_person):
            yield f"{clip_id}: attempt {later.number} began after {earlier.number} was {earlier.state}, {earlier.error_kind}"


def _manifest(
    standings: Mapping[str, ClipStanding],
    made: Mapping[str, list[Attempt]],
    rows: Mapping[str, Mapping[str, Any]],
    sound: Sequence[str],
) -> Iterator[str]:
    """One row a clip, with a final status that is the ledger's."""
    if set(rows) != set(standings):
        yield f"the manifest has rows {sorted(rows)}, the ledger clips {sorted(standings)}"
        return
    for clip_id, standing in standings.items():
        status, latest = rows[clip_id]["status"], standing.latest
        if status not in FINAL:
            yield f"{clip_id}: its final status is {status}"
        if (status == "delivered") != (standing.delivered is not None):
            yield f"{clip_id}: {status} in the manifest, delivered in the ledger: {standing.delivered is not None}"
        ambiguous = latest is not None and latest.state is AttemptState.AMBIGUOUS
        if ambiguous != (status == "ambiguous"):
            yield f"{clip_id}: {status} in the manifest, {latest.state if latest else None} in the ledger"
        if status != "delivered" and not rows[clip_id]["error_message"]:
            yield f"{clip_id}: {status}, and nobody says why"
        counted = [a.cost_usd for a in made[clip_id] if a.accepted_at or a.possibly_billed]
        if Decimal(str(rows[clip_id]["cost_usd"] or 0)) != sum(counted, Decimal(0)):
            yield f"{clip_id}: costs {rows[clip_id]['cost_usd']} in the manifest, {sum(counted)} in the ledger"
        if clip_id in sound and status not in ("delivered", "ambiguous"):
            yield f"{clip_id}: {status} ({rows[clip_id]['error_kind']}: {rows[clip_id]['error_message']})"


def _files(
    standings: Mapping[str, ClipStanding], rows: Mapping[str, Mapping[str, Any]], output: Path
) -> Iterator[str]:
    """Every delivered file is there, is the one that the manifest names, and decodes to its end."""
    for clip_id, row in rows.items():
        if row["file_name"] is None:
            if row["status"] == "delivered":
                yield f"{clip_id}: delivered without a file"
            continue
        path = output / row["file_name"]
        if not path.is_file():
            yield f"{clip_id}: {row['file_name']} is not there"
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if (path.stat().st_size, digest) != (row["bytes"], row["sha256"]):
            yield f"{clip_id}: {row['file_name']} is not the file that the manifest describes"
        clip = standings[clip_id].clip
        if (problem := _undecodable(path, clip)) is not None:
            yield f"{clip_id}: {row['file_name']}: {problem}"


def _leftovers(made: Mapping[str, list[Attempt]], output: Path) -> Iterator[str]:
    """Unfinished files that nobody will clear away."""
    attempts = {attempt.attempt_id: attempt for each in made.values() for attempt in each}
    for path in sorted((output / ".staging").glob("*")):
        number, owner = path.stem.partition("-")[0], path.stem.rpartition("-")[2]
        attempt = attempts.get(int(number)) if number.isdecimal() else None
        # Killed after all was done, or in the middle of a small write: the next run finds it old, and clears it away.
        last_moment = attempt is not None and (attempt.run_id or "").startswith(owner)
        young = time.time() - path.stat().st_mtime < ABANDONED_S
        if not young or not (last_moment or path.suffix == ".part"):
            yield f"{path.name} was left in .staging"


def _undecodable(path: Path, clip: Clip) -> str | None:
    try:
        verify_video(path, size=Size.parse(str(clip.size)), duration=clip.duration)
    except VideoProblem as problem:
        return problem.message
    return None


def _nothing_stuck(ledger: Ledger, production_id: str, made: Mapping[str, list[Attempt]]) -> Iterator[str]:
    """No attempt that anybody would still have to bring on, and no state that was not published."""
    for attempts in made.values():
        for attempt in attempts:
            given_up = attempt.state is AttemptState.SUCCEEDED and attempt.reported_at is not None
            if attempt.state in _UNSETTLED and not given_up:
                yield f"{attempt.clip_id}: attempt {attempt.number} is stuck in {attempt.state}"
    production = ledger.productions.get(production_id)
    if production.published_seq != production.change_seq:
        yield f"state {production.change_seq} of the production is not published"


_UNSETTLED = (
    AttemptState.RESERVED,
    AttemptState.SUBMITTING,
    AttemptState.IN_FLIGHT,
    AttemptState.SUCCEEDED,
)
