"""The snapshot as typed Parquet and back: what a manifest asked for, kept beside what came of it.

It lies in the output, which others may read: images and the manifest are named without passwords and signatures.
"""

import io
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import NoneType
from typing import IO, TYPE_CHECKING, Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.foreign_json import read_json
from sora_pipeline.manifest.arrow_arrays import arrow_array
from sora_pipeline.manifest.csv_dialect import DELIMITERS
from sora_pipeline.manifest.ids import IdHashes, is_any_twice, is_safe_id
from sora_pipeline.manifest.parquet_format import WRITTEN_TIMES, open_parquet, parquet_rows
from sora_pipeline.manifest.problems import RowProblem
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.manifest.table import COMMA
from sora_pipeline.spool import Spool, SpoolError
from sora_pipeline.streams import Streamed, stretches
from sora_pipeline.uris import Uri

if TYPE_CHECKING:
    import pyarrow as pa

SNAPSHOT_SCHEMA_VERSION = "3"
_READABLE = (SNAPSHOT_SCHEMA_VERSION, "2", "1")
"""Version 2 knew no parameters; in version 1 the wire format stood where now stands whether it is simulated."""
_GROUP_STRETCHES = 8
"""In a row group: larger ones are packed better."""
_VALID, _VALUES, _PROBLEMS = 1, 13, 14
"""The places of these columns."""
_VERSION_KEY = b"sora_pipeline.snapshot_version"
_ABOUT_KEY = b"sora_pipeline.snapshot"
_ABOUT = (
    "manifest_uri",
    "manifest_sha256",
    "snapshot_sha256",
    "carried_columns",
    "ignored_columns",
    "delimiter",
)


_json = json.JSONEncoder().encode


