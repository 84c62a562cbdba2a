"""The snapshot as typed Parquet and back: what a manifest asked for, kept beside what came of it.

It lies in the output, which others may read: images and the manifest are named without passwords and signatures.
"""

import json
from dataclasses import asdict
from types import NoneType
from typing import TYPE_CHECKING, Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.foreign_json import read_json
from sora_pipeline.manifest.arrow_arrays import arrow_array
from sora_pipeline.manifest.ids import is_safe_id
from sora_pipeline.manifest.parquet_format import WRITTEN_TIMES, parse_parquet
from sora_pipeline.manifest.problems import RowProblem
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.spool import Spool
from sora_pipeline.uris import Uri

if TYPE_CHECKING:
    import pyarrow as pa

SNAPSHOT_SCHEMA_VERSION = "2"
_WITH_PROVIDERS = "1"
"""The version before: the wire format stood where now stands whether it is simulated."""
_VERSION_KEY = b"sora_pipeline.snapshot_version"
_ABOUT_KEY = b"sora_pipeline.snapshot"
_ABOUT = ("manifest_uri", "manifest_sha256", "snapshot_sha256", "carried_columns", "ignored_columns")


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
    ]
    metadata: dict[bytes | str, bytes | str] = {
        _VERSION_KEY: SNAPSHOT_SCHEMA_VERSION.encode(),
        _ABOUT_KEY: json.dumps(about).encode(),
    }
    return pa.schema(fields, metadata=metadata)


def snapshot_to_parquet(snapshot: Snapshot) -> bytes:
    """Write valid and invalid rows, zstd-compressed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema({name: getattr(snapshot, name) for name in _ABOUT})
    rows = [_clip_cells(clip) for clip in snapshot.clips] + [_invalid_cells(row) for row in snapshot.invalid]
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [arrow_array(cells, field.type) for cells, field in zip(columns, schema, strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def snapshot_from_parquet(content: bytes) -> Snapshot:
    """Read what ``snapshot_to_parquet`` wrote.

    Raises:
        ValueError: written by another version of the program, by hand or by anybody else, or no snapshot at all.
    """
    try:
        return _read(content)
    except ValueError:
        raise
    except Exception as error:  # what others wrote makes decoders raise nearly anything
        raise ValueError(f"this is no snapshot ({type(error).__name__})") from error


def _read(content: bytes) -> Snapshot:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = parse_parquet("snapshot", Spool.of(content), times=WRITTEN_TIMES)
    metadata = pq.ParquetFile(pa.BufferReader(content)).schema_arrow.metadata or {}
    version = metadata.get(_VERSION_KEY, b"none").decode()
    if version not in (SNAPSHOT_SCHEMA_VERSION, _WITH_PROVIDERS):
        raise ValueError(
            f"snapshot version {version} cannot be read, only {SNAPSHOT_SCHEMA_VERSION}; read the manifest again"
        )
    about = read_json(metadata[_ABOUT_KEY])
    rows = [row.cells for row in table.rows]
    sizes: dict[tuple[int, int], Size] = {}
    clips = tuple(_clip(row, sizes) for row in rows if row[1])
    if len({clip.clip_id.lower() for clip in clips}) < len(clips):
        raise ValueError("two clips of a snapshot have one id")
    return Snapshot(
        manifest_uri=Uri(_text(about["manifest_uri"])),
        manifest_sha256=_text(about["manifest_sha256"]),
        snapshot_sha256=_text(about["snapshot_sha256"]),
        clips=clips,
        invalid=tuple(_invalid(row) for row in rows if not row[1]),
        carried_columns=tuple(map(_text, about["carried_columns"])),
        ignored_columns=tuple(map(_text, about["ignored_columns"])),
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
        json.dumps(dict(clip.carried)) if clip.carried else None,
        None,
        None,
    )


def _invalid_cells(row: InvalidRow) -> tuple[Any, ...]:
    problems = json.dumps([asdict(problem) for problem in row.problems])
    return (row.row_number, False, row.clip_id, *[None] * 10, json.dumps(dict(row.values)), problems)


_TEXT, _OR_NONE = str, (str, NoneType)
_CLIP_TYPES: tuple[type | tuple[type, ...], ...] = (
    (int, bool, _TEXT, _TEXT, _OR_NONE, _OR_NONE, _TEXT, (bool, str), int, int, int, int, _OR_NONE)
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
        *_,
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
    )


def _invalid(cells: tuple[Any, ...]) -> InvalidRow:
    number, clip_id = cells[0], cells[2]
    if not isinstance(number, int) or not (clip_id is None or is_safe_id(_text(clip_id))):
        raise ValueError("an invalid row of a snapshot has a number or an id that no row has")
    problems = tuple(RowProblem(**problem) for problem in read_json(cells[-1], with_nul=True))
    return InvalidRow(number, clip_id, _record(cells[-2], with_nul=True), problems)


def _record(text: str, *, with_nul: bool = False) -> dict[str, Any]:
    value = read_json(text, with_nul=with_nul)
    if not isinstance(value, dict):
        raise ValueError("the JSON of a snapshot is no record")
    return value
