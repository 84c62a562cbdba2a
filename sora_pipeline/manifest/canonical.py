"""A manifest to its canonical snapshot: read, checked, defaults filled in, takes expanded, images hashed."""

from collections.abc import Mapping
from typing import Any

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.bounds import MAX_ROWS, require_at_most
from sora_pipeline.manifest.earlier import Earlier, NothingEarlier, StandingImage, standing_image
from sora_pipeline.manifest.ids import require_distinct
from sora_pipeline.manifest.images import ImageCheck, ImageFinding, Wanted, check_images
from sora_pipeline.manifest.limits import Limits, RowRules
from sora_pipeline.manifest.problems import RowProblem, shown
from sora_pipeline.manifest.reading import ManifestFile
from sora_pipeline.manifest.row_model import IMAGE_RULE, ParsedRow
from sora_pipeline.manifest.rows import CheckedRow, check_row
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot, content_hash
from sora_pipeline.manifest.uris import beside
from sora_pipeline.uris import Uri, without_secrets


def load_snapshot(
    file: ManifestFile,
    *,
    limits: Mapping[str, Limits],
    default_model: str,
    simulated: bool,
    image_check: ImageCheck,
    earlier: Earlier | None = None,
    image_workers: int = 16,
) -> Snapshot:
    """Check every row of a manifest.

    Args:
        file: The manifest, as it was read.
        limits: What each model that may be named can make.
        default_model: The model of rows that name none.
        simulated: Whether an emulator is to make the clips.
        image_check: Says whether an image can be the first frame of a video of a size; called from threads.
        earlier: What earlier readings found; None: there were none.
        image_workers: How many images are checked at a time.

    Raises:
        ManifestError: two clips would share an id, or there are too many.
    """
    rules = RowRules(limits, default_model)
    rows = [check_row(raw, rules) for raw in file.rows]
    require_at_most(file.uri, MAX_ROWS, sum(row.takes for row in rows), "clips, takes included")
    require_distinct(
        file.uri, ((row.raw.number, clip_id, row.id_given) for row in rows for clip_id in row.clip_ids())
    )
    images = {
        row.raw.number: (Uri(beside(file.uri.reveal(), image)), size)
        for row in rows
        if row.image
        for image, size in [row.image]
    }
    findings = check_images(images.values(), image_check, image_workers)
    earlier = earlier or NothingEarlier()
    clips: list[Clip] = []
    invalid: list[InvalidRow] = []
    standing: list[StandingImage] = []
    carried_columns = file.carried_columns
    for row in rows:
        image = images.get(row.raw.number)
        finding = findings[image] if image else None
        if row.parsed and image and finding and finding.problem:
            sha256 = standing_image(row.clip_ids(), row.parsed, image, finding, earlier)
            if sha256 is not None:
                standing.append(StandingImage(row.raw.number, row.clip_ids()[0], finding.problem))
                finding = ImageFinding(sha256=sha256)
        problems = [*row.problems, *_image_problems(row, image, finding)]
        if row.parsed is None or problems:
            values = _without_secrets(row.raw.values, image)
            invalid.append(InvalidRow(row.raw.number, row.clip_id, values, tuple(problems)))
        else:
            clips.extend(_clips(row, row.parsed, simulated, image, finding, carried_columns))
    return Snapshot(
        manifest_uri=file.uri,
        manifest_sha256=file.sha256,
        snapshot_sha256=content_hash(clips, invalid, carried_columns),
        clips=tuple(clips),
        invalid=tuple(invalid),
        carried_columns=carried_columns,
        ignored_columns=file.ignored_columns,
        standing_images=tuple(standing),
    )


def _image_problems(row: CheckedRow, image: Wanted | None, finding: ImageFinding | None) -> list[RowProblem]:
    if row.image is None or image is None or finding is None or finding.problem is None:
        return []
    uri, size = image
    written = uri.shown if uri.has_secret else row.image[0]
    allowed = f"{IMAGE_RULE} of a picture that can begin a {size} video"
    return [
        RowProblem(
            row.raw.number, "image", shown(written), finding.problem, allowed, row.clip_id, finding.passing
        )
    ]


def _without_secrets(values: Mapping[str, Any], image: Wanted | None) -> Mapping[str, Any]:
    """A row that is kept in the output, where others may read it."""
    written = values.get("image")
    if image is not None and image[0].has_secret:
        return {**values, "image": image[0].shown}
    return {**values, "image": without_secrets(written)} if isinstance(written, str) else values


def _clips(
    row: CheckedRow,
    parsed: ParsedRow,
    simulated: bool,
    image: Wanted | None,
    finding: ImageFinding | None,
    carried_columns: tuple[str, ...],
) -> list[Clip]:
    carried = {name: row.raw.values[name] for name in carried_columns}
    return [
        Clip(
            clip_id=clip_id,
            row_number=row.raw.number,
            prompt=parsed.prompt,
            image=image[0] if image else None,
            image_sha256=finding.sha256 if finding else None,
            model=parsed.model,
            simulated=simulated,
            duration=parsed.duration,
            size=parsed.size,
            take=take,
            carried=carried,
        )
        for take, clip_id in enumerate(row.clip_ids(), start=1)
    ]
