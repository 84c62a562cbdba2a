"""Publishes a production: the output manifest, its CSV twin, the failed rows and the gallery, newest state only."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sora_pipeline.ledger import Attempt, Ledger, Production
from sora_pipeline.manifest.output import output_table, write_parquet
from sora_pipeline.manifest.output_csv import failed_csv, write_csv
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.costs import cost_micros
from sora_pipeline.production.gallery import gallery_html
from sora_pipeline.production.holding import Holds
from sora_pipeline.production.outcomes import outcome_of
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.settings import Settings
from sora_pipeline.store import OutputStore

PARQUET, CSV, FAILED, GALLERY = "metadata.parquet", "manifest.csv", "failed.csv", "gallery.html"


@dataclass(frozen=True, slots=True)
class Published:
    """What was published.

    Attributes:
        production: As it was when its state was read.
        snapshot: The manifest it is about.
        outcomes: One a valid clip; invalid rows come from the snapshot.
        counts: Rows by status, invalid ones included.
    """

    production: Production
    snapshot: Snapshot
    outcomes: list[ClipOutcome]
    counts: Counter[str]


def survey(ledger: Ledger, production: Production, settings: Settings) -> tuple[Snapshot, list[ClipOutcome]]:
    """How every clip of the production's newest snapshot stands."""
    assert production.snapshot_path is not None
    content = OutputStore(production.output_uri).read_bytes(production.snapshot_path)
    snapshot = snapshot_from_parquet(content)
    made: dict[str, list[Attempt]] = {}
    for attempt in ledger.attempts.of_clips([clip.clip_id for clip in snapshot.clips]):
        made.setdefault(attempt.clip_id, []).append(attempt)
    pending = set(ledger.clips.pending(settings.max_attempts, production.production_id))
    holds, catalogue = Holds(ledger, production, settings), load_catalogue(settings.catalogue)
    outcomes = [
        outcome_of(
            clip,
            made.get(clip.clip_id, []),
            output_uri=production.output_uri,
            pending=clip.clip_id in pending,
            hold=holds.of(cost_micros(clip, catalogue))
            if holds.possible and clip.clip_id in pending
            else None,
        )
        for clip in snapshot.clips
    ]
    return snapshot, outcomes


def publish(ledger: Ledger, production_id: str, settings: Settings, owner: str) -> Published | None:
    """Write a production's output manifest as it stands now; None: another run is writing it at this moment.

    Each file appears whole or not at all. One run publishes a production at a time, and reads the state only then, so
    an older state never replaces a newer one; a run that dies leaves the production unpublished, and the next writes it.

    Raises:
        StoreProblem: the output cannot be written.
    """

    def mine() -> bool:
        return ledger.productions.claim_publish(production_id, owner, settings.lease_s)

    if not mine():
        return None
    production = ledger.productions.get(production_id)
    snapshot, outcomes = survey(ledger, production, settings)
    counts = Counter(str(outcome.status) for outcome in outcomes)
    if snapshot.invalid:
        counts["invalid"] = len(snapshot.invalid)
    store = OutputStore(production.output_uri)
    _bring_along(ledger, store, outcomes)
    table = output_table(snapshot, outcomes)
    files: dict[str, Callable[[], bytes]] = {
        PARQUET: lambda: write_parquet(table),
        CSV: lambda: write_csv(table),
        FAILED: lambda: failed_csv(snapshot, outcomes),
        GALLERY: lambda: gallery_html(production, snapshot, outcomes),
    }
    for name, content in files.items():
        made = content()
        if not mine():  # this run was thought dead; whoever took over writes a newer state
            return None
        store.replace_bytes(name, made)
    ledger.productions.record_published(production_id, production.change_seq, owner)
    return Published(production, snapshot, outcomes, counts)


def _bring_along(ledger: Ledger, store: OutputStore, outcomes: list[ClipOutcome]) -> None:
    """A clip that was delivered into another output is copied, not paid for again."""
    for outcome in outcomes:
        if outcome.file_name and not store.exists(outcome.file_name):
            origin = OutputStore(
                ledger.attempts.delivered_to(outcome.clip_id, outcome.file_name) or store.uri
            )
            if origin.uri != store.uri and origin.exists(outcome.file_name):
                store.replace_bytes(outcome.file_name, origin.read_bytes(outcome.file_name))
                if outcome.poster_path and origin.exists(outcome.poster_path):
                    store.replace_bytes(outcome.poster_path, origin.read_bytes(outcome.poster_path))
