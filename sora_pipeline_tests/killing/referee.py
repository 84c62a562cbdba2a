"""The judge of productions that have settled: the providers' bills, the ledger, the files and Dagster must agree.

Asks each of them for itself, and trusts none. All productions of a ledger are judged at once, for what one of them lacks
may be what another one has too much.
"""

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from sora_pipeline.clip import Clip, clip_key, split_clip_key
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger, Production
from sora_pipeline.media.probe import VideoError, verify_video
from sora_pipeline.names import RANGE_END_TAG, RANGE_START_TAG, PipelineNames
from sora_pipeline.production.ownership import OWNER
from sora_pipeline.store import ABANDONED_S

FINAL = {"delivered", "failed", "ambiguous"}
GIVEN_UP = "; given up: "
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

Bill = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One production, and what the ledger and its output say of it.

    Attributes:
        production: The production.
        standings: Its clips, by key.
        made: Every attempt at each of them.
        output: Its output, or a copy of one that is elsewhere.
    """

    production: Production
    standings: Mapping[str, ClipStanding]
    made: Mapping[str, list[Attempt]]
    output: Path

    @classmethod
    def of(cls, ledger: Ledger, production: Production, output: Path | None) -> "Case":
        made: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in ledger.attempts.of_production(production.production_id):
            made[attempt.clip_key].append(attempt)
        standings = ledger.clips.standings_of(production.production_id)
        return cls(production, standings, made, output or Path(production.output_uri))

    @cached_property
    def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """The output manifest's, by clip key."""
        found = pq.read_table(self.output / "metadata.parquet").to_pylist()
        return {clip_key(self.production.production_id, row["clip_id"]): row for row in found}


def violations(
    ledger: Ledger,
    bills: Mapping[str, Bill],
    *,
    instance: dg.DagsterInstance | None = None,
    sound: Sequence[str] = (),
    outputs: Mapping[str, Path] = MappingProxyType({}),
) -> list[str]:
    """Everything that is not as promised, a sentence each; none where all is well.

    Args:
        ledger: The ledger; its productions have settled and were published.
        bills: The providers', by account.
        instance: Where its runs were, if Dagster had a part in it.
        sound: Keys of clips that nothing is wrong with: they have to be delivered, unless they are ambiguous.
        outputs: Copies of outputs that are not in a folder, by production.
    """
    cases = [
        Case.of(ledger, production, outputs.get(production.production_id))
        for production in ledger.productions.all()
    ]
    found = [*_bills(cases, bills, ledger), *_outputs(cases, ledger)]
    for case in cases:
        found += [
            *_manifest(case, bills, sound),
            *_files(case),
            *_leftovers(case),
            *_nothing_stuck(case),
        ]
    if instance is not None:
        found += _dagster(cases, instance)
    return found


@dataclass
class _Sum:
    """What the ledger knows of money, and how much of that is in doubt.

    Attributes:
        billed: On the bill.
        unseen: Of that: accepted by the provider, and never heard of by us.
        doubtful: The ledger counts it, for it may have been accepted.
    """

    billed: Decimal = Decimal(0)
    unseen: Decimal = Decimal(0)
    doubtful: Decimal = Decimal(0)

    def __iadd__(self, other: "_Sum") -> "_Sum":
        self.billed += other.billed
        self.unseen += other.unseen
        self.doubtful += other.doubtful
        return self

    def differs(self, whose: str, spent: Decimal) -> Iterator[str]:
        if spent - self.doubtful + self.unseen != self.billed:
            yield (
                f"{whose}: the ledger has {spent} USD, {self.doubtful} of it in doubt and {self.unseen} of that billed; "
                f"the bill {self.billed}"
            )


def _bills(cases: Sequence[Case], bills: Mapping[str, Bill], ledger: Ledger) -> Iterator[str]:
    """The bills are the ledger's, to the cent: by clip, by production and by account."""
    owners: dict[str, tuple[Case, str]] = {}
    for case in cases:
        for key, standing in case.standings.items():
            if standing.clip.prompt in owners:
                yield f"{key} and {owners[standing.clip.prompt][1]} cannot be told apart on a bill"
            owners[standing.clip.prompt] = case, key
    items: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for account, bill in bills.items():
        for item in bill["items"]:
            case, key = owners.get(item["prompt"], (None, ""))
            if case is None:
                yield f"{item['prompt']!r} was billed, and no clip has this prompt"
            elif case.production.account != account:
                yield f"{key} of the account {case.production.account} is on the bill of {account}"
            else:
                items[key].append(item)
    by_account: dict[str, _Sum] = defaultdict(_Sum)
    for case in cases:
        total = _Sum()
        for key in case.standings:
            total += yield from _money(case, key, items[key])
        spent = ledger.money.of_production(case.production.production_id).spent_usd
        yield from total.differs(case.production.production_id, spent)
        by_account[case.production.account or ""] += total
    report = {line.keys[0]: line.spent_usd for line in ledger.money.report(["account"])}
    if strangers := (set(report) | set(by_account)) - set(bills):
        yield f"nobody has the bill of {sorted(strangers)}"
    for account, bill in bills.items():
        total = by_account[account]
        total.billed = Decimal(bill["total_usd"])
        yield from total.differs(f"the account {account}", report.get(account, Decimal(0)))


