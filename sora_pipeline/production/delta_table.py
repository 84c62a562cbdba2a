"""The output manifest as a Delta table beside the videos, for whoever asks for one: a version for each state that is published.

Written from the Parquet file of the same publish, some thousand rows at a time, and committed in one step.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.store import OutputStore

if TYPE_CHECKING:
    import pyarrow as pa

DELTA = "delta"
_ROWS = 4_096


class DeltaError(SoraPipelineError):
    """Raised where the Delta table cannot be written; everything else was."""


def write_delta(
    store: OutputStore, parquet: Path, production: str, rows_sha256: str, finished_at: str
) -> bool:
    """Make a production's Delta table what its output manifest is now; whether that was news.

    Args:
        store: The output.
        parquet: The output manifest.
        production: Whose it is.
        rows_sha256: Hash of all rows.
        finished_at: When the production finished; empty: it goes on.

    Raises:
        DeltaError: it cannot be written; the table is as it was.
    """
    try:
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import DeltaError as LibraryError
    except ImportError as error:
        raise DeltaError(f"the package for Delta tables is not installed: {error}", "delta_package") from None
    about = {
        "sora_pipeline.production": production,
        "sora_pipeline.rows_sha256": rows_sha256,
        "sora_pipeline.finished_at": finished_at,
    }
    uri = store.uri_of(DELTA)
    try:
        if _is_written(uri, about):
            return False
        write_deltalake(
            uri,
            _stretches(parquet),
            mode="overwrite",
            schema_mode="overwrite",
            name=production,
            commit_properties=CommitProperties(custom_metadata=about),
        )
    except (LibraryError, OSError, ValueError) as error:
        raise DeltaError(f"the Delta table {uri} could not be written: {error}", "delta_failed") from error
    return True


def _stretches(parquet: Path) -> "pa.RecordBatchReader":
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(parquet)
    return pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(batch_size=_ROWS))


def _is_written(uri: str, about: dict[str, str]) -> bool:
    """Whether the newest version is just this."""
    from deltalake import DeltaTable

    if not DeltaTable.is_deltatable(uri):
        return False
    newest = DeltaTable(uri).history(1)
    return bool(newest) and all(newest[0].get(name) == value for name, value in about.items())
