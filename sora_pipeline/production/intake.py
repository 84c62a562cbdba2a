"""Takes a manifest in: reads and checks it, keeps its canonical snapshot, and tells the ledger what is wanted."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from sora_pipeline.admission.limits import account_of
from sora_pipeline.clip import Clip, Size, clip_key
from sora_pipeline.errors import Explain
from sora_pipeline.garbage import without_collection
from sora_pipeline.ledger import AttemptState, Ledger, Production, Reading
from sora_pipeline.ledger.amendments import amended
from sora_pipeline.manifest.canonical import load_snapshot
from sora_pipeline.manifest.columns import INPUT_COLUMNS, REPORT_COLUMNS
from sora_pipeline.manifest.earlier import Earlier
from sora_pipeline.manifest.ids import row_id, take_id
from sora_pipeline.manifest.images import ImageFinding
from sora_pipeline.manifest.limits import MAX_TAKES
from sora_pipeline.manifest.reading import ManifestFile, RawRow, read_manifest
from sora_pipeline.manifest.reported_ids import InvalidIds, invalid_ids
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.manifest.snapshot_parquet import read_invalid_rows, read_snapshot_file, write_snapshot
from sora_pipeline.media.fit import ImageFit
from sora_pipeline.media.images import ImageError
from sora_pipeline.production.context import image_cache
from sora_pipeline.production.naming import Decided, ProductionRequest, decide
from sora_pipeline.production.ownership import claim, require_free
from sora_pipeline.provider.catalogue import Catalogue, Model
from sora_pipeline.settings import Settings, SettingsError
from sora_pipeline.spool import Spool
from sora_pipeline.store import OutputStore
from sora_pipeline.streams import Streamed, in_stretches, stretches
from sora_pipeline.suggestions import did_you_mean
from sora_pipeline.uris import Uri

SNAPSHOTS = ".snapshots"


@dataclass(frozen=True, slots=True)
class Intake:
    """A manifest's file, and which production it is for.

    Attributes:
        decided: The production.
        file: The file, its rows not yet checked.
    """

    decided: Decided
    file: ManifestFile


def open_production(ledger: Ledger, settings: Settings, pipeline: str, request: ProductionRequest) -> Intake:
    """Read a manifest's file, and find out which production it is for; costs nothing and writes nothing.

    Raises:
        ManifestError: the file as a whole cannot be used.
        ProductionNameError: the production's name is not allowed, or another manifest's.
        OutputOwnedError: the output is another production's, or another ledger's.
        StoreError: the output cannot be read.
    """
    file = read_manifest(request.manifest)
    decided = decide(ledger, settings, pipeline, request, file)
    require_free(decided.plan.output_uri, ledger, decided.plan.production_id)
    return Intake(decided, _with_whole_images(file, ledger, decided) if decided.amends else file)


def _with_whole_images(file: ManifestFile, ledger: Ledger, decided: Decided) -> ManifestFile:
    """Mended rows whose images are named as outputs show them, with the whole addresses that the ledger has."""

    def whole(rows: list[RawRow]) -> list[RawRow]:
        named = {str(row.values.get("clip_id")) for row in rows if row.values.get("image")}
        known = ledger.clips.wanted_among(decided.plan.production_id, named)
        return [_with_whole_image(row, known) for row in rows]

    return replace(file, rows=in_stretches(whole, file.rows))


def _with_whole_image(row: RawRow, known: Mapping[str, Clip]) -> RawRow:
    clip = known.get(str(row.values.get("clip_id")))
    image = clip.image if clip else None
    if image is None or not image.has_secret or row.values.get("image") != image.shown:
        return row
    return replace(row, values={**row.values, "image": image.reveal()})


def read_snapshot(
    file: ManifestFile, settings: Settings, catalogue: Catalogue, explained: Explain, earlier: Earlier
) -> Snapshot:
    """Check a manifest's rows; costs nothing and writes nothing.

    Args:
        file: The manifest.
        settings: The settings.
        catalogue: Models, limits and prices.
        explained: How people are told of an image that cannot be used: the snapshot keeps it.
        earlier: What is known of the production's earlier readings, for images that cannot be used now.

    Raises:
        ManifestError: there are too many clips.
        SettingsError: the provider does not reach the default model, or a parameter's name is a column's of another meaning.
    """
    reached = (
        model for name in catalogue.names if settings.provider in (model := catalogue.model(name)).formats
    )
    limits = {model.name: model for model in reached}
    if settings.model not in limits:
        raise SettingsError(
            f"{settings.model} is not a model that the provider {settings.provider} reaches; allowed: "
            f"{', '.join(limits) or 'none'}.{did_you_mean(settings.model, limits)}",
            "model_not_reached",
        )
    _refuse_taken_names(limits)
    images = image_cache(settings)
    fit = ImageFit(settings.image_fit)

    def check(image: Uri, size: Size) -> ImageFinding:
        try:
            return ImageFinding(sha256=images.get(image.reveal(), size, fit).original_sha256)
        except ImageError as problem:
            return ImageFinding(problem=explained(problem), passing=problem.transient)

    with without_collection():
        return load_snapshot(
            file,
            limits=limits,
            default_model=settings.model,
            simulated=account_of(settings).simulated,
            image_check=check,
            earlier=earlier,
        )


def _refuse_taken_names(limits: Mapping[str, Model]) -> None:
    """Refuse parameters whose columns would never be read as what they are."""
    for model in limits.values():
        if taken := sorted(model.parameters.keys() & {*INPUT_COLUMNS, *REPORT_COLUMNS}):
            raise SettingsError(
                f"the catalogue has parameters of {model.name} by the names of columns that manifests or outputs have: "
                f"{', '.join(taken)}. Leave them out"
            )


def with_amendments(ledger: Ledger, decided: Decided, snapshot: Snapshot) -> Snapshot:
    """A campaign's manifest as it would be wanted: rows that were mended apart from it stand in the place of its own."""
    known = {} if decided.amends else ledger.productions.amendments(decided.plan.production_id)
    if not known:
        return snapshot
    amended_clips = [amendment.clip for amendment in known.values()]
    reported = invalid_ids(snapshot)
    rows = _amended_rows(_rows_of(reported, amended_clips), amended_clips)
    with_amended = amended(known, snapshot.clips, _hashes(rows), _numbers(rows))
    left = [reported_id not in with_amended.standing for _, reported_id in reported]
    invalid = Streamed(sum(left), lambda: itertools.compress((row for row, _ in reported), left))
    return replace(
        snapshot, clips=with_amended.clips, invalid=invalid, amended_ids=tuple(sorted(with_amended.standing))
    )


