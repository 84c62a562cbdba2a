"""Named productions with clips of their own, accounts, pipelines, amended rows, and fingerprints without a wire format.

Until now a clip id was one clip for everything that a ledger ever saw, and a production was a manifest's path with an
output's. Productions get their manifest's file stem as a name. A clip goes to the production that wanted it last, and an
attempt goes with its clip where it asked for the same video; else it stays with the production that paid for it, which
gets the clip too. Productions of a ``failed.csv`` become amendments of the campaign in whose output it lay. Nothing that
is delivered changes its place; of several productions in one output, the one published last keeps it.
"""

import json
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from sora_pipeline.ledger.migrations.earlier_fingerprints import fingerprint_0002, fingerprint_0003

revision = "0003"
down_revision = "0002"

_LIVE = "state IN ('reserved', 'submitting', 'in_flight', 'succeeded', 'ambiguous', 'timed_out')"
_SEPARATOR = ":"
_PROVIDERS = ("sandbox", "gptproto", "gptproto-unified", "openai-videos")
_CHUNK = 2000

# Anew: fingerprints of several wire formats have become one, and attempts have gone to other clips.
_SETTLED = """
UPDATE clips SET settled = CASE
    WHEN EXISTS (
        SELECT 1 FROM attempts
        WHERE attempts.clip_key = clips.clip_key AND state = 'collected' AND attempts.fingerprint = clips.fingerprint
    ) THEN 'delivered'
    WHEN EXISTS (
        SELECT 1 FROM attempts
        WHERE attempts.clip_key = clips.clip_key AND state = 'failed' AND attempts.round = clips.round
        AND retryable IS NOT TRUE
        AND number = (SELECT max(number) FROM attempts WHERE attempts.clip_key = clips.clip_key)
    ) THEN 'failed'
END
"""


def upgrade() -> None:
    """Read the old tables into new ones, chunk by chunk."""
    connection = op.get_bind()
    old = sa.MetaData()
    old.reflect(connection, only=["productions", "clips", "attempts", "batches", "breakers", "pauses"])
    counter = _attempt_counter(connection)
    _create(connection)
    new = sa.MetaData()
    new.reflect(connection, only=[f"{name}_0003" for name in ("productions", "clips", "attempts", "batches")])
    names = _Names(connection, old)
    _copy_productions(connection, old, new, names)
    clips = _copy_clips(connection, old, new, names)
    _copy_attempts(connection, old, new, names, clips)
    _copy_batches(connection, old, new)
    _replace(connection, old)
    op.execute(_SETTLED)
    _set_attempt_counter(connection, counter)
    _rename_accounts()
    _create_others(connection, names)


class _Names:
    """Which production each old one becomes."""

    def __init__(self, connection: sa.Connection, old: sa.MetaData) -> None:
        rows = connection.execute(sa.select(old.tables["productions"])).mappings().all()
        # The one that was read first is the campaign; its name must not depend on later ones.
        rows = sorted(
            rows, key=lambda row: (str(row["read_at"] or row["requested_at"] or ""), row["production_id"])
        )
        self.rows = {row["production_id"]: row for row in rows}
        self.mended = self._mended()
        self.name_of = self._named()
        for identity, campaign in self.mended.items():
            self.name_of[identity] = self.name_of[campaign]
        self.output_of = self._outputs()

    def _mended(self) -> dict[str, str]:
        """Productions of a failed.csv, and the campaign whose output it lay in: the one read last that is none itself."""
        mended: dict[str, str] = {}
        for identity, row in self.rows.items():
            folder, _, name = row["manifest_uri"].rpartition("/")
            if name != "failed.csv":
                continue
            campaigns = [
                other
                for other, its in self.rows.items()
                if its["output_uri"].rstrip("/") == folder and not its["manifest_uri"].endswith("/failed.csv")
            ]
            if campaigns:
                mended[identity] = campaigns[-1]
        return mended

    def _named(self) -> dict[str, str]:
        taken: set[str] = set()
        names: dict[str, str] = {}
        for identity, row in self.rows.items():
            if identity in self.mended:
                continue
            stem = row["manifest_uri"].rpartition("/")[2].partition("?")[0]
            stem = stem.rpartition(".")[0] or stem
            base = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-_")[:56].strip("-_") or "production"
            name, number = base, 1
            while name.lower() in taken:
                number += 1
                name = f"{base}-{number}"
            taken.add(name.lower())
            names[identity] = name
        return names

    def _outputs(self) -> dict[str, str]:
        """An output belongs to one production: the one that was published into it last keeps it."""
        by_output: dict[str, list[str]] = defaultdict(list)
        for identity, row in self.rows.items():
            if identity not in self.mended:
                by_output[row["output_uri"].rstrip("/")].append(identity)
        outputs: dict[str, str] = {}
        moved: list[tuple[str, str]] = []
        for output, identities in by_output.items():
            keeps = max(identities, key=self._published)
            outputs[keeps] = self.rows[keeps]["output_uri"]
            moved += [(identity, output) for identity in identities if identity != keeps]
        taken = set(by_output)
        for identity, output in moved:
            folder, number = f"{output}/{self.name_of[identity]}", 1
            while folder in taken:
                number += 1
                folder = f"{output}/{self.name_of[identity]}-{number}"
            taken.add(folder)
            outputs[identity] = folder
        return outputs

    def _published(self, identity: str) -> str:
        """When its output was written last, by itself or by rows of it that were mended."""
        identities = [
            identity,
            *(production for production, campaign in self.mended.items() if campaign == identity),
        ]
        return max(str(self.rows[production]["published_at"] or "") for production in identities)


