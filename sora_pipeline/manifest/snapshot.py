"""The canonical snapshot: everything a manifest asks for at one moment, checked, with defaults filled in."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.earlier import StandingImage
from sora_pipeline.manifest.problems import RowProblem, number_in
from sora_pipeline.manifest.table import COMMA
from sora_pipeline.manifest.understanding import NOTHING_GUESSED, Understanding
from sora_pipeline.streams import Streamed
from sora_pipeline.uris import Uri


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that asks for something that cannot be made, with everything that is wrong with it.

    Attributes:
        row_number: The first row below the header is 1.
        clip_id: The row's id; None where none can be derived (no prompt, or an id that is not allowed), or another row has it.
        values: The row as it was written, input and carried columns, as JSON values.
        problems: At least one.
    """

    row_number: int
    clip_id: str | None
    values: Mapping[str, Any]
    problems: tuple[RowProblem, ...]

    @property
    def shares_its_id(self) -> bool:
        """Whether another row has the id that it gives, so that it is known by none of its own."""
        return self.clip_id is None and any(problem.clip_id is not None for problem in self.problems)

    @property
    def place(self) -> str:
        """Where people find it: ``row 14`` as a spreadsheet numbers it."""
        return self.problems[0].shown_place if self.problems else f"row {self.row_number + 1}"

    @property
    def shown_number(self) -> int:
        """The number in that."""
        return number_in(self.place)

    @property
    def row_hash(self) -> str:
        """Hex SHA-256 of the row as it was written, wherever it stands."""
        canonical = json.dumps(dict(self.values), ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a manifest asked for when it was read; its rows may be too many to be held, and are then read from a file each time.

    Attributes:
        manifest_uri: Absolute path or URI of the file.
        manifest_sha256: Hash of the file's bytes.
        snapshot_sha256: Hash of the checked rows and the images' hashes: unchanged content, same hash.
        clips: The valid rows, takes expanded, in the file's order.
        invalid: The other rows, in the file's order.
        carried_columns: Names of the columns carried through, in the file's order.
        ignored_columns: Names of columns that were left out because the output manifest writes them itself.
        delimiter: What separated the file's columns, where it was CSV: of rows to mend, a spreadsheet is to understand the same.
        standing_images: Images that could not be read this time, of rows that stand as they were read before; known only
            to whoever has read the manifest.
        understanding: What was guessed of how the file is written; known only to whoever has read it.
        amended_ids: Ids of rows that stand as they were mended apart from the file; known only to whoever has read it.
    """

    manifest_uri: Uri
    manifest_sha256: str
    snapshot_sha256: str
    clips: Sequence[Clip]
    invalid: Sequence[InvalidRow] = ()
    carried_columns: tuple[str, ...] = ()
    ignored_columns: tuple[str, ...] = ()
    delimiter: str = field(default=COMMA, compare=False)
    standing_images: Sequence[StandingImage] = field(default=(), compare=False)
    understanding: Understanding = field(default=NOTHING_GUESSED, compare=False)
    amended_ids: tuple[str, ...] = field(default=(), compare=False)

    @property
    def problems(self) -> Sequence[RowProblem]:
        """Every problem of every row, in the file's order."""
        length = sum(len(row.problems) for row in self.invalid)
        return Streamed(length, lambda: (problem for row in self.invalid for problem in row.problems))


class ContentHash:
    """Hash of what rows ask for, images by their bytes; clips first, and then the invalid rows.

    Args:
        carried_columns: Names of the columns carried through.
    """

    def __init__(self, carried_columns: Iterable[str]) -> None:
        self._digest = hashlib.sha256(f"[{_canonical([*carried_columns])}".encode())

    def add_clip(self, clip: Clip) -> None:
        """Add the next clip."""
        self._add(_clip_values(clip))

    def hexdigest(self, invalid: Iterable[InvalidRow]) -> str:
        """The hash, once all clips were added."""
        for row in invalid:
            self._add(_invalid_values(row))
        self._digest.update(b"]")
        return self._digest.hexdigest()

    def _add(self, values: tuple[Any, ...]) -> None:
        self._digest.update(f",{_canonical(values)}".encode())


_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=dict).encode


def _clip_values(clip: Clip) -> tuple[Any, ...]:
    values = (
        clip.clip_id,
        clip.row_number,
        clip.prompt,
        clip.image,
        clip.image_sha256,
        clip.model,
        clip.simulated,
        clip.duration,
        str(clip.size),
        clip.take,
        clip.carried,
    )
    return (*values, clip.parameters) if clip.parameters else values


def _invalid_values(bad: InvalidRow) -> tuple[Any, ...]:
    return bad.row_number, bad.clip_id, bad.values, [problem.message for problem in bad.problems]
