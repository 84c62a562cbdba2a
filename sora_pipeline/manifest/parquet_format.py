"""A Parquet file to a table of typed cells. Knows nothing of what the columns mean.

Parquet packs well: 10 kB can hold 100 million rows of one value. What it says of itself is bounded before anything is decoded,
and what comes out is counted batch by batch, since what a file says need not be so.
"""

import contextlib
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from sora_pipeline.manifest.bounds import (
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_DEPTH,
    MAX_ROWS,
    require_at_most,
    require_bytes,
)
from sora_pipeline.manifest.parquet_footer import MAX_FOOTER_BYTES, Footer, footer_bytes, read_footer
from sora_pipeline.manifest.problems import ManifestError, brief
from sora_pipeline.manifest.table import Record, Table, is_blank
from sora_pipeline.spool import CHUNK_BYTES, Spool
from sora_pipeline.streams import Streamed

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""Lists and records within each other."""
_LEVELS = 2
"""A list is two levels of a schema."""
_BATCH_ROWS = 4096
WRITTEN_TIMES = 4
"""Snapshots and output manifests have more columns than the manifests that they are about, but no more rows."""


def parse_parquet(uri: str, content: Spool, unneeded: Collection[str] = (), *, times: int = 1) -> Table:
    """Read the columns.

    The file is gone through once here, so that whatever is wrong with it is said now, and once more each time the table's
    rows are.

    Args:
        uri: The file.
        content: Its bytes.
        unneeded: Names of columns whose cells are of no interest: they come as None, and are not decoded.
        times: How many times the cells and bytes of a manifest it may hold: what is written of one holds more.

    Raises:
        ManifestError: the bytes are not Parquet, are damaged, or hold more than is allowed.
    """
    with _explaining(uri):
        names = [name.strip() for name in open_parquet(uri, content, times).schema_arrow.names]
    kept = [index for index, name in enumerate(names) if not _PANDAS_INDEX.fullmatch(name)]
    needed = [index for index in kept if names[index] not in unneeded]
    place = {index: number for number, index in enumerate(needed)}

    def records() -> Iterator[Record]:
        with _explaining(uri):
            rows = parquet_rows(uri, open_parquet(uri, content, times), needed, times)
            for number, cells in enumerate(rows, start=1):
                if not all(map(is_blank, cells)):
                    yield Record(
                        number, tuple([cells[place[index]] if index in place else None for index in kept])
                    )

    count = sum(1 for _ in records())
    return Table(tuple(names[index] for index in kept), Streamed(count, records))


@contextlib.contextmanager
def _explaining(uri: str) -> Iterator[None]:
    try:
        yield
    except ManifestError:
        raise
    except Exception as error:  # damaged files raise whatever the decoder stumbles over
        reason = f"the Parquet file cannot be read ({brief(error)}). It may be damaged; write it again."
        raise ManifestError(uri, reason) from error


def open_parquet(uri: str, content: Spool, times: int) -> "pq.ParquetFile":
    """The file, once what it says of itself is known to be within bounds.

    Raises:
        ManifestError: it is no Parquet file, or says that it holds more than is allowed.
        Exception: it is damaged.
    """
    import pyarrow.parquet as pq

    if content.read(0, len(MAGIC)) != MAGIC:
        raise ManifestError(
            uri, "this is not a Parquet file. Only CSV in UTF-8, Parquet and .xlsx files can be read."
        )
    tail = content.read(max(0, content.size - MAX_FOOTER_BYTES))
    if tail.endswith(MAGIC) and footer_bytes(tail) > MAX_FOOTER_BYTES:
        raise ManifestError(uri, "its footer is too large. Write it with fewer columns and row groups.")
    _require_small(uri, read_footer(tail), times)
    texts = _texts(pq.ParquetFile(content.open()).schema)
    # Read as it is decoded, and not a column of a row group at once.
    return pq.ParquetFile(content.open(), read_dictionary=texts, buffer_size=CHUNK_BYTES, pre_buffer=False)


def _texts(schema: "pq.ParquetSchema") -> list[str]:
    """Columns of texts and bytes: as dictionaries, a value that all rows share is one value."""
    columns = (schema.column(index) for index in range(len(schema)))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _require_small(uri: str, footer: Footer, times: int) -> None:
    require_at_most(uri, MAX_COLUMNS, footer.columns, "columns")
    require_at_most(uri, MAX_ROWS, footer.rows, "rows")
    if footer.depth > _LEVELS * MAX_DEPTH:
        raise ManifestError(
            uri, f"a column holds lists in lists; up to {MAX_DEPTH} are allowed. Write it as JSON text."
        )
    require_at_most(uri, times * MAX_CELLS, footer.values, "cells")
    require_bytes(uri, footer.unpacked_bytes, "its content unpacks to", times)


def parquet_rows(
    uri: str,
    file: "pq.ParquetFile",
    needed: list[int],
    times: int,
    *,
    only: tuple[int, bool] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """The rows, as they are decoded.

    Args:
        uri: What it is.
        file: The file.
        needed: The columns wanted.
        times: How many times the cells and bytes of a manifest it may hold.
        only: Leave out where no row of some thousand has this truth in this one of the columns.

    Raises:
        ManifestError: it holds more than it says, and than is allowed.
        Exception: it is damaged.
    """
    names = file.schema_arrow.names
    distinct = len(set(names)) == len(names)
    columns = [names[index] for index in needed] if distinct else None
    unpacked = cells = 0
    # Threads would decode other row groups ahead of what is counted.
    for batch in file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
        arrays = [batch.column(name) for name in columns] if columns else [batch.column(i) for i in needed]
        unpacked += sum(map(_bytes_of, arrays))
        cells += sum(map(_cells_of, arrays))
        require_bytes(uri, unpacked, "its content unpacks to", times)
        require_at_most(uri, times * MAX_CELLS, cells, "cells")
        if only is not None and not any(bool(it) is only[1] for it in arrays[only[0]].to_pylist()):
            continue
        values = [_values(array) for array in arrays]
        yield from zip(*values, strict=True) if values else (() for _ in range(batch.num_rows))


def _bytes_of(array: Any) -> int:
    """What an Arrow array's values take without a dictionary."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return int(pc.sum(lengths).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(map(_bytes_of, array.flatten()))
    if _is_list(kind):
        return _bytes_of(array.flatten())
    if pa.types.is_map(kind):
        return _bytes_of(array.keys) + _bytes_of(array.items)
    return int(array.nbytes)


def _cells_of(array: Any) -> int:
    """How many values an Arrow array holds, those inside of its values counted as well."""
    import pyarrow as pa

    if pa.types.is_struct(array.type):
        return len(array) + sum(map(_cells_of, array.flatten()))
    if _is_list(array.type):
        return len(array) + _cells_of(array.flatten())
    if pa.types.is_map(array.type):
        return len(array) + _cells_of(array.keys) + _cells_of(array.items)
    return len(array)


def _is_list(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _values(array: Any) -> list[Any]:
    """An Arrow array's values; texts that are no UTF-8 as the bytes they are, so that they are a problem of their rows only."""
    import pyarrow as pa

    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        if not (pa.types.is_string(array.type) or pa.types.is_dictionary(array.type)):
            raise
        plain = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        return [_text(value) for value in plain.cast(pa.binary()).to_pylist()]


def _text(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