def _copy_productions(connection: sa.Connection, old: sa.MetaData, new: sa.MetaData, names: _Names) -> None:
    providers = _providers_of(connection, old, names)
    mended = set(names.mended.values())
    table = new.tables["productions_0003"]
    kept = [column.name for column in table.columns if column.name in old.tables["productions"].c]
    for identity, row in names.rows.items():
        if identity in names.mended:
            continue
        provider = providers.get(names.name_of[identity])
        moved = names.output_of[identity] != row["output_uri"]
        values = {
            **{name: row[name] for name in kept},
            "production_id": names.name_of[identity],
            "pipeline": "",
            "output_uri": names.output_of[identity],
            "account": provider,
            "simulated": provider in (None, "sandbox"),
            # It may have been a person's word; only a person's shall change it.
            "budget_given": row["budget_micros"] is not None,
            "notified_seq": row["told_seq"],
            "notified_state": row["told_state"],
            "requested_manifest": row["manifest_uri"] if row["requested_at"] else None,
            # In another output nothing was published so far; mended rows were published without all others.
            "published_seq": -1 if moved or identity in mended else row["published_seq"],
        }
        connection.execute(table.insert().values(**values))


def _providers_of(connection: sa.Connection, old: sa.MetaData, names: _Names) -> dict[str, str]:
    """What the clips of each production, by its new name, were read for; of one that has lost them all, were sent to."""
    read: dict[str, Counter[str]] = defaultdict(Counter)
    for row in _rows(connection, old.tables["clips"], "clip_id"):
        read[names.name_of[row["production_id"]]][_json(row["spec"]).get("provider", "sandbox")] += 1
    sent: dict[str, Counter[str]] = defaultdict(Counter)
    table = old.tables["attempts"]
    by_provider = sa.select(table.c.production_id, table.c.provider, sa.func.count().label("attempts"))
    for made in connection.execute(by_provider.group_by(table.c.production_id, table.c.provider)):
        sent[names.name_of[made.production_id]][made.provider] += made.attempts
    return {name: counts.most_common(1)[0][0] for name, counts in (sent | read).items()}


class _Clip:
    """An old clip: whose it is now, and by which fingerprints its attempts may know it."""

    __slots__ = ("fingerprints", "name")

    def __init__(self, name: str, fingerprints: dict[str, str]) -> None:
        self.name = name
        self.fingerprints = fingerprints


