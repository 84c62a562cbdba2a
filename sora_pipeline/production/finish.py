"""When a production has finished, and the file in its output that says so: ``finished.json``.

It has finished when each of its rows has come to an end: delivered, failed, invalid, or waiting for a person's word because it may
have been billed. One that a budget or a closed account stops has not: it goes on as soon as it may.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.production.progress import progress_of
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.settings import Settings
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.uris import shown_uri

FINISHED = "finished.json"
MAX_BYTES = 2**20
FORMAT_VERSION: Literal[1] = 1


class Finish(BaseModel):
    """What ``finished.json`` says.

    Attributes:
        format: Of this file.
        production: The production.
        finished_at: When its last clip came to an end.
        rows: How many rows its output manifest has.
        counts: Of these, by status.
        cost_usd: What it was billed so far.
        simulated: Whether these are the sandbox's dollars, and nobody's.
        manifest: Its input manifest.
        manifest_sha256: Hash of that file.
        snapshot_sha256: Hash of what it asked for.
        rows_sha256: Hash of ``manifest.csv``, which changes when any row does.
        metadata_sha256: Hash of ``metadata.parquet``.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = FORMAT_VERSION
    production: str
    finished_at: AwareDatetime
    rows: int
    counts: dict[str, int]
    cost_usd: float
    simulated: bool
    manifest: str
    manifest_sha256: str
    snapshot_sha256: str
    rows_sha256: str
    metadata_sha256: str


class Ending:
    """Whether a production has finished as it is being published, and since when.

    Args:
        store: Its output.
        ledger: The ledger.
        production: The production.
        settings: The settings.

    Raises:
        StoreError: the output cannot be read.
    """

    def __init__(
        self, store: OutputStore, ledger: Ledger, production: Production, settings: Settings
    ) -> None:
        # Asked before the rows are looked at: what begins in between is a change, and is published after this.
        progress = progress_of(ledger, production, settings, load_catalogue(settings.catalogue))
        self.reached = progress.finished
        self.before = read_finish(store)
        self._production = production
        self._cost_usd = float(progress.spending.spent_usd)
        self._now = ledger.now()

    def since(self, counts: Mapping[str, int], snapshot: Snapshot) -> datetime | None:
        """When it finished; None: it has not. What was merely read again has not finished anew."""
        if not self.reached or counts.get(ClipStatus.PENDING) or counts.get(ClipStatus.IN_FLIGHT):
            return None
        before, now = self.before, (dict(counts), self._cost_usd, snapshot.snapshot_sha256)
        if before is not None and (before.counts, before.cost_usd, before.snapshot_sha256) == now:
            return before.finished_at
        return self._production.changed_at or self._now

    def described(
        self, finished_at: datetime, counts: Mapping[str, int], snapshot: Snapshot, csv: Path, parquet: Path
    ) -> Finish:
        """What its file is to say.

        Args:
            finished_at: When it finished.
            counts: Rows by status.
            snapshot: What it asked for.
            csv: The output manifest as CSV.
            parquet: The output manifest.

        Raises:
            OSError: one of the files cannot be read.
        """
        return Finish(
            production=self._production.production_id,
            finished_at=finished_at,
            rows=sum(counts.values()),
            counts={str(status): count for status, count in sorted(counts.items())},
            cost_usd=self._cost_usd,
            simulated=self._production.simulated,
            manifest=shown_uri(snapshot.manifest_uri),
            manifest_sha256=snapshot.manifest_sha256,
            snapshot_sha256=snapshot.snapshot_sha256,
            rows_sha256=file_sha256(csv),
            metadata_sha256=file_sha256(parquet),
        )


def read_finish(store: OutputStore) -> Finish | None:
    """What an output says of its production's end; None: nothing that can be believed.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return Finish.model_validate_json(store.read_bytes(FINISHED, MAX_BYTES))
    except (FileNotFoundError, ValidationError):
        return None


def write_finish(store: OutputStore, finish: Finish) -> None:
    """Say that a production has finished, once everything else is there.

    Raises:
        StoreError: it cannot be written.
    """
    store.replace_bytes(FINISHED, f"{finish.model_dump_json(indent=2)}\n".encode())


def withdraw_if_going_on(ledger: Ledger, production: Production, settings: Settings) -> None:
    """Take the word back that a production has finished as soon as something of it is to be made.

    Where the output cannot be reached now, the next publish does it.
    """
    if not progress_of(ledger, production, settings, load_catalogue(settings.catalogue)).finished:
        with suppress(StoreError):
            OutputStore(production.output_uri).remove(FINISHED)


def file_sha256(path: Path) -> str:
    """Hex hash of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
