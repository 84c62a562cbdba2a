"""A manifest to its canonical snapshot: read, checked, defaults filled in, takes expanded, images hashed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest.bounds import MAX_ROWS, require_at_most
from sora_pipeline.manifest.draft import Draft
from sora_pipeline.manifest.earlier import Earlier, NothingEarlier, StandingImage, standing_image
from sora_pipeline.manifest.ids import IdHashes, require_distinct
from sora_pipeline.manifest.images import ImageCheck, ImageFinding, Images, Wanted
from sora_pipeline.manifest.limits import Limits, RowRules
from sora_pipeline.manifest.problems import RowProblem, shown
from sora_pipeline.manifest.reading import ManifestFile
from sora_pipeline.manifest.row_model import IMAGE_RULE, ParsedRow
from sora_pipeline.manifest.rows import CheckedRow, check_row
from sora_pipeline.manifest.snapshot import ContentHash, InvalidRow, Snapshot
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
    rows = file.rows.mapped(lambda raw: check_row(raw, rules))
    drafting = _Drafting(file, simulated, earlier or NothingEarlier())
    images, hashes, clips = Images(), IdHashes(), 0
    for row in rows:
        clips += row.takes
        if clips > MAX_ROWS:
            continue  # counted to the end, and not kept
        hashes.add(row.clip_ids())
        if row.image:
            images.want(_wanted(file, row.image))
        if not images:
            drafting.add(row)
    require_at_most(file.uri, MAX_ROWS, clips, "clips, takes included")
    require_distinct(file.uri, _entries(rows), hashes.repeated())
    if images:
        images.check(image_check, image_workers)
        drafting = _Drafting(file, simulated, earlier or NothingEarlier())
        for row in rows:
            drafting.add(row, images)
    return drafting.snapshot()


def _entries(rows: Iterable[CheckedRow]) -> Iterator[tuple[int, str, bool]]:
    return ((row.raw.number, clip_id, row.id_given) for row in rows for clip_id in row.clip_ids())


def _wanted(file: ManifestFile, image: tuple[str, Size]) -> Wanted:
    written, size = image
    return Uri(beside(file.uri.reveal(), written)), size


class _Drafting:
    """Checked rows, one after the other, to the snapshot that they make."""

    def __init__(self, file: ManifestFile, simulated: bool, earlier: Earlier) -> None:
        self._file = file
        self._carried_columns = file.carried_columns
        self._simulated = simulated
        self._earlier = earlier
        self._draft = Draft(file.uri)
        self._hash = ContentHash(self._carried_columns)

    def add(self, row: CheckedRow, images: Images | None = None) -> None:
        """Add a row; the images of all of them, where one has any."""
        image = _wanted(self._file, row.image) if row.image else None
        finding = images.finding(image) if images and image else None
        if row.parsed and image and finding and finding.problem:
            sha256 = standing_image(row.clip_ids(), row.parsed, image, finding, self._earlier)
            if sha256 is not None:
                standing = StandingImage(row.raw.number, row.clip_ids()[0], finding.problem)
                self._draft.standing.append(standing)
                finding = ImageFinding(sha256=sha256)
        problems = [*row.problems, *_image_problems(row, image, finding)]
        if row.parsed is None or problems:
            values = _without_secrets(row.raw.values, image)
            self._draft.invalid.append(InvalidRow(row.raw.number, row.clip_id, values, tuple(problems)))
        else:
            for clip in _clips(row, row.parsed, self._simulated, image, finding, self._carried_columns):
                self._draft.add_clip(clip)
                self._hash.add_clip(clip)

    def snapshot(self) -> Snapshot:
        """What all rows ask for."""
        clips, invalid = self._draft.clips.items(), self._draft.invalid.items()
        return Snapshot(
            manifest_uri=self._file.uri,
            manifest_sha256=self._file.sha256,
            snapshot_sha256=self._hash.hexdigest(invalid),
            clips=clips,
            invalid=invalid,
            carried_columns=self._carried_columns,
            ignored_columns=self._file.ignored_columns,
            standing_images=self._draft.standing.items(),
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