def _schema(about: dict[str, Any]) -> "pa.Schema":
    import pyarrow as pa

    fields: list[tuple[str, pa.DataType]] = [
        ("row_number", pa.int64()),
        ("valid", pa.bool_()),
        ("clip_id", pa.string()),
        ("prompt", pa.string()),
        ("image", pa.string()),
        ("image_sha256", pa.string()),
        ("model", pa.string()),
        ("simulated", pa.bool_()),
        ("duration", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("take", pa.int32()),
        ("carried", pa.string()),  # JSON
        ("values", pa.string()),  # of an invalid row, as written: JSON
        ("problems", pa.string()),  # of an invalid row: JSON
        ("parameters", pa.string()),  # JSON
    ]
    metadata: dict[bytes | str, bytes | str] = {
        _VERSION_KEY: SNAPSHOT_SCHEMA_VERSION.encode(),
        _ABOUT_KEY: json.dumps(about).encode(),
    }
    return pa.schema(fields, metadata=metadata)


def write_snapshot(snapshot: Snapshot, stream: IO[bytes]) -> None:
    """Write valid and invalid rows, zstd-compressed, some thousand at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema({name: getattr(snapshot, name) for name in _ABOUT})
    rows = itertools.chain(map(_clip_cells, snapshot.clips), map(_invalid_cells, snapshot.invalid))
    tables = (_table(stretch, schema) for stretch in stretches(rows, weigh=_chars))
    # Without the longest and shortest text of each row group the footer stays small.
    with pq.ParquetWriter(stream, schema, compression="zstd", write_statistics=False) as writer:
        for group in stretches(tables, _GROUP_STRETCHES, weigh=lambda table: table.nbytes):
            writer.write_table(pa.concat_tables(group))


def _table(rows: Sequence[tuple[Any, ...]], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    arrays = [arrow_array(cells, field.type) for cells, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _chars(cells: tuple[Any, ...]) -> int:
    return sum(len(cell) for cell in cells if isinstance(cell, str))


def snapshot_to_parquet(snapshot: Snapshot) -> bytes:
    """What ``write_snapshot`` writes."""
    stream = io.BytesIO()
    write_snapshot(snapshot, stream)
    return stream.getvalue()


def snapshot_from_parquet(content: bytes) -> Snapshot:
    """Read what ``snapshot_to_parquet`` wrote.

    Raises:
        ValueError: written by another version of the program, by hand or by anybody else, or no snapshot at all.
    """
    return read_snapshot_file(Spool.of(content))


def read_snapshot_file(content: Spool) -> Snapshot:
    """Read what ``write_snapshot`` wrote; its rows are read anew each time they are gone through.

    Raises:
        ValueError: written by another version of the program, by hand or by anybody else, or no snapshot at all.
    """
    with _refusing():
        about, rows = _opened(content)
        clips, invalid = rows.count()
        return _snapshot(
            about, Streamed(clips, rows.clips), Streamed(invalid, rows.invalid) if invalid else ()
        )


def read_invalid_rows(content: Spool) -> Snapshot:
    """The same without the clips, which takes a hundredth of the time: for whoever only asks which rows cannot be made.

    Raises:
        ValueError: written by another version of the program, by hand or by anybody else, or no snapshot at all.
    """
    with _refusing():
        about, rows = _opened(content)
        count = sum(1 for _ in rows.invalid())
        return _snapshot(about, (), Streamed(count, rows.invalid) if count else ())


@contextmanager
def _refusing() -> Iterator[None]:
    """What others wrote makes decoders raise nearly anything."""
    try:
        yield
    except (ValueError, SpoolError):
        raise
    except Exception as error:
        raise ValueError(f"this is no snapshot ({type(error).__name__})") from error


def _opened(content: Spool) -> tuple[dict[str, Any], "_Rows"]:
    """What a snapshot's file says of the manifest, and its rows."""
    file = open_parquet("snapshot", content, WRITTEN_TIMES)
    metadata = file.schema_arrow.metadata or {}
    version = metadata.get(_VERSION_KEY, b"none").decode()
    if version not in _READABLE:
        raise ValueError(
            f"snapshot version {version} cannot be read, only {SNAPSHOT_SCHEMA_VERSION}; read the manifest again"
        )
    return read_json(metadata[_ABOUT_KEY]), _Rows(content, len(file.schema_arrow.names))


def _snapshot(about: dict[str, Any], clips: Sequence[Clip], invalid: Sequence[InvalidRow]) -> Snapshot:
    return Snapshot(
        manifest_uri=Uri(_text(about["manifest_uri"])),
        manifest_sha256=_text(about["manifest_sha256"]),
        snapshot_sha256=_text(about["snapshot_sha256"]),
        clips=clips,
        invalid=invalid,
        carried_columns=tuple(map(_text, about["carried_columns"])),
        ignored_columns=tuple(map(_text, about["ignored_columns"])),
        delimiter=_delimiter(about.get("delimiter", COMMA)),  # earlier versions kept none
    )


def _delimiter(kept: Any) -> str:
    if kept not in DELIMITERS:
        raise ValueError(f"{kept!r} separates no columns")
    return _text(kept)


class _Rows:
    """The rows of a snapshot's file, parsed each time they are gone through: anybody may have written them."""

    def __init__(self, content: Spool, columns: int) -> None:
        self._content = content
        self._columns = columns

    def count(self) -> tuple[int, int]:
        """How many clips and invalid rows there are.

        Raises:
            ValueError: a row is none that was ever written, or two clips have one id.
        """
        hashes, clips, invalid = IdHashes(), 0, 0
        for stretch in stretches(self.clips()):
            clips += len(stretch)
            hashes.add(clip.clip_id for clip in stretch)
        for _ in self.invalid():
            invalid += 1
        if is_any_twice((clip.clip_id for clip in self.clips()), hashes.repeated()):
            raise ValueError("two clips of a snapshot have one id")
        return clips, invalid

    def clips(self) -> Iterator[Clip]:
        """The valid rows."""
        sizes: dict[tuple[int, int], Size] = {}
        return (_clip(cells, sizes) for cells in self._cells(valid=True))

    def invalid(self) -> Iterator[InvalidRow]:
        """The others."""
        return map(_invalid, self._cells(valid=False))

    def _cells(self, *, valid: bool) -> Iterator[tuple[Any, ...]]:
        file = open_parquet("snapshot", self._content, WRITTEN_TIMES)
        columns = list(range(self._columns))
        return (
            cells
            for cells in parquet_rows("snapshot", file, columns, WRITTEN_TIMES, only=(_VALID, valid))
            if bool(cells[_VALID]) is valid
        )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # of a file that is wrong, not of a caller
    return value


def _clip_cells(clip: Clip) -> tuple[Any, ...]:
    return (
        clip.row_number,
        True,
        clip.clip_id,
        clip.prompt,
        clip.image,
        clip.image_sha256,
        clip.model,
        clip.simulated,
        clip.duration,
        clip.size.width,
        clip.size.height,
        clip.take,
        _json(dict(clip.carried)) if clip.carried else None,
        None,
        None,
        _json(dict(clip.parameters)) if clip.parameters else None,
    )


def _invalid_cells(row: InvalidRow) -> tuple[Any, ...]:
    problems = json.dumps([asdict(problem) for problem in row.problems])
    return (row.row_number, False, row.clip_id, *[None] * 10, json.dumps(dict(row.values)), problems, None)


_TEXT, _OR_NONE = str, (str, NoneType)
_CLIP_TYPES: tuple[type | tuple[type, ...], ...] = (
    (int, bool, _TEXT, _TEXT, _OR_NONE, _OR_NONE, _TEXT, (bool, str), int, int, int, int, _OR_NONE, *[_OR_NONE] * 3)
)  # fmt: skip
_MOST = 2**31


def _clip(cells: tuple[Any, ...], sizes: dict[tuple[int, int], Size]) -> Clip:
    if not all(isinstance(cell, kind) for cell, kind in zip(cells, _CLIP_TYPES, strict=False)):
        raise ValueError("a clip of a snapshot has a cell of another type")
    if any("\0" in cell for cell in cells if type(cell) is str) or not is_safe_id(cells[2]):
        raise ValueError("a clip of a snapshot has a text that no clip has")
    if not all(0 < number < _MOST for number in cells[8:12]):
        raise ValueError("a clip of a snapshot has a number that no clip has")
    (
        number,
        _,
        clip_id,
        prompt,
        image,
        image_sha256,
        model,
        maker,
        duration,
        width,
        height,
        take,
        carried,
        _,
        _,
        *parameters,
    ) = cells
    return Clip(
        clip_id=clip_id,
        row_number=number,
        prompt=prompt,
        image=image and Uri(image),
        image_sha256=image_sha256,
        model=model,
        simulated=maker in (True, "sandbox"),  # a word in the version before
        duration=duration,
        size=sizes.setdefault((width, height), Size(width, height)),
        take=take,
        carried=_record(carried) if carried else {},
        parameters=_record(parameters[0]) if parameters and parameters[0] else {},
    )


def _invalid(cells: tuple[Any, ...]) -> InvalidRow:
    number, clip_id = cells[0], cells[2]
    if not isinstance(number, int) or not (clip_id is None or is_safe_id(_text(clip_id))):
        raise ValueError("an invalid row of a snapshot has a number or an id that no row has")
    problems = tuple(RowProblem(**problem) for problem in read_json(cells[_PROBLEMS], with_nul=True))
    return InvalidRow(number, clip_id, _record(cells[_VALUES], with_nul=True), problems)


def _record(text: str, *, with_nul: bool = False) -> dict[str, Any]:
    value = read_json(text, with_nul=with_nul)
    if not isinstance(value, dict):
        raise ValueError("the JSON of a snapshot is no record")
    return value
