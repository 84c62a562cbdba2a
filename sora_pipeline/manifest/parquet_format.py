"""Parquet bytes to a table of JSON values. Knows nothing of what the columns mean."""

import re

from sora_pipeline.manifest.json_values import json_value
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.table import Record, Table, is_blank

MAGIC = b"PAR1"
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def parse_parquet(uri: str, content: bytes) -> Table:
    """Read every column; what JSON has no word for becomes text (see ``json_value``).

    Raises:
        ManifestError: the bytes are not Parquet, or hold values that nothing can be made of.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not content.startswith(MAGIC):
        raise ManifestError(
            uri, "this is not a Parquet file. Only CSV in UTF-8, Parquet and .xlsx files can be read."
        )
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
        kept = [i for i, name in enumerate(table.column_names) if not _PANDAS_INDEX.fullmatch(name)]
        columns = [[json_value(value) for value in table.column(i).to_pylist()] for i in kept]
    except Exception as error:  # damaged files raise whatever the decoder stumbles over
        reason = f"the Parquet file cannot be read ({error}). It may be damaged; write it again."
        raise ManifestError(uri, reason) from error
    rows = enumerate(zip(*columns, strict=True), start=1)
    return Table(
        tuple(table.column_names[i].strip() for i in kept),
        [Record(number, cells) for number, cells in rows if not all(map(is_blank, cells))],
    )