def _copy_clips(
    connection: sa.Connection, old: sa.MetaData, new: sa.MetaData, names: _Names
) -> dict[str, _Clip]:
    table, amendments = new.tables["clips_0003"], []
    clips: dict[str, _Clip] = {}
    rows: list[dict[str, Any]] = []
    for row in _rows(connection, old.tables["clips"], "clip_id"):
        spec = _json(row["spec"])
        provider = spec.pop("provider", "sandbox")
        spec["simulated"] = provider == "sandbox"
        name = names.name_of[row["production_id"]]
        clips[row["clip_id"]] = _Clip(name, _fingerprints(spec, row["fingerprint"]))
        values = {
            "clip_key": f"{name}{_SEPARATOR}{row['clip_id']}",
            "production_id": name,
            "clip_id": row["clip_id"],
            "active": row["active"],
            "position": row["position"],
            "round": row["round"],
            "fingerprint": fingerprint_0003(spec),
            "spec": spec,
            "settled": row["outcome"],
        }
        rows.append(values)
        if row["production_id"] in names.mended:
            campaign = names.rows[row["production_id"]]
            amendments.append(
                {
                    "clip_key": values["clip_key"],
                    "production_id": name,
                    "manifest_uri": campaign["manifest_uri"],
                    "amended_at": campaign["read_at"] or campaign["requested_at"],
                    "spec": spec,
                }
            )
        if len(rows) >= _CHUNK:
            connection.execute(table.insert(), rows)
            rows = []
    if rows:
        connection.execute(table.insert(), rows)
    _amendments(connection, amendments)
    return clips


def _amendments(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    table = op.create_table(
        "amendments",
        sa.Column("clip_key", sa.String(256), primary_key=True),
        sa.Column("production_id", sa.String(64), nullable=False),
        sa.Column("manifest_uri", sa.Text(), nullable=False),
        sa.Column("amended_at", sa.DateTime(), nullable=False),
        sa.Column("row_hash", sa.String(64)),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["production_id"], ["productions_0003.production_id"]),
    )
    assert table is not None
    op.create_index("amendments_by_production", "amendments", ["production_id"])
    if rows:
        connection.execute(table.insert(), rows)


def _fingerprints(spec: dict[str, Any], known: str) -> dict[str, str]:
    """Fingerprints of this very clip as earlier versions wrote them, with those of this version."""
    fingerprints = {known: fingerprint_0003(spec)}
    for provider in _PROVIDERS:
        maker = {**spec, "simulated": provider == "sandbox"}
        fingerprints[fingerprint_0002(spec, provider)] = fingerprint_0003(maker)
    return fingerprints


def _copy_attempts(
    connection: sa.Connection, old: sa.MetaData, new: sa.MetaData, names: _Names, clips: dict[str, _Clip]
) -> None:
    table, clip_table = new.tables["attempts_0003"], new.tables["clips_0003"]
    kept = [column.name for column in table.columns if column.name in old.tables["attempts"].c]
    keys = {f"{clip.name}{_SEPARATOR}{clip_id}" for clip_id, clip in clips.items()}
    stand_ins: set[str] = set()
    rows: list[dict[str, Any]] = []
    for row in _rows(connection, old.tables["attempts"], "attempt_id"):
        clip, paid_by = clips[row["clip_id"]], names.name_of[row["production_id"]]
        same = row["fingerprint"] in clip.fingerprints
        name = clip.name if same else paid_by
        key = f"{name}{_SEPARATOR}{row['clip_id']}"
        if key not in keys:
            keys.add(key)
            stand_ins.add(key)
            connection.execute(clip_table.insert().values(**_stand_in(row, key, name)))
        elif key in stand_ins:  # the newest attempt says most of what was wanted last
            stand_in = clip_table.c.clip_key == key
            connection.execute(sa.update(clip_table).where(stand_in).values(**_stand_in(row, key, name)))
        rows.append(
            {
                **{column: row[column] for column in kept},
                "request_summary": _json(row["request_summary"]),
                "clip_key": key,
                "production_id": name,
                "fingerprint": clip.fingerprints.get(row["fingerprint"], row["fingerprint"]),
                "account": row["provider"],
                "simulated": row["provider"] == "sandbox",
            }
        )
        if len(rows) >= _CHUNK:
            connection.execute(table.insert(), rows)
            rows = []
    if rows:
        connection.execute(table.insert(), rows)


def _stand_in(attempt: Any, key: str, name: str) -> dict[str, Any]:
    """A clip of which only an attempt is known: the next reading of its manifest makes it whole."""
    request = _json(attempt["request_summary"]) or {}
    return {
        "clip_key": key,
        "production_id": name,
        "clip_id": attempt["clip_id"],
        "active": False,
        "position": 0,
        "round": attempt["round"],
        "fingerprint": attempt["fingerprint"],
        "spec": {
            "row_number": 0,
            "prompt": "",
            "image": None,
            "image_sha256": None,
            "model": attempt["model"],
            "simulated": attempt["provider"] == "sandbox",
            "duration": int(request.get("duration", 4)),
            "size": str(request.get("size", "720x1280")),
            "take": 1,
            "carried": {},
        },
    }


