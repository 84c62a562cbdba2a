"""A ledger as it looks after years: a million attempts, nearly all of them settled, a few thousand live.

Filled by the database itself, since going through the transitions a million times would take a day.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from sora_pipeline.clip import KEY_SEPARATOR, clip_key
from sora_pipeline.ledger import Account, Ledger
from sora_pipeline.ledger.batches import GENERATIONS
from sora_pipeline.ledger.counters import count_production
from sora_pipeline.ledger.schema import attempts, clips, metadata

ATTEMPTS = 1_000_000
PRODUCTIONS = 40
DAYS = 100
BATCH = 50
AT_WORK = 8
"""Batches that have a run; the others ended today."""
ACCOUNT = Account("gptproto", "gptproto", simulated=False)
OTHER = "another"  # the account of every tenth attempt

_SPEC = {
    "row_number": 1,
    "prompt": "a fox in the snow, at dawn, from far away",
    "image": None,
    "image_sha256": None,
    "model": "sora-2",
    "simulated": False,
    "duration": 4,
    "size": "720x1280",
    "take": 1,
    "carried": {"campaign": "winter"},
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many of what: every fourth clip but the newest was attempted twice.

    Attributes:
        clips: All clips.
        live: Clips with a live attempt, or one that failed and was not shown so far; the newest but for those waiting.
        waiting: Clips that were never attempted, the newest of all.
        productions: How many productions share the clips.
    """

    clips: int
    live: int
    waiting: int
    productions: int = PRODUCTIONS

    @classmethod
    def of(cls, attempts: int) -> "Sizes":
        """Sizes that come to about so many attempts."""
        return cls(clips=attempts * 4 // 5, live=attempts // 250, waiting=attempts // 300)

    @property
    def settled(self) -> int:
        """Clips whose attempts have ended, which runs have shown."""
        return self.clips - self.live - self.waiting


def fill(ledger: Ledger, sizes: Sizes) -> None:
    """Fill an empty ledger, and let PostgreSQL look at what it has, as it does by itself after a while."""
    indexes = [index for table in (clips, attempts) for index in table.indexes]
    with ledger.database.write() as connection:
        for index in indexes:
            index.drop(connection)
        _Filler(connection, sizes).fill()
        for index in indexes:
            index.create(connection)
        for number in range(sizes.productions):
            count_production(connection, f"production-{number}")
    if ledger.database.engine.dialect.name == "postgresql":
        with ledger.database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))


def key_of(number: int, sizes: Sizes) -> str:
    """The key of a clip, from 1: the higher, the newer."""
    return clip_key(production_of(number, sizes), f"clip-{number}")


def production_of(number: int, sizes: Sizes) -> str:
    """The production that a clip belongs to."""
    return f"production-{(number - 1) * sizes.productions // sizes.clips}"


