"""Publishes a production: the output manifest, its CSV twin, the failed rows and the gallery, newest state only."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from sora_pipeline.admission.holds import Admission
from sora_pipeline.advice import explained
from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt, ClipStanding, Ledger, Production
from sora_pipeline.ledger.types import Failure
from sora_pipeline.manifest.output import invalid_ids, output_table, write_parquet
from sora_pipeline.manifest.output_csv import failed_csv, write_csv
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.gallery import GALLERY as GALLERY
from sora_pipeline.production.gallery import gallery_page, in_manifest_order
from sora_pipeline.production.intake import newest_snapshot
from sora_pipeline.production.outcomes import outcome_of
from sora_pipeline.production.ownership import claim, note_published, note_written, read_ownership
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.settings import Settings
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.video import StoredVideo

PARQUET, CSV, FAILED = "metadata.parquet", "manifest.csv", "failed.csv"


@dataclass(frozen=True, slots=True)
class Survey:
    """How a production stands, clip by clip.

    Attributes:
        snapshot: What it asks for at present: its newest reading, with the rows that were amended since.
        outcomes: One a valid clip, in the manifest's order; invalid rows are in the snapshot.
        standings: The same, as the ledger has them, by clip key.
    """

    snapshot: Snapshot
    outcomes: list[ClipOutcome]
    standings: dict[str, ClipStanding]

    @property
    def counts(self) -> Counter[str]:
        """Rows by status, invalid ones included."""
        counts = Counter(str(outcome.status) for outcome in self.outcomes)
        if self.snapshot.invalid:
            counts[ClipStatus.INVALID] = len(self.snapshot.invalid)
        return counts


def survey(ledger: Ledger, production: Production, settings: Settings) -> Survey:
    """How every clip of a production stands.

    Raises:
        StoreError: the output cannot be read.
    """
    standings = ledger.clips.standings_of(production.production_id)
    made: dict[str, list[Attempt]] = {}
    for attempt in ledger.attempts.of_production(production.production_id):
        made.setdefault(attempt.clip_key, []).append(attempt)
    admission = Admission(ledger, production, settings, load_catalogue(settings.catalogue))
    outcomes = []
    for key, standing in standings.items():
        status = standing.status(settings.max_attempts)
        waits = status is ClipStatus.PENDING and not _is_live(standing)
        hold = admission.of(standing.clip) if waits else None
        why = None if hold is None else Failure(hold.kind, explained(hold.reason), retryable=True)
        outcomes.append(outcome_of(standing, made.get(key, []), status=status, hold=why))
    snapshot = _present(newest_snapshot(production), [standing.clip for standing in standings.values()])
    return Survey(snapshot, outcomes, standings)


def _is_live(standing: ClipStanding) -> bool:
    return standing.latest is not None and standing.latest.live


def _present(snapshot: Snapshot, clips: list[Clip]) -> Snapshot:
    """A snapshot with the clips as they are wanted now; an invalid row that was amended is invalid no more."""
    wanted = {clip.clip_id for clip in clips}
    carried = dict.fromkeys((*snapshot.carried_columns, *(name for clip in clips for name in clip.carried)))
    return replace(
        snapshot,
        clips=tuple(clips),
        invalid=tuple(row for row, reported_id in invalid_ids(snapshot) if reported_id not in wanted),
        carried_columns=tuple(carried),
    )


def publish(ledger: Ledger, production_id: str, settings: Settings, owner: str) -> Survey | None:
    """Write a production's output manifest as it stands now; None: another run is writing it at this moment.

    Each file appears whole or not at all. One run publishes a production at a time, and reads the state only then, so
    an older state never replaces a newer one; a run that dies leaves the production unpublished, and the next writes it.

    Raises:
        StoreError: the output cannot be written.
        OutputOwnedError: the output belongs to another production.
    """

    def still_ours() -> bool:
        return ledger.productions.claim_publish(production_id, owner, settings.lease_s)

    if not still_ours():
        return None
    production = ledger.productions.get(production_id)
    store = OutputStore(production.output_uri)
    ownership = claim(store, ledger, production)
    surveyed = survey(ledger, production, settings)
    _bring_along(store, surveyed.standings.values())
    table = output_table(surveyed.snapshot, surveyed.outcomes, production_id)
    failed = ownership.name_for(store, FAILED)
    files: dict[str, Callable[[], bytes]] = {
        PARQUET: lambda: write_parquet(table),
        CSV: lambda: write_csv(table),
        failed: lambda: failed_csv(surveyed.snapshot, surveyed.outcomes, production_id),
        GALLERY: lambda: gallery_page(
            store,
            production,
            in_manifest_order(surveyed.snapshot, surveyed.outcomes),
            surveyed.snapshot.carried_columns,
            ledger.now(),
        ),
    }
    for name, content in files.items():
        made = content()
        if not still_ours():  # this run was thought dead; whoever took over writes a newer state
            return None
        if name == failed:
            # Noted before it is written: what is there afterwards and is not this was edited by a person.
            ownership = note_written(store, ownership, name, made)
        store.replace_bytes(name, made)
    note_published(store, ownership, ledger.now(), production.change_seq)
    ledger.productions.record_published(production_id, production.change_seq, owner)
    return surveyed


def is_published(production: Production) -> bool:
    """Whether the output manifest shows the production as it stands, and its files are there."""
    store = OutputStore(production.output_uri)
    return production.published_seq >= production.change_seq and all(
        store.exists(name) for name in (PARQUET, CSV, FAILED, GALLERY)
    )


def newest_failed(production: Production) -> str:
    """Where the failed rows were written last: not over a file that a person has edited."""
    store = OutputStore(production.output_uri)
    ownership = read_ownership(store)
    return store.uri_of(FAILED if ownership is None else ownership.name_for(store, FAILED))


def _bring_along(store: OutputStore, standings: Iterable[ClipStanding]) -> None:
    """A clip that was delivered into another output of its production is copied, not paid for again."""
    for standing in standings:
        video = standing.delivered.result.video if standing.delivered else None
        if video is None or video.output_uri == store.uri:
            continue
        with suppress(
            StoreError
        ):  # one file that cannot be had hides no other; the check of the files names it
            _copy(OutputStore(video.output_uri or store.uri), store, video)


def _copy(origin: OutputStore, store: OutputStore, video: StoredVideo) -> None:
    if store.exists(video.file_name) or not origin.exists(video.file_name):
        return
    store.replace_bytes(video.file_name, origin.read_bytes(video.file_name))
    if video.poster_path and origin.exists(video.poster_path):
        store.replace_bytes(video.poster_path, origin.read_bytes(video.poster_path))