def _copy_batches(connection: sa.Connection, old: sa.MetaData, new: sa.MetaData) -> None:
    table = new.tables["batches_0003"]
    kept = [column.name for column in table.columns]
    rows = [
        {name: row[name] for name in kept} for row in _rows(connection, old.tables["batches"], "batch_id")
    ]
    for start in range(0, len(rows), _CHUNK):
        connection.execute(table.insert(), rows[start : start + _CHUNK])


def _rows(connection: sa.Connection, table: sa.Table, key: str) -> Iterator[Any]:
    """All rows of a table in the order of its key, some at a time."""
    last: Any = None
    while True:
        query = sa.select(table).order_by(table.c[key]).limit(_CHUNK)
        if last is not None:
            query = query.where(table.c[key] > last)
        rows = connection.execute(query).mappings().all()
        yield from rows
        if len(rows) < _CHUNK:
            return
        last = rows[-1][key]


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


# ---- tables


def _create(connection: sa.Connection) -> None:
    suffix = "_0003" if connection.dialect.name == "postgresql" else ""
    op.create_table(
        "productions_0003",
        sa.Column("production_id", sa.String(64), primary_key=True),
        sa.Column("pipeline", sa.String(64), nullable=False),
        sa.Column("manifest_uri", sa.Text(), nullable=False),
        sa.Column("output_uri", sa.Text(), nullable=False),
        sa.Column("account", sa.String(64)),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("budget_micros", sa.BigInteger()),
        sa.Column("budget_given", sa.Boolean(), nullable=False),
        sa.Column("requested_at", sa.DateTime()),
        sa.Column("requested_manifest", sa.Text()),
        sa.Column("read_at", sa.DateTime()),
        sa.Column("snapshot_path", sa.Text()),
        sa.Column("manifest_sha256", sa.String(64)),
        sa.Column("snapshot_sha256", sa.String(64)),
        sa.Column("change_seq", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime()),
        sa.Column("published_seq", sa.Integer(), nullable=False),
        sa.Column("published_at", sa.DateTime()),
        sa.Column("publisher", sa.String(64)),
        sa.Column("publisher_until", sa.DateTime()),
        sa.Column("error", sa.Text()),
        sa.Column("notified_seq", sa.Integer(), nullable=False),
        sa.Column("notified_state", sa.String(64)),
    )
    op.create_table(
        "clips_0003",
        sa.Column("clip_key", sa.String(256), primary_key=True),
        sa.Column("production_id", sa.String(64), nullable=False),
        sa.Column("clip_id", sa.String(128), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("settled", sa.String(16)),
        sa.ForeignKeyConstraint(["production_id"], ["productions_0003.production_id"]),
    )
    op.create_table(
        "batches_0003",
        sa.Column("batch_id", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("submit_tries", sa.Integer(), nullable=False),
        sa.Column("submit_requested_at", sa.DateTime()),
    )
    op.create_table(
        "attempts_0003",
        sa.Column("attempt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("clip_key", sa.String(256), nullable=False),
        sa.Column("production_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("batch_id", sa.String(64), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("reserved_at", sa.DateTime(), nullable=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("lease_until", sa.DateTime()),
        sa.Column("submitted_at", sa.DateTime()),
        sa.Column("accepted_at", sa.DateTime()),
        sa.Column("completed_at", sa.DateTime()),
        sa.Column("stored_at", sa.DateTime()),
        sa.Column("reported_at", sa.DateTime()),
        sa.Column("deadline_at", sa.DateTime()),
        sa.Column("next_poll_at", sa.DateTime()),
        sa.Column("polls", sa.Integer(), nullable=False),
        sa.Column("empty_polls", sa.Integer(), nullable=False),
        sa.Column("collect_tries", sa.Integer(), nullable=False),
        sa.Column("prediction_id", sa.String(256)),
        sa.Column("poll_url", sa.Text()),
        sa.Column("provider_status", sa.String(64)),
        sa.Column("model_returned", sa.String(128)),
        sa.Column("request_summary", sa.JSON()),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("error_message", sa.Text()),
        sa.Column("retryable", sa.Boolean()),
        sa.Column("possibly_billed", sa.Boolean(), nullable=False),
        sa.Column("output_url", sa.Text()),
        sa.Column("output_expires_at", sa.DateTime()),
        sa.Column("file_name", sa.Text()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("sha256", sa.String(64)),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("fps", sa.Float()),
        sa.Column("frames", sa.Integer()),
        sa.Column("duration_s", sa.Float()),
        sa.Column("video_codec", sa.String(32)),
        sa.Column("has_audio", sa.Boolean()),
        sa.Column("c2pa", sa.Boolean()),
        sa.Column("poster_path", sa.Text()),
        sa.Column("output_uri", sa.Text()),
        sa.Column("run_id", sa.String(64)),
        sa.Column("verified_at", sa.DateTime()),
        sa.ForeignKeyConstraint(["clip_key"], ["clips_0003.clip_key"]),
        sa.ForeignKeyConstraint(["production_id"], ["productions_0003.production_id"]),
        # A constraint's name is its table's own in SQLite, and cannot be changed there; in PostgreSQL it is an index's.
        sa.UniqueConstraint("clip_key", "number", name=f"attempt_number{suffix}"),
        sqlite_autoincrement=True,
    )


def _replace(connection: sa.Connection, old: sa.MetaData) -> None:
    """The new tables in the place of the old ones, with their indexes."""
    for name in ("attempts", "batches", "clips", "productions"):
        op.drop_table(name)
    for name in ("productions", "clips", "batches", "attempts"):
        op.rename_table(f"{name}_0003", name)
    if connection.dialect.name == "postgresql":
        op.execute("ALTER TABLE attempts RENAME CONSTRAINT attempt_number_0003 TO attempt_number")
    op.create_index("clips_by_production", "clips", ["production_id", "active", "position"])
    op.create_index("clips_by_id", "clips", ["clip_id"])
    _partial("open_clips", "clips", ["production_id", "position"], "active AND settled IS NULL")
    _partial("one_live_attempt", "attempts", ["clip_key"], _LIVE, unique=True)
    _partial("live_by_state", "attempts", ["state", "next_poll_at"], _LIVE)
    _partial("delivered_fingerprints", "attempts", ["clip_key", "fingerprint"], "state = 'collected'")
    _partial("unreported_attempts", "attempts", ["state"], "reported_at IS NULL")
    op.create_index("attempts_by_batch", "attempts", ["batch_id"])
    costs = ["state", "accepted_at", "possibly_billed", "cost_micros"]
    op.create_index("attempts_by_production", "attempts", ["production_id", "simulated", *costs])
    op.create_index("attempts_by_day", "attempts", ["account", "submitted_at", *costs])
    op.create_index("attempts_by_end", "attempts", ["account", "completed_at"])


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _attempt_counter(connection: sa.Connection) -> int:
    """The highest id that was ever given away: a reservation that was given up must not come back as another clip's."""
    if connection.dialect.name == "postgresql":
        sequence = connection.scalar(sa.text("SELECT pg_get_serial_sequence('attempts', 'attempt_id')"))
        counted = sa.text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608
        return int(connection.scalar(counted) or 0)
    counted = connection.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'attempts'"))
    return int(counted or 0)


def _set_attempt_counter(connection: sa.Connection, counter: int) -> None:
    if not counter:
        return
    if connection.dialect.name == "postgresql":
        op.execute(f"SELECT setval(pg_get_serial_sequence('attempts', 'attempt_id'), {counter})")
        return
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'attempts'")
    op.execute(f"INSERT INTO sqlite_sequence (name, seq) VALUES ('attempts', {counter})")  # noqa: S608


def _rename_accounts() -> None:
    """What belonged to a wire format belongs to the account that has its name."""
    with op.batch_alter_table("breakers") as breakers:
        breakers.alter_column("provider", new_column_name="account")
        breakers.alter_column("probes", server_default=None)
    with op.batch_alter_table("pauses") as pauses:
        pauses.alter_column("provider", new_column_name="account")


def _create_others(connection: sa.Connection, names: _Names) -> None:
    about = op.create_table("ledger_about", sa.Column("ledger_id", sa.String(36), primary_key=True))
    assert about is not None
    connection.execute(about.insert().values(ledger_id=str(uuid.uuid4())))
    op.create_table(
        "pipelines",
        sa.Column("pipeline", sa.String(64), primary_key=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
    )
