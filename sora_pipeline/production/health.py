"""Is a production as it should be? Looks at the published manifest, the stored files and the ledger, side by side."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sora_pipeline.amounts import counted, listed
from sora_pipeline.clip import Size
from sora_pipeline.ledger import Attempt, AttemptState, Ledger, Production
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.manifest.reported_ids import invalid_ids
from sora_pipeline.media.probe import DURATION_TOLERANCE_S
from sora_pipeline.production.intake import newest_snapshot
from sora_pipeline.production.publishing import PARQUET
from sora_pipeline.store import OutputStore, StoreError

ROWS, DELIVERED, FILES, AS_ASKED, SPEND, AMBIGUOUS = (
    "every_row_is_there",
    "all_delivered",
    "files_are_whole",
    "size_and_duration_as_asked",
    "spend_is_the_ledgers",
    "none_ambiguous",
)
_COLUMNS = (
    "clip_id",
    "status",
    "file_name",
    "size",
    "duration",
    "width",
    "height",
    "duration_s",
    "bytes",
    "sha256",
    "cost_usd",
    "error_message",
)
_SHOWN = 20

_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look found.

    Attributes:
        name: Which look it was.
        healthy: Whether all was well.
        serious: Whether somebody has to do something; False where it only has to be waited for or known.
        sentence: What was found.
        code: That of the advice for it; empty: there is none.
        facts: Numbers behind it.
    """

    name: str
    healthy: bool
    serious: bool
    sentence: str
    code: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def examine(ledger: Ledger, production: Production, *, every_hash: bool) -> list[Verdict]:
    """Look at a published production from all sides.

    Args:
        ledger: The ledger.
        production: The production.
        every_hash: Read every file again; False: only those that were not read back since they were stored.

    Raises:
        StoreError: the output cannot be read.
    """
    store = OutputStore(production.output_uri)
    rows = _published(store)
    if rows is None:
        sentence = f"{store.uri_of(PARQUET)} is missing; materialize video_manifest, which writes it again"
        return [Verdict(ROWS, healthy=False, serious=True, sentence=sentence)]
    expected = {clip.clip_id for clip in ledger.clips.of_production(production.production_id)}
    expected.update(reported_id for _, reported_id in invalid_ids(newest_snapshot(production)))
    attempts = ledger.attempts.of_production(production.production_id)
    delivered = [row for row in rows if row["status"] == "delivered"]
    return [
        _rows(rows, expected),
        _delivered(rows),
        _files(ledger, store, delivered, attempts, every_hash=every_hash),
        _as_asked(delivered),
        _spend(rows, [attempt for attempt in attempts if attempt.account.simulated == production.simulated]),
        _ambiguous(rows),
    ]


def _published(store: OutputStore) -> list[_Row] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = store.read_bytes(PARQUET)
    except FileNotFoundError:
        return None
    # Not by read_table: that imports pandas, which takes a second. Without threads, see snapshot_from_parquet.
    table = pq.ParquetFile(pa.BufferReader(content)).read(columns=list(_COLUMNS), use_threads=False)
    return list(table.to_pylist())


def _rows(rows: Sequence[_Row], expected: set[str]) -> Verdict:
    published = [row["clip_id"] for row in rows]
    missing, extra = sorted(expected - set(published)), sorted(set(published) - expected)
    twice = sorted(clip_id for clip_id, count in Counter(published).items() if count > 1)
    wrong = [f"missing: {_some(missing)}"] if missing else []
    wrong += [f"not asked for: {_some(extra)}"] if extra else []
    wrong += [f"there twice: {_some(twice)}"] if twice else []
    sentence = "; ".join(wrong) or f"{counted(len(rows), 'row')}, one for every clip and every bad row"
    return Verdict(
        ROWS,
        healthy=not wrong,
        serious=True,
        sentence=sentence + ("; materialize video_manifest again" if wrong else ""),
        facts={"rows": len(rows), "asked": len(expected)},
    )


def _delivered(rows: Sequence[_Row]) -> Verdict:
    counts = Counter(row["status"] for row in rows)
    under_way = counts["pending"] + counts["in_flight"]
    ended = len(rows) - counts["delivered"] - under_way
    reasons = [f"{row['clip_id']}: {row['error_message']}" for row in rows if row["error_message"]]
    sentence = ", ".join(f"{count} {status}" for status, count in counts.most_common()) or "no rows"
    if reasons:
        sentence += f". {_some(reasons, 5)}"
    return Verdict(
        DELIVERED,
        healthy=not under_way and not ended,
        serious=ended > 0,
        sentence=sentence,
        facts=dict(counts),
    )