def require_affordable(ledger: Ledger, decided: Decided, snapshot: Snapshot) -> None:
    """Refuse a manifest that would pay again for what another production has, where nobody said that it should.

    Said early, before anything is written; that it holds is up to the ledger, when the clips are wanted.

    Raises:
        LedgerError: it would.
    """
    if not decided.amends:
        ledger.productions.require_paid_once(decided.plan, snapshot.clips)


def snapshot_path(snapshot_sha256: str) -> str:
    """Where in the output a canonical snapshot is kept."""
    return f"{SNAPSHOTS}/{snapshot_sha256[:24]}.parquet"


def register(
    snapshot: Snapshot, decided: Decided, ledger: Ledger, began_at: datetime, max_attempts: int
) -> Production:
    """Make the output the production's, keep the snapshot in it, and make its clips what the ledger wants.

    Args:
        snapshot: The checked manifest.
        decided: Which production it is for, and whether it only amends rows of that.
        ledger: The ledger.
        began_at: When reading it began.
        max_attempts: How often a clip is submitted at most.

    Raises:
        OutputOwnedError: the output is another production's.
        StoreError: the output cannot be written.
        OvertakenError: a later reading stands already, or was asked for.
        LedgerError: the production has become another manifest's, or its clips are another one's as well.
    """
    if decided.amends:
        return _amend(snapshot, decided, ledger, began_at, max_attempts)
    plan, path = decided.plan, snapshot_path(snapshot.snapshot_sha256)
    known = ledger.productions.amendments(plan.production_id)
    amended_clips = [amendment.clip for amendment in known.values()]
    store = OutputStore(plan.output_uri)
    claim(store, ledger, plan)
    store.replace_written(path, partial(write_snapshot, snapshot))
    rows = _amended_rows(_rows_of(invalid_ids(snapshot), amended_clips), amended_clips)
    reading = Reading(
        snapshot_path=path,
        manifest_sha256=snapshot.manifest_sha256,
        snapshot_sha256=snapshot.snapshot_sha256,
        wanted=snapshot.clips,
        invalid=_hashes(rows),
        invalid_numbers=_numbers(rows),
        began_at=began_at,
    )
    with without_collection():
        return ledger.productions.record_snapshot(plan, reading)


def amendable(snapshot: Snapshot, decided: Decided, ledger: Ledger) -> tuple[list[Clip], list[str]]:
    """The clips of a mended file that its production has, and the ids of those that it has not."""
    mended: list[Clip] = []
    strangers: list[str] = []
    invalid = _own_invalid_rows(decided, snapshot.clips)
    for stretch in stretches(snapshot.clips):
        known = ledger.clips.wanted_among(decided.plan.production_id, (clip.clip_id for clip in stretch))
        for clip in stretch:
            if clip.clip_id in known or _row_of(clip, invalid) is not None or clip.clip_id in invalid:
                mended.append(clip)
            else:
                strangers.append(clip.clip_id)
    return mended, strangers


