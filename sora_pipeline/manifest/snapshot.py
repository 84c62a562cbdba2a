"""The canonical snapshot: everything a manifest asks for at one moment, checked, with defaults filled in."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.earlier import StandingImage
from sora_pipeline.manifest.problems import RowProblem
from sora_pipeline.uris import Uri


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that asks for something that cannot be made, with everything that is wrong with it.

    Attributes:
        row_number: The first row below the header is 1.
        clip_id: The row's id; None where none can be derived (no prompt, or an id that is not allowed).
        values: The row as it was written, input and carried columns, as JSON values.
        problems: At least one.
    """

    row_number: int
    clip_id: str | None
    values: Mapping[str, Any]
    problems: tuple[RowProblem, ...]

    @property
    def row_hash(self) -> str:
        """Hex SHA-256 of the row as it was written, wherever it stands."""
        canonical = json.dumps(dict(self.values), ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a manifest asked for when it was read.

    Attributes:
        manifest_uri: Absolute path or URI of the file.
        manifest_sha256: Hash of the file's bytes.
        snapshot_sha256: Hash of the checked rows and the images' hashes: unchanged content, same hash.
        clips: The valid rows, takes expanded, in the file's order.
        invalid: The other rows, in the file's order.
        carried_columns: Names of the columns carried through, in the file's order.
        ignored_columns: Names of columns that were left out because the output manifest writes them itself.
        standing_images: Images that could not be read this time, of rows that stand as they were read before; known only
            to whoever has read the manifest.
    """

    manifest_uri: Uri
    manifest_sha256: str
    snapshot_sha256: str
    clips: tuple[Clip, ...]
    invalid: tuple[InvalidRow, ...] = ()
    carried_columns: tuple[str, ...] = ()
    ignored_columns: tuple[str, ...] = ()
    standing_images: tuple[StandingImage, ...] = field(default=(), compare=False)

    @property
    def problems(self) -> tuple[RowProblem, ...]:
        """Every problem of every row, in the file's order."""
        return tuple(problem for row in self.invalid for problem in row.problems)


def content_hash(clips: Iterable[Clip], invalid: Iterable[InvalidRow], carried_columns: Iterable[str]) -> str:
    """Hash what the rows ask for, images by their bytes."""
    rows: list[list[Any]] = [[*carried_columns]]
    for clip in clips:
        row = [
            clip.clip_id,
            clip.row_number,
            clip.prompt,
            clip.image,
            clip.image_sha256,
            clip.model,
            clip.simulated,
        ]
        rows.append([*row, clip.duration, str(clip.size), clip.take, clip.carried])
    for bad in invalid:
        sentences = [problem.message for problem in bad.problems]
        rows.append([bad.row_number, bad.clip_id, bad.values, sentences])
    canonical = json.dumps(rows, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(canonical.encode()).hexdigest()