def _files(
    ledger: Ledger, store: OutputStore, rows: Sequence[_Row], attempts: Iterable[Attempt], *, every_hash: bool
) -> Verdict:
    by_file = {
        attempt.result.video.file_name: attempt
        for attempt in attempts
        if attempt.state is AttemptState.COLLECTED and attempt.result.video is not None
    }
    wrong: list[str] = []
    verified: list[int] = []
    for row in rows:
        attempt = by_file.get(row["file_name"])
        known = attempt is not None and attempt.result.verified_at is not None and not every_hash
        if (trouble := _trouble(store, row, hashed=not known)) is not None:
            wrong.append(f"{row['clip_id']}: {row['file_name']} {trouble}")
        elif attempt is not None and not known:
            verified.append(attempt.attempt_id)
    ledger.attempts.note_verified(verified)
    sentence = f"{len(rows) - len(wrong)} of {counted(len(rows), 'file')} there and whole"
    if wrong:
        sentence += f"; {_some(wrong)}"
    return Verdict(
        FILES,
        healthy=not wrong,
        serious=True,
        sentence=sentence,
        code="file_lost" if wrong else "",
        facts={"files": len(rows), "wrong": len(wrong), "read_back_now": len(verified)},
    )


def _trouble(store: OutputStore, row: _Row, *, hashed: bool) -> str | None:
    try:
        size = store.size(row["file_name"])
        if size != row["bytes"]:
            return f"has {size} bytes instead of {row['bytes']}"
        if hashed and store.sha256(row["file_name"]) != row["sha256"]:
            return "has another content than was stored"
    except FileNotFoundError:
        return "is missing"
    except StoreError as problem:
        return f"cannot be read ({problem.message})"
    return None


def _as_asked(rows: Sequence[_Row]) -> Verdict:
    wrong = []
    for row in rows:
        size = Size.parse(row["size"])
        if (row["width"], row["height"]) != (size.width, size.height):
            wrong.append(f"{row['clip_id']} is {row['width']}x{row['height']} instead of {size}")
        if abs(row["duration_s"] - row["duration"]) > DURATION_TOLERANCE_S:
            wrong.append(f"{row['clip_id']} lasts {row['duration_s']:.1f} s instead of {row['duration']}")
    return Verdict(
        AS_ASKED,
        healthy=not wrong,
        serious=True,
        sentence=_some(wrong)
        or f"{counted(len(rows), 'video')} looked at: each has the size and duration asked for",
        facts={"videos": len(rows), "wrong": len(wrong)},
    )


def _spend(rows: Sequence[_Row], attempts: Iterable[Attempt]) -> Verdict:
    shown = sum((Decimal(str(row["cost_usd"])) for row in rows if row["cost_usd"] is not None), Decimal(0))
    billed = Decimal(sum(a.cost_micros for a in attempts if a.billed)) / MICROS
    healthy = shown == billed
    sentence = f"the manifest and the ledger both say {billed:.2f} USD"
    if not healthy:
        sentence = (
            f"the manifest says {shown:.4f} USD, the ledger {billed:.4f} USD; materialize video_manifest again, and compare "
            "with the provider's bill if that does not help"
        )
    return Verdict(
        SPEND,
        healthy=healthy,
        serious=True,
        sentence=sentence,
        facts={"manifest_usd": float(shown), "ledger_usd": float(billed)},
    )


def _ambiguous(rows: Sequence[_Row]) -> Verdict:
    held = [row["clip_id"] for row in rows if row["status"] == "ambiguous"]
    sentence = "the provider's answer to every submit is known"
    if held:
        sentence = f"{counted(len(held), 'clip')} may have been billed without an answer: {_some(held)}"
    return Verdict(
        AMBIGUOUS,
        healthy=not held,
        serious=False,
        sentence=sentence,
        code="ambiguous" if held else "",
        facts={"ambiguous": len(held)},
    )


def _some(items: Sequence[str], most: int = _SHOWN) -> str:
    return listed(items, most, between="; ")
