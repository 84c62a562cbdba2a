"""A manifest to its canonical snapshot: read, checked, defaults filled in, takes expanded, images hashed."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest.bounds import MAX_ROWS, require_at_most
from sora_pipeline.manifest.draft import Draft
from sora_pipeline.manifest.duplicates import Duplicates
from sora_pipeline.manifest.earlier import (
    Earlier,
    NothingEarlier,
    StandingImage,
    is_asked_for,
    standing_image,
)
from sora_pipeline.manifest.ids import IdHashes
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
        ManifestError: there are too many clips.
    """
    rules, known = RowRules(limits, default_model), earlier or NothingEarlier()
    rows = file.rows.mapped(lambda raw: check_row(raw, rules, known))
    drafting = _Drafting(file, simulated, known, rules.number_columns)
    images, hashes, clips = Images(), IdHashes(), 0
    for row in rows:
        clips += row.takes
        if clips > MAX_ROWS:
            continue  # counted to the end, and not kept
        hashes.add(row.ids_to_compare())
        if row.image:
            images.want(_wanted(file, row.image))
        if not images:
            drafting.add(row)
    require_at_most(file.uri, MAX_ROWS, clips, "clips, takes included")
    duplicates = Duplicates(rows, hashes.repeated(), partial(_stands, file, known), file.places)
    if images or duplicates:
        images.check(image_check, image_workers)
        drafting = _Drafting(file, simulated, known, rules.number_columns)
        for row in rows:
            drafting.add(row, images, duplicates.problem_of(row))
    return drafting.snapshot()


def _stands(file: ManifestFile, earlier: Earlier, row: CheckedRow, take: int, clip_id: str) -> bool:
    """Whether a row says what was said under an id before: as a clip, or as a row that could not be used."""
    image = _image_of(file, row)
    before = InvalidRow(row.raw.number, clip_id, _without_secrets(row.raw.values, image), ())
    if take == 1 and earlier.was_invalid(clip_id, before.row_hash):
        return True
    return row.parsed is not None and any(
        clip.take == take and is_asked_for(clip, row.parsed, image) for clip in earlier.versions(clip_id)
    )


def _image_of(file: ManifestFile, row: CheckedRow) -> Wanted | None:
    return _wanted(file, row.image) if row.image else None


def _wanted(file: ManifestFile, image: tuple[str, Size]) -> Wanted:
    written, size = image
    return Uri(beside(file.uri.reveal(), written)), size


class _Drafting:
    """Checked rows, one after the other, to the snapshot that they make."""

    def __init__(
        self, file: ManifestFile, simulated: bool, earlier: Earlier, number_columns: Collection[str]
    ) -> None:
        self._file = file
        self._carried_columns = file.carried_columns
        self._simulated = simulated
        self._earlier = earlier
        self._draft = Draft(file.uri)
        self._hash = ContentHash(self._carried_columns)
        self._number_columns = [name for name in number_columns if name in file.columns]
        self._decimal_commas, self._kept_braces = False, 0
        self._parameters: dict[str, None] = {}

    def add(self, row: CheckedRow, images: Images | None = None, duplicate: RowProblem | None = None) -> None:
        """Add a row.

        Args:
            row: The row.
            images: The images of all of them, where one has any.
            duplicate: That another row has its id.
        """
        image = _image_of(self._file, row)
        finding = images.finding(image) if images and image else None
        if row.parsed and image and finding and finding.problem:
            sha256 = standing_image(row.clip_ids(), row.parsed, image, finding, self._earlier)
            if sha256 is not None:
                place = self._file.places.of(row.raw.number)
                standing = StandingImage(row.raw.number, row.clip_ids()[0], finding.problem, place)
                self._draft.standing.append(standing)
                finding = ImageFinding(sha256=sha256)
        problems = [*row.problems, *_image_problems(row, image, finding), *([duplicate] if duplicate else [])]
        if row.parsed is None or problems:
            problems.sort(key=self._place_of_column)
            place = self._file.places.of(row.raw.number)
            placed = tuple(replace(problem, place=place) for problem in problems)
            values = _without_secrets(row.raw.values, image)
            clip_id = None if duplicate else row.clip_id
            self._draft.invalid.append(InvalidRow(row.raw.number, clip_id, values, placed))
        else:
            self._understood(row)
            for clip in _clips(row, row.parsed, self._simulated, image, finding, self._carried_columns):
                self._draft.add_clip(clip)
                self._hash.add_clip(clip)

    def _place_of_column(self, problem: RowProblem) -> int:
        """As people go through a row; what is of no column of the file comes last."""
        columns = self._file.columns
        return columns.index(problem.column) if problem.column in columns else len(columns)

    def _understood(self, row: CheckedRow) -> None:
        self._kept_braces += row.keeps_braces
        if row.parsed and row.parsed.parameters:
            self._parameters |= dict.fromkeys(row.parsed.parameters)
        if not self._decimal_commas:
            for name in self._number_columns:
                value = row.raw.values[name]
                if type(value) is str and "," in value:
                    self._decimal_commas = True

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
            delimiter=self._file.delimiter,
            standing_images=self._draft.standing.items(),
            understanding=replace(
                self._file.understanding,
                decimal_commas=self._decimal_commas,
                parameters=tuple(self._parameters),
                kept_braces=self._kept_braces,
            ),
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
            parameters=parsed.parameters,
        )
        for take, clip_id in enumerate(row.clip_ids(), start=1)
    ]
