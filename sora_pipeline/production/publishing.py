"""Publishes a production: the output manifest, its CSV twin, the failed rows and the gallery, newest state only.

Where it has finished, ``finished.json`` says so, last of all.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.garbage import collect_recent, without_collection
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.manifest.output import OutputAbout, OutputRow, output_table, schema_of
from sora_pipeline.manifest.output_csv import FailedCsv
from sora_pipeline.manifest.output_files import write_output
from sora_pipeline.manifest.rows_by_id import IdSample, RowsById
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.delta_table import DeltaError, write_delta
from sora_pipeline.production.finish import FINISHED, Ending, Finish, file_sha256, write_finish
from sora_pipeline.production.gallery import GALLERY as GALLERY
from sora_pipeline.production.gallery import gallery_page
from sora_pipeline.production.ownership import claim, note_published, note_written, read_ownership
from sora_pipeline.production.surveys import Survey, carried_columns, surveying
from sora_pipeline.settings import Settings
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.video import StoredVideo

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, CSV, FAILED = "metadata.parquet", "manifest.csv", "failed.csv"
MOST_OUTCOMES = 50


@dataclass(frozen=True, slots=True)
class Published:
    """What was published.

    Attributes:
        change_seq: Up to which change of the production.
        finish: What its output says of its end; None: it goes on.
        counts: Rows by status, invalid ones included.
        outcomes: How the first clips stand, in the manifest's order.
        columns: Names and types of the output manifest's columns, in order.
    """

    change_seq: int
    finish: Finish | None = None
    counts: Counter[str] = field(default_factory=Counter)
    outcomes: list[ClipOutcome] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        """How many rows are clips."""
        return self.counts.total() - self.counts[ClipStatus.INVALID]

    def note(self, rows: Sequence[OutputRow]) -> None:
        """Take some more rows into account."""
        outcomes = [standing for _, standing in rows if isinstance(standing, ClipOutcome)]
        self.counts.update(str(outcome.status) for outcome in outcomes)
        if len(outcomes) < len(rows):
            self.counts[ClipStatus.INVALID] += len(rows) - len(outcomes)
        self.outcomes.extend(outcomes[: MOST_OUTCOMES - len(self.outcomes)])


class _ClaimLostError(Exception):
    """Raised where this run was thought dead, and whoever took over writes a newer state; or where it is to stop."""


def publish(
    ledger: Ledger,
    production_id: str,
    settings: Settings,
    owner: str,
    *,
    finishes: bool = True,
    going_on: Callable[[], bool] = lambda: True,
) -> Published | None:
    """Write a production's output manifest as it stands now; None: another run is writing it at this moment.

    Each file appears whole or not at all. One run publishes a production at a time, and reads the state only then, so
    an older state never replaces a newer one; a run that dies leaves the production unpublished, and the next writes it.

    Args:
        ledger: The ledger.
        production_id: The production.
        settings: The settings.
        owner: Whose work that is.
        finishes: Whether a production that has finished counts as published then; else it is shown on the way, without a
            version of its table, and whoever tells Dagster of its end still has to publish it.
        going_on: Asked at each stretch; once it says no, nothing further is written, as if another run did.

    Raises:
        StoreError: the output cannot be written.
        OutputOwnedError: the output belongs to another production.
    """
    block = publishing(ledger, production_id, settings, owner, with_table=finishes, going_on=going_on)
    with block as (published, record):
        if published is not None and (finishes or published.finish is None):
            record()
    return published


@contextmanager
def publishing(
    ledger: Ledger,
    production_id: str,
    settings: Settings,
    owner: str,
    *,
    with_table: bool = True,
    going_on: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Published | None, Callable[[], object]]]:
    """As ``publish``, for whoever has something to do before the production counts as published, and then calls what it gets.

    Raises:
        StoreError: the output cannot be written.
        OutputOwnedError: the output belongs to another production.
    """
    productions = ledger.productions

    def require_ours() -> None:
        if not productions.claim_publish(production_id, owner, settings.lease_s):
            raise _ClaimLostError
        if not going_on():
            raise _ClaimLostError

    published: Published | None = None
    try:
        with suppress(_ClaimLostError):
            require_ours()
            published = ledger.database.patiently(
                lambda: _publish(
                    ledger, production_id, settings, require_ours, with_table and settings.table == "delta"
                )
            )
        seq = 0 if published is None else published.change_seq
        yield published, lambda: productions.record_published(production_id, seq, owner)
    finally:
        productions.release_publish(production_id, owner)


def _publish(
    ledger: Ledger,
    production_id: str,
    settings: Settings,
    require_ours: Callable[[], None],
    with_table: bool,
) -> Published:
    production = ledger.productions.get(production_id)
    store = OutputStore(production.output_uri)
    ownership = claim(store, ledger, production)
    ending = Ending(store, ledger, production, settings)
    if not ending.reached:
        store.remove(FINISHED)
    store.clear_staging()
    failed = ownership.name_for(store, FAILED)
    with ExitStack() as stack:
        staged = {name: stack.enter_context(store.staged_file()) for name in (PARQUET, CSV, failed)}
        with without_collection(), surveying(ledger, production, settings) as survey:
            _bring_along(store, survey)
            writing = _Writing(store, production, survey, require_ours)
            page, finish = writing.write(staged[PARQUET], staged[CSV], staged[failed], ending, ledger.now())
        if finish != ending.before:
            store.remove(FINISHED)  # it speaks of files that are about to be replaced
        table_problem = _write_table(store, staged, production, finish) if with_table else None
        for name, path in staged.items():
            require_ours()
            if name == failed:
                # Noted before it is written: what is there afterwards and is not this was edited by a person.
                ownership = note_written(store, ownership, name, path)
            store.replace_file(path, name)
    require_ours()
    store.replace_bytes(GALLERY, page)
    note_published(store, ownership, ledger.now(), production.change_seq)
    if table_problem is not None:
        raise table_problem
    if finish is not None:
        write_finish(store, finish)
    return replace(writing.published, finish=finish)


def _write_table(
    store: OutputStore, staged: Mapping[str, Path], production: Production, finish: Finish | None
) -> DeltaError | None:
    """What is wrong with the Delta table, to be said once everything else is written; None: it is as it should be."""
    try:
        write_delta(
            store,
            staged[PARQUET],
            production.production_id,
            rows_sha256=file_sha256(staged[CSV]),
            finished_at="" if finish is None else finish.finished_at.isoformat(),
        )
    except DeltaError as problem:
        return problem
    return None


class _Writing:
    """Writes everything from one pass over all rows, of which it holds a stretch at a time.

    Args:
        store: The output.
        production: The production.
        survey: How it stands.
        require_ours: Keeps others from publishing it at the same time, or raises.
    """

    def __init__(
        self, store: OutputStore, production: Production, survey: Survey, require_ours: Callable[[], None]
    ) -> None:
        self._store, self._production, self._survey = store, production, survey
        self._require_ours = require_ours
        self.published = Published(production.change_seq)

    def write(
        self, parquet: Path, csv: Path, failed: Path, ending: Ending, now: datetime
    ) -> tuple[bytes, Finish | None]:
        """Write the tables into these files, and the gallery's data into the output; the gallery's page, and what is said of an end.

        Raises:
            StoreError: something cannot be written.
        """
        with self._store.explaining():
            sample = IdSample()
            carried = carried_columns(self._survey, sample.add)
            snapshot = self._survey.snapshot
            about = OutputAbout(
                self._production.production_id,
                snapshot.manifest_uri,
                snapshot.manifest_sha256,
                carried.types(),
            )
            schema, folder = schema_of(about), self._store.staging_dir()
            self.published.columns.update({field.name: str(field.type) for field in schema})
            with RowsById(schema, sample.dividing(), folder) as by_id:
                with FailedCsv(failed, about, snapshot.delimiter) as failed_csv:
                    rows = self._passing_by(by_id, failed_csv, about)
                    page = gallery_page(self._store, self._production, rows, carried.names, now)
                counts = self.published.counts
                finished_at = ending.since(counts, snapshot)
                write_output(schema, map(self._still_ours, by_id.tables()), parquet, csv, finished_at)
            if finished_at is None:
                return page, None
            return page, ending.described(finished_at, counts, snapshot, csv, parquet)

    def _still_ours(self, table: "pa.Table") -> "pa.Table":
        self._go_on()
        return table

    def _go_on(self) -> None:
        """After each stretch."""
        self._require_ours()
        collect_recent()

    def _passing_by(self, by_id: RowsById, failed_csv: FailedCsv, about: OutputAbout) -> Iterator[OutputRow]:
        """All rows in the manifest's order, each of which was taken for the tables when it comes."""
        for rows in self._survey.rows():
            self._go_on()
            by_id.add(output_table(about, rows))
            failed_csv.add(rows)
            self.published.note(rows)
            yield from rows


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


def _bring_along(store: OutputStore, survey: Survey) -> None:
    """A clip that was delivered into another output of its production is copied, not paid for again."""
    for video in survey.moment.delivered_elsewhere(store.uri):
        with suppress(
            StoreError
        ):  # one file that cannot be had hides no other; the check of the files names it
            _copy(OutputStore(video.output_uri or store.uri), store, video)


def _copy(origin: OutputStore, store: OutputStore, video: StoredVideo) -> None:
    if store.exists(video.file_name) or not origin.exists(video.file_name):
        return
    with store.staged_file() as staged:
        origin.copy_to(video.file_name, staged)
        with suppress(FileExistsError):  # somebody was quicker, and a video is never written over
            store.put_file(staged, video.file_name)
    for picture in filter(None, (video.poster_path, video.storyboard_path)):
        if origin.exists(picture):
            store.replace_bytes(picture, origin.read_bytes(picture))
