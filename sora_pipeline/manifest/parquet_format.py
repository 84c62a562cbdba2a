"""Parquet bytes to a table of JSON values. Knows nothing of what the columns mean."""

import base64
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from sora_pipeline.manifest.problems import ManifestProblem
from sora_pipeline.manifest.table import Record, Table, is_blank

MAGIC = b"PAR1"
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_PLAIN = (str, int, bool, type(None))


def parse_parquet(uri: str, content: bytes) -> Table:
    """Read every column; what JSON has no word for becomes text (see ``json_value``).

    Raises:
        ManifestProblem: the bytes are not Parquet, or hold values that nothing can be made of.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not content.startswith(MAGIC):
        raise ManifestProblem(uri, "this is not a Parquet file. Only CSV in UTF-8 and Parquet can be read.")
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
        kept = [i for i, name in enumerate(table.column_names) if not _PANDAS_INDEX.fullmatch(name)]
        columns = [[json_value(value) for value in table.column(i).to_pylist()] for i in kept]
    except Exception as error:  # damaged files raise whatever the decoder stumbles over
        reason = f"the Parquet file cannot be read ({error}). It may be damaged; write it again."
        raise ManifestProblem(uri, reason) from error
    rows = enumerate(zip(*columns, strict=True), start=1)
    return Table(
        tuple(table.column_names[i].strip() for i in kept),
        [Record(number, cells) for number, cells in rows if not all(map(is_blank, cells))],
    )


def json_value(value: Any) -> Any:
    """The value itself where JSON has a word for it, otherwise text that says the same.

    Dates and times become ISO 8601, decimals their digits, NaN null, other infinities ``inf``, durations seconds, bytes
    their UTF-8 text, or Base64 where they are none.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return str(value)