def unsent_but_unusable(snapshot: Snapshot, decided: Decided, ledger: Ledger, max_attempts: int) -> list[str]:
    """Keys of a production's unsent clips whose rows in a file of mended rows cannot be used: nobody wants them as they were."""
    if not decided.amends:
        return []
    name = decided.plan.production_id
    keys = [clip_key(name, clip_id) for clip_id in unusable_ids(snapshot)]
    reserved = {each.clip_key for each in ledger.attempts.live(AttemptState.RESERVED)}
    return [*ledger.clips.pending_among(keys, max_attempts), *(key for key in keys if key in reserved)]


def unusable_ids(snapshot: Snapshot) -> list[str]:
    """The ids of the clips that rows would be which cannot be used, of all the takes that they may have."""
    return [
        take_id(bad.clip_id, take)
        for bad in snapshot.invalid
        if bad.clip_id
        for take in range(1, 1 + (MAX_TAKES if bad.values.get("takes") else 1))
    ]


def _hold_unusable(snapshot: Snapshot, decided: Decided, ledger: Ledger, max_attempts: int) -> None:
    """Cancel those: else each would be made, and paid for, as it was before somebody began to mend its row."""
    if keys := unsent_but_unusable(snapshot, decided, ledger, max_attempts):
        ledger.cancellations.cancel(decided.plan.production_id, max_attempts, keys)


def _amend(
    snapshot: Snapshot, decided: Decided, ledger: Ledger, began_at: datetime, max_attempts: int
) -> Production:
    mended, _ = amendable(snapshot, decided, ledger)
    rows = _own_invalid_rows(decided, mended)
    store = OutputStore(decided.plan.output_uri)
    claim(store, ledger, decided.plan)
    _hold_unusable(snapshot, decided, ledger, max_attempts)
    # Beside the campaign's own: a ledger that is lost is put together from them.
    store.replace_written(snapshot_path(snapshot.snapshot_sha256), partial(write_snapshot, snapshot))
    return ledger.productions.record_amendments(
        decided.plan,
        snapshot.manifest_uri,
        sorted((_in_its_row(clip, rows) for clip in mended), key=lambda clip: clip.row_number),
        invalid=_hashes(_amended_rows(rows, mended)),
        began_at=began_at,
    )


def _own_invalid_rows(decided: Decided, mended: Sequence[Clip]) -> dict[str, InvalidRow]:
    """Rows of the campaign's newest reading that could not be used, as far as they were mended, by the id they are reported under."""
    return {} if decided.known is None else _rows_of(invalid_ids(newest_snapshot(decided.known)), mended)


def _rows_of(reported: InvalidIds, mended: Sequence[Clip]) -> dict[str, InvalidRow]:
    """Those invalid rows that these clips are takes of, or are named like, by the id they are reported under."""
    if not reported:
        return {}
    names = {name for clip in mended for name in (clip.clip_id, row_id(clip.clip_id, clip.take))}
    return {reported_id: row for row, reported_id in reported if reported_id in names}


def _row_of(clip: Clip, invalid: Mapping[str, InvalidRow]) -> InvalidRow | None:
    return invalid.get(row_id(clip.clip_id, clip.take))


def _amended_rows(invalid: Mapping[str, InvalidRow], mended: Iterable[Clip]) -> dict[str, InvalidRow]:
    """Rows that cannot be used, by the id they are reported under, and by those of the takes they were mended to."""
    takes = {clip.clip_id: _row_of(clip, invalid) for clip in mended}
    return {**invalid, **{clip_id: row for clip_id, row in takes.items() if row is not None}}


def _hashes(rows: Mapping[str, InvalidRow]) -> dict[str, str]:
    return {clip_id: row.row_hash for clip_id, row in rows.items()}


def _numbers(rows: Mapping[str, InvalidRow]) -> dict[str, int]:
    return {clip_id: row.row_number for clip_id, row in rows.items()}


def _in_its_row(clip: Clip, invalid: Mapping[str, InvalidRow]) -> Clip:
    """A mended clip with the number of the campaign's row, not with that of the file that was mended."""
    row = _row_of(clip, invalid)
    return clip if row is None else replace(clip, row_number=row.row_number)


def newest_snapshot(production: Production) -> Snapshot:
    """What was read last; where that is not in the output, as little as the ledger knows of it."""
    return _newest(production, read_snapshot_file)


def newest_invalid_rows(production: Production) -> Snapshot:
    """The same without the clips: only the rows that could not be used."""
    return _newest(production, read_invalid_rows)


def _newest(production: Production, read: Callable[[Spool], Snapshot]) -> Snapshot:
    if production.snapshot_path is not None:
        try:
            return read(OutputStore(production.output_uri).read_to_spool(production.snapshot_path))
        except (FileNotFoundError, ValueError):
            pass  # moved away, or written by another version: the ledger knows the clips
    return Snapshot(
        manifest_uri=production.manifest_uri,
        manifest_sha256=production.manifest_sha256 or "",
        snapshot_sha256=production.snapshot_sha256 or "",
        clips=(),
    )