class _Filler:
    """Inserts from a table of numbers; what the dialects say differently is here."""

    def __init__(self, connection: Connection, sizes: Sizes) -> None:
        self._connection = connection
        self._sizes = sizes
        self._postgresql = connection.dialect.name == "postgresql"
        self._now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        self._production = f"'production-' || ((i - 1) * {sizes.productions} / {sizes.clips})"
        self._key = f"{self._production} || '{KEY_SEPARATOR}' || 'clip-' || i"

    def fill(self) -> None:
        """All tables."""
        sizes = self._sizes
        self._insert(
            "productions",
            sizes.productions,
            production_id="'production-' || (i - 1)",
            pipeline="''",
            account=f"'{ACCOUNT.name}'",
            simulated="false",
            manifest_uri="'/manifests/' || i || '.csv'",
            output_uri="'/videos/' || i",
            budget_micros="10000000000000",
            read_at=self._ago("1000"),
            snapshot_path="'.snapshots/1.parquet'",
            change_seq="25000",
            published_seq="25000",
        )
        self._insert(
            "clips",
            sizes.clips,
            clip_key=self._key,
            clip_id="'clip-' || i",
            production_id=self._production,
            active="true",
            position="i",
            round="1",
            fingerprint="'fingerprint-' || i",
            spec=self._json(_SPEC),
            standing="'pending'",
        )
        self._batches(sizes.clips // BATCH + 1)
        live = f"i > {sizes.settled}"
        again = "i % 4 = 0"
        first = f"CASE WHEN {live} THEN {_live_state()} WHEN {again} OR i % 50 = 1 THEN 'failed' ELSE 'collected' END"
        self._attempts("1", first, f"i <= {sizes.settled + sizes.live}", retryable=again)
        second = "CASE WHEN i % 40 = 0 THEN 'failed' ELSE 'collected' END"
        self._attempts("2", second, f"{again} AND i <= {sizes.settled}", retryable="false")
        if self._postgresql:
            self._connection.execute(
                text(
                    "SELECT setval(pg_get_serial_sequence('attempts', 'attempt_id'), max(attempt_id)) FROM attempts"
                )
            )

    def _batches(self, count: int) -> None:
        """The newest have a run, and of their clips those that wait; the others have ended."""
        sizes = self._sizes
        newest = [key_of(sizes.clips - number, sizes) for number in reversed(range(min(BATCH, sizes.clips)))]
        at_work = f"i > {count - AT_WORK}"
        self._insert(
            "batches",
            count,
            batch_id="'batch-' || (i - 1)",
            created_at=self._ago("1000"),
            submit_tries="1",
            submit_requested_at=self._ago("1000"),
            pipeline="''",
            account=f"'{ACCOUNT.name}'",
            asset=f"'{GENERATIONS}'",
            keys=f"CASE WHEN {at_work} THEN {self._json(newest)} ELSE {self._json([])} END",
            wanted=f"CASE WHEN {at_work} THEN {self._json({production_of(sizes.clips, sizes): BATCH})} END",
            run_id="'run-' || i",
            begun_at=self._ago("900"),
            lease_until=self._ago(f"CASE WHEN {at_work} THEN -600 ELSE 600 END"),
            ended_at=f"CASE WHEN NOT {at_work} THEN {self._ago('600')} END",
        )

    def _attempts(self, number: str, state: str, which: str, *, retryable: str) -> None:
        """The attempts of this number: sent a while ago, the newest clips' just now."""
        sent = self._ago(f"({self._sizes.clips} - i) * {DAYS * 86_400} / {self._sizes.clips}")
        unsent = "made.state = 'reserved'"
        failed = "made.state = 'failed'"
        unshown = f"({failed} AND i > {self._sizes.settled})"
        unanswered = f"(made.state IN ('reserved', 'submitting', 'ambiguous') OR {unshown} AND i % 2 = 1)"
        ended = "made.state IN ('collected', 'failed', 'succeeded')"
        stored = "made.state = 'collected'"
        columns = {
            "clip_key": self._key,
            "production_id": self._production,
            "number": number,
            "round": "1",
            "fingerprint": "'fingerprint-' || i",
            "state": "made.state",
            "batch_id": f"'batch-' || (i / {BATCH})",
            "account": f"CASE WHEN i % 10 = 7 THEN '{OTHER}' ELSE '{ACCOUNT.name}' END",
            "provider": f"'{ACCOUNT.provider}'",
            "simulated": "false",
            "model": "CASE WHEN i % 3 = 0 THEN 'sora-2-pro' ELSE 'sora-2' END",
            "cost_micros": "1200000",
            "reserved_at": "made.sent",
            "owner": "CASE WHEN made.state IN ('reserved', 'submitting') THEN 'run-' || (i % 4) END",
            "lease_until": "CASE WHEN made.state IN ('reserved', 'submitting') THEN made.sent END",
            "submitted_at": f"CASE WHEN NOT {unsent} THEN made.sent END",
            "accepted_at": f"CASE WHEN NOT {unanswered} THEN made.sent END",
            "completed_at": f"CASE WHEN {ended} THEN made.sent END",
            "stored_at": f"CASE WHEN {stored} THEN made.sent END",
            "reported_at": f"CASE WHEN ({stored} OR {failed}) AND NOT {unshown} THEN made.sent END",
            "deadline_at": "made.sent",
            "next_poll_at": "made.sent",
            "polls": "20",
            "empty_polls": "0",
            "collect_tries": "0",
            "prediction_id": f"CASE WHEN NOT {unanswered} THEN 'prediction-' || i || '-' || {number} END",
            "error_kind": f"CASE WHEN {failed} THEN 'no_resource' END",
            "error_message": f"CASE WHEN {failed} THEN 'the provider had no machine free for this video' END",
            "retryable": f"CASE WHEN {failed} THEN {retryable} END",
            "possibly_billed": "made.state = 'ambiguous'",
            "output_url": f"CASE WHEN {stored} THEN 'https://videos.example.com/' || i || '.mp4' END",
            "file_name": f"CASE WHEN {stored} THEN 'videos/clip-' || i || '/1.mp4' END",
            "bytes": f"CASE WHEN {stored} THEN 5000000 END",
            "output_uri": f"CASE WHEN {stored} THEN '/videos/1' END",
        }
        made = f"(SELECT i, {state} AS state, {sent} AS sent FROM numbers WHERE {which}) AS made"
        self._insert("attempts", self._sizes.clips, made, **columns)

    def _insert(self, table: str, count: int, source: str = "numbers", **columns: str) -> None:
        columns |= {
            each.name: str(each.default.arg)
            for each in metadata.tables[table].columns
            if each.default is not None and each.name not in columns
        }
        self._connection.execute(
            text(
                "WITH RECURSIVE numbers(i) AS "
                f"(SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM numbers WHERE i < {count}) "
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {source}"
            )
        )

    def _ago(self, seconds: str) -> str:
        if self._postgresql:
            return f"timestamp '{self._now}' - ({seconds}) * interval '1 second'"
        return f"strftime('%Y-%m-%d %H:%M:%f000', '{self._now}', '-' || ({seconds}) || ' seconds')"

    def _json(self, value: object) -> str:
        return f"CAST('{json.dumps(value)}' AS JSON)" if self._postgresql else f"'{json.dumps(value)}'"


def _live_state() -> str:
    """Most render; a few are at something else."""
    shares = {"reserved": 2, "submitting": 3, "succeeded": 10, "ambiguous": 12, "timed_out": 14, "failed": 16}
    cases = " ".join(f"WHEN i % 100 < {below} THEN '{state}'" for state, below in shares.items())
    return f"CASE {cases} ELSE 'in_flight' END"