def _money(case: Case, key: str, items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """No clip is on the bill more often than the rules allow; returns what it comes to."""
    made, account = case.made[key], case.production.account
    billed = {item["prediction_id"]: Decimal(item["cost_usd"]) for item in items}
    sure = {a.submission.prediction_id: a.cost_usd for a in made if a.submission.accepted_at}
    maybe = [a for a in made if a.possibly_billed and not a.submission.accepted_at]
    for unknown in set(sure) - set(billed):
        yield f"{key}: prediction {unknown} is in the ledger and not on the bill"
    extra = set(billed) - set(sure)
    if len(extra) > len(maybe):
        yield f"{key}: billed {len(billed)} times, accepted {len(sure)}, perhaps {len(maybe)} more"
    if any(sure[each] != billed[each] for each in set(sure) & set(billed)):
        yield f"{key}: the ledger has {sure}, the bill {billed}"
    for attempt in made:
        if attempt.account.name != account:
            yield f"{key}: attempt {attempt.number} is of the account {attempt.account.name}, and not of {account}"
    yield from _history(key, made)
    return _Sum(
        billed=sum(billed.values(), Decimal(0)),
        unseen=sum((billed[each] for each in extra), Decimal(0)),
        doubtful=sum((a.cost_usd for a in maybe), Decimal(0)),
    )


def _history(key: str, attempts: Sequence[Attempt]) -> Iterator[str]:
    """A further attempt only after one that failed and may be tried again, or on a person's word; counted from 1."""
    if [attempt.number for attempt in attempts] != list(range(1, len(attempts) + 1)):
        yield f"{key}: its attempts are numbered {[attempt.number for attempt in attempts]}"
    for earlier, later in pairwise(attempts):
        failure = earlier.failure
        by_a_person = later.round > earlier.round or (failure and GIVEN_UP in failure.message)
        again = by_a_person or (failure is not None and failure.retryable)
        if earlier.state is not AttemptState.FAILED or not again:
            yield f"{key}: attempt {later.number} began after {earlier.number} was {earlier.state}, {failure}"


def _outputs(cases: Sequence[Case], ledger: Ledger) -> Iterator[str]:
    """Every production has an output of its own, which says whose it is."""
    places = Counter(case.production.output_uri for case in cases)
    for case in cases:
        if places[case.production.output_uri] > 1:
            yield f"{case.output} is the output of several productions"
        owner = json.loads((case.output / OWNER).read_bytes())
        said = owner["production"], owner["pipeline"], owner["ledger_id"]
        if said != (case.production.production_id, case.production.pipeline, ledger.ledger_id):
            yield f"the output of {case.production.production_id} says that it is {said}'s"
        for path in (case.output / "videos").glob("*/*.mp4"):
            if clip_key(case.production.production_id, path.parent.name) not in case.standings:
                yield f"{path} is of no clip of {case.production.production_id}"


def _manifest(case: Case, bills: Mapping[str, Bill], sound: Sequence[str]) -> Iterator[str]:
    """One row a clip, with a final status that is the ledger's, and a video that was bought for this very clip."""
    rows, standings = case.rows, case.standings
    if set(rows) != set(standings):
        yield f"the manifest has rows {sorted(rows)}, the ledger clips {sorted(standings)}"
        return
    bill = bills.get(case.production.account or "", {"items": []})
    bought = {item["prediction_id"]: item["prompt"] for item in bill["items"]}
    for key, standing in standings.items():
        row, latest = rows[key], standing.latest
        status = row["status"]
        if (row["production"], row["prompt"]) != (case.production.production_id, standing.clip.prompt):
            yield f"{key}: its row is {row['production']}'s, {row['prompt']!r}"
        if status not in FINAL:
            yield f"{key}: its final status is {status}"
        if (status == "delivered") != (standing.delivered is not None):
            yield f"{key}: {status} in the manifest, delivered in the ledger: {standing.delivered is not None}"
        if status == "delivered" and bought.get(row["prediction_id"]) != standing.clip.prompt:
            yield f"{key}: its video is of a prediction that {row['account']} did not make for it"
        ambiguous = latest is not None and latest.state is AttemptState.AMBIGUOUS
        if ambiguous != (status == "ambiguous"):
            yield f"{key}: {status} in the manifest, {latest.state if latest else None} in the ledger"
        if status != "delivered" and not row["error_message"]:
            yield f"{key}: {status}, and nobody says why"
        counted = [a.cost_usd for a in case.made[key] if a.billed]
        if Decimal(str(row["cost_usd"] or 0)) != sum(counted, Decimal(0)):
            yield f"{key}: costs {row['cost_usd']} in the manifest, {sum(counted)} in the ledger"
        if key in sound and status not in ("delivered", "ambiguous"):
            yield f"{key}: {status} ({row['error_kind']}: {row['error_message']})"


def _files(case: Case) -> Iterator[str]:
    """Every delivered file is there, is the one that the manifest names, was made for this clip, and decodes to its end."""
    for key, row in case.rows.items():
        if row["file_name"] is None:
            if row["status"] == "delivered":
                yield f"{key}: delivered without a file"
            continue
        path = case.output / row["file_name"]
        if not path.is_file():
            yield f"{key}: {row['file_name']} is not there"
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if (path.stat().st_size, digest) != (row["bytes"], row["sha256"]):
            yield f"{key}: {row['file_name']} is not the file that the manifest describes"
        if key not in case.standings:
            continue
        clip = case.standings[key].clip
        if (problem := _undecodable(path, clip)) is not None:
            yield f"{key}: {row['file_name']}: {problem}"
        name = Path(row["file_name"]).relative_to("videos").with_suffix(".json")
        sidecar = json.loads((case.output / ".sidecars" / name).read_bytes())
        if (sidecar["production"], sidecar["prompt"]) != (case.production.production_id, clip.prompt):
            yield f"{key}: {row['file_name']} was made for {sidecar['production']}, {sidecar['prompt']!r}"


def _leftovers(case: Case) -> Iterator[str]:
    """Unfinished files that nobody will clear away."""
    attempts = {attempt.attempt_id: attempt for each in case.made.values() for attempt in each}
    for path in sorted((case.output / ".staging").glob("*")):
        number, owner = path.stem.partition("-")[0], path.stem.rpartition("-")[2]
        attempt = attempts.get(int(number)) if number.isdecimal() else None
        # Killed after all was done, or in the middle of a small write: the next run finds it old, and clears it away.
        last_moment = attempt is not None and (attempt.run_id or "").startswith(owner)
        young = time.time() - path.stat().st_mtime < ABANDONED_S
        if not young or not (last_moment or path.suffix == ".part"):
            yield f"{path.name} was left in .staging"


def _undecodable(path: Path, clip: Clip) -> str | None:
    try:
        verify_video(path, size=clip.size, duration=clip.duration)
    except VideoError as problem:
        return problem.message
    return None


def _nothing_stuck(case: Case) -> Iterator[str]:
    """No attempt that anybody would still have to bring on, and no state that was not published."""
    for key, attempts in case.made.items():
        for attempt in attempts:
            given_up = attempt.state is AttemptState.SUCCEEDED and attempt.reported_at is not None
            if attempt.state in _UNSETTLED and not given_up:
                yield f"{key}: attempt {attempt.number} is stuck in {attempt.state}"
    production = case.production
    if production.published_seq != production.change_seq:
        yield f"state {production.change_seq} of {production.production_id} is not published"


_UNSETTLED = (
    AttemptState.RESERVED,
    AttemptState.SUBMITTING,
    AttemptState.IN_FLIGHT,
    AttemptState.SUCCEEDED,
)


def _dagster(cases: Sequence[Case], instance: dg.DagsterInstance) -> Iterator[str]:
    """No run goes on for ever, and each pipeline has partitions and runs for its own clips and no others."""
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        yield f"run {run.run_id} of {run.job_name} is {run.status.value} for ever"
    pipelines = {case.production.production_id: case.production.pipeline for case in cases}
    for pipeline in sorted(set(pipelines.values())):
        names = PipelineNames(pipeline)
        yield from _not_green(cases, instance, names)
        partitions = set(instance.get_dynamic_partitions(names.clips))
        wanted = {key for case in cases if case.production.pipeline == pipeline for key in case.standings}
        if partitions != wanted:
            yield f"{names.clips} has {sorted(partitions ^ wanted)} too many or too few"
        for job in names.jobs:
            for run in instance.get_runs(filters=dg.RunsFilter(job_name=job)):
                ends = {run.tags[tag] for tag in (RANGE_START_TAG, RANGE_END_TAG) if tag in run.tags}
                if any(pipelines.get(split_clip_key(key)[0]) != pipeline for key in ends):
                    yield f"run {run.run_id} of {job} is about {sorted(ends)}"


def _not_green(cases: Sequence[Case], instance: dg.DagsterInstance, names: PipelineNames) -> Iterator[str]:
    """A clip whose newest attempt has brought its video is green in both assets."""
    delivered = [
        key
        for case in cases
        if case.production.pipeline == names.name
        for key, standing in case.standings.items()
        if standing.delivered is not None and standing.latest == standing.delivered
    ]
    partitions = dg.DynamicPartitionsDefinition(name=names.clips)
    for asset in (names.generations, names.videos):
        statuses = instance.get_status_by_partition(asset, delivered, partitions) or {}
        for key in delivered:
            status = statuses.get(key)
            if status is None or status.value != "MATERIALIZED":
                yield f"{key} is delivered, and {status.value if status else 'missing'} in {asset.to_user_string()}"
