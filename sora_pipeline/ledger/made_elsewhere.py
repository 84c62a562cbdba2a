"""Clips that another production has paid for, or is about to: nobody pays for them twice without having said so."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, or_, select

from sora_pipeline.amounts import counted
from sora_pipeline.clip import Clip
from sora_pipeline.ledger.database import CHUNK, LedgerError
from sora_pipeline.ledger.schema import DELIVERED, LIVE, attempts, clips, productions
from sora_pipeline.status import ClipStatus
from sora_pipeline.streams import stretches


def made_elsewhere(
    connection: Connection, production_id: str, pipeline: str, wanted: Sequence[Clip]
) -> dict[str, int]:
    """Other productions of a pipeline that have the very same clips (id and fingerprint), and how many.

    Those count that are delivered, that are or may be under way, and that are pending. What has failed or was cancelled there
    is paid for by nobody.
    """
    others = select(productions.c.production_id).where(
        productions.c.pipeline == pipeline, productions.c.production_id != production_id
    )
    if connection.execute(others.limit(1)).first() is None:
        return {}
    made_by: Counter[str] = Counter()
    theirs = clips.c.production_id.in_(others)
    paid = (
        select(clips.c.production_id, clips.c.clip_id, attempts.c.fingerprint)
        .join(attempts, attempts.c.clip_key == clips.c.clip_key)
        .where(theirs, or_(DELIVERED, LIVE))
    )
    pending = select(clips.c.production_id, clips.c.clip_id, clips.c.fingerprint).where(
        theirs, clips.c.active, clips.c.standing == ClipStatus.PENDING
    )
    for chunk in stretches(wanted, CHUNK):
        fingerprints = {clip.clip_id: clip.fingerprint for clip in chunk}
        found: set[tuple[str, str]] = set()
        for query in (paid, pending):
            rows: Iterable[Any] = connection.execute(query.where(clips.c.clip_id.in_(list(fingerprints))))
            found.update(
                (row.production_id, row.clip_id)
                for row in rows
                if fingerprints[row.clip_id] == row.fingerprint
            )
        made_by.update(other for other, _ in found)
    return dict(made_by)


def require_not_made_elsewhere(
    connection: Connection, production_id: str, pipeline: str, manifest_uri: str, wanted: Sequence[Clip]
) -> None:
    """Refuse a manifest whose clips another production has.

    Raises:
        LedgerError: one has.
    """
    made_by = made_elsewhere(connection, production_id, pipeline, wanted)
    if not made_by:
        return
    other, count = max(made_by.items(), key=lambda item: item[1])
    are = "is" if count == 1 else "are"
    raise LedgerError(
        f"{counted(count, 'clip')} of {manifest_uri} {are} paid for already, or {are} going to be, in the production {other} "
        "(same ids, same rows)",
        "paid_elsewhere",
        other=other,
        production=production_id,
    )
